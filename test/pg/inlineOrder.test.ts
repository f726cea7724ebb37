/** The order of inline projections when programs with clients of their own append, and appends that wait for a document, on a PostgreSQL server. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, type Duration, Effect, Fiber, Latch, Layer, Option, Redacted, Result, Schedule } from "effect"
import { EventStore, type EventStoreError, type Projection, ProjectionStore, Projector } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { define, type KeyOf, keysOf, Priced, race, requireSame, rows } from "../projection/inline/InlineOrderSuite.ts"
import { upTo } from "../support/AccountFixtures.ts"
import { freshDatabase } from "../support/Database.ts"
import { deadlocks } from "../support/deadlocks.ts"

type Inline = Projection.Any<"inline"> | Projection.AnyHandler<"inline">

/** Builds the stores of a program, with a client of its own, and its event store without inline projections and with them. */
const program = Effect.fnUntraced(
  function*<P extends Inline>(url: string, inline: ReadonlyArray<P>, lockTimeout: Duration.Input = "30 seconds") {
    const client = Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 }))
    const stores = yield* Layer.build(
      Layer.fresh(Layer.merge(PgEventStore.layerWith({ lockTimeout }), PgProjectionStore.layer)).pipe(
        Layer.provideMerge(client)
      )
    )
    const events = yield* Effect.provideContext(Layer.build(Layer.fresh(Projector.layerInline(inline))), stores)
    return Context.merge(stores, events)
  }
)

const append = (stream: string, price: number, shop = "a") =>
  EventStore.append(Priced, stream, [{ _tag: "Priced", shop, price }])

const failureOf = <A, R>(effect: Effect.Effect<A, EventStoreError | { readonly _tag: string }, R>) =>
  Effect.map(Effect.timeout(Effect.flip(effect), "1 minute"), (error) => {
    assert("reason" in error, error._tag)
    return error.reason
  })

/** Runs an effect while a transaction of a program has appended and is not committed. */
const whileAppended = <A, E, R, A2, E2, R2>(appended: Effect.Effect<A, E, R>, effect: Effect.Effect<A2, E2, R2>) =>
  Effect.flatMap(PgClient.PgClient, (sql) => sql.withTransaction(Effect.andThen(appended, effect)))

/** Waits until an append of another connection waits for a lock. */
const isWaiting = (url: string) =>
  Effect.flatMap(
    PgClient.PgClient,
    (sql) =>
      sql<
        { readonly waiting: boolean }
      >`select exists (select from pg_locks where locktype = 'advisory' and not granted) as waiting`
        .pipe(Effect.repeat({ until: ([row]) => row!.waiting, schedule: Schedule.spaced("10 millis") }))
  ).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })),
    Effect.timeout("1 minute")
  )

