/** Every caller of the stores gets a response within its deadline, whatever the network, the server or other sessions do. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule, Schema, Stream } from "effect"
import { EventQuery, EventStore, EventStoreError, StreamId } from "evsrc"
import { PgEventStore, PgKeyStore, PgMigrations, type PgOptions, PgProjectionStore, PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as Proxy from "../support/Proxy.ts"
import * as Script from "../support/Script.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

const deadlines = {
  statementTimeout: "2 seconds",
  connectionTimeout: "10 seconds",
  lockTimeout: "300 millis"
} as const

/** How long a caller may take with these deadlines, on a machine that does other work too. */
const bound = "1 minute"

const reasonOf = (error: unknown): EventStoreError["reason"] => {
  assert.instanceOf(error, EventStoreError)
  return error.reason
}

const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timeout(Effect.flip(effect), bound), reasonOf)

/** A store that connects through a proxy. The client of the test connects directly. */
const withStore = <A, E>(
  test: (context: {
    readonly store: EventStore.EventStore["Service"]
    readonly proxy: Proxy.Proxy
    readonly client: PgClient.PgClient
    readonly direct: PgClient.PgClient
  }) => Effect.Effect<A, E>,
  options: PgOptions & { readonly maxConnections?: number; readonly multiplex?: boolean } = {}
) =>
  Effect.gen(function*() {
    const { maxConnections = 3, multiplex = false, ...storeOptions } = options
    const { url } = yield* freshDatabase
    const proxy = yield* Proxy.make(url)
    const context = yield* Layer.build(
      PgEventStore.layerWith({ notify: false, ...deadlines, ...storeOptions }).pipe(
        Layer.provideMerge(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections, multiplex }))
      )
    )
    const direct = yield* Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 3 }))
    return yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const client = yield* PgClient.PgClient
      const others = yield* Effect.provide(PgClient.PgClient, direct)
      return yield* test({ store, proxy, client, direct: others })
    }).pipe(Effect.provide(context))
  }).pipe(Effect.scoped)

const until = <E>(isTrue: Effect.Effect<boolean, E>) =>
  isTrue.pipe(
    Effect.repeat({ until: (found) => found, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute")
  )

const append = (store: EventStore.EventStore["Service"], stream: string, n: number, commandId?: string) =>
  store.append(Tick, stream, [tick(n)], commandId === undefined ? {} : { metadata: { commandId } })

/** An append of the driver that runs an effect in its transaction. */
const appendWith = (
  store: EventStore.EventStore["Service"],
  stream: string,
  inTransaction: Effect.Effect<void, EventStoreError>
) =>
  store[internals].driver.append({
    stream: StreamId.StreamId.make(stream),
    expected: "any",
    events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: `{"n":1}`, metadata: "{}" }],
    inTransaction: () => inTransaction
  })

