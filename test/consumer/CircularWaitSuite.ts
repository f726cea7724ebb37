/**
 * The suite of waits that could never end: a handler that waits for its own consumer.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import type { Position } from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Query from "../../src/query/Query.ts"
import * as QueryBus from "../../src/query/QueryBus.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { Account, AccountDecider, AccountEvent, Open, type Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"

const Tick = Schema.TaggedUnion({ Ticked: { run: Schema.String, n: Schema.Int } }).pipe(Event.tags({ run: "run" }))

/** Longer than a test may take: only a wait that fails at once ends in time. */
const timeout = "60 seconds"

const tick = (run: string, ns: ReadonlyArray<number>) =>
  Effect.flatMap(
    EventStore,
    (store) => store.append(Tick, `${run}Clock`, ns.map((n) => ({ _tag: "Ticked" as const, run, n })))
  )

const awaitPosition = (consumer: { readonly id: string }, position: Position) =>
  ProjectionStore.awaitPosition({ id: consumer.id, lifecycle: "async" }, position, timeout)

/** Returns the tag of the error of an effect, or of its reason, and whether a handler or a transaction waits. */
const shown = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.result(self), (result): string => {
    if (Result.isSuccess(result)) return "no failure"
    const error: unknown = result.failure
    const reason = error instanceof Object && "reason" in error ? error.reason : error
    const { _tag, waiting } = reason as { readonly _tag: string; readonly waiting?: string }
    return waiting === undefined ? _tag : `${_tag} of a ${waiting}`
  })

const bounded = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(self, {
    duration: "1 minute",
    orElse: () => Effect.die(new Error("the wait did not end"))
  })

/**
 * All cases of circular waits.
 *
 * @since 0.1.0
 * @category suites
 */
