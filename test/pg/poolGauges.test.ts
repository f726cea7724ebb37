/** The gauges of the connections that the stores of a program use. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Metric, Redacted, Schedule } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, ProjectionStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase } from "../support/Database.ts"
import { Tick } from "./ticks.ts"

const gauges = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries(
    all.filter(({ id }) => id.startsWith("evsrc_pool_")).map(({ id, state }) => [
      id.slice("evsrc_pool_".length),
      "value" in state ? state.value : undefined
    ])
  ))

const until = (wanted: Readonly<Record<string, number>>) =>
  gauges.pipe(
    Effect.repeat({
      until: (found) => Object.entries(wanted).every(([key, value]) => found[key] === value),
      schedule: Schedule.spaced("10 millis")
    }),
    Effect.timeout("1 minute")
  )

it.live("show the connections in use, and the statements that wait for one, as long as the stores live", () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* store.append(Tick, "s", [Tick.cases.Ticked.make({ n: 1 })])
      yield* until({ connections: 2, connections_in_use: 0, waiting: 0 })
      const free = yield* Deferred.make<void>()
      const held = yield* Effect.forEach([1, 2], () => Effect.forkChild(driver.transaction(Deferred.await(free), {})))
      yield* until({ connections_in_use: 2, waiting: 0 })
      const append = yield* Effect.forkChild(store.append(Tick, "s", [Tick.cases.Ticked.make({ n: 2 })]))
      yield* until({ connections_in_use: 2, waiting: 1 })
      yield* Deferred.succeed(free, undefined)
      yield* Effect.forEach(held, Fiber.join)
      yield* Fiber.join(append)
      yield* until({ connections_in_use: 0, waiting: 0 })
      // A statement that fails, and one that is interrupted, give their connections back.
      const sql = yield* SqlClient
      yield* Effect.exit(driver.transaction(sql`select 1 / 0`, {}))
      const slow = yield* Effect.forkChild(driver.transaction(sql`select pg_sleep(60)`, {}))
      yield* until({ connections_in_use: 1 })
      yield* Fiber.interrupt(slow)
      yield* until({ connections_in_use: 0, waiting: 0 })
    }).pipe(Effect.provide(PgStores.layerWith({ notify: false }).pipe(Layer.provideMerge(client))))
    assert.deepStrictEqual(yield* gauges, {})
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), Effect.scoped))
