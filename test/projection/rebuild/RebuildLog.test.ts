import { assert, it } from "@effect/vitest"
import { Duration, Effect, Layer, Logger, Metric, References, Stream } from "effect"
import { EventStore, ProjectionStore, Projector, Rebuild } from "evsrc"
import { counters, until } from "./RebuildFixtures.ts"

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

it.live("a rebuild logs its end in one line, and leaves no gauges of its generation", () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ fiber, logLevel, message }) => {
    const { event, ...annotations } = fiber.getRef(References.CurrentLogAnnotations)
    const isOfRebuild = logLevel === "Info" && String(event).startsWith("rebuild.")
    if (isOfRebuild) lines.push(`${String(event)}: ${String(message)} ${Object.keys(annotations).toSorted().join(" ")}`)
  })
  const taken = () => lines.splice(0).map((line) => line.replace(/ after \S+/, ""))
  return Effect.gen(function*() {
    const { append, projection } = counters()
    const counts = projection()
    const { id } = counts
    const run = { interval: "10 millis" } as const
    yield* Effect.gen(function*() {
      yield* until(counts, yield* append("a", 3))
      yield* Stream.runDrain(Rebuild.rebuild(counts, run))
      assert.deepStrictEqual(taken(), [
        `rebuild.cutOver: ${id} is read from ${id}~1 from now on, instead of ${id} consumer generation previous`
      ])
      yield* Rebuild.rollback(counts)
      assert.deepStrictEqual(taken(), [
        `rebuild.rolledBack: ${id} is read from ${id} again, instead of ${id}~1 consumer generation previous`
      ])
      yield* Stream.runDrain(Rebuild.rebuild(counts, { ...run, build: "b", cutOver: false }))
      yield* Stream.runDrain(Rebuild.run(counts, { ...run, build: "b" }))
      const caughtUp = `rebuild.caughtUp: ${id}~2 has caught up consumer generation seconds`
      assert.deepStrictEqual(taken(), [caughtUp, caughtUp])
      yield* Effect.scoped(Rebuild.cutOver(counts, { build: "b" }))
      assert.deepStrictEqual(taken(), [
        `rebuild.cutOver: ${id} is read from ${id}~2 from now on, instead of ${id} consumer generation previous`
      ])
    }).pipe(Effect.provide(Projector.layer([counts], { lease: Duration.seconds(1) })))
    const consumers = (yield* Metric.snapshot).flatMap(({ attributes, id: metric }) =>
      metric === "evsrc_consumer_lag_positions" ? attributes?.["consumer"] ?? [] : []
    )
    assert.deepStrictEqual(consumers, [id])
  }).pipe(
    Effect.provide(stores),
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )
})
