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
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import { boundaryQueues } from "../aggregate/BoundaryQueueSuite.ts"
import { closedInstances } from "../aggregate/ClosedInstanceSuite.ts"
import { instanceQueues } from "../aggregate/InstanceQueueSuite.ts"
import { loading } from "../aggregate/LoadingSuite.ts"
import { oldStates } from "../aggregate/OldStateSuite.ts"
import { commands } from "../command/CommandSuite.ts"
import { circularWaits } from "../consumer/CircularWaitSuite.ts"
import { consumerKeyRejections } from "../consumer/ConsumerKeyRejectionSuite.ts"
import { consumerKeys } from "../consumer/ConsumerKeySuite.ts"
import { registries } from "../consumer/ConsumerRegistrySuite.ts"
import { lockedKeys } from "../consumer/LockedKeySuite.ts"
import { rareEvents } from "../consumer/RareEventSuite.ts"
import { readsChanges } from "../consumer/ReadsChangeSuite.ts"
import { repartitions } from "../consumer/RepartitionSuite.ts"
import { unknownTypes } from "../consumer/UnknownTypesSuite.ts"
import { jsonValues } from "../core/JsonValuesSuite.ts"
import { roundTrips } from "../core/RoundTripSuite.ts"
import { decisionCaches } from "../decision/DecisionCacheSuite.ts"
import { decisionQueues } from "../decision/DecisionQueueSuite.ts"
import { decisionStreams } from "../decision/DecisionStreamSuite.ts"
import { pastTags } from "../decision/PastTagsSuite.ts"
import { splitDecisions } from "../decision/SplitDecisionSuite.ts"
import { untagged } from "../decision/UntaggedSuite.ts"
import { versions } from "../event/UpcastersSuite.ts"
import { causationCases } from "../history/CausationSuite.ts"
import { checkpoints } from "../operations/CheckpointsSuite.ts"
import { audits } from "../operations/DeliveryAuditSuite.ts"
import { retiredGenerations } from "../operations/GenerationsSuite.ts"
import { massParking } from "../operations/MassParkingSuite.ts"
import { parking } from "../operations/ParkingSuite.ts"
import { resets } from "../operations/ResetSuite.ts"
import { unreadParked } from "../operations/UnreadParkedSuite.ts"
import { deadlines } from "../process/DeadlineSuite.ts"
import { faults } from "../process/FaultSuite.ts"
import { instanceOrder } from "../process/InstanceOrderSuite.ts"
import { operationCases } from "../process/OperationSuite.ts"
import { processes } from "../process/ProcessSuite.ts"
import { releaseCases } from "../process/ReleaseSuite.ts"
import { schedules } from "../process/ScheduleSuite.ts"
import { everyEvent } from "../projection/EveryEventSuite.ts"
import { inlineAhead } from "../projection/inline/InlineAheadSuite.ts"
import { inlineGaps } from "../projection/inline/InlineGapSuite.ts"
import { inlineOrder } from "../projection/inline/InlineOrderSuite.ts"
import { inlineReads } from "../projection/inline/InlineReadsSuite.ts"
import { lifecycles } from "../projection/LifecycleSuite.ts"
import * as ListSuite from "../projection/ListSuite.ts"
import { projections } from "../projection/ProjectorSuite.ts"
import { rebuilds } from "../projection/rebuild/RebuildSuite.ts"
import { signedSnapshots } from "../snapshot/SignedSnapshotSuite.ts"
import { snapshots } from "../snapshot/SnapshotSuite.ts"
import { handOvers } from "../subscription/HandOverSuite.ts"
import { starts } from "../subscription/StartSuite.ts"
import { subscriptions } from "../subscription/SubscriptionSuite.ts"
import { AccountEvent, accounts, Deposit, Open, type Stores, upTo } from "../support/AccountFixtures.ts"
import { timeTravel } from "../timeTravel/TimeTravelSuite.ts"

const bus: ReadonlyArray<Case<Stores>> = [
  test("the event bus delivers to each listener every event that follows, in order", function*() {
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
        const events = yield* Effect.timeout(Fiber.join(fiber), "1 minute")
        equal(events.map((e) => e.event._tag === "Deposited" ? e.event.amount : 0), upTo(5), "the events")
      }
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer())))
  }),

  test("a listener that is too slow fails, and delays no other", function*() {
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
      equal((yield* Effect.timeout(Fiber.join(heard), "1 minute")).length, 20, "the quick one")
      const error = yield* Effect.flip(Stream.runDrain(slow))
      equal(error._tag, "ListenerTooSlow", "the slow one")
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer({ capacity: 16 }))))
  })
]

/**
 * The cases by concept. Each group has a store of its own: a log that thousands of events of other cases fill makes every case slower that
 * reads it from its beginning.
 *
 * @since 0.1.0
 * @category suites
 */
export const suites: Readonly<Record<string, ReadonlyArray<Case<Stores>>>> = {
  commands: [
    ...commands,
    ...decisionCaches,
    ...decisionQueues,
    ...decisionStreams,
    ...splitDecisions,
    ...untagged,
    ...pastTags,
    ...loading,
    ...instanceQueues,
    ...boundaryQueues,
    ...snapshots,
    ...signedSnapshots,
    ...jsonValues,
    ...roundTrips,
    ...versions,
    ...closedInstances,
    ...oldStates
  ],
  projections: [
    ...projections,
    ...lifecycles,
    ...everyEvent,
    ...inlineAhead,
    ...inlineGaps,
    ...inlineOrder,
    ...inlineReads,
    ...rebuilds
  ],
  lists: ListSuite.cases,
  consumers: [
    ...readsChanges,
    ...repartitions,
    ...lockedKeys,
    ...rareEvents,
    ...unknownTypes,
    ...circularWaits,
    ...registries,
    ...consumerKeys,
    ...consumerKeyRejections
  ],
  "process managers": [
    ...processes,
    ...instanceOrder,
    ...faults,
    ...deadlines,
    ...operationCases,
    ...releaseCases,
    ...schedules
  ],
  subscriptions: [...subscriptions, ...handOvers, ...starts, ...bus],
  operations: [
    ...audits,
    ...parking,
    ...massParking,
    ...unreadParked,
    ...checkpoints,
    ...resets,
    ...retiredGenerations
  ],
  history: [...causationCases, ...timeTravel]
}
