/** Exchanges of the documents of inline projections while others append, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Limits, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Change = Schema.TaggedUnion({
  Filled: { tank: Schema.Int, by: Schema.Int },
  Drained: { tank: Schema.Int, by: Schema.Int }
})
type Change = typeof Change.Type
const Other = Schema.TaggedUnion({ Noted: {} })

const nameOf = (tank: number) => `t${String(tank).padStart(3, "0")}`

/** Two releases of one projection: the second ignores an event. */
const levels = (drains: boolean) =>
  Projection.make("levels", {
    events: Change,
    lifecycle: "inline",
    document: Schema.Int,
    key: ({ tank }) => nameOf(tank),
    evolve: {
      Filled: (level, { by }) => (level ?? 0) + by,
      Drained: drains ? (level, { by }) => (level ?? 0) - by : Projection.ignore
    }
  })
const [old, current] = [levels(true), levels(false)]

const filled = (tank: number, by = 1): Change => ({ _tag: "Filled", tank, by })
const drained = (tank: number, by = 1): Change => ({ _tag: "Drained", tank, by })
const append = (...changes: ReadonlyArray<Change>) => EventStore.append(Change, `s-${++streams}`, changes)
let streams = 0
const start = (projection: typeof old, options?: Projector.InlineOptions) =>
  Layer.build(Layer.fresh(Projector.layerInline([projection], { repairInterval: "1 hour", ...options })))
const registered = Effect.map(Projector.inlineProjections, ([one]) => one)

const tanks = Array.from({ length: 60 }, (_, tank) => tank)

/** Compares the documents with a fold of the events, without those that have made a gap since. */
const requireRight = Effect.gen(function*() {
  const sql = yield* SqlClient
  const stored = yield* sql<{ key: string; level: number }>`
    select key, document::text::integer as level from evsrc.documents where generation = 'levels@1' order by key`
  const expected = yield* sql<{ key: string; level: number }>`
    select 't' || lpad(data->>'tank', 3, '0') as key, sum((data->>'by')::integer)::integer as level
      from evsrc.events where type = 'Filled' and position not in (select position from evsrc.inline_gaps) group by 1 order by 1`
  assert.deepStrictEqual(stored, expected)
})

/** Makes all documents wrong, and then a gap. From then on every write of one takes so long. */
const spoil = Effect.fnUntraced(function*(milliseconds = 4) {
  const sql = yield* SqlClient
  yield* sql`update evsrc.documents set document = '7000'`
  yield* sql.unsafe(`create function slow() returns trigger language plpgsql as
    'begin perform pg_sleep(${milliseconds / 1000}); return new; end'`)
  yield* sql`create trigger slow before insert or update on evsrc.documents for each row
    when (new.generation = 'levels@1') execute function slow()`
  yield* append(filled(0))
})

/** Waits until the exchange has passed the first document. */
const hasBegun = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql`select from evsrc.documents where generation = 'levels@1' and key = 't000' and document::text <> '7000'`.pipe(
      Effect.repeat({ until: (rows) => rows.length > 0 }),
      Effect.timeout("1 minute")
    )
)

/** The deadlines are not those of the migrations. */
const stores = (options: Parameters<typeof PgStores.layerWith>[0] = {}) =>
  Layer.fresh(PgStores.layerWithoutMigrations(options)).pipe(
    Layer.provideMerge(PgStores.layer),
    Layer.provideMerge(layerPostgres({ poolSize: 8 }))
  )
const provide = (options?: Parameters<typeof PgStores.layerWith>[0]) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provide(Layer.fresh(stores(options))),
    Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 4 })
  )

