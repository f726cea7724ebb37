/** What only a real PostgreSQL server can show: transactions of several connections, and the database's own refusals. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { Event, EventQuery, EventStore, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgEventStore, type PgOptions, PgProjectionStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

const append = (stream: string, n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [tick(n)]))

const readAll = (after: Position.Position) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Effect.map(Stream.runCollect(store.readAll(Tick, { after })), (events) => events.map((e) => e.event.n))
  )

const head = Effect.flatMap(EventStore.EventStore, (store) => store.head)

/** A connection of its own in the middle of a transaction, which the test ends. */
const openTransaction = Effect.gen(function*() {
  const { config } = yield* PgClient.PgClient
  const sql = yield* PgClient.makeClient(config)
  yield* sql`begin`
  return sql
}).pipe(Effect.provide(Reactivity.layer))

let counter = 0
const stream = () => `Tick-${++counter}`

const onServer = PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres()))

layer(onServer, { excludeTestServices: true })("PgEventStore", (it) => {
  it.effect("the database rejects UPDATE, DELETE and TRUNCATE on events, also by the owner", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* append(stream(), 1)
      for (
        const change of ["update evsrc.events set type = 'x'", "delete from evsrc.events", "truncate evsrc.events"]
      ) {
        const error = yield* Effect.flip(sql.unsafe(change))
        assert.include(error.reason.message + String(error.reason.cause), "immutable")
      }
      assert.isAbove((yield* readAll(Position.start)).length, 0)
    }))

  it.effect("an event is read only when all earlier appends have ended", () =>
    Effect.gen(function*() {
      const before = yield* head
      const sql = yield* openTransaction
      yield* sql.unsafe(appendStatement, appendParameters(stream(), 1))
      yield* append(stream(), 2)
      // The first has drawn a lower position and may yet commit or not: a reader that went on to the second would lose it.
      assert.deepStrictEqual(yield* readAll(before), [])
      const naive = yield* (yield* PgClient.PgClient)`select 1 from evsrc.events where position > ${before}`
      assert.strictEqual(naive.length, 1, "a reader without the in-flight mark would have gone on")
      yield* sql`commit`
      assert.deepStrictEqual(yield* readAll(before), [1, 2])
    }).pipe(Effect.scoped))

  it.effect("a rolled-back append or savepoint does not delay readers", () =>
    Effect.gen(function*() {
      const before = yield* head
      const sql = yield* openTransaction
      yield* sql`savepoint s`
      yield* sql.unsafe(appendStatement, appendParameters(stream(), 1))
      yield* sql`rollback to savepoint s`
      yield* append(stream(), 2)
      // The savepoint is gone and its lock with it: the transaction no longer has anything to append.
      assert.deepStrictEqual(yield* readAll(before), [2])
      yield* sql.unsafe(appendStatement, appendParameters(stream(), 3))
      yield* sql`rollback`
      yield* append(stream(), 4)
      assert.deepStrictEqual(yield* readAll(before), [2, 4])
    }).pipe(Effect.scoped))

  it.effect("transactions that append nothing do not delay readers, whatever they lock", () =>
    Effect.gen(function*() {
      const before = yield* head
      const sql = yield* openTransaction
      yield* sql`create table unrelated (n int)`
      yield* sql`insert into unrelated values (1)`
      yield* sql`select txid_current(), count(*) from evsrc.events`
      yield* sql`select pg_advisory_xact_lock_shared(1), pg_advisory_xact_lock(1, 2)`
      const listener = yield* Effect.forkChild(
        Effect.flatMap(
          EventStore.EventStore,
          (store) => Stream.runCollect(Stream.take(store.subscribe(Tick, { after: before }), 3))
        )
      )
      for (const n of [1, 2, 3]) yield* append(stream(), n)
      const events = yield* Effect.timeout(Fiber.join(listener), "1 minute")
      assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2, 3])
      yield* sql`rollback`
    }).pipe(Effect.scoped))

  it.effect("the in-flight low-water mark works beyond 32 bits of positions", () =>
    Effect.gen(function*() {
      const admin = yield* PgClient.PgClient
      for (const jump of [2n ** 31n - 2n, 2n ** 32n - 2n, 2n ** 33n + 2n ** 31n - 2n, 2n ** 43n]) {
        yield* admin`select setval('evsrc.positions', ${jump})`
        for (let i = 0; i < 4; i++) {
          const start = yield* head
          const sql = yield* openTransaction
          yield* sql.unsafe(appendStatement, appendParameters(stream(), 1))
          yield* append(stream(), 2)
          assert.deepStrictEqual(yield* readAll(start), [], `at ${start}`)
          yield* sql`commit`
          assert.deepStrictEqual(yield* readAll(start), [1, 2], `at ${start}`)
        }
      }
    }).pipe(Effect.scoped))

  it.effect("a decision that missed an event in flight fails once that is committed", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const show = stream()
      const Seat = Schema.TaggedUnion({ SeatTaken: { show: Schema.String, n: Schema.Int } }).pipe(
        Event.tags({ show: "show" })
      )
      const seat = (n: number) => Seat.cases.SeatTaken.make({ show, n })
      const sql = yield* openTransaction
      yield* sql.unsafe(
        "select * from evsrc.append(true, array[$1], null, null, array[1], array[gen_random_uuid()], array['SeatTaken'], array[1], "
          + "array[$2], array['{}'], array[array[$3]::text], null, null, null, null, null, null, null)",
        [stream(), JSON.stringify(seat(1)), Event.tag("show", show)]
      )
      // Later by position, but committed first: a condition after the last event seen would never look below it.
      yield* store.append(Seat, stream(), [seat(2)])
      const { condition, events } = yield* store.readByQuery(
        EventQuery.ofStoredTypes([{ tags: [Event.tag("show", show)] }])
      )
      assert.strictEqual(events.length, 1)
      yield* sql`commit`
      const error = yield* Effect.flip(store.appendIf(condition, Seat, stream(), [seat(3)]))
      assert(error._tag === "AppendConditionFailed", error.message)
      assert.isAbove(Number(events[0]!.position - error.position), 0, "the conflict is before the last event seen")
      const again = yield* store.readByQuery(EventQuery.ofStoredTypes([{ tags: [Event.tag("show", show)] }]))
      assert.strictEqual(again.events.length, 2)
      yield* store.appendIf(again.condition, Seat, stream(), [seat(3)])
    }).pipe(Effect.scoped))

  it.effect("streams locked by open transactions delay only the appends to them", () =>
    Effect.gen(function*() {
      const held = [stream(), stream(), stream()]
      const sql = yield* openTransaction
      for (const name of held) yield* sql.unsafe(appendStatement, appendParameters(name, 0))
      const waiting = yield* Effect.forEach(held, (name) => Effect.forkChild(append(name, 1)))
      // Alone and together, while all three wait.
      for (let round = 0; round < 5; round++) {
        yield* Effect.forEach([1, 2, 3, 4, 5], (n) => Effect.timeout(append(stream(), n), "1 minute"), {
          concurrency: "unbounded"
        })
      }
      assert.deepStrictEqual(waiting.filter((fiber) => fiber.pollUnsafe() !== undefined), [])
      assert.isNotEmpty(waiting)
      yield* sql`commit`
      for (const fiber of waiting) assert.strictEqual((yield* Fiber.join(fiber)).version, 2)
    }).pipe(Effect.scoped))

  it.effect("an append joins the caller's transaction, and is visible after its commit", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const store = yield* EventStore.EventStore
      yield* sql`create table orders (id text primary key)`
      const before = yield* store.head
      const listener = yield* Effect.forkChild(
        Stream.runCollect(Stream.take(store.subscribe(Tick, { after: before }), 2))
      )
      const name = stream()
      const order = (id: string, n: number) => Effect.andThen(sql`insert into orders values (${id})`, append(name, n))
      yield* Effect.flip(sql.withTransaction(Effect.andThen(order("a", 1), Effect.fail("no"))))
      assert.deepStrictEqual(yield* readAll(before), [])
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* order("b", 2)
        yield* order("c", 3)
        // The transaction sees its own stream; the log only shows what is final.
        const own = yield* Stream.runCollect(store.readStream(Tick, name))
        assert.deepStrictEqual(own.map((e) => [e.version, e.event.n]), [[1, 2], [2, 3]])
        assert.deepStrictEqual(yield* readAll(before), [])
      }))
      const events = yield* Effect.timeout(Fiber.join(listener), "1 minute")
      assert.deepStrictEqual(events.map((e) => e.event.n), [2, 3])
      assert.deepStrictEqual((yield* sql`select id from orders order by id`).map((row) => row["id"]), ["b", "c"])
    }))

  it.effect("an append of another process wakes a subscriber before its next poll", () =>
    Effect.gen(function*() {
      const { config } = yield* PgClient.PgClient
      // Two stores, each with a pool of its own, are to each other as two processes are.
      const storeOf = (options: PgOptions) =>
        Effect.map(
          Layer.build(
            Layer.fresh(PgEventStore.layerWith({ pollInterval: "1 hour", ...options })).pipe(
              Layer.provide(Layer.fresh(PgClient.layer(config)))
            )
          ),
          Context.get(EventStore.EventStore)
        )
      const writer = yield* storeOf({})
      const reader = yield* storeOf({})
      const deaf = yield* storeOf({ notify: false })
      const after = yield* reader.head
      const hear = (store: EventStore.EventStore["Service"]) =>
        Effect.forkChild(Stream.runCollect(Stream.take(store.subscribe(Tick, { after }), 3)))
      const heard = yield* hear(reader)
      const unheard = yield* hear(deaf)
      for (const n of [1, 2, 3]) {
        yield* writer.append(Tick, stream(), [tick(n)])
        // Longer than the pause between two hints, so that there is one for each.
        yield* Effect.sleep("20 millis")
      }
      const events = yield* Effect.timeout(Fiber.join(heard), "1 minute")
      assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2, 3])
      assert.isUndefined(unheard.pollUnsafe(), "without hints, a reader that looks once an hour knows nothing yet")
    }).pipe(Effect.scoped))

  it.effect("a store works on a pool of one connection, and listens on another", () =>
    Effect.gen(function*() {
      const { config } = yield* PgClient.PgClient
      const narrow = PgClient.layer({ ...config, maxConnections: 1 })
      const store = Context.get(
        yield* Layer.build(Layer.fresh(PgEventStore.layer).pipe(Layer.provide(Layer.fresh(narrow)))),
        EventStore.EventStore
      )
      const name = stream()
      yield* Effect.forEach([1, 2, 3, 4, 5], (n) => store.append(Tick, name, [tick(n)]), { concurrency: "unbounded" })
      assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, name))).length, 5)
    }).pipe(Effect.scoped, Effect.timeout("1 minute")))

  it.effect("a wait for a position within a transaction does not break other waits", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const projections = yield* ProjectionStore.ProjectionStore
      const projection = Projection.make("waited", {
        events: Tick,
        document: Schema.Struct({ n: Schema.Int }),
        key: () => "k",
        evolve: { Ticked: (_, e) => ({ n: e.n }) }
      })
      const wait = projections.awaitPosition(projection, Position.make(2n ** 62n), "50 millis")
      assert.strictEqual((yield* Effect.flip(sql.withTransaction(wait)))._tag, "ProjectionBehind")
      assert.strictEqual((yield* Effect.flip(wait))._tag, "ProjectionBehind")
    }).pipe(Effect.provide(Layer.fresh(PgProjectionStore.layer))))

  it.effect("rejects an inline projection with another client when the layer is built", () =>
    Effect.gen(function*() {
      const { config } = yield* PgClient.PgClient
      const elsewhere = PgProjectionStore.layer.pipe(Layer.provide(Layer.fresh(PgClient.layer(config))))
      const exit = yield* Effect.exit(Layer.build(Projector.layerInline([]).pipe(Layer.provide(elsewhere))))
      assert.isTrue(Exit.hasDies(exit))
      yield* Layer.build(Projector.layerInline([]).pipe(Layer.provide(PgProjectionStore.layer)))
    }).pipe(Effect.scoped))

  it.effect("rejects another isolation level with StoreMisconfigured", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const store = yield* EventStore.EventStore
      for (const level of ["repeatable read", "serializable"]) {
        const uses = [
          Effect.asVoid(append(stream(), 1)),
          Effect.asVoid(store.head),
          Effect.asVoid(readAll(Position.start))
        ]
        for (const use of uses) {
          const error = yield* sql.unsafe(`set transaction isolation level ${level}`).pipe(
            Effect.andThen(use),
            sql.withTransaction,
            Effect.flip
          )
          assert(error._tag === "EventStoreError", error.message)
          assert.strictEqual(error.reason._tag, "StoreMisconfigured")
          assert.include(error.message, level.toUpperCase())
        }
      }
    }))
})

const appendStatement = "select * from evsrc.append_one(true, $1, null, null, gen_random_uuid(), 'Ticked', 1, $2, '{}')"
const appendParameters = (stream: string, n: number) => [stream, JSON.stringify({ n })]
