/** When the documents of inline projections are complete, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Position, Projection, ProjectionStore, Projector, Version } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

const Counted = Schema.TaggedUnion({ Counted: {} })
const Other = Schema.TaggedUnion({ Other: {} })

const counts = Projection.make("counts", {
  events: Counted,
  lifecycle: "inline",
  document: Schema.Int,
  key: () => "all",
  evolve: { Counted: (count) => (count ?? 0) + 1 }
})

const count = (stream: string) => EventStore.append(Counted, stream, [{ _tag: "Counted" }])
const counted = ProjectionStore.get(counts, "all")
const start = Layer.build(Projector.layerInline([counts]))

const stores = () =>
  Layer.mergeAll(PgEventStore.layer, PgProjectionStore.layer).pipe(Layer.provideMerge(layerPostgres({ poolSize: 6 })))

describe("Inline projections on PostgreSQL", () => {
  it.live("have the events above the high-water mark when they start", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const [began, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const inFlight = yield* Effect.forkChild(sql.withTransaction(
        EventStore.append(Other, "Other-1", [{ _tag: "Other" }]).pipe(
          Effect.andThen(Deferred.succeed(began, undefined)),
          Effect.andThen(Deferred.await(ended))
        )
      ))
      yield* Deferred.await(began)
      yield* count("Counter-1")
      yield* start
      assert.deepStrictEqual(yield* counted, Option.some(1))
      yield* Deferred.succeed(ended, undefined)
      yield* Fiber.join(inFlight)
    }).pipe(Effect.provide(Layer.fresh(stores()))))

  it.live("wait for an append in flight when they start, and have its events", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const [began, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const inFlight = yield* Effect.forkChild(sql.withTransaction(
        count("Counter-1").pipe(
          Effect.andThen(Deferred.succeed(began, undefined)),
          Effect.andThen(Deferred.await(ended))
        )
      ))
      yield* Deferred.await(began)
      const starting = yield* Effect.forkChild(start)
      yield* sql`select 1 from pg_stat_activity where datname = current_database() and query like '%in_flight_appends_of%'
        and pid <> pg_backend_pid()`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0 }),
        Effect.timeout("1 minute")
      )
      assert.isUndefined(starting.pollUnsafe())
      yield* Deferred.succeed(ended, undefined)
      yield* Fiber.join(inFlight)
      yield* Fiber.join(starting)
      assert.deepStrictEqual(yield* counted, Option.some(1))
    }).pipe(Effect.provide(Layer.fresh(stores()))))

  it.live(
    "cannot be read after a plain SQL caller has appended, until they are repaired",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* start
        const id = () => crypto.randomUUID()
        const callers = [
          sql`select outcome from evsrc.append_one(true, 'Counter-1', null, null, ${id()}::uuid, 'Counted', 1, '{}', '{}')`,
          sql`select outcomes from evsrc.append(true, array['Counter-2'], null, null, array[2], array[${id()}, ${id()}]::uuid[],
          array['Counted', 'Counted'], array[1, 1], array['{}', '{}'], array['{}', '{}'], null,
          null, null, null, null, null, null, null)`
        ]
        for (const [index, append] of callers.entries()) {
          yield* append
          assert.include((yield* Effect.flip(counted)).message, "lack the event at position")
          assert.isTrue(yield* Projector.repairInline(counts))
          assert.deepStrictEqual(yield* counted, Option.some([1, 3][index]))
        }
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  it.live("cannot be read after an import until they start again", () =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      yield* count("Counter-1")
      yield* start
      const [stored] = (yield* driver.readStored({ after: Position.start, limit: 1 })).events
      assert.isDefined(stored)
      const position = Position.make(stored.position + 1n)
      const next = { ...stored, id: crypto.randomUUID(), position, version: Version.make(stored.version + 1) }
      const restored = yield* driver.restore({ after: stored.position, events: [next] })
      assert.strictEqual(restored._tag, "Restored")
      const error = yield* Effect.flip(counted)
      assert.include(error.message, "counts@1")
      yield* start
      assert.deepStrictEqual(yield* counted, Option.some(2))
    }).pipe(Effect.provide(Layer.fresh(stores()))))
})
