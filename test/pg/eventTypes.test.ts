/** The types of events are counted once each, whatever happens to the log, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Health, LogPosition, Position, Subscription } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import * as PageReader from "../../src/consumer/page/PageReader.ts"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

const Visit = Schema.TaggedUnion({ Visited: {}, Left: {} })
const visit = (stream: string, ...types: ReadonlyArray<"Visited" | "Left">) =>
  EventStore.append(Visit, stream, types.map((_tag) => ({ _tag })))

const store = () => PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres({ poolSize: 8 })))

/** Counts at most so many events, and returns how far it came. */
const count = Effect.fnUntraced(function*(limit: number) {
  const sql = yield* SqlClient
  const [row] = yield* sql<{ readonly counted_to: bigint }>`select counted_to from evsrc.count_event_types(${limit})`
  return row!.counted_to
})

const counted = Effect.gen(function*() {
  const sql = yield* SqlClient
  return yield* sql`select category, type, first_position, events from evsrc.event_types order by category, type`
})

const inLog = Effect.gen(function*() {
  const sql = yield* SqlClient
  return yield* sql`select split_part(stream, '-', 1) as category, type, min(position) as first_position, count(*) as events
    from evsrc.log group by 1, 2 order by 1, 2`
})

describe("The types of events on PostgreSQL", () => {
  it.live("are counted once while others append, roll back and count", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const appends = Effect.forEach(Array.from({ length: 60 }, (_, n) => n), (n) => {
        const append = visit(
          `${n % 3 === 0 ? "Room" : "Hall"}-${n % 7}`,
          "Visited",
          ...n % 2 === 0 ? ["Left" as const] : []
        )
        const inTransaction = sql.withTransaction(
          Effect.andThen(append, n % 5 === 0 ? Effect.fail("rolled back") : Effect.sleep(n % 4))
        )
        return Effect.exit(n % 2 === 0 ? append : inTransaction)
      }, { concurrency: 4 })
      const counts = Effect.forEach(Array.from({ length: 40 }), () => count(3), { concurrency: 3 })
      yield* Effect.all([appends, counts], { concurrency: 2 })
      const { driver } = (yield* EventStore.EventStore)[internals]
      const head = yield* driver.head
      yield* Effect.repeat(count(3), { until: (position) => position === head }).pipe(Effect.timeout("1 minute"))
      assert.deepStrictEqual(yield* counted, yield* inLog)
      assert.isAbove((yield* counted).length, 3)
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live("are counted by the names of their tags, each event once", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const append = (stream: string, type: string, version: number, tags: string | null) =>
        sql`select from evsrc.append(true, array[${stream}], null, null, '{1}', array[gen_random_uuid()], array[${type}], array[${version}::integer],
          array['{}'], array['{}'], array[${tags}::text], null, null, null, null, null, null, null)`
      yield* append("Room-1", "Visited", 1, "{guest:a,guest:b,host:c}")
      yield* append("Room-2", "Visited", 1, "{guest:a}")
      yield* append("Room-2", "Visited", 1, null)
      yield* append("Room-2", "Visited", 2, "{host:c,plain,:unnamed}")
      yield* append("Hall-2", "Left", 1, "{guest:a}")
      const expected = [
        { category: "Hall", type: "Left", first_position: 5n, events: 1n, versions: { "1:": 1, "1:guest": 1 } },
        {
          category: "Room",
          type: "Visited",
          first_position: 1n,
          events: 4n,
          versions: { "1:": 3, "1:guest": 2, "1:host": 1, "2:": 1, "2:host": 1 }
        }
      ]
      const columns = "category, type, first_position, events, versions"
      assert.deepStrictEqual(
        yield* sql.unsafe(`select ${columns} from evsrc.count_visible_event_types(0) order by 1, 2`),
        expected
      )
      // In several steps, whose counts are added.
      yield* Effect.repeat(count(2), { times: 1 })
      assert.deepStrictEqual(
        yield* sql.unsafe(`select ${columns} from evsrc.count_event_types(2) order by 1, 2`),
        expected
      )
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live("are counted again when the log was set back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* visit("Room-1", "Visited")
      const { position } = yield* visit("Room-2", "Left")
      assert.strictEqual(yield* count(100), position)
      yield* sql`alter table evsrc.events disable trigger user`
      yield* sql`delete from evsrc.events where position = ${position}`
      yield* sql`alter table evsrc.events enable trigger user`
      yield* sql`select setval('evsrc.positions', ${position} - 1)`
      const again = yield* visit("Room-1", "Visited")
      assert.strictEqual(again.position, position)
      assert.strictEqual(yield* count(100), position)
      assert.deepStrictEqual(yield* counted, yield* inLog)
      assert.strictEqual((yield* counted).length, 1)
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live("are read when the log was set back and has as many others", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const { driver } = (yield* EventStore.EventStore)[internals]
      const reader = PageReader.make({
        driver,
        filter: { types: ["Entered"] },
        batchSize: 10,
        maxBatchSize: 10,
        stopsAtUnknown: Subscription.make("guests", {
          events: Schema.TaggedUnion({ Entered: {} }),
          where: { streamPrefix: "Room-" },
          unknownTypes: "stop",
          handle: () => Effect.void
        })
      })
      const next = Effect.map(reader.read(LogPosition.make(Position.start, undefined)), ({ events }) =>
        events.map(({ type }) => type))
      const { position } = yield* visit("Room-1", "Visited")
      assert.deepStrictEqual(yield* next, ["Visited"])
      yield* sql`alter table evsrc.events disable trigger user`
      yield* sql`delete from evsrc.events where position = ${position}`
      yield* sql`alter table evsrc.events enable trigger user`
      yield* sql`select setval('evsrc.positions', ${position} - 1)`
      yield* visit("Room-1", "Left")
      assert.deepStrictEqual(yield* next, ["Left"])
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live(
    "stop a consumer by its prefix, and health says so without one, in a log of 1,001 categories",
    () =>
      Effect.gen(function*() {
        const streams = Array.from({ length: 1001 }, (_, n) => `${String(n).padStart(4, "0")}-a`)
        const last = streams.at(-1)!
        yield* Effect.forEach(streams.slice(0, -1), (stream) => visit(stream, "Visited"), { concurrency: 100 })
        // Only the last category has no place of its own, and concurrent appends have no order.
        yield* visit(last, "Visited")
        const subscription = (where: { readonly streamPrefix?: string }) =>
          Subscription.make("guests", {
            events: Schema.TaggedUnion({ Visited: {} }),
            where,
            unknownTypes: "stop",
            handle: () => Effect.void
          })
        const reasonsOf = (where: { readonly streamPrefix?: string }) =>
          Effect.map(Health.of([subscription(where)]), ({ reasons }) => reasons.join("\n"))
        assert.notInclude(yield* reasonsOf({}), "categories")
        const { position } = yield* visit(last, "Left")
        const { driver } = (yield* EventStore.EventStore)[internals]
        const read = (where: { readonly streamPrefix?: string }) =>
          Effect.map(
            PageReader.make({
              driver,
              filter: { types: ["Visited"], ...where },
              batchSize: 10,
              maxBatchSize: 10,
              stopsAtUnknown: subscription(where)
            }).read(LogPosition.make(Position.make(position - 1n), undefined)),
            ({ events }) => events.map(({ type }) => type)
          )
        assert.deepStrictEqual(yield* read({ streamPrefix: last }), ["Left"])
        assert.deepStrictEqual(yield* read({ streamPrefix: "0001-" }), [])
        assert.deepStrictEqual(yield* read({}), [])
        assert.notInclude(yield* reasonsOf({ streamPrefix: last }), "categories")
        const reasons = yield* reasonsOf({})
        for (const words of ["more than 1,000 categories", `"Left"`, "where.streamPrefix"]) {
          assert.include(reasons, words)
        }
      }).pipe(Effect.provide(Layer.fresh(Layer.provideMerge(PgProjectionStore.layer, store()))))
  )

  it.live("are counted without waiting while another transaction counts", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const [began, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { position: first } = yield* visit("Room-1", "Visited")
      yield* count(10)
      const { position: second } = yield* visit("Room-2", "Visited")
      const counting = yield* Effect.forkChild(sql.withTransaction(
        Effect.tap(count(10), () => Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(ended)))
      ))
      yield* Deferred.await(began)
      assert.strictEqual(yield* Effect.timeout(count(10), "1 minute"), first)
      yield* Deferred.succeed(ended, undefined)
      assert.strictEqual(yield* Fiber.join(counting), second)
      assert.strictEqual(yield* count(10), second)
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live("are counted for 1,000 categories, and together for all others", () =>
    Effect.gen(function*() {
      const streams = Array.from({ length: 1100 }, (_, n) => `${String(n).padStart(4, "0")}-a`)
      yield* Effect.forEach(streams, (stream) => visit(stream, "Visited"), { concurrency: 100 })
      const { driver } = (yield* EventStore.EventStore)[internals]
      const head = yield* driver.head
      yield* Effect.repeat(count(400), { until: (position) => position === head }).pipe(Effect.timeout("1 minute"))
      yield* visit("9999-a", "Visited")
      const { position: last } = yield* visit(streams[0]!, "Visited")
      yield* Effect.repeat(count(400), { until: (position) => position === last }).pipe(Effect.timeout("1 minute"))
      const { types } = yield* driver.eventTypes
      assert.strictEqual(types.length, 1001)
      const others = types.find(({ category }) => category === "")
      assert.strictEqual(others?.events, 101)
      assert.strictEqual(types.reduce((sum, { events }) => sum + events, 0), 1102)
    }).pipe(Effect.provide(Layer.fresh(store()))))

  it.live("are counted by a role that has no right to the tables", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const { position } = yield* visit("Room-1", "Visited")
      const role = `counter_${crypto.randomUUID().slice(0, 8)}`
      yield* sql.unsafe(`create role ${role}`)
      yield* sql.unsafe(`grant usage on schema evsrc to ${role}`)
      const reached = yield* sql.withTransaction(
        Effect.andThen(sql.unsafe(`set local role ${role}`), count(10))
      )
      assert.strictEqual(reached, position)
      yield* sql.unsafe(`drop owned by ${role}`)
      yield* sql.unsafe(`drop role ${role}`)
    }).pipe(Effect.provide(Layer.fresh(store()))))
})
