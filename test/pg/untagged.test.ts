/** How a process notices events without a tag that another release appends, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Result, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Command, CommandBus, Decision, Event, EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { anHourLater } from "../decision/UntaggedSuite.ts"
import { layerPostgres } from "../support/Database.ts"

class Taken extends Schema.TaggedError<Taken>()("Taken", {}) {}

const address = { user: Schema.String, email: Schema.String }
const Earlier = Schema.TaggedUnion({ AddressTaken: address, Ticked: { n: Schema.Int } })
const Current = Schema.TaggedUnion({ AddressTaken: address }).pipe(Event.tags({ email: "email" }))
const Take = Command.make("TakeAddress", { payload: address, error: Taken })
const decision = Decision.make(Take, {
  events: Current,
  models: ({ email }) => ({
    taken: Decision.model({
      events: Current,
      tags: { email },
      initial: false,
      evolve: { AddressTaken: () => true }
    })
  }),
  decide: ({ taken }, command) => taken ? Result.fail(new Taken()) : [{ _tag: "AddressTaken", ...command }]
})

/** A later release, which writes addresses in lower case, also in the tag. */
const Lower = Schema.TaggedUnion({ AddressTaken: address }).pipe(
  Event.tags({ email: "email" }),
  Event.upcasters({
    AddressTaken: Event.from(address).toCurrent((v1) => ({ ...v1, email: v1.email.toLowerCase() }))
  })
)
const inLowerCase = Decision.make(Take, {
  events: Lower,
  models: ({ email }) => ({
    taken: Decision.model({ events: Lower, tags: { email }, initial: false, evolve: { AddressTaken: () => true } })
  }),
  decide: ({ taken }, command) => taken ? Result.fail(new Taken()) : [{ _tag: "AddressTaken", ...command }]
})

const stores = (poolSize = 8) => PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres({ poolSize })))

/** A process of its own: another has counted nothing for it. */
const inProcess = <A, E, R>(effect: Effect.Effect<A, E, R>, by: typeof decision | typeof inLowerCase = decision) =>
  Effect.provide(
    effect,
    Layer.fresh(Decision.layer(by).pipe(Layer.provideMerge(Layer.fresh(PgEventStore.layer))))
  )

const take = (user: string, email = `${user}@x.com`) => CommandBus.dispatch(Take, { user, email })

/** Returns the tag of the error of an effect, or of its reason; "taken" if it succeeds. */
const outcome = <A, R>(self: Effect.Effect<A, unknown, R>) =>
  Effect.map(Effect.result(self), (result): unknown => {
    if (Result.isSuccess(result)) return "taken"
    const error = result.failure as { readonly _tag: string; readonly reason?: { readonly _tag: string } }
    return error.reason?._tag ?? error._tag
  })

/** A process of the earlier release takes an address, without the tag. */
const takeUntagged = EventStore.append(Earlier, "Address-ann", [
  { _tag: "AddressTaken", user: "ann", email: "ann@x.com" }
])

/** Runs an effect while an append of another process is in flight, which holds back the high-water mark. */
const duringAppend = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const [hasAppended, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const job = EventStore.append(Earlier, "Tick-job", [{ _tag: "Ticked", n: 1 }]).pipe(
      Effect.andThen(Deferred.succeed(hasAppended, undefined)),
      Effect.andThen(Deferred.await(mayEnd))
    )
    const running = yield* Effect.forkChild(sql.withTransaction(job))
    yield* Deferred.await(hasAppended)
    const result = yield* effect
    yield* Deferred.succeed(mayEnd, undefined)
    yield* Fiber.join(running)
    return result
  })

