import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule, Schema, Stream, Tracer } from "effect"
import { Reactivity } from "effect/reactivity"
import {
  Aggregate,
  Command,
  CommandBus,
  EventQuery,
  EventStore,
  EventStoreError,
  StoreUnavailable,
  StreamId
} from "evsrc"
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

/** Returns a tracer that runs an effect when the first span with a name begins. */
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

/** A store whose connections carry only the statements of the test, so that the proxy drops the response to an append. */
const quietStore = PgEventStore.layerWith({ notify: false })

const reasonOf = (error: unknown): EventStoreError["reason"] => {
  assert.instanceOf(error, EventStoreError)
  return error.reason
}

/** Waits until a session waits for the stream lock of another transaction. */
const untilBlocked = (sql: PgClient.PgClient) =>
  sql`select 1 from pg_locks where locktype = 'advisory' and not granted`.pipe(
    Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("1 minute")
  )

/** Creates a fresh database and a client that connects to it through a proxy. */
const behindProxy = Effect.gen(function*() {
  const { url } = yield* freshDatabase
  const proxy = yield* Proxy.make(url)
  return { url, proxy, behind: PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 3 }) }
})

describe("the PostgreSQL event store", () => {
  it.live("fails with StoreUnavailable without a reachable server", () =>
    Effect.gen(function*() {
      const unreachable = PgClient.layer({
        url: Redacted.make("postgres://postgres@127.0.0.1:1/none"),
        connectTimeout: "5 seconds"
      })
      const error = yield* Effect.flip(
        Effect.provide(EventStore.EventStore, Layer.provide(PgEventStore.layer, unreachable))
      )
      // The client itself reports a server that refuses its first connection.
      assert.include(["SqlError", "StoreUnavailable"], error._tag === "SqlError" ? error._tag : reasonOf(error)._tag)
    }))

  it.live("fails with StoreUnavailable after a statement timeout and writes nothing", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.PgClient
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* store.append(Tick, "busy", [tick(1)])
        const { config } = sql
        const withTimeout = PgClient.layer({ ...config, startupParameters: { statement_timeout: "200" } })
        const error = yield* Effect.flip(
          Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "busy", [tick(2)])).pipe(
            Effect.provide(PgEventStore.layerWithoutMigrations().pipe(Layer.provide(withTimeout)))
          )
        )
        assert.strictEqual(reasonOf(error)._tag, "StoreUnavailable")
      }))
      const events = yield* Stream.runCollect(store.readStream(Tick, "busy"))
      assert.deepStrictEqual(events.map((e) => e.event.n), [1])
    }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("fails with StoreUnavailable when a transaction loses its connection before COMMIT", () =>
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
      assert.strictEqual(reasonOf(error)._tag, "StoreUnavailable")
      const failing = yield* Effect.flip(store[internals].driver.append({
        stream: StreamId.StreamId.make("lost"),
        expected: "any",
        events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: `{"n":1}`, metadata: "{}" }],
        // The projection's own statement fails on the lost connection, with an error of its own.
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
      assert.strictEqual(reasonOf(failing)._tag, "StoreUnavailable")
      assert.strictEqual((yield* Stream.runCollect(store.readStreamEncoded("lost"))).length, 0)
      assert.strictEqual((yield* store.append(Tick, "lost", [tick(1)])).version, 1)
    }).pipe(
      Effect.scoped,
      Effect.provide([PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())), Reactivity.layer])
    ))

  it.live("returns the first receipt by command id after a lost response", () =>
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
          // The append is committed. Concurrent repetitions on any connection return its receipt and write nothing.
          const direct = PgClient.layer({ url: Redacted.make(url) })
          const repeated = yield* Effect.forEach([1, 2, 3, 4], () => append(n), { concurrency: "unbounded" })
          const onDirect = yield* Effect.flatMap(
            EventStore.EventStore,
            (store) => store.append(Tick, "s", [tick(n), tick(n)], { metadata: { commandId: `command ${n}` } })
          ).pipe(
            Effect.provide(Layer.fresh(PgEventStore.layerWithoutMigrations()).pipe(Layer.provide(direct)))
          )
          for (const receipt of [...repeated, onDirect]) {
            assert.deepStrictEqual(receipt, repeated[0])
            assert.strictEqual(receipt.version, 1 + 2 * n)
          }
        }
        const events = yield* Stream.runCollect(store.readStream(Tick, "s"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [0, 1, 1, 2, 2, 3, 3])
      }).pipe(Effect.provide(quietStore.pipe(Layer.provide(behind))))
    }))

  it.live("resolves a lost response to an append that breaks its own condition", () =>
    Effect.gen(function*() {
      const { behind, proxy } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* store.append(Tick, "s", [tick(0)])
        const { condition } = yield* store.readByQuery(EventQuery.ofStoredTypes([{ types: ["Ticked"] }]))
        const append = store.appendIf(condition, Tick, "t", [tick(1)], { metadata: { commandId: "once" } })
        yield* proxy.loseNextAnswer
        assert.strictEqual(reasonOf(yield* Effect.flip(append))._tag, "OutcomeUnknown")
        assert.strictEqual((yield* append).version, 1)
        const events = yield* Stream.runCollect(store.readStream(Tick, "t"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1])
      }).pipe(Effect.provide(quietStore.pipe(Layer.provide(behind))))
    }))

  it.live("resolves each append of a group by command id after a lost response", () =>
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
      }).pipe(Effect.provide(quietStore.pipe(Layer.provide(behind))))
    }))

  it.live("a command resolves a lost response to its append by itself", () =>
    Effect.gen(function*() {
      const { behind, proxy } = yield* behindProxy
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* CommandBus.dispatch(Count, { id: "a" })
        // Only the append loses its response, not the load before it.
        const receipt = yield* CommandBus.dispatch(Count, { id: "a" }).pipe(
          Effect.provideService(Tracer.Tracer, armAt("EventStore.append", proxy.loseNextAnswer))
        )
        assert.strictEqual(yield* proxy.lost, 1)
        assert.strictEqual(receipt.version, 2)
        const events = yield* Stream.runCollect(store.readStream(Tick, "Counter-a"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2])
      }).pipe(
        Effect.provide(Aggregate.layer(Counter).pipe(Layer.provideMerge(quietStore), Layer.provide(behind)))
      )
    }))

  it.live("readers skip nothing when a crash reassigns rolled-back positions", () =>
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
            Effect.timeout("1 minute")
          )
          const events = yield* Stream.runCollect(store.readAll(Tick, { after: seen }))
          assert.deepStrictEqual(events.map((e) => e.event.n), [n])
        }
      }).pipe(
        Effect.provide(
          quietStore.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 5 })))
        )
      )
    }))

  it.live("resolves an append by command id after kill -9 of the server", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const url = Redacted.make(server.url)
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        yield* store.append(Tick, "s", [tick(1)])
        const append = store.append(Tick, "s", [tick(2)], { metadata: { commandId: "c" } })
        // A transaction on the stream delays the append, so that it is in flight when the server dies.
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
        const whileDown = reasonOf(yield* Effect.flip(store.append(Tick, "s", [tick(3)])))
        assert.include(["StoreUnavailable", "OutcomeUnknown"], whileDown._tag)
        yield* server.start
        const found = yield* Effect.retry(store.receipt("c"), Schedule.spaced("50 millis")).pipe(
          Effect.timeout("1 minute")
        )
        const receipt = yield* append
        // The append may have committed before the server died.
        if (Option.isSome(found)) assert.deepStrictEqual(receipt, found.value)
        assert.strictEqual(receipt.version, 2)
        assert.deepStrictEqual(yield* append, receipt)
        const events = yield* Stream.runCollect(store.readStream(Tick, "s"))
        assert.deepStrictEqual(events.map((e) => e.event.n), [1, 2])
      }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(PgClient.layer({ url, maxConnections: 5 })))))
    }))
})