// The cases that mostly wait run beside each other.
describe.concurrent("a connection that no longer responds", () => {
  for (const multiplex of [false, true]) {
    const kind = multiplex ? " of a multiplexed client" : ""
    it.live(`fails a read${kind} at its deadline, and the next one gets another connection`, () =>
      withStore(({ proxy, store }) =>
        Effect.gen(function*() {
          yield* append(store, "s", 1)
          yield* proxy.loseNextConnection
          const reason = yield* failureOf(Stream.runCollect(store.readStream(Tick, "s")))
          assert.strictEqual(reason._tag, "StoreUnavailable")
          assert.include(reason.message, "did not respond within 2s (statementTimeout)")
          const events = yield* Effect.timeout(Stream.runCollect(store.readStream(Tick, "s")), bound)
          assert.deepStrictEqual(events.map(({ event }) => event.n), [1])
          // It does not occupy the pool.
          yield* until(Effect.map(proxy.connections, (count) => count <= 1))
        }), { multiplex }))
  }

  it.live("leaves the outcome of an append unknown, and a repetition under its command id finds it", () =>
    withStore(({ proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        yield* proxy.loseNextConnection
        const reason = yield* failureOf(append(store, "s", 2, "once"))
        assert.strictEqual(reason._tag, "OutcomeUnknown")
        const receipt = yield* Effect.timeout(append(store, "s", 2, "once"), bound)
        assert.strictEqual(receipt.version, 2)
      })
    ))

  it.live("does not hold up appends to other streams", () =>
    withStore(({ proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        yield* proxy.loseNextConnection
        const lost = yield* Effect.forkChild(Effect.exit(append(store, "s", 2)))
        yield* until(Effect.map(proxy.lost, (count) => count === 1))
        for (let n = 0; n < 10; n++) yield* Effect.timeout(append(store, `t${n}`, n), "1 minute")
        assert.isUndefined(lost.pollUnsafe())
        yield* Fiber.interrupt(lost)
      }), { statementTimeout: "5 minutes" }))

  it.live("fails every caller while all packets are lost, and the store recovers by itself", () =>
    withStore(({ proxy, store }) =>
      Effect.gen(function*() {
        yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) => append(store, `s${n}`, n), { concurrency: "unbounded" })
        yield* proxy.blackhole(true)
        const exits = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], (n) =>
          Effect.exit<unknown, unknown, never>(
            n % 2 === 0 ? append(store, `s${n}`, n) : Stream.runCollect(store.readStream(Tick, `s${n}`))
          ), { concurrency: "unbounded" }).pipe(Effect.timeout("1 minute"))
        for (const exit of exits) {
          const { _tag } = reasonOf(Option.getOrThrow(Exit.findErrorOption(exit)))
          assert.include(["StoreUnavailable", "OutcomeUnknown"], _tag)
        }
        yield* proxy.blackhole(false)
        yield* Effect.retry(append(store, "after", 1), Schedule.spaced("50 millis")).pipe(Effect.timeout("1 minute"))
      })
    ))

  it.live("fails a transaction that cannot begin, with nothing written", () =>
    withStore(({ proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        yield* proxy.loseNextConnection
        const reason = yield* failureOf(appendWith(store, "s", Effect.void))
        assert.strictEqual(reason._tag, "StoreUnavailable")
        yield* Effect.timeout(appendWith(store, "s", Effect.void), bound)
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "s"))).length, 2)
      })
    ))

  it.live("is StoreUnavailable within a transaction, and OutcomeUnknown at its COMMIT", () =>
    withStore(({ client, proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const statement = Effect.orDie(Effect.asVoid(client`select 1`))
        const inside = yield* failureOf(appendWith(store, "s", Effect.andThen(proxy.loseNextConnection, statement)))
        assert.strictEqual(inside._tag, "StoreUnavailable")
        // The server does not know yet that the first connection was lost, which holds the stream.
        const atCommit = yield* failureOf(appendWith(store, "t", proxy.loseNextConnection))
        assert.strictEqual(atCommit._tag, "OutcomeUnknown", atCommit.message)
        // The first was rolled back, and the second has committed.
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "s"))).length, 1)
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "t"))).length, 1)
      })
    ))

  it.live("fails a handler that reads a stream of rows, at the deadline of the next rows", () =>
    withStore(({ client, proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        let rows = 0
        const reading = client`select n from generate_series(1, 100000) as n`.stream.pipe(
          Stream.runForEach(() => rows++ === 0 ? proxy.blackhole(true) : Effect.void),
          Effect.orDie
        )
        const exit = yield* Effect.timeout(Effect.exit(appendWith(store, "s", reading)), bound)
        assert.isTrue(Exit.isFailure(exit))
        assert.isBelow(rows, 100_000)
        yield* proxy.blackhole(false)
        yield* Effect.retry(append(store, "s", 2), Schedule.spaced("50 millis")).pipe(Effect.timeout("1 minute"))
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "s"))).length, 2)
      }), { idleInTransactionTimeout: "1 hour" }))

  it.live("fails a statement within the caller's own transaction", () =>
    withStore(({ client, proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const failure = yield* Deferred.make<EventStoreError["reason"]>()
        const transaction = client.withTransaction(
          Effect.tapError(
            Effect.andThen(proxy.loseNextConnection, append(store, "s", 2)),
            (error) => Deferred.succeed(failure, reasonOf(error))
          )
        )
        const fiber = yield* Effect.forkChild(Effect.exit(transaction))
        assert.strictEqual((yield* Effect.timeout(Deferred.await(failure), bound))._tag, "StoreUnavailable")
        assert.isTrue(Exit.isFailure(yield* Effect.timeout(Fiber.join(fiber), "1 minute")))
        yield* append(store, "s", 2)
      })
    ))
})