export const circularWaits: ReadonlyArray<Case<Stores>> = [
  test("a projection handler that queries its own projection fails at once, and parks", function*() {
    const run = unique("run")
    const Count = Query.make("Count", { payload: {}, success: Schema.Int })
    const own: { readonly id: string; readonly lifecycle: "async" } = { id: `${run}@1`, lifecycle: "async" }
    const projection = Projection.handler(run, {
      events: Tick,
      where: { tags: [Event.tag("run", run)] },
      handle: { Ticked: (_, { position }) => QueryBus.ask(Count, {}, { after: position, timeout }) }
    })
    const queries = QueryBus.handler(Count, () => Effect.as(ProjectionStore.awaitReadAfter(own), 1))
    const { position } = yield* tick(run, [1])
    yield* Effect.gen(function*() {
      yield* awaitPosition(projection, position)
      const [parked, ...others] = yield* parkedKeys(projection)
      equal([parked?.attempts, others.length], [1, 0], "parked without retries")
      equal(parked?.error.includes(`A handler of "${projection.id}" waits`), true, String(parked?.error))
    }).pipe(Effect.provide(Layer.provide(Projector.layer([projection]), queries)), bounded)
  }),

  test("a subscription handler that awaits its own checkpoint or parked key fails at once", function*() {
    const run = unique("run")
    const seen: Array<string> = []
    const isDone = yield* Deferred.make<void>()
    const subscription = Subscription.make(run, {
      events: Tick,
      where: { tags: [Event.tag("run", run)] },
      partitionBy: "stream",
      handle: ({ n }, { position, stream }): Effect.Effect<void, never, ProjectionStore.ProjectionStore> =>
        Effect.gen(function*() {
          if (stream.startsWith("bad")) return yield* Effect.die("no luck")
          seen.push(yield* shown(awaitPosition({ id: `subscription:${run}@1` }, position)))
          if (n > 1) {
            // Reached before this handler began.
            const reached = yield* Effect.orDie(
              ProjectionStore.checkpoint({ id: `subscription:${run}@1`, lifecycle: "async" })
            )
            seen.push(yield* shown(awaitPosition({ id: `subscription:${run}@1` }, reached)))
            seen.push(yield* shown(Parking.retry(subscription, `bad${run}`, { timeout })))
            yield* Deferred.succeed(isDone, undefined)
          }
        })
    })
    const store = yield* EventStore
    yield* Effect.gen(function*() {
      const first = yield* tick(run, [1])
      const bad = yield* store.append(Tick, `bad${run}`, [{ _tag: "Ticked", run, n: 0 }])
      yield* awaitPosition(subscription, bad.position)
      yield* awaitPosition(subscription, first.position)
      yield* tick(run, [2])
      yield* Deferred.await(isDone)
      const circular = "CircularWait of a handler"
      equal(seen, [circular, circular, "no failure", circular], "the failures")
    }).pipe(Effect.provide(Subscription.layer([subscription])), bounded)
  }),

  test("an inline handler that awaits another projection for its own append fails the append", function*() {
    const run = unique("run")
    const other = Projection.make(`${run}other`, {
      events: Tick,
      where: { tags: [Event.tag("run", run)] },
      document: Schema.Int,
      key: () => run,
      evolve: { Ticked: (_, { n }) => n }
    })
    let first: Position | undefined
    const inline = Projection.handler(run, {
      events: Tick,
      where: { tags: [Event.tag("run", run)] },
      lifecycle: "inline",
      handle: {
        Ticked: ({ n }, { position }) => {
          // The second event of the append waits for the first.
          first = n === 1 ? position : first
          return n === 1 ? Effect.void : awaitPosition(other, first ?? position)
        }
      }
    })
    const failure = yield* shown(tick(run, [1, 2])).pipe(
      Effect.provide(Projector.layerInline([inline])),
      Effect.provide(Projector.layer([other])),
      bounded
    )
    equal(failure, "CircularWait of a transaction", "the append")
  }),

  test("handlers of two consumers that wait for each other end after their timeouts", function*() {
    const run = unique("run")
    const ids = [`${run}a`, `${run}b`] as const
    const subscriptions = ids.map((id, i) =>
      Subscription.make(id, {
        events: Tick,
        where: { tags: [Event.tag("run", run)] },
        partitionBy: "stream",
        retry: Schedule.recurs(0),
        handle: ({ n }, { position }) =>
          n === 1
            ? ProjectionStore.awaitPosition(
              { id: `subscription:${ids[1 - i]}@1`, lifecycle: "async" },
              position,
              "200 millis"
            )
            : Effect.void
      })
    )
    const store = yield* EventStore
    yield* tick(run, [1])
    const { position } = yield* store.append(Tick, `${run}other`, [{ _tag: "Ticked", run, n: 2 }])
    yield* Effect.gen(function*() {
      for (const subscription of subscriptions) yield* awaitPosition(subscription, position)
      const parked = yield* Effect.forEach(subscriptions, (one) => parkedKeys(one))
      equal(parked.flat().length > 0, true, "the parked keys")
      equal(
        parked.flat().every(({ error }) => error.includes("has reached position")),
        true,
        String(parked[0]?.[0]?.error)
      )
    }).pipe(Effect.provide(Subscription.layer(subscriptions)), bounded)
  }),

  test("a wait for the own consumer within a dispatched command fails at once", function*() {
    const run = unique("run")
    const isDone = yield* Deferred.make<string>()
    const inline = Projection.handler(`${run}inline`, {
      events: AccountEvent,
      lifecycle: "inline",
      where: { streamPrefix: `Account-${run}` },
      handle: {
        Opened: () => awaitPosition({ id: `subscription:${run}@1` }, started),
        Deposited: Projection.ignore,
        Withdrawn: Projection.ignore
      }
    })
    let started: Position
    const subscription = Subscription.make(run, {
      events: Tick,
      where: { tags: [Event.tag("run", run)] },
      handle: (_, { position }) => {
        started = position
        return Effect.flatMap(
          shown(CommandBus.dispatch(Open, { id: run, owner: "ann" })),
          (failure) => Deferred.succeed(isDone, failure)
        )
      }
    })
    const commands = Aggregate.layer(AccountDecider).pipe(Layer.provide(Projector.layerInline([inline])))
    yield* tick(run, [1])
    const failure = yield* Deferred.await(isDone).pipe(
      Effect.provide(Layer.provide(Subscription.layer([subscription]), commands)),
      bounded
    )
    equal([failure, Account.name], ["CircularWait of a handler", "Account"], "the dispatch")
  })
]