describe("An exchange of the documents of an inline projection", () => {
  it.live("keeps appends out for a page at a time, and no read returns its documents", () =>
    Effect.gen(function*() {
      const program = yield* start(current)
      yield* Effect.provide(
        Effect.forEach([0, 20, 40], (n) => append(...tanks.slice(n, n + 20).map((t) => filled(t)))),
        program
      )
      yield* spoil(80)
      const repairing = yield* Effect.forkChild(Projector.repairInline(current))
      for (let n = 0; repairing.pollUnsafe() === undefined; n++) {
        yield* n % 5 === 0 ? append(filled(n % 60)) : Effect.provide(append(filled((n * 7) % 60)), program)
        const read = yield* Effect.result(ProjectionStore.get(current, nameOf(n % 60)))
        if (read._tag === "Success" && repairing.pollUnsafe() === undefined) {
          assert.strictEqual((yield* registered)?.missedFrom, undefined)
          break
        }
      }
      assert.isTrue(yield* Fiber.join(repairing))
      yield* requireRight
    }).pipe(provide({ lockTimeout: "4 seconds" })))

  it.live(
    "begins again when another definition has changed documents that were exchanged",
    () =>
      Effect.gen(function*() {
        const older = yield* start(old)
        yield* Effect.provide(append(...tanks.map((tank) => filled(tank))), older)
        yield* start(current)
        yield* spoil()
        const repairing = yield* Effect.forkChild(Projector.repairInline(current))
        yield* hasBegun
        yield* Effect.provide(append(drained(0, 100)), older)
        assert.isDefined((yield* registered)?.missedFrom)
        assert.isTrue(yield* Fiber.join(repairing))
        assert.isUndefined((yield* registered)?.missedFrom)
        yield* requireRight
      }).pipe(provide())
  )

  it.live("folds no event twice while an append of another type holds the readers back", () =>
    Effect.gen(function*() {
      const program = yield* start(current)
      yield* Effect.provide(append(...tanks.map((tank) => filled(tank))), program)
      yield* spoil()
      const [begun, ends] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { withTransaction } = yield* SqlClient
      const other = yield* Effect.forkChild(withTransaction(
        EventStore.append(Other, "other", [{ _tag: "Noted" }]).pipe(
          Effect.andThen(Deferred.succeed(begun, undefined)),
          Effect.andThen(Deferred.await(ends))
        )
      ))
      yield* Effect.gen(function*() {
        yield* Deferred.await(begun)
        const repairing = yield* Effect.forkChild(Projector.repairInline(current))
        yield* hasBegun
        for (let n = 0; n < 12; n++) yield* Effect.provide(append(filled((n * 7) % 60)), program)
        assert.isTrue(yield* Fiber.join(repairing))
        yield* requireRight
      }).pipe(
        Effect.ensuring(Effect.andThen(Deferred.succeed(ends, undefined), Fiber.await(other)))
      )
    }).pipe(provide()))

  it.live("is carried out by another program when it was interrupted", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const program = yield* start(current)
      yield* Effect.provide(append(...tanks.map((tank) => filled(tank))), program)
      yield* spoil()
      const repairing = yield* Effect.forkChild(Projector.repairInline(current))
      yield* hasBegun
      yield* Fiber.interrupt(repairing)
      assert.isDefined((yield* registered)?.missedFrom)
      // As if that program had vanished.
      const lapses = (seconds: number) =>
        sql`update evsrc.inline_projections set exchanged_by = pg_backend_pid(),
          exchanged_until = clock_timestamp() + ${seconds} * interval '1 second'`
      yield* lapses(3600)
      const error = yield* Effect.flip(Projector.repairInline(current))
      assert.match(error.message, /is being made by the session \d+ .* has waited 2s \(maintenanceTimeout\)/)
      yield* lapses(-1)
      assert.isTrue(yield* Projector.repairInline(current))
      assert.isUndefined((yield* registered)?.missedFrom)
      yield* requireRight
    }).pipe(provide({ maintenanceTimeout: "2 seconds" })))

  it.live("ends when the projection is retired, and does not bring it back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const program = yield* start(current, { repairInterval: "50 millis" })
      yield* Effect.provide(append(...tanks.map((tank) => filled(tank))), program)
      yield* spoil()
      yield* hasBegun
      assert.isTrue(yield* Projector.retireInline(current.id))
      // Several looks of the program that has repaired it.
      yield* Effect.sleep("300 millis")
      assert.deepStrictEqual([yield* registered, yield* sql`select key from evsrc.documents`], [undefined, []])
    }).pipe(provide()))
})