describe("a key store whose server no longer responds", () => {
  it.live("is KeyStoreUnavailable at its deadline", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const proxy = yield* Proxy.make(url)
      yield* Effect.gen(function*() {
        yield* PgMigrations.runKeys({ schema: PgMigrations.keysSchema })
        const driver = yield* PgKeyStore.makeDriver({ statementTimeout: "500 millis" })
        yield* driver.lastErasure
        yield* proxy.blackhole(true)
        assert.strictEqual((yield* failureOf(driver.lastErasure))._tag, "KeyStoreUnavailable")
      }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 2 })))
    }))
})

describe("a handler in a transaction of the store", () => {
  it.live("has limits in the server, and may begin nested transactions", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const driver = yield* PgProjectionStore.makeDriver(deadlines)
      yield* sql`create table written (n integer)`
      const limits = yield* driver.transaction(Effect.orDie(Effect.gen(function*() {
        yield* sql.withTransaction(sql`insert into written values (1)`)
        yield* Effect.exit(sql.withTransaction(Effect.andThen(sql`insert into written values (2)`, Effect.fail("no"))))
        return yield* sql<
          { readonly lock: string; readonly idle: string }
        >`select current_setting('lock_timeout') as lock,
          current_setting('idle_in_transaction_session_timeout') as idle`
      })))
      assert.deepStrictEqual(limits, [{ lock: "300ms", idle: "10s" }])
      assert.deepStrictEqual(yield* sql`select n, current_setting('lock_timeout') as lock from written`, [
        { n: 1, lock: "0" }
      ])
    }).pipe(Effect.provide(layerPostgres({ poolSize: 1 }))))
})

describe("a statement that takes too long", () => {
  it.live("is cancelled in the server, and its connection serves the next one", () =>
    withStore(({ direct, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const reading = Effect.map(
          direct<{ readonly pid: number }>`select pid from pg_stat_activity
            where state = 'active' and wait_event_type = 'Lock' and datname = current_database()`,
          (rows) => rows.length
        )
        yield* direct.withTransaction(Effect.gen(function*() {
          yield* direct`lock table evsrc.events in access exclusive mode`
          const reason = yield* failureOf(Stream.runCollect(store.readStream(Tick, "s")))
          assert.strictEqual(reason._tag, "StoreUnavailable")
          yield* until(Effect.map(reading, (count) => count === 0))
        }))
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "s"))).length, 1)
      })
    ))

  it.live("rolls back its transaction, and the connection is not left in it", () =>
    withStore(({ client, store }) =>
      Effect.gen(function*() {
        const slow = Effect.orDie(Effect.asVoid(client`select pg_sleep(10)`))
        const reason = yield* failureOf(appendWith(store, "s", slow))
        assert.strictEqual(reason._tag, "StoreUnavailable")
        for (let n = 0; n < 5; n++) yield* append(store, "s", n)
        assert.strictEqual((yield* Stream.runCollect(store.readStream(Tick, "s"))).length, 5)
      }), { maxConnections: 1 }))

  it.live("ends its interruption within a second although the server does not respond", () =>
    withStore(({ proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        yield* proxy.blackhole(true)
        const fiber = yield* Effect.forkChild(Stream.runCollect(store.readStream(Tick, "s")))
        yield* Effect.sleep("50 millis")
        const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
        assert.isBelow(Duration.toMillis(took), 60_000)
      }), { statementTimeout: "5 minutes" }))
})

describe("a pool without a free connection", () => {
  it.live("fails the caller with StoreUnavailable, and writes nothing", () =>
    withStore(({ client, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const isHeld = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(
          client.withTransaction(
            Effect.andThen(client`select 1`, Effect.andThen(Deferred.succeed(isHeld, undefined), Effect.never))
          )
        )
        yield* Deferred.await(isHeld)
        const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          append(store, "s", 2),
          appendWith(store, "s", Effect.void),
          store.head
        ]
        for (const call of calls) {
          const reason = yield* failureOf(call)
          assert.strictEqual(reason._tag, "StoreUnavailable")
          assert.include(reason.message, "no connection became free within 2s (connectionTimeout)")
        }
        yield* Fiber.interrupt(holder)
        assert.strictEqual((yield* append(store, "s", 2)).version, 2)
      }), { maxConnections: 1, connectionTimeout: "2 seconds" }))
})

