import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule, Schema, Stream, Tracer } from "effect"
import { Reactivity } from "effect/reactivity"
import { Aggregate, Command, CommandBus, EventStore, EventStoreError, StoreUnavailable, StreamId } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as Proxy from "../support/Proxy.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

const Count = Command.make("Count", { payload: { id: Schema.String } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Struct({ n: Schema.Int }),
  events: Tick,
  commands: [Count]
}).decider({
  initial: { n: 0 },
  evolve: { Ticked: (_, e) => ({ n: e.n }) },
  decide: { Count: (s) => [tick(s.n + 1)] }
})

/** A tracer that runs an effect when the first span of a name begins. */
const armAt = (name: string, effect: Effect.Effect<void>): Tracer.Tracer => {
  let armed = true
  return Tracer.make({
    span: (options) => {
      if (armed && options.name === name) {
        armed = false
        Effect.runSync(effect)
      }
      return new Tracer.NativeSpan(options)
    }
  })
}

/** A store whose connections carry nothing but what the test does, so that the answer lost is that of an append. */
const quiet = PgEventStore.layerWith({ notify: false })

const reasonOf = (error: unknown): EventStoreError["reason"] => {
  assert.instanceOf(error, EventStoreError)
  return error.reason
}

/** Waits until a session waits for the lock of a stream that another transaction holds. */
const untilBlocked = (sql: PgClient.PgClient) =>
  sql`select 1 from pg_locks where locktype = 'advisory' and not granted`.pipe(
    Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("30 seconds")
  )

/** A fresh database, and a client that reaches it through a proxy. */
const behindProxy = Effect.gen(function*() {
  const { url } = yield* freshDatabase
  const proxy = yield* Proxy.make(url)
  return { url, proxy, behind: PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 3 }) }
})

