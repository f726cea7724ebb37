/** Many appends that wait for one lock: they ask the server little, others go on, and each gets its result or an error that names the holder. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, Schema } from "effect"
import { Event, EventQuery, EventStore, StreamId } from "evsrc"
import { PgEventStore, type PgOptions } from "evsrc/pg"
import { internals } from "../../../src/core/internals.ts"
import { freshDatabase } from "../../support/Database.ts"
import * as RoundTrips from "../../support/RoundTrips.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const Shown = Schema.TaggedUnion({ Shown: { n: Schema.Int, show: Schema.String } }).pipe(Event.tags({ show: "show" }))
const Other = Schema.TaggedUnion({ Happened: { n: Schema.Int } })

type Store = EventStore.EventStore["Service"]

const show = (store: Store, n: number, name: string) =>
  store.append(Shown, `s${n}`, [Shown.cases.Shown.make({ n, show: name })])

/** What waits, and the lock of another client for which it does. */
const kinds = {
  "of a stream": {
    lock: "'evsrc.events'::regclass::oid::integer, hashtext('s')",
    append: (store: Store, n: number) => store.append(Tick, "s", [Tick.cases.Ticked.make({ n })])
  },
  "of a type": {
    lock: "'evsrc.event_tags'::regclass::oid::integer, hashtext('yTicked')",
    append: (store: Store, n: number) => store.append(Tick, `s${n}`, [Tick.cases.Ticked.make({ n })])
  },
  "of a tag": {
    lock: "'evsrc.event_tags'::regclass::oid::integer, hashtext('tshow:hamlet')",
    append: (store: Store, n: number) => show(store, n, "hamlet")
  },
  "of a tag, on conditions": {
    lock: "'evsrc.event_tags'::regclass::oid::integer, hashtext('tshow:hamlet')",
    append: (store: Store, n: number, { condition }: EventStore.QueryResult) =>
      store.appendIf(condition, Shown, `s${n}`, [Shown.cases.Shown.make({ n, show: "macbeth" })])
  },
  "of a type, in transactions": {
    lock: "'evsrc.event_tags'::regclass::oid::integer, hashtext('yTicked')",
    append: (store: Store, n: number) =>
      store[internals].driver.append({
        stream: StreamId.StreamId.make(`s${n}`),
        expected: "any",
        events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: `{"n":1}`, metadata: "{}" }],
        inTransaction: () => Effect.void
      })
  }
} as const

const setup = Effect.fnUntraced(function*(options: PgOptions) {
  const { url } = yield* freshDatabase
  const trips = yield* RoundTrips.make(url, 0)
  const context = yield* Layer.build(
    PgEventStore.layerWith({ notify: false, ...options }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(trips.url), maxConnections: 10 }))
    )
  )
  const store = yield* Effect.provide(EventStore.EventStore, context)
  const other = yield* Effect.flatMap(
    Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })),
    (direct) => Effect.provide(PgClient.PgClient, direct)
  )
  /** Runs an effect while a transaction of another client has a lock. */
  const whileHeld = <A, E, R>(lock: string, effect: (pid: number) => Effect.Effect<A, E, R>) =>
    other.withTransaction(Effect.flatMap(
      other.unsafe<{ readonly pid: number }>(`select pg_backend_pid() as pid, pg_advisory_xact_lock(${lock})`),
      ([row]) => effect(row!.pid)
    ))
  const query = yield* store.readByQuery(EventQuery.ofStoredTypes([{ tags: ["show:hamlet"] }]))
  return { store, query, sent: () => trips.sent().length, whileHeld }
})

/** Waits until the program sends no more than a few statements in half a second. */
const untilQuiet = (sent: () => number) =>
  Effect.gen(function*() {
    const before = sent()
    yield* Effect.sleep("500 millis")
    return sent() - before
  }).pipe(
    Effect.repeat({ until: (count) => count <= 10 }),
    Effect.timeout("1 minute")
  )

const wait = (append: Effect.Effect<unknown, unknown>) =>
  Effect.forkChild(Effect.exit(append), { startImmediately: true })