describe("options of deadlines", () => {
  it.live("that are invalid are a misconfiguration", () =>
    Effect.gen(function*() {
      for (const statementTimeout of ["0 millis", "soon" as "1 second", "100 days"] as const) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(PgStores.layerWith({ statementTimeout }))))
        const reason = reasonOf(error)
        assert.strictEqual(reason._tag, "StoreMisconfigured")
        assert.include(reason.message, `\`statementTimeout\` is ${statementTimeout}`)
      }
    }).pipe(Effect.provide(layerPostgres())))
})

/** The lock on a stream, as an append of another program holds it. */
const lockStream = (client: PgClient.PgClient, stream: string) =>
  client`select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(${stream}))`

/** Runs an effect while a transaction of another program holds a stream. */
const whileHeld = <A, E, R>(direct: PgClient.PgClient, stream: string, effect: Effect.Effect<A, E, R>) =>
  direct.withTransaction(Effect.andThen(lockStream(direct, stream), effect))

const event = (tags: ReadonlyArray<string> = []) => ({
  id: crypto.randomUUID(),
  type: "Ticked",
  schemaVersion: 1,
  data: `{"n":1}`,
  metadata: "{}",
  tags
})

const waitingAppends: Record<
  string,
  (store: EventStore.EventStore["Service"], stream: string) => Effect.Effect<unknown, unknown>
> = {
  "appends in group commit": (store, stream) => append(store, stream, 1),
  "conditional appends": (store, stream) =>
    store[internals].driver.append({
      stream: StreamId.StreamId.make(stream),
      expected: "any",
      events: [event()],
      condition: { query: EventQuery.ofStoredTypes([{ types: ["Other"] }]), after: 0n as never, seen: [] }
    }),
  "closings": (store, stream) =>
    store[internals].driver.append({
      stream: StreamId.StreamId.make(stream),
      expected: "any",
      events: [event()],
      closes: true
    }),
  "appends with inline projections": (store, stream) => appendWith(store, stream, Effect.void)
}

