import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Redacted, Schedule } from "effect"
import { EventStore, Health, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { freshDatabase, layerPglite } from "../support/Database.ts"
import * as Script from "../support/Script.ts"
import { Tick, Ticks } from "./healthTicks.ts"

const tick = (stream: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [{ _tag: "Ticked", n: 1 }]))

/** Waits until the health of the projection has a status. */
const untilStatus = (status: Health.Status, options: Health.HealthOptions) =>
  Health.of([Ticks], options).pipe(
    Effect.repeat({ until: (health) => health.status === status, schedule: Schedule.spaced("50 millis") }),
    Effect.timeout("1 minute")
  )

describe("the health of a projection", () => {
  it.live(
    "turns red when its process freezes without lag, and green when it resumes",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const database = PgClient.layer({ url: Redacted.make(url) })
        yield* Effect.gen(function*() {
          const store = yield* ProjectionStore.ProjectionStore
          const unclaimed = yield* Health.of([Ticks])
          assert.deepStrictEqual([unclaimed.status, unclaimed.reasons], ["red", ["ticks@1: no worker has ever run it"]])

          // A heartbeat is due every third of a second.
          const options: Health.HealthOptions = { heartbeatTimeout: "3 seconds" }
          const script = yield* Script.start(import.meta.resolve("./healthWorker.ts"), { env: { DATABASE_URL: url } })
          yield* script.waitFor(/^live$/)
          const { position } = yield* tick("a")
          yield* store.awaitPosition(Ticks, position, "1 minute")
          const healthy = yield* untilStatus("green", options)
          assert.deepStrictEqual(healthy.consumers[0]?.lag, { events: 0, isMore: false, seconds: 0 })
          const owner = healthy.consumers[0]?.partitions[0]?.owner ?? "none"

          yield* script.signal("SIGSTOP")
          const frozen = yield* untilStatus("red", options)
          assert.deepStrictEqual(frozen.consumers[0]?.lag, { events: 0, isMore: false, seconds: 0 })
          assert.match(
            frozen.reasons[0] ?? "",
            new RegExp(`^ticks@1: partition \\d+: its worker ${owner} sent no heartbeat for \\d+ s$`)
          )
          yield* script.signal("SIGCONT")
          yield* untilStatus("green", options)

          // Another process takes over from the killed one.
          yield* script.signal("SIGKILL")
          yield* script.exited
          yield* untilStatus("red", options)
          const other = yield* Script.start(import.meta.resolve("./healthWorker.ts"), { env: { DATABASE_URL: url } })
          yield* other.waitFor(/^live$/)
          const takenOver = yield* untilStatus("green", options)
          assert.notStrictEqual(takenOver.consumers[0]?.partitions[0]?.owner, owner)
        }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provide(database))))
      })
  )

  it.live("uses the clock of the database, not that of the process", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const shifted = (by: number): Clock.Clock => ({
        sleep: (duration) => clock.sleep(duration),
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: clock.monotonicTimeNanos,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + by,
        currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + by),
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(by) * 1_000_000n,
        currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(by) * 1_000_000n)
      })
      const store = yield* ProjectionStore.ProjectionStore
      const { position } = yield* tick("a")
      yield* Effect.gen(function*() {
        yield* store.awaitPosition(Ticks, position, "1 minute")
        for (const by of [-3_600_000, 3_600_000]) {
          const health = yield* untilStatus("green", {}).pipe(Effect.provideService(Clock.Clock, shifted(by)))
          assert.isBelow(health.consumers[0]?.heartbeatAge ?? Infinity, 60)
        }
      }).pipe(Effect.provide(Projector.layer([Ticks])))
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provide(layerPglite())))))
})