describe("Programs with the same inline projections", () => {
  it.live("fold each document in the order of the log", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const pairs = Object.values(keysOf).map((key) => define("price", key))
      const inline = pairs.map(({ inline }) => inline)
      const programs = [yield* program(url, inline), yield* program(url, inline.toReversed())]
      yield* Effect.provideContext(race("price", programs, pairs), programs[0]!)
      // An append in a transaction of its own takes all of its locks in one order.
      assert.strictEqual(yield* Effect.provideContext(deadlocks, programs[0]!), 0)
    }))

  it.live("fold each document in the order of the log within transactions of the caller", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const pair = define("price", () => "last")
      const programs = [yield* program(url, [pair.inline]), yield* program(url, [pair.inline])]
      for (const round of upTo(10)) {
        yield* Effect.forEach(upTo(6), (n) =>
          Effect.flatMap(PgClient.PgClient, (sql) =>
            sql.withTransaction(Effect.forEach(upTo(3), (part) =>
              append(`price-${round}-${n}-${part}`, round * 100 + n * 10 + part), { concurrency: "unbounded" }))).pipe(
              Effect.provideContext(programs[n % 2]!)
            ), { concurrency: "unbounded", discard: true })
        yield* Effect.provideContext(requireSame([pair], `round ${round}`), programs[0]!)
      }
    }))

  it.live(
    "deadlock when two transactions of callers change documents in opposite order",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const pair = define("price", ({ shop }) => shop)
        const programs = [yield* program(url, [pair.inline]), yield* program(url, [pair.inline])]
        const both = yield* Latch.make()
        let arrived = 0
        const meet = Effect.suspend(() => ++arrived === 2 ? both.open : both.await)
        const append2 = (n: number, first: string, second: string) =>
          Effect.flatMap(PgClient.PgClient, (sql) =>
            sql.withTransaction(
              append(`price-${n}-1`, n, first).pipe(
                Effect.andThen(meet),
                Effect.andThen(append(`price-${n}-2`, n, second))
              )
            )).pipe(Effect.provideContext(programs[n % 2]!), Effect.result)
        const results = yield* Effect.timeout(
          Effect.all([append2(1, "last", "other"), append2(2, "other", "last")], { concurrency: 2 }),
          "20 seconds"
        )
        const failures = results.filter(Result.isFailure)
        assert.strictEqual(failures.length, 1)
        const { failure } = failures[0]!
        assert("reason" in failure, failure._tag)
        assert.strictEqual(failure.reason._tag, "StoreUnavailable")
        yield* Effect.provideContext(requireSame([pair], "the deadlock"), programs[0]!)
        assert.strictEqual(yield* Effect.provideContext(deadlocks, programs[0]!), 1)
      })
  )

  it.live("run handlers in the order of the log within a tag", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const first = yield* program(url, [])
      const { projection, requireOrder } = yield* Effect.provideContext(rows("price"), first)
      const programs = yield* Effect.forEach([1, 2], () => Effect.provideContext(program(url, [projection]), first))
      yield* Effect.provideContext(race("price", programs, []), first)
      yield* Effect.provideContext(requireOrder, first)
    }))
})

describe("An append that waits for a document of an inline projection", () => {
  const waiting: Record<string, { readonly key: KeyOf; readonly lock: string }> = {
    "a document": { key: () => "last", lock: "a document of" },
    "all documents, as the key is not known before the append": {
      key: (_, { version }) => String(version),
      lock: "all documents of"
    }
  }
  for (const [what, { key, lock }] of Object.entries(waiting)) {
    it.live(`fails after the lockTimeout with the name of the lock: ${what}`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const { inline } = define("price", key)
        const [holder, waiter] = [yield* program(url, [inline]), yield* program(url, [inline], "300 millis")]
        const appends = [
          append("price-2", 2),
          Effect.flatMap(PgClient.PgClient, (sql) => sql.withTransaction(append("price-3", 3)))
        ]
        const reasons = yield* Effect.provideContext(
          whileAppended(
            append("price-1", 1),
            Effect.forEach(appends, (one) => Effect.provideContext(failureOf(one), waiter))
          ),
          holder
        )
        for (const reason of reasons) {
          assert.strictEqual(reason._tag, "StoreUnavailable")
          assert.include(
            reason.message,
            `waited 300ms (lockTimeout) for a lock on ${lock} inline projection "${inline.id}", held by the session`
          )
          assert.include(reason.message, "nothing was written; try again later")
        }
        yield* Effect.provideContext(append("price-2", 2), waiter)
      }))
  }

  it.live("waits for that document only, and goes on when it is free", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const pair = define("price", ({ shop }) => shop)
      const [holder, waiter] = [yield* program(url, [pair.inline]), yield* program(url, [pair.inline])]
      const fiber = yield* Effect.provideContext(
        whileAppended(
          append("price-1", 1),
          Effect.gen(function*() {
            yield* append("price-2", 2, "b").pipe(Effect.timeout("1 minute"))
            const fiber = yield* Effect.forkDetach(append("price-3", 3))
            yield* isWaiting(url)
            return fiber
          }).pipe(Effect.provideContext(waiter))
        ),
        holder
      )
      yield* Effect.timeout(Fiber.join(fiber), "1 minute")
      assert.deepStrictEqual(
        yield* Effect.provideContext(ProjectionStore.get(pair.inline, "a"), holder),
        Option.some([1, 3])
      )
    }))
})