describe.concurrent("appends that wait for a lock", () => {
  for (const [what, appendTo] of Object.entries(waitingAppends)) {
    for (const maxConnections of [1, 4]) {
      it.live(`do not drain a pool of ${maxConnections}: twelve ${what}`, () =>
        // No deadline ends before the test: what waits behind the twelve fails by the bounds below, on a slow machine too.
        withStore(({ direct, store }) =>
          Effect.gen(function*() {
            yield* append(store, "held", 0)
            const waiting = yield* whileHeld(
              direct,
              "held",
              Effect.gen(function*() {
                const waiting = yield* Effect.forEach(
                  Array.from({ length: 12 }),
                  () => Effect.forkChild(appendTo(store, "held"))
                )
                yield* Effect.sleep("200 millis")
                for (let n = 0; n < 5; n++) {
                  yield* Effect.timeout(store.head, "1 minute")
                  yield* Effect.timeout(Stream.runCollect(store.readStream(Tick, "held")), "20 seconds")
                  yield* Effect.timeout(append(store, `free${n}`, n), "1 minute")
                }
                yield* Effect.timeout(appendTo(store, `free`), "1 minute")
                assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() === undefined))
                return waiting
              })
            )
            yield* Effect.timeout(Effect.forEach(waiting, Fiber.await), "1 minute")
          }), {
          maxConnections,
          statementTimeout: "5 minutes",
          connectionTimeout: "5 minutes",
          lockTimeout: "5 minutes"
        }))

      it.live(
        `fail with the holder's session after lockTimeout, in a pool of ${maxConnections}: twelve ${what}`,
        () =>
          withStore(({ direct, store }) =>
            Effect.gen(function*() {
              yield* append(store, "held", 0)
              const exits = yield* whileHeld(
                direct,
                "held",
                Effect.forEach(Array.from({ length: 12 }), () => Effect.exit(appendTo(store, "held")), {
                  concurrency: "unbounded"
                }).pipe(Effect.timeout("1 minute"))
              )
              const messages = exits.map((exit) => {
                const error = Option.getOrThrow(Exit.findErrorOption(exit))
                assert.instanceOf(error, EventStoreError)
                assert.strictEqual(error.reason._tag, "StoreUnavailable")
                assert.isTrue(error.isRetryable)
                assert.match(error.message, /append to stream "held" waited 300ms \(lockTimeout\) for a lock /)
                return error.message
              })
              // An append looks for the holder for a second, in which its look may have no turn on a slow machine.
              const isNamed = (message: string) =>
                /for a lock on its stream, held by the session \d+ \(application "@effect\/sql-pg", in a transaction for/
                  .test(message)
              assert.isTrue(messages.some(isNamed), messages.join("\n"))
              yield* appendTo(store, "held")
            }), { maxConnections, statementTimeout: "5 minutes", connectionTimeout: "5 minutes" })
      )
    }
  }

  it.live("succeed when the lock is free in time", () =>
    withStore(({ direct, store }) =>
      Effect.gen(function*() {
        const fibers = yield* whileHeld(
          direct,
          "held",
          Effect.forEach(
            Object.values(waitingAppends).filter((_, i) => i !== 2),
            (appendTo) => Effect.forkChild(appendTo(store, "held"))
          ).pipe(Effect.tap(Effect.sleep("300 millis")))
        )
        yield* Effect.forEach(fibers, (fiber) => Effect.timeout(Fiber.join(fiber), "1 minute"))
        assert.strictEqual((yield* Stream.runCollect(store.readStreamEncoded("held"))).length, 3)
      }), { statementTimeout: "2 minutes", connectionTimeout: "2 minutes", lockTimeout: "2 minutes" }))

  it.live("fail with a name when another append's condition holds their type", () =>
    withStore(({ direct, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        yield* direct.withTransaction(Effect.gen(function*() {
          yield* direct`select evsrc.lock_types(array['Ticked'])`
          for (const appendTo of Object.values(waitingAppends)) {
            const reason = yield* failureOf(appendTo(store, "s"))
            assert.strictEqual(reason._tag, "StoreUnavailable")
            assert.match(reason.message, /a lock on a type or tag of its events or condition, held by the session/)
          }
        }))
      }), { statementTimeout: "30 seconds" }))

  it.live("within the caller's own transaction leave its lock_timeout as it was", () =>
    withStore(({ client, direct, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const setting = Effect.map(
          client<{ readonly lock_timeout: string }>`show lock_timeout`,
          ([row]) => row!.lock_timeout
        )
        yield* client.withTransaction(Effect.gen(function*() {
          yield* append(store, "s", 2)
          assert.strictEqual(yield* setting, "0")
          yield* client`set local lock_timeout = '7s'`
          yield* append(store, "s", 3)
          assert.strictEqual(yield* setting, "7s")
        }))
        yield* whileHeld(
          direct,
          "s",
          Effect.gen(function*() {
            const reason = yield* failureOf(client.withTransaction(append(store, "s", 4)))
            assert.strictEqual(reason._tag, "StoreUnavailable")
            assert.include(reason.message, "a lock on its stream, held by the session")
          })
        )
      }), { statementTimeout: "30 seconds" }))
})