describe("Events without a tag on PostgreSQL", () => {
  it.live("are noticed above the high-water mark, while an append is in flight", () =>
    Effect.gen(function*() {
      const outcomes = yield* inProcess(Effect.gen(function*() {
        const first = yield* outcome(take("bob"))
        const during = yield* duringAppend(
          Effect.andThen(takeUntagged, outcome(anHourLater(take("eve", "ann@x.com"))))
        )
        return [first, during, yield* outcome(anHourLater(take("eve", "ann@x.com")))]
      }))
      assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged", "EventsUntagged"])
    }).pipe(Effect.provide(stores())))

  it.live("are noticed there, too, if an upcaster changes the value of the tag", () =>
    Effect.gen(function*() {
      const outcomes = yield* inProcess(
        Effect.gen(function*() {
          const first = yield* outcome(take("bob"))
          const during = yield* duringAppend(Effect.gen(function*() {
            const ann = { user: "ann", email: "Ann@x.com" }
            yield* EventStore.append(Current, "Address-ann", [{ _tag: "AddressTaken", ...ann }])
            return yield* outcome(anHourLater(take("eve", "ann@x.com")))
          }))
          return [first, during, yield* outcome(anHourLater(take("eve", "ann@x.com")))]
        }),
        inLowerCase
      )
      assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged", "EventsUntagged"])
    }).pipe(Effect.provide(stores())))

  it.live("are noticed by a process that decides in transactions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const outcomes = yield* inProcess(Effect.gen(function*() {
        const first = yield* outcome(sql.withTransaction(take("bob")))
        yield* takeUntagged
        return [first, yield* outcome(anHourLater(sql.withTransaction(take("eve", "ann@x.com"))))]
      }))
      assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged"])
    }).pipe(Effect.provide(stores())))

  it.live(
    "are noticed while another process has made its first decision in a transaction",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const [hasDecided, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const outcomes = yield* inProcess(Effect.gen(function*() {
          const first = yield* outcome(take("bob"))
          // It appends nothing, so it does not hold back the high-water mark.
          const job = Effect.exit(take("job", "bob@x.com")).pipe(
            Effect.andThen(Deferred.succeed(hasDecided, undefined)),
            Effect.andThen(Deferred.await(mayEnd))
          )
          const running = yield* Effect.forkChild(inProcess(sql.withTransaction(job)))
          yield* Deferred.await(hasDecided)
          yield* takeUntagged
          const during = yield* outcome(anHourLater(take("eve", "ann@x.com")))
          yield* Deferred.succeed(mayEnd, undefined)
          yield* Fiber.join(running)
          return [first, during]
        }))
        assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged"])
      }).pipe(Effect.provide(stores()))
  )

  it.live("are noticed behind more events than one statement counts", () =>
    Effect.gen(function*() {
      const outcomes = yield* inProcess(Effect.gen(function*() {
        const first = yield* outcome(take("bob"))
        for (const stream of ["a", "b", "c"]) {
          yield* EventStore.append(
            Earlier,
            `Tick-${stream}`,
            Array.from({ length: 9_000 }, (_, n) => ({ _tag: "Ticked" as const, n }))
          )
        }
        yield* takeUntagged
        return [first, yield* outcome(anHourLater(take("eve", "ann@x.com")))]
      }))
      assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged"])
    }).pipe(Effect.provide(stores())))

  it.live("are noticed while another session keeps the counts locked", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const outcomes = yield* inProcess(Effect.gen(function*() {
        const first = yield* outcome(take("bob"))
        const [isLocked, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const lock = sql`select from evsrc.event_types_counted for update`.pipe(
          Effect.andThen(Deferred.succeed(isLocked, undefined)),
          Effect.andThen(Deferred.await(mayEnd))
        )
        const running = yield* Effect.forkChild(sql.withTransaction(lock))
        yield* Deferred.await(isLocked)
        yield* takeUntagged
        const during = yield* outcome(anHourLater(take("eve", "ann@x.com")))
        yield* Deferred.succeed(mayEnd, undefined)
        yield* Fiber.join(running)
        return [first, during]
      }))
      assert.deepStrictEqual(outcomes, ["taken", "EventsUntagged"])
    }).pipe(Effect.provide(stores())), 60_000)

  it.live("are counted when transactions that wait for it have all connections", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const bothRun = yield* Deferred.make<void>()
      let running = 0
      const outcomes = yield* inProcess(Effect.gen(function*() {
        yield* take("bob")
        const inTransaction = (user: string) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`select 1`
            if (++running === 2) yield* Deferred.succeed(bothRun, undefined)
            yield* Deferred.await(bothRun)
            return yield* take(user)
          }))
        return yield* Effect.forEach(["cid", "dan"], (user) => outcome(anHourLater(inTransaction(user))), {
          concurrency: 2
        })
      }))
      assert.deepStrictEqual(outcomes, ["taken", "taken"])
    }).pipe(Effect.provide(stores(2))))
})