describe("faults", () => {
  it.live("a server that cannot be reached is StoreUnavailable", () =>
    Effect.gen(function*() {
      const nobody = PgClient.layer({
        url: Redacted.make("postgres://postgres@127.0.0.1:1/none"),
        connectTimeout: "5 seconds"
      })
      const error = yield* Effect.flip(Effect.provide(EventStore.EventStore, Layer.provide(PgEventStore.layer, nobody)))
      assert.isTrue(error._tag === "SqlError" || reasonOf(error)._tag === "StoreUnavailable")
    }))

  it.live("a statement timeout writes nothing and says that the store is busy", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* store.append(Tick, "busy", [tick(1)])
        const { config } = sql
        const impatient = PgClient.layer({ ...config, startupParameters: { statement_timeout: "200" } })
        const error = yield* Effect.flip(
          Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "busy", [tick(2)])).pipe(
            Effect.provide(PgEventStore.layerWithoutMigrations().pipe(Layer.provide(impatient)))
          )
        )
        assert.strictEqual(reasonOf(error)._tag, "StoreUnavailable")
      }))
      const events = yield* Stream.runCollect(store.readStream(Tick, "busy"))
      assert.deepStrictEqual(events.map((e) => e.event.n), [1])
    }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("a connection lost in the transaction of an append is a typed error, and nothing is written", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      const killer = yield* PgClient.makeClient(sql.config)
      const error = yield* Effect.flip(store[internals].driver.append({
        stream: StreamId.StreamId.make("lost"),
        expected: "any",
        events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: `{"n":1}`, metadata: "{}" }],
        inTransaction: () =>
          Effect.orDie(Effect.gen(function*() {
            const [row] = yield* sql<{ readonly pid: number }>`select pg_backend_pid() as pid`
            yield* killer`select pg_terminate_backend(${row!.pid})`
            yield* Effect.ignore(sql`select pg_sleep(10)`)
          }))
      }))
      assert.strictEqual(reasonOf(error)._tag, "OutcomeUnknown")
      const failing = yield* Effect.flip(store[internals].driver.append({
        stream: StreamId.StreamId.make("lost"),
        expected: "any",
        events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: `{"n":1}`, metadata: "{}" }],
        // The projection's own statement fails on the lost connection, and says so in its own words.
        inTransaction: () =>
          sql<{ readonly pid: number }>`select pg_backend_pid() as pid`.pipe(
            Effect.flatMap(([row]) => killer`select pg_terminate_backend(${row!.pid})`),
            Effect.andThen(sql`select pg_sleep(10)`),
            Effect.mapError((cause) =>
              new EventStoreError({
                reason: new StoreUnavailable({ message: "a projection's statement failed", cause })
              })
            )
          )
      }))
      assert.strictEqual(reasonOf(failing)._tag, "OutcomeUnknown")
      assert.strictEqual((yield* Stream.runCollect(store.readStreamEncoded("lost"))).length, 0)
      assert.strictEqual((yield* store.append(Tick, "lost", [tick(1)])).version, 1)
    }).pipe(
      Effect.scoped,
      Effect.provide([PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())), Reactivity.layer])
    ))

  it.live("an answer lost after the commit: the outcome is unknown, and the command id answers the first receipt", () =>
    Effect.gen(function*() {
      const { behind, proxy, url } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* store.append(Tick, "s", [tick(0)])
        const append = (n: number) =>
          store.append(Tick, "s", [tick(n), tick(n)], { metadata: { commandId: `command ${n}` } })
        for (const n of [1, 2, 3]) {
          yield* proxy.loseNextAnswer
          assert.strictEqual(reasonOf(yield* Effect.flip(append(n)))._tag, "OutcomeUnknown")
          assert.strictEqual(yield* proxy.lost, n)
          // It was written; again, from here and from elsewhere, at once, it is answered and not written.
          const elsewhere = PgClient.layer({ url: Redacted.make(url) })
          const again = yield* Effect.forEach([1, 2, 3, 4], () => append(n), { concurrency: "unbounded" })
          const there = yield* Effect.flatMap(
            EventStore.EventStore,
            (store) => store.append(Tick, "s", [tick(n), tick(n)], { metadata: { commandId: `command ${n}` } })
          ).pipe(
            Effect.provide(Layer.fresh(PgEventStore.layerWithoutMigrations()).pipe(Layer.provide(elsewhere)))
          )
          for (const receipt of [...again, there]) {
            assert.deepStrictEqual(receipt, again[0])
            assert.strictEqual(receipt.version, 1 + 2 * n)
          }
        }
        const events = yield* Stream.runCollect(store.readStream(Tick, "s"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [0, 1, 1, 2, 2, 3, 3])
      }).pipe(Effect.provide(quiet.pipe(Layer.provide(behind))))
    }))

  it.live("the same of an append under a condition, which it breaks itself", () =>
    Effect.gen(function*() {
      const { behind, proxy } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* store.append(Tick, "s", [tick(0)])
        const { condition } = yield* store.readByQuery([{ types: ["Ticked"] }])
        const append = store.appendIf(condition, Tick, "t", [tick(1)], { metadata: { commandId: "once" } })
        yield* proxy.loseNextAnswer
        assert.strictEqual(reasonOf(yield* Effect.flip(append))._tag, "OutcomeUnknown")
        assert.strictEqual((yield* append).version, 1)
        const events = yield* Stream.runCollect(store.readStream(Tick, "t"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1])
      }).pipe(Effect.provide(quiet.pipe(Layer.provide(behind))))
    }))

  it.live("an answer lost under a group of appends: unknown for each of them, and each is resolved by its command id", () =>
    Effect.gen(function*() {
      const { behind, proxy } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const append = (n: number) =>
          store.append(Tick, `s${n}`, [tick(n)], { expected: "noStream", metadata: { commandId: `${n}` } })
        const numbers = Array.from({ length: 30 }, (_, i) => i)
        yield* append(-1)
        yield* proxy.loseNextAnswer
        const exits = yield* Effect.forEach(numbers, (n) => Effect.exit(append(n)), { concurrency: "unbounded" })
        const unknown = numbers.filter((n) => Exit.isFailure(exits[n]!))
        assert.isAbove(unknown.length, 0)
        for (const n of unknown) {
          const error = Option.getOrThrow(Exit.findErrorOption(exits[n]!))
          assert.strictEqual(reasonOf(error)._tag, "OutcomeUnknown")
        }
        for (const n of numbers) assert.strictEqual((yield* append(n)).version, 1)
        const all = yield* Stream.runCollect(store.readAll(Tick))
        assert.deepStrictEqual(all.map((e) => e.event.n).toSorted((a, b) => a - b), [-1, ...numbers])
      }).pipe(Effect.provide(quiet.pipe(Layer.provide(behind))))
    }))

  it.live("a command whose answer is lost finds out by itself what became of it", () =>
    Effect.gen(function*() {
      const { behind, proxy } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* CommandBus.dispatch(Count, { id: "a" })
        // Only the append loses its answer, not the load before it.
        const receipt = yield* CommandBus.dispatch(Count, { id: "a" }).pipe(
          Effect.provideService(Tracer.Tracer, armAt("EventStore.append", proxy.loseNextAnswer))
        )
        assert.strictEqual(yield* proxy.lost, 1)
        assert.strictEqual(receipt.version, 2)
        const events = yield* Stream.runCollect(store.readStream(Tick, "Counter-a"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2])
      }).pipe(
        Effect.provide(Aggregate.layer(Counter).pipe(Layer.provideMerge(quiet), Layer.provide(behind)))
      )
    }))

  it.live("a crash gives rolled-back positions out again, and a reader that has seen the head still skips nothing", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        yield* store.append(Tick, "s", [tick(1)])
        for (let round = 0; round < 3; round++) {
          const many = Array.from({ length: 200 }, (_, i) => tick(i))
          yield* Effect.flip(sql.withTransaction(Effect.andThen(store.append(Tick, "burnt", many), Effect.fail("no"))))
          const seen = yield* store.head
          yield* server.kill
          yield* server.start
          const n = 100 + round
          yield* Effect.retry(
            store.append(Tick, "s", [tick(n)], { metadata: { commandId: `${n}` } }),
            Schedule.spaced("50 millis")
          ).pipe(
            Effect.timeout("30 seconds")
          )
          const events = yield* Stream.runCollect(store.readAll(Tick, { after: seen }))
          assert.deepStrictEqual(events.map((e) => e.event.n), [n])
        }
      }).pipe(
        Effect.provide(
          quiet.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 5 })))
        )
      )
    }))

  it.live("a server killed in mid-append: the outcome is unknown, and the command id resolves it", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const url = Redacted.make(server.url)
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        yield* store.append(Tick, "s", [tick(1)])
        const append = store.append(Tick, "s", [tick(2)], { metadata: { commandId: "c" } })
        // Held up by a transaction on its stream, so that it is under way when the server dies.
        const held = yield* Deferred.make<void>()
        const other = yield* Effect.forkChild(sql.withTransaction(
          Effect.andThen(
            store.append(Tick, "s", [tick(9)]),
            Effect.andThen(Deferred.succeed(held, undefined), Effect.never)
          )
        ))
        yield* Deferred.await(held)
        const pending = yield* Effect.forkChild(Effect.flip(append))
        yield* untilBlocked(sql)
        yield* server.kill
        assert.strictEqual(reasonOf(yield* Fiber.join(pending))._tag, "OutcomeUnknown")
        yield* Fiber.interrupt(other)
        const gone = reasonOf(yield* Effect.flip(store.append(Tick, "s", [tick(3)])))
        assert.include(["StoreUnavailable", "OutcomeUnknown"], gone._tag)
        yield* server.start
        const found = yield* Effect.retry(store.receipt("c"), Schedule.spaced("50 millis")).pipe(
          Effect.timeout("30 seconds")
        )
        const receipt = yield* append
        // Unknown means just that: as the server died, the append may have come through or not.
        if (Option.isSome(found)) assert.deepStrictEqual(receipt, found.value)
        assert.strictEqual(receipt.version, 2)
        assert.deepStrictEqual(yield* append, receipt)
        const events = yield* Stream.runCollect(store.readStream(Tick, "s"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2])
      }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(PgClient.layer({ url, maxConnections: 5 })))))
    }))
})