describe("many appends that wait for one lock", () => {
  for (const [what, { append, lock }] of Object.entries(kinds)) {
    const count = what.includes("transactions") ? 100 : 1_000
    it.live(
      `${what} ask the server little, others go on, and all are written when it is free`,
      () =>
        Effect.gen(function*() {
          // No deadline ends before the test, on a slow machine too.
          const { query, sent, store, whileHeld } = yield* setup({
            lockTimeout: "5 minutes",
            connectionTimeout: "5 minutes",
            statementTimeout: "5 minutes"
          })
          const fibers = yield* whileHeld(lock, () =>
            Effect.gen(function*() {
              const fibers = yield* Effect.forEach(
                Array.from({ length: count }, (_, n) => n),
                (n) => wait(append(store, n, query))
              )
              yield* untilQuiet(sent)
              const before = sent()
              for (let n = 0; n < 10; n++) {
                yield* Effect.timeout(store.append(Other, `o${n}`, [Other.cases.Happened.make({ n })]), "1 minute")
              }
              assert.isAtMost(sent() - before, 40)
              assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() === undefined))
              return fibers
            }))
          const exits = yield* Effect.timeout(Effect.forEach(fibers, Fiber.join), "1 minute")
          assert.isTrue(exits.every(Exit.isSuccess))
        }).pipe(Effect.scoped),
      180_000
    )
  }

  it.live("fail with the name of the session that holds it, after one question for all", () =>
    // Each waits for the whole timeout.
    Effect.forEach(
      ["of a stream", "of a type", "of a tag, on conditions"] as const,
      Effect.fnUntraced(function*(what) {
        const { append, lock } = kinds[what]
        const { query, sent, store, whileHeld } = yield* setup({ lockTimeout: "6 seconds" })
        yield* whileHeld(lock, (pid) =>
          Effect.gen(function*() {
            const fibers = yield* Effect.forEach(
              Array.from({ length: 500 }, (_, n) => n),
              (n) => wait(append(store, n, query))
            )
            yield* untilQuiet(sent)
            const before = sent()
            const exits = yield* Effect.timeout(Effect.forEach(fibers, Fiber.join), "1 minute")
            assert.isAtMost(sent() - before, 100, what)
            for (const exit of exits) {
              assert.include(
                String(Option.getOrThrow(Exit.findErrorOption(exit))),
                `held by the session ${pid} `,
                what
              )
            }
          }))
      }),
      { concurrency: "unbounded" }
    ).pipe(Effect.scoped), 180_000)
})

it.live(
  "an append that is not sent in time, because the program's transactions use the pool, names no lock",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        const append = store.append(Tick, "s", [Tick.cases.Ticked.make({ n: 1 })])
        yield* append
        const isFree = yield* Deferred.make<void>()
        const areHeld = yield* Effect.forEach([1, 2], () => Deferred.make<void>())
        const holders = yield* Effect.forEach(areHeld, (isHeld) =>
          wait(sql.withTransaction(
            Effect.andThen(sql`select 1`, Effect.andThen(Deferred.succeed(isHeld, undefined), Deferred.await(isFree)))
          )))
        yield* Effect.forEach(areHeld, Deferred.await)
        const waiting = yield* Effect.forEach([1, 2, 3], () => wait(append))
        for (const exit of yield* Effect.timeout(Effect.forEach(waiting, Fiber.join), "1 minute")) {
          const message = String(Option.getOrThrow(Exit.findErrorOption(exit)))
          // The first of them had no connection, and the others wait behind it.
          assert.match(
            message,
            /no connection became free within 1s \(connectionTimeout\)|was not sent within 1s \(connectionTimeout\): this program/
          )
        }
        yield* Deferred.succeed(isFree, undefined)
        yield* Effect.timeout(append, "1 minute")
        yield* Effect.forEach(holders, Fiber.join)
      }).pipe(Effect.provide(
        PgEventStore.layerWith({ notify: false, lockTimeout: "100 millis", connectionTimeout: "1 second" }).pipe(
          Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
        )
      ))
    }).pipe(Effect.scoped)
)
