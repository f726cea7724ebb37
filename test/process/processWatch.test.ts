/** The checks of process managers at intervals: their gauges, and their lines in the log. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, References } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, ProcessManager, ProjectionStore, StoreUnavailable } from "evsrc"
import { storeError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import { provideClock } from "../support/VirtualTime.ts"
import { begun, due, probe, signal, targets, took } from "./Probe.ts"

const stores = Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))

const clocks = probe("clocks", { Begun: () => [due("1 minute")], Due: () => [took("due")] })
const others = probe("others")
const { inputs, outputs } = ProcessManager.consumers(clocks)

const program = ProcessManager.layer([clocks, others]).pipe(Layer.provideMerge(targets()))

/** Returns the health, the lag and the deferred instances that the gauges show of a process manager. */
const gaugesOf = (process: string) =>
  Effect.map(Metric.snapshot, (metrics) =>
    ["health", "deadline_lag_seconds", "deferred_instances"].map((id) => {
      const state = metrics.find((one) => one.id === `evsrc_process_${id}` && one.attributes?.["process"] === process)
        ?.state
      return state !== undefined && "value" in state ? state.value : undefined
    }))

const recorder = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    const line = `${logLevel}: ${String(message)}`
    if (line.includes("Health: ") || line.includes("health")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
}

describe("ProcessManager.watch", () => {
  it.live("shows and logs a deadline that no program fires, and its recovery", () =>
    Effect.gen(function*() {
      const { layer, lines } = recorder()
      yield* Effect.provide(
        Effect.andThen(signal(clocks, [begun("a")]), TestClock.adjust("10 seconds")),
        program,
        { local: true }
      )
      yield* ProcessManager.watch([clocks, others], { maxWait: "15 seconds" }).pipe(Effect.provide(layer))
      yield* TestClock.adjust("40 seconds")
      assert.deepStrictEqual(yield* gaugesOf("clocks"), [0, 0, 0], "before it is due")
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* gaugesOf("clocks"), [0, 20, 0], "while it is late")
      yield* TestClock.adjust("40 seconds")
      assert.deepStrictEqual(yield* gaugesOf("clocks"), [2, 60, 0], "when it is overdue")
      assert.deepStrictEqual(yield* gaugesOf("others"), [0, 0, 0])
      yield* Effect.provide(TestClock.adjust("60 seconds"), program, { local: true })
      assert.deepStrictEqual(yield* gaugesOf("clocks"), [0, 0, 0], "after it has fired")
      const own = lines.filter((line) => line.includes("the process manager "))
      assert.deepStrictEqual(own, [
        "Error: Health: the process manager \"clocks\" is red: a deadline of the instance \"a\" of the process manager \"clocks\" has been overdue for 1m; "
        + "run a program with ProcessManager.layer, or see in its log why it cannot take the inputs or fire the deadline",
        "Info: Health: the process manager \"clocks\" is green again after 30s"
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(stores),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.provideService(References.MinimumLogLevel, "Info"),
      provideClock
    ))

  it.live("covers other consumers in the same checks, each consumer once", () =>
    Effect.gen(function*() {
      const requests: Array<string> = []
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const counting = yield* ProjectionStore.make({
        ...driver,
        progress: (generation) => Effect.suspend(() => (requests.push(generation), driver.progress(generation)))
      })
      const { outputs: other } = ProcessManager.consumers(others)
      yield* ProcessManager.watch([clocks], { consumers: [outputs, other] }).pipe(
        Effect.provideService(ProjectionStore.ProjectionStore, counting)
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(requests.toSorted(), [inputs.id, outputs.id, other.id].toSorted())
    }).pipe(
      Effect.scoped,
      Effect.provide(stores),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      provideClock
    ))

  it.live("turns the gauges red while the check fails, also when only instances cannot be read", () =>
    Effect.gen(function*() {
      const { layer, lines } = recorder()
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const error = storeError(new StoreUnavailable({ message: "The database is unavailable", cause: undefined }))
      let isDown = false
      const failing = yield* ProjectionStore.make({
        ...driver,
        list: (request) => isDown ? Effect.fail(error) : driver.list(request)
      })
      // The read model of the instances is complete from now on.
      yield* Effect.scoped(Layer.build(program))
      yield* ProcessManager.watch([clocks]).pipe(
        Effect.provideService(ProjectionStore.ProjectionStore, failing),
        Effect.provide(layer)
      )
      const health = Effect.andThen(
        TestClock.adjust("10 seconds"),
        Effect.map(gaugesOf("clocks"), ([health]) => health)
      )
      assert.strictEqual(yield* health, 0)
      isDown = true
      assert.deepStrictEqual([yield* health, yield* health], [2, 2])
      isDown = false
      assert.strictEqual(yield* health, 0)
      assert.deepStrictEqual(lines.filter((line) => !line.includes("Health: ")), [
        "Warn: The health of consumers could not be checked: The database is unavailable",
        "Info: The health check has recovered after 20s"
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(stores),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.provideService(References.MinimumLogLevel, "Info"),
      provideClock
    ))
})
