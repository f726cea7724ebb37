/** A reset of the checkpoints of a consumer that runs: no handler begins by the old position once it has returned. */
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import type { WorkerOptions } from "../../src/consumer/worker/WorkerOptions.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { fixture, partitionsOf, start, startIn, untilPartitions } from "../consumer/RepartitionFixtures.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int }, Seen: { n: Schema.Int } })

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

/** No handler is interrupted. */
const options: WorkerOptions = {
  stopTimeout: "60 seconds",
  retryDelay: { first: "20 millis", max: "50 millis" }
}

const until = <A, E, R>(self: Effect.Effect<A, E, R>, isReached: (a: A) => boolean) =>
  self.pipe(
    Effect.repeat({ until: isReached, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("1 minute")
  )

/** Mails that are handled one after the other; the handler of event 2 waits for the latch. */
const mailsOf = Effect.gen(function*() {
  const name = unique("mails").replaceAll("-", "")
  const handled: Array<number | string> = []
  const begun: Array<number> = []
  const latch = Latch.makeUnsafe(false)
  const append = (...ns: ReadonlyArray<number>) =>
    Effect.forEach(ns, (n) =>
      Effect.map(
        EventStore.append(Sent, `${name}-a`, [Sent.cases.Sent.make({ n })]),
        ({ position }) => position
      ))
  const common = { events: Sent, where: { streamPrefix: `${name}-` } }
  const handle = (n: number) =>
    Effect.gen(function*() {
      begun.push(n)
      if (n === 2) yield* latch.await
      handled.push(n)
    })
  const subscription = Subscription.make(name, {
    ...common,
    handle: { Sent: ({ n }) => handle(n), Seen: Subscription.ignore }
  })
  const projection = Projection.handler(name, {
    ...common,
    handle: { Sent: ({ n }) => handle(n), Seen: Projection.ignore }
  })
  /** Marks the end of a reset among what is handled. */
  const marked = <A, E, R>(reset: Effect.Effect<A, E, R>) =>
    Effect.tap(reset, () => Effect.sync(() => handled.push("reset")))
  const store = yield* driver
  const untilHandled = (count: number) => until(Effect.sync(() => handled.length), (length) => length >= count)
  const untilInHand = until(Effect.sync(() => begun), (begun) => begun.at(-1) === 2)
  const untilAsked = until(store.workers(`subscription:${name}@1`), (all) => all.some(({ resets }) => resets))
  return {
    append,
    handled,
    latch,
    marked,
    projection,
    subscription,
    untilAsked,
    untilHandled,
    untilInHand,
    where: common.where
  }
})

const afterReset = (handled: ReadonlyArray<number | string>) =>
  handled.includes("reset") ? handled.slice(handled.indexOf("reset") + 1) : []

const run = (subscription: Subscription.Subscription<string, typeof Sent, never>, worker = options) =>
  Effect.asVoid(Layer.build(Layer.fresh(attentive(Subscription.layer([subscription], worker), subscription))))

/**
 * The cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const resets: ReadonlyArray<Case<Stores>> = [
  test("a reset returns when the event in hand has ended, and nothing begins by the old position after it", function*() {
    const { append, handled, latch, marked, subscription, untilAsked, untilInHand } = yield* mailsOf
    const [first] = yield* append(1, 2, 3, 4, 5)
    yield* run(subscription)
    yield* untilInHand
    const reset = yield* Effect.forkChild(marked(Checkpoints.reset(subscription, first!)))
    yield* untilAsked
    const { reasons, status } = yield* Health.of([subscription])
    equal(status === "red", false, reasons.join())
    yield* latch.open
    const { from, to } = yield* Fiber.join(reset)
    yield* until(Effect.sync(() => afterReset(handled).length), (length) => length >= 4)
    equal(afterReset(handled), [2, 3, 4, 5], "what was handled after the reset had returned")
    equal([from.length, to.position], [1, first], "the checkpoints")
    ok(from[0]!.position > first!, "event 2 was saved before the reset")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  test("a reset to the end handles no event of before once it has returned", function*() {
    const { append, handled, latch, marked, subscription, untilAsked, untilInHand } = yield* mailsOf
    yield* append(1, 2, 3, 4)
    yield* run(subscription)
    yield* untilInHand
    const reset = yield* Effect.forkChild(marked(Checkpoints.reset(subscription, "end")))
    yield* untilAsked
    yield* append(5)
    yield* latch.open
    yield* Fiber.join(reset)
    yield* append(6)
    yield* until(Effect.sync(() => handled.at(-1)), (n) => n === 6)
    equal(afterReset(handled), [6], "what was handled after the reset had returned")
  }),

  test("a reset fails while a handler does not end, names its worker, and moves nothing", function*() {
    const { append, handled, latch, subscription, untilHandled, untilInHand } = yield* mailsOf
    yield* append(1, 2, 3)
    yield* run(subscription)
    yield* untilInHand
    const store = yield* driver
    const [before] = yield* store.progress(subscription.id)
    const error = yield* Effect.flip(Checkpoints.reset(subscription, Position.start, { timeout: "1 second" }))
    if (error._tag !== "ResetRejected") return yield* error
    const worker = before!.owner!
    equal([error.reason, error.partitions], ["Leased", [{ partition: 0, worker }]], "the error")
    for (const part of [`:${process.pid}:`, `worker ${worker}`, "event ", "nothing was changed", "reset again"]) {
      includes(error.message, part, "its message")
    }
    equal((yield* store.workers(subscription.id)).some(({ resets }) => resets), false, "the request is withdrawn")
    yield* latch.open
    yield* untilHandled(3)
    equal(Array.from(handled), [1, 2, 3], "what was handled, each event once")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  test("a reset waits for a worker that is dead until its lease ends", function*() {
    const { append, handled, latch, subscription, untilHandled } = yield* mailsOf
    yield* latch.open
    const [first] = yield* append(1, 2)
    const store = yield* driver
    yield* store.claim({
      consumer: subscription.id,
      owner: "dead",
      partitions: 1,
      partitionedBy: "stream",
      reads: ConsumerReads.format(ConsumerReads.of(subscription)),
      lease: Duration.millis(300)
    })
    const [claimed] = yield* store.progress(subscription.id)
    const { from } = yield* Checkpoints.reset(subscription, first!)
    const [after] = yield* store.progress(subscription.id)
    ok(DateTime.isGreaterThanOrEqualTo(after!.readAt, claimed!.leasedUntil!), "it returned before the lease had ended")
    equal(from.map(({ position }) => position), [Position.start], "the checkpoints before")
    yield* run(subscription)
    yield* untilHandled(1)
    equal(Array.from(handled), [2], "what was handled")
  }),

  test("resets at once, beside a change of the number of partitions, all move the checkpoints", function*() {
    const mails = fixture()
    const streams = upTo(6).map((n) => mails.streamIn([2, n % 2], [3, n % 3]))
    yield* mails.append(...streams, ...streams)
    const [last] = (yield* mails.append(streams[0]!)).slice(-1)
    const { end } = yield* startIn(start(mails.subscription(2)))
    yield* mails.until(() => mails.handled.length >= 3)
    const subscription = mails.subscription(3)
    yield* start(subscription)
    const reset = Checkpoints.reset(subscription, Position.start)
    const [results] = yield* Effect.all([Effect.all([reset, reset], { concurrency: 2 }), end], { concurrency: 2 })
    equal(results.map(({ to }) => to.position), [Position.start, Position.start], "both positions")
    yield* untilPartitions(subscription, 3)
    yield* Checkpoints.reset(subscription, Position.start)
    mails.handled.length = 0
    yield* mails.untilHandled()
    mails.assertOnce()
    const store = yield* ProjectionStore.ProjectionStore
    yield* store.awaitPosition({ id: subscription.id, lifecycle: "async" }, last!, "30 seconds")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
    equal(yield* partitionsOf(subscription), 3, "the number of partitions")
  }),

  test("a reset beside a release that reads more waits for the workers of both", function*() {
    const { append, handled, latch, marked, subscription, untilAsked, untilInHand, where } = yield* mailsOf
    const [first] = yield* append(1, 2, 3)
    yield* run(subscription)
    yield* untilInHand
    const more = Subscription.make(subscription.name, {
      events: Sent,
      where,
      earlierEvents: "pass",
      handle: {
        Sent: ({ n }) => Effect.sync(() => void handled.push(`more ${n}`)),
        Seen: ({ n }) => Effect.sync(() => void handled.push(`seen ${n}`))
      }
    })
    yield* run(more)
    const reset = yield* Effect.forkChild(marked(Checkpoints.reset(more, first!)))
    yield* untilAsked
    yield* latch.open
    yield* Fiber.join(reset)
    yield* append(4)
    yield* until(Effect.sync(() => handled.at(-1)), (n) => n === "more 4")
    equal(afterReset(handled), ["more 2", "more 3", "more 4"], "what was handled after the reset had returned")
  }),

  test("in a transaction a reset moves free checkpoints, and rejects those of a running subscription", function*() {
    const { append, handled, latch, projection, subscription, untilHandled, untilInHand } = yield* mailsOf
    const [first] = yield* append(1, 2, 3)
    const store = yield* driver
    const { end } = yield* startIn(run(subscription))
    yield* untilInHand
    const error = yield* Effect.flip(store.transaction(Checkpoints.reset(subscription, first!)))
    if (error._tag !== "ResetRejected") return yield* error
    equal(error.reason, "InTransaction", "the reason")
    includes(error.message, "outside a transaction", "its message")
    yield* latch.open
    yield* untilHandled(3)
    yield* end
    equal(Array.from(handled), [1, 2, 3], "what was handled")
    const { to } = yield* store.transaction(Checkpoints.reset(subscription, first!))
    equal(to.position, first, "the checkpoint of one that does not run")
    yield* startIn(run(subscription))
    yield* untilHandled(5)
    equal(Array.from(handled), [1, 2, 3, 2, 3], "what was handled after it")

    // What its handlers have not committed is rolled back.
    yield* Layer.build(Layer.fresh(attentive(Projector.layer([projection], options), projection)))
    yield* untilHandled(8)
    yield* store.transaction(Checkpoints.reset(projection, first!))
    yield* untilHandled(10)
    equal(handled.slice(5), [1, 2, 3, 2, 3], "what the projection handled")
  }),

  test("a handler that resets its own consumer fails at once", function*() {
    const name = unique("mails")
    const done = yield* Deferred.make<string>()
    const subscription: Subscription.Subscription<string, typeof Sent, never> = Subscription.make(name, {
      events: Sent,
      where: { streamPrefix: `${name}-` },
      handle: () =>
        Checkpoints.reset(subscription, "end").pipe(
          Effect.result,
          Effect.provideContext(context),
          Effect.flatMap((result) =>
            Deferred.succeed(done, Result.isFailure(result) ? result.failure.message : "no failure")
          )
        )
    })
    const context = yield* Effect.context<Stores>()
    yield* EventStore.append(Sent, `${name}-a`, [Sent.cases.Sent.make({ n: 1 })])
    yield* run(subscription)
    includes(
      yield* Effect.timeout(Deferred.await(done), "1 minute"),
      `A handler of "${subscription.id}" resets`,
      "the error"
    )
  })
]