describe("the store's own transactions", () => {
  it.live("have limits in the server, which end with them", () =>
    withStore(({ client, store }) =>
      Effect.gen(function*() {
        const settings = Effect.map(
          client<{ readonly name: string; readonly value: string }>`select name, current_setting(name) as value
            from pg_settings where name in ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
            order by name`,
          (rows) => Object.fromEntries(rows.map(({ name, value }) => [name, value]))
        )
        const none = Object.fromEntries(Object.keys(yield* settings).map((name) => [name, "0"]))
        assert.deepStrictEqual(yield* settings, none)
        let within: Record<string, string> = {}
        yield* appendWith(
          store,
          "s",
          Effect.orDie(Effect.map(settings, (found) => {
            within = found
          }))
        )
        assert.strictEqual(within["statement_timeout"], "2s")
        assert.strictEqual(within["idle_in_transaction_session_timeout"], "10s")
        assert.include([undefined, "30s"], within["transaction_timeout"])
        assert.isTrue(within["lock_timeout"]!.endsWith("ms"))
        assert.deepStrictEqual(yield* settings, none)
      }), { maxConnections: 1 }))

  it.live("end in the server when their program vanishes, so that readers go on", () =>
    withStore(({ direct, proxy, store }) =>
      Effect.gen(function*() {
        yield* append(store, "s", 1)
        const isLost = yield* Deferred.make<void>()
        const vanished = yield* Effect.forkChild(
          appendWith(
            store,
            "s",
            Effect.andThen(proxy.blackhole(true), Effect.andThen(Deferred.succeed(isLost, undefined), Effect.never))
          )
        )
        yield* Deferred.await(isLost)
        yield* direct`select * from evsrc.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1, '{}', '{}')`
        const head = Effect.map(
          direct<{ readonly head: bigint }>`select evsrc.high_water_mark() as head`,
          ([row]) => row!.head
        )
        assert.strictEqual(yield* head, 1n)
        yield* until(Effect.map(head, (position) => position > 1n))
        yield* Fiber.interrupt(vanished)
      }), { idleInTransactionTimeout: "1 second" }))
})

describe("subscriptions", () => {
  /** The store of another program, which appends directly. */
  const elsewhere = (direct: PgClient.PgClient) => (n: number) =>
    direct`select * from evsrc.append_one(true, 'elsewhere', null, null, gen_random_uuid(), 'Ticked', 1, ${`{"n":${n}}`}, '{}')`

  it.live("go on after a lost look at the high-water mark", () =>
    withStore(({ direct, proxy, store }) =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const subscribed = yield* Effect.forkChild(
          store.subscribe(Tick).pipe(
            Stream.runForEach(({ event }) => Effect.sync(() => seen.push(event.n))),
            Effect.retry({ while: (error) => error.isRetryable })
          )
        )
        yield* elsewhere(direct)(1)
        yield* until(Effect.sync(() => seen.includes(1)))
        yield* proxy.loseNextConnection
        yield* Effect.sleep("200 millis")
        yield* elsewhere(direct)(2)
        yield* until(Effect.sync(() => seen.includes(2)))
        assert.isUndefined(subscribed.pollUnsafe())
      })
    ))

  it.live("are notified again after the listening connection was lost", () =>
    withStore(({ direct, proxy, store }) =>
      Effect.gen(function*() {
        const listeners = Effect.map(
          direct`select pid from pg_stat_activity where query like 'LISTEN%' or query = 'select 1' and datname = current_database()`,
          (rows) => rows.length
        )
        yield* until(Effect.map(listeners, (count) => count === 1))
        yield* proxy.blackhole(true)
        yield* Effect.sleep("100 millis")
        yield* proxy.blackhole(false)
        // The pool recovers first, so that the subscription meets no error after which it would read the log again.
        let recovered = 0
        while (recovered < 20) recovered = Exit.isSuccess(yield* Effect.exit(store.head)) ? recovered + 1 : 0
        // The poll would not see an event within an hour: only a notification wakes the subscription.
        const seen: Array<number> = []
        const subscribed = yield* Effect.forkChild(
          Stream.runForEach(store.subscribe(Tick), ({ event }) => Effect.sync(() => seen.push(event.n)))
        )
        yield* Effect.repeat(
          Effect.andThen(elsewhere(direct)(1), direct`select pg_notify('evsrc_evsrc', '')`),
          { until: () => seen.length > 1, schedule: Schedule.spaced("500 millis") }
        ).pipe(Effect.timeout("1 minute"))
        assert.isUndefined(subscribed.pollUnsafe())
      }), { notify: true, pollInterval: "1 hour", maxConnections: 4 }))
})

