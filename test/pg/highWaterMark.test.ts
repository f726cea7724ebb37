import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, Schema, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { Checkpoints, EventStore, HashChain, LogTransfer, Subscription } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

/** Stops a session that has `test.pause` on just before it reads the sequence, until no session holds the lock (4242, 1). */
const pausing = `
create or replace function evsrc.last_assigned_position() returns bigint language plpgsql volatile as $$
begin
  if current_setting('test.pause', true) = 'on' then
    perform pg_advisory_lock_shared(4242, 1);
    perform pg_advisory_unlock_shared(4242, 1);
  end if;
  return pg_sequence_last_value('evsrc.positions');
end $$`

const connection = Effect.flatMap(PgClient.PgClient, ({ config }) => PgClient.makeClient(config)).pipe(
  Effect.provide(Reactivity.layer)
)

describe("high_water_mark", () => {
  it.live("reads the last position before it looks for appends in flight", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      const [keeper, reader, writer] = [yield* connection, yield* connection, yield* connection]
      yield* sql.unsafe(pausing)
      yield* store.append(Tick, "s", [tick(1)])
      const start = yield* store.head

      yield* keeper`select pg_advisory_lock(4242, 1)`
      yield* reader`set test.pause = 'on'`
      const reading = yield* Effect.forkChild(reader<{ readonly head: bigint }>`select evsrc.high_water_mark() as head`)
      yield* sql`select 1 from pg_locks where locktype = 'advisory' and classid = 4242 and not granted`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
        Effect.timeout("1 minute")
      )
      // Independent of what the reader has read by now: one append stays in flight, and another overtakes it.
      yield* writer`begin`
      yield* writer`select 1 from evsrc.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1,
        '{"n":2}', '{}')`
      yield* store.append(Tick, "u", [tick(3)])
      yield* keeper`select pg_advisory_unlock(4242, 1)`

      const [row] = yield* Fiber.join(reading)
      assert.strictEqual(row?.head, start)
      yield* writer`commit`
      const events = yield* Stream.runCollect(store.readAll(Tick, { after: start }))
      assert.deepStrictEqual(events.map((e) => e.event.n), [2, 3])
    }).pipe(
      Effect.scoped,
      Effect.provide(PgEventStore.layerWith({ notify: false }).pipe(Layer.provideMerge(layerPostgres())))
    ))

  it.live("is the highest position that a consumer can be reset to", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const writer = yield* connection
      const handled: Array<number> = []
      const ticks = Subscription.make("ticks", {
        events: Tick,
        handle: { Ticked: ({ n }) => Effect.sync(() => handled.push(n)) }
      })
      const handling = (last: number) =>
        Effect.sync(() => handled.includes(last)).pipe(
          Effect.repeat({ until: (isHandled) => isHandled, schedule: Schedule.spaced("20 millis") }),
          Effect.timeout("1 minute"),
          Effect.provide(Subscription.layer([ticks]))
        )
      yield* store.append(Tick, "s", [tick(1)])
      yield* handling(1)

      yield* writer`begin`
      yield* writer`select 1 from evsrc.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1,
        '{"n":2}', '{}')`
      const third = yield* store.append(Tick, "u", [tick(3)])
      const error = yield* Effect.flip(Checkpoints.reset(ticks, third.position))
      assert(error._tag === "EventStoreError" && error.reason._tag === "InvalidRequest")
      assert.include(error.message, `the high-water mark of the log is ${yield* store.head}`)
      const { to } = yield* Checkpoints.reset(ticks, "end")
      assert.strictEqual(to.position, yield* store.head)
      yield* writer`commit`
      yield* handling(3)
      assert.deepStrictEqual(handled, [1, 2, 3], "the event that was in flight is handled")
      yield* Checkpoints.reset(ticks, third.position)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.merge(PgEventStore.layer, PgProjectionStore.layer).pipe(Layer.provideMerge(layerPostgres()))
      )
    ))

  it.live("may step back between two pages, and no read in pages ends there", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const writer = yield* connection
      for (let n = 1; n <= 10; n++) yield* store.append(Tick, `s-${n % 3}`, [tick(n)])
      // What an append holds that read the last position before the others drew theirs.
      const stepBack = Effect.gen(function*() {
        yield* writer`begin`
        yield* writer`select pg_advisory_xact_lock_shared('evsrc.positions'::regclass::oid::integer, 4)`
        // It has drawn one itself by now, so that readers must look for it.
        yield* writer`select nextval('evsrc.positions')`
        yield* Effect.forkChild(Effect.andThen(Effect.sleep("200 millis"), writer`commit`))
        assert.strictEqual(yield* store.head, 4n)
      })
      const numbers: Array<number> = []
      yield* Stream.runForEach(
        store.readAll(Tick, { pageSize: 3 }),
        ({ event }) => Effect.andThen(Effect.sync(() => numbers.push(event.n)), event.n === 6 ? stepBack : Effect.void)
      )
      assert.deepStrictEqual(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      const { anchor } = yield* HashChain.verify()
      assert.strictEqual(anchor.events, 10)
      yield* stepBack
      assert.deepStrictEqual(yield* HashChain.verify({ against: anchor }).pipe(Effect.map(({ faults }) => faults)), [])
      yield* stepBack
      const text = yield* Stream.mkString(LogTransfer.export({ pageSize: 3 }))
      assert.deepStrictEqual(yield* LogTransfer.verify(Stream.make(text)), { events: 10, archived: 0, head: 10n })
    }).pipe(Effect.scoped, Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("is found without the locks if no event after an earlier mark is missing", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      const writer = yield* connection
      const inFlight = (n: number) =>
        writer`select 1 from evsrc.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1, ${`{"n":${n}}`}, '{}')`
      const markAfter = (position: bigint, id: string | null, by: PgClient.PgClient = sql) =>
        Effect.map(
          by<{ readonly mark: bigint }>`select evsrc.high_water_mark_after(${position}, ${id}::uuid) as mark`,
          ([row]) => Number(row!.mark)
        )
      const events = yield* Effect.forEach([1, 2, 3], (n) =>
        Effect.map(store.append(Tick, "s", [tick(n)]), ({ events }) => events[0]!))
      const [first, second, third] = events.map(({ position }) =>
        Number(position)
      )
      const { id, position } = events[0]!
      assert.strictEqual(yield* markAfter(position, id), third)

      // A lock below all events, of which none is missing, so that it shows whether the locks are read.
      yield* writer`begin`
      yield* writer`select pg_advisory_xact_lock_shared('evsrc.positions'::regclass::oid::integer, ${first})`
      assert.strictEqual(yield* markAfter(position, id), third, "without the locks")
      assert.strictEqual(yield* markAfter(position, null), first, "without an earlier mark")
      assert.strictEqual(yield* markAfter(position, events[1]!.id), first, "another event: the log was set back")
      assert.strictEqual(yield* markAfter(BigInt(second!) + 100n, id), first, "an event that the log does not have")
      yield* writer`commit`

      yield* writer`begin`
      yield* inFlight(4)
      const fifth = yield* store.append(Tick, "u", [tick(5)])
      assert.strictEqual(yield* markAfter(position, id), third, "behind an append in flight")
      assert.strictEqual(yield* markAfter(position, id, writer), third, "also in its own transaction")
      yield* writer`rollback`
      const last = Number(yield* store.head)
      assert.strictEqual(yield* markAfter(position, id), last, "after a position that was rolled back")
      const error = yield* Effect.flip(sql.withTransaction(Effect.andThen(
        sql`set transaction isolation level repeatable read`,
        markAfter(fifth.position, fifth.events[0]!.id)
      )))
      assert.include(String(error.reason.cause), "READ COMMITTED")
    }).pipe(
      Effect.scoped,
      Effect.provide(PgEventStore.layerWith({ notify: false }).pipe(Layer.provideMerge(layerPostgres())))
    ))

  it.live("that a transaction holds back fails an export, which names the session", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      const writer = yield* connection
      yield* writer`begin`
      yield* writer`select 1 from evsrc.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1, '{"n":2}', '{}')`
      const [session] = yield* writer<{ readonly pid: number }>`select pg_backend_pid() as pid`
      yield* store.append(Tick, "s", [tick(1)])
      // Within a transaction an export does not wait.
      const error = yield* Effect.flip(sql.withTransaction(Stream.runDrain(LogTransfer.export())))
      assert(error._tag === "EventStoreError" && error.reason._tag === "StoreUnavailable")
      assert.include(error.message, "An export must read the log up to position 2")
      assert.include(error.message, `SELECT pg_terminate_backend(${session!.pid})`)
      yield* writer`rollback`
      const text = yield* Stream.mkString(LogTransfer.export())
      assert.deepStrictEqual(yield* LogTransfer.verify(Stream.make(text)), { events: 1, archived: 0, head: 2n })
    }).pipe(Effect.scoped, Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))

  for (
    const [what, jump] of [
      ["2^31", 2n ** 31n],
      ["2^31 + 1", 2n ** 31n + 1n],
      ["2^32", 2n ** 32n],
      ["2^33 + 7", 2n ** 33n + 7n],
      ["2^43", 2n ** 43n]
    ] as const
  ) {
    it.live(`stays below an append in flight when the sequence jumps by ${what}, and again`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        const [early, late] = [yield* connection, yield* connection]
        const inFlight = (writer: PgClient.PgClient, n: number) =>
          writer`select 1 from evsrc.append_one(true, ${`in flight ${n}`}, null, null, gen_random_uuid(), 'Ticked', 1,
            ${`{"n":${n}}`}, '{}')`
        yield* store.append(Tick, "s", [tick(1)])
        const start = yield* store.head
        yield* early`begin`
        yield* inFlight(early, 2)
        yield* sql`select setval('evsrc.positions', (select last_value from evsrc.positions) + ${jump})`
        yield* store.append(Tick, "s", [tick(3)])
        assert.strictEqual(yield* store.head, start, "behind the append before the jump")
        // The same transaction appends once more, and another begins: both marks are above the jump.
        yield* inFlight(early, 4)
        yield* late`begin`
        yield* inFlight(late, 5)
        yield* store.append(Tick, "s", [tick(6), tick(7)])
        assert.strictEqual(yield* store.head, start, "behind both appends of one transaction")
        const [holder] = yield* sql<{ readonly pid: number; readonly mark: bigint }>`
          select pid, low_water_mark as mark from evsrc.in_flight_appends()`
        const [session] = yield* early<{ readonly pid: number }>`select pg_backend_pid() as pid`
        assert.deepStrictEqual(holder, { pid: session!.pid, mark: BigInt(start) })
        yield* early`commit`
        const seen = yield* Stream.runCollect(store.readAll(Tick, { after: start }))
        assert.deepStrictEqual(seen.map((e) => e.event.n), [2, 3, 4], "behind the append after the jump")
        yield* late`commit`
        const rest = yield* Stream.runCollect(store.readAll(Tick, { after: seen.at(-1)!.position }))
        assert.deepStrictEqual(rest.map((e) => e.event.n), [5, 6, 7])
      }).pipe(
        Effect.scoped,
        Effect.provide(PgEventStore.layerWith({ notify: false }).pipe(Layer.provideMerge(layerPostgres())))
      ))
  }

  it.live("the sequence refuses a position that an in-flight low-water mark cannot hold", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* Effect.void.pipe(Effect.provide(PgEventStore.layer))
      const error = yield* Effect.flip(sql`select setval('evsrc.positions', ${2n ** 44n})`)
      assert.include(String(error.reason.cause), "out of bounds")
    }).pipe(Effect.provide(layerPostgres())))
})
