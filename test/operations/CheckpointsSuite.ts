/**
 * The runtime suite of checkpoints that rest on an event which the log does not have: the consumer stops, and an operator resets or rebuilds it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import type { ResetRejected } from "../../src/operations/CheckpointsError.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"

const Noted = Schema.TaggedUnion({ Noted: { run: Schema.String, n: Schema.Int } }).pipe(Event.tags({ run: "run" }))
const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const

const append = (run: string, stream: string, n: number) =>
  Effect.flatMap(EventStore, (store) => store.append(Noted, `${run}${stream}`, [{ _tag: "Noted", run, n }]))

const until = <A, E, R>(self: Effect.Effect<A, E, R>, isReached: (a: A) => boolean) =>
  self.pipe(
    Effect.repeat({ until: isReached, schedule: Schedule.spaced("20 millis") }),
    Effect.timeout("1 minute")
  )

/** Returns the reason of an effect's failure. */
const rejection = <A, R>(self: Effect.Effect<A, ResetRejected | EventStoreError, R>) =>
  Effect.map(Effect.flip(self), (error) => error._tag === "ResetRejected" ? error.reason : error.reason._tag)

/** Makes the checkpoints of a consumer those of a log whose event at the same position was lost. */
const loseEvent = (consumer: string, position: Position.Position) =>
  Effect.gen(function*() {
    const driver = yield* ProjectionStore.driver
    const [progress] = yield* driver.progress(consumer)
    yield* driver.resetCheckpoints({
      consumer,
      generation: consumer,
      to: { position, eventId: globalThis.crypto.randomUUID() },
      lost: [],
      reads: progress?.reads ?? "",
      evenIfLeased: true
    })
  })

/**
 * The cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const checkpoints: ReadonlyArray<Case<Stores>> = [
  test("a subscription stops on a set-back log, and continues where an operator resets it", function*() {
    const run = unique("run")
    const handled: Array<number> = []
    const subscription = Subscription.make(unique("notes"), {
      events: Noted,
      where: { tags: [Event.tag("run", run)] },
      partitions: 2,
      retry: Schedule.recurs(0),
      handle: { Noted: ({ n }) => n === 3 ? Effect.die("three") : Effect.sync(() => handled.push(n)) }
    })
    const shared = yield* append(run, "a", 1)
    yield* append(run, "b", 2)
    yield* append(run, "c", 3)
    yield* until(Effect.sync(() => handled.length), (n) => n === 2).pipe(
      Effect.andThen(until(parkedKeys(subscription), (parked) => parked.length === 1)),
      Effect.provide(Subscription.layer([subscription], options))
    )
    yield* loseEvent(subscription.id, (yield* append(run, "a", 4)).position)
    yield* Effect.gen(function*() {
      const { status } = yield* Subscription.Subscriptions
      const [stuck] = yield* until(status, ([one]) => one?.state === "stuck")
      includes(stuck!.detail ?? "", "does not have event", "the detail of the status")
      const { reasons, status: color } = yield* Health.of([subscription])
      equal(color, "red", "its health")
      includes(reasons.join(), "does not have event", "the reasons")
      yield* append(run, "a", 5)
      equal(handled.toSorted(), [1, 2], "nothing more is handled")

      const lost = LogPosition.make(shared.position, globalThis.crypto.randomUUID())
      equal(yield* rejection(Checkpoints.reset(subscription, lost)), "LogDiverged", "a position of the lost log")
      const none = Checkpoints.reset(subscription, Position.make(2n ** 62n))
      equal(yield* rejection(none), "InvalidRequest", "a position without an event")
      const { to } = yield* Checkpoints.reset(subscription, LogPosition.ofReceipt(shared))
      equal(to.position, shared.position, "the new checkpoint")
      yield* until(Effect.sync(() => handled.length), (n) => n >= 5)
      yield* until(parkedKeys(subscription), (parked) => parked.length === 1)
      equal(handled.slice(2).toSorted(), [2, 4, 5], "all events after it, and the failing one is parked again")
      equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit from there on")
    }).pipe(Effect.provide(Subscription.layer([subscription], options)))
    const never = Subscription.make(unique("notes"), { events: Noted, handle: () => Effect.void })
    equal(yield* rejection(Checkpoints.reset(never, "end")), "InvalidRequest", "one that has never run")
  }),

  test("a reset has events handled again that no checkpoint covered yet", function*() {
    const run = unique("run")
    const handled: Array<number> = []
    const isBlocked = Latch.makeUnsafe(false)
    const subscription = Subscription.make(unique("notes"), {
      events: Noted,
      where: { tags: [Event.tag("run", run)] },
      handle: {
        Noted: ({ n }) => Effect.andThen(n === 2 ? isBlocked.await : Effect.void, Effect.sync(() => handled.push(n)))
      }
    })
    yield* append(run, "a", 1)
    yield* append(run, "a", 2)
    yield* Effect.gen(function*() {
      yield* until(Effect.sync(() => handled.length), (n) => n === 1)
      yield* Checkpoints.reset(subscription, Position.start)
      yield* until(Effect.sync(() => handled.length), (n) => n === 2)
      equal(handled, [1, 1], "the first event, before and after the reset")
      yield* isBlocked.open
      yield* until(Effect.sync(() => handled.length), (n) => n === 3)
      equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
    }).pipe(Effect.provide(Subscription.layer([subscription], { ...options, stopTimeout: 0 })))
  }),

  test("a rebuild replaces the documents of a set-back log, and a query with a receipt rejects them", function*() {
    const run = unique("run")
    const projection = Projection.make(unique("sums"), {
      events: Noted,
      where: { tags: [Event.tag("run", run)] },
      document: Schema.Int,
      key: ({ run }) => run,
      evolve: { Noted: (sum = 0, { n }) => sum + n }
    })
    const store = yield* ProjectionStore.ProjectionStore
    const receipt = yield* append(run, "a", 1)
    yield* store.awaitPosition(projection, receipt.position, "60 seconds").pipe(
      Effect.provide(Projector.layer([projection], options))
    )
    const readAfter = store.get(projection, run).pipe(Effect.provideService(ProjectionStore.ReadAfter, {
      ...LogPosition.ofReceipt(receipt),
      timeout: Duration.seconds(10)
    }))
    equal(yield* readAfter, yield* store.get(projection, run), "the document after the receipt")
    const later = yield* append(run, "b", 2)
    yield* loseEvent(projection.id, later.position)
    equal((yield* Effect.flip(readAfter))._tag, "EventStoreError", "the document of a lost event")
    const { driver } = store[internals]
    const active = yield* driver.activeGeneration(projection.id)
    yield* Stream.runDrain(Rebuild.rebuild(projection, options))
    equal((yield* driver.activeGeneration(projection.id)) !== active, true, "another generation is active")
    equal((yield* readAfter)._tag, "Some", "the document after the rebuild")
    const document = yield* store.get(projection, run)
    equal(document._tag === "Some" ? document.value : 0, 3, "its content")
  })
]