describe("closing a store", () => {
  it.live("ends although the server does not respond", () =>
    Effect.gen(function*() {
      const [took] = yield* Effect.timed(withStore(({ proxy, store }) =>
        Effect.gen(function*() {
          yield* append(store, "s", 1)
          yield* Effect.forkDetach(Effect.exit(Stream.runDrain(store.subscribe(Tick))))
          yield* Effect.sleep("200 millis")
          yield* proxy.blackhole(true)
          yield* Effect.forkDetach(Effect.exit(append(store, "s", 2)))
          yield* Effect.forkDetach(Effect.exit(appendWith(store, "t", Effect.void)))
          yield* Effect.forkDetach(Effect.exit(Stream.runCollect(store.readStream(Tick, "s"))))
          yield* Effect.sleep("50 millis")
        }), { notify: true }))
      assert.isBelow(Duration.toMillis(took), 30_000)
    }))
})

describe("start and stop", () => {
  for (const what of ["while the server responds", "while all packets are lost", "while the server is down"] as const) {
    it.live(`SIGTERM ends a program in the middle of its work ${what}`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        yield* Effect.provide(PgMigrations.run(), PgClient.layer({ url: Redacted.make(url) }))
        const proxy = yield* Proxy.make(url)
        const worker = yield* Script.start(import.meta.resolve("./stopWorker.ts"), { env: { DATABASE_URL: proxy.url } })
        yield* Effect.timeout(worker.waitFor(/working/), "1 minute")
        if (what === "while all packets are lost") yield* proxy.blackhole(true)
        if (what === "while the server is down") yield* proxy.cut(true)
        if (what !== "while the server responds") yield* Effect.sleep("500 millis")
        yield* worker.signal("SIGTERM")
        const { code, signal } = yield* Effect.timeout(worker.exited, "1 minute")
        assert.isNull(signal)
        assert.include([0, 130, 143], code)
      }))
  }

  it.live("every caller is answered while the server restarts every second", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* append(store, "s", 0)
        let isOver = false
        let count = 0
        const callers = yield* Effect.forEach([1, 2, 3, 4], (caller) =>
          Effect.gen(function*() {
            const id = `${caller} ${count++}`
            const call: Effect.Effect<unknown, unknown> = caller % 2 === 0
              ? append(store, `s${caller}`, count, id)
              : appendWith(store, `s${caller}`, Effect.void)
            const exit = yield* Effect.exit(Effect.timeout(call, "1 minute"))
            if (Exit.isFailure(exit)) {
              const { _tag } = reasonOf(Option.getOrThrow(Exit.findErrorOption(exit)))
              assert.include(["StoreUnavailable", "OutcomeUnknown"], _tag)
            }
            yield* Effect.sleep("5 millis")
          }).pipe(Effect.repeat({ until: () => isOver }), Effect.forkChild))
        for (let restart = 0; restart < 4; restart++) {
          yield* Effect.sleep("1 second")
          yield* restart % 2 === 0 ? server.stop : server.kill
          yield* Effect.sleep("300 millis")
          yield* server.start
        }
        isOver = true
        yield* Effect.timeout(Effect.forEach(callers, Fiber.join), "1 minute")
        yield* Effect.retry(append(store, "after", 1), Schedule.spaced("50 millis")).pipe(Effect.timeout("1 minute"))
        const versions = (yield* Stream.runCollect(store.readStream(Tick, "s2"))).map(({ version }) => version)
        assert.deepStrictEqual(versions, Array.from(versions, (_, i) => i + 1))
      }).pipe(
        Effect.provide(
          PgEventStore.layerWith(deadlines).pipe(
            Layer.provide(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 3 }))
          )
        )
      )
    }))

  it.live("a layer that is built while the server does not respond fails at its deadline", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const proxy = yield* Proxy.make(url)
      const client = yield* Layer.build(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 2 }))
      yield* Effect.provide(Effect.flatMap(PgClient.PgClient, (sql) => sql`select 1`), client)
      yield* proxy.blackhole(true)
      const build = Effect.scoped(Layer.build(PgStores.layerWith({ ...deadlines, statementTimeout: "3 seconds" })))
      const reason = yield* failureOf(Effect.provide(build, client))
      assert.strictEqual(reason._tag, "StoreUnavailable")
      yield* proxy.blackhole(false)
      // An attempt may meet the other connection of the pool, or one that was begun meanwhile.
      const retried = Effect.retry(Effect.provide(build, client), Schedule.spaced("50 millis"))
      yield* Effect.timeout(retried, "1 minute")
    }))
})
