/**
 * The conformance suite of a whole back end under the runtime: commands, projections inline and asynchronous, the event bus, on one
 * event store and one projection store.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as CommandBus from "../runtime/CommandBus.ts"
import * as EventBus from "../runtime/EventBus.ts"
import { audits } from "./AuditSuite.ts"
import { closedInstances } from "./ClosedInstanceSuite.ts"
import { commands } from "./CommandSuite.ts"
import { lifecycles } from "./LifecycleSuite.ts"
import { loading } from "./LoadingSuite.ts"
import { parking } from "./ParkingSuite.ts"
import { projections } from "./ProjectorSuite.ts"
import { rebuilds } from "./RebuildSuite.ts"
import { AccountEvent, accounts, Deposit, Open, type Stores, upTo } from "./RuntimeFixtures.ts"
import { snapshots } from "./SnapshotSuite.ts"
import { subscriptions } from "./SubscriptionSuite.ts"
import { type Case, equal, test, unique } from "./Suite.ts"
import { timeTravel } from "./TimeTravelSuite.ts"
import { trails } from "./TrailSuite.ts"
import { versions } from "./VersionsSuite.ts"

const bus: ReadonlyArray<Case<Stores>> = [
  test("the event bus tells every listener every event that is committed while it listens, in order", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "before" })
      const listeners = yield* Effect.forEach(
        upTo(3),
        () =>
          Effect.map(EventBus.listen(AccountEvent), (events) =>
            events.pipe(
              Stream.filter((e) => e.stream === `Account-${id}`),
              Stream.take(5),
              Stream.runCollect
            ))
      )
      const heard = yield* Effect.forEach(listeners, (listener) => Effect.forkChild(listener))
      for (const n of upTo(5)) yield* CommandBus.dispatch(Deposit, { id, amount: n })
      for (const fiber of heard) {
        const events = yield* Effect.timeout(Fiber.join(fiber), "30 seconds")
        equal(events.map((e) => e.event._tag === "Deposited" ? e.event.amount : 0), upTo(5), "the events")
      }
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer())))
  }),

  test("a listener that is too slow is told so, and keeps nobody up", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      const slow = yield* EventBus.listen(AccountEvent)
      const quick = yield* EventBus.listen(AccountEvent)
      const heard = yield* Effect.forkChild(
        quick.pipe(Stream.filter((e) => e.stream === `Account-${id}`), Stream.take(20), Stream.runCollect)
      )
      for (const n of upTo(20)) {
        yield* CommandBus.dispatch(Deposit, { id, amount: n })
        // The quick listener keeps up: each event is heard before the next is sent.
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
      }
      equal((yield* Effect.timeout(Fiber.join(heard), "30 seconds")).length, 20, "the quick one")
      const error = yield* Effect.flip(Stream.runDrain(slow))
      equal(error._tag, "ListenerTooSlow", "the slow one")
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer({ capacity: 16 }))))
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  ...commands,
  ...loading,
  ...snapshots,
  ...projections,
  ...lifecycles,
  ...subscriptions,
  ...bus,
  ...audits,
  ...parking,
  ...rebuilds,
  ...trails,
  ...versions,
  ...timeTravel,
  ...closedInstances
]
