/**
 * The runtime suite of retries by code that does not read the parked event, as after a rollback: nothing would handle the event, so it stays parked.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import type { Consumer } from "../../src/consumer/Consumer.ts"
import * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventFilter } from "../../src/event/EventFilter.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"
import { parkedKeys } from "../support/parked.ts"

const payload = { order: Schema.String, n: Schema.Int }
const OrderEvent = Schema.TaggedUnion({ Placed: payload, Refunded: payload }).pipe(Event.tags({ order: "order" }))
const PlacedEvent = Schema.TaggedUnion({ Placed: payload }).pipe(Event.tags({ order: "order" }))

const retryDelay = { first: "20 millis", max: "50 millis" } as const
const timing = { lease: "300 millis", retryDelay } as const

const awaitCount = (consumer: Consumer, isReached: (count: Parking.Count) => boolean) =>
  Parking.count(consumer).pipe(
    Effect.repeat({ until: isReached, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute")
  )

const kinds = { stream: "stream", tag: { tag: "order" } } as const

const run = (subscription: Subscription.Subscription<string, Event.Any, never>) =>
  Layer.fresh(attentive(Subscription.layer([subscription], { retryDelay }), subscription))

/** The two releases of a subscription, and what they have handled. */
const releases = (partitionBy: Subscription.Any["partitionBy"] & (typeof kinds)[keyof typeof kinds]) => {
  const name = unique("refunds")
  const streamOf = (order: string) => `${name}-${order}`
  const keyOf = (order: string) => partitionBy === "stream" ? streamOf(order) : `order:${order}`
  const handled: Array<string> = []
  let isDown = false
  const handle = ({ _tag, n, order }: typeof OrderEvent.Type) =>
    Effect.suspend(() => {
      const event = `${order}:${_tag}${n}`
      if (isDown) return Effect.die("down")
      handled.push(event)
      return Effect.void
    })
  const options = { retry: Schedule.recurs(0), partitionBy, where: { streamPrefix: `${name}-` } }
  const append = (order: string, ...types: ReadonlyArray<(typeof OrderEvent.Type)["_tag"]>) =>
    Effect.asVoid(EventStore.append(OrderEvent, streamOf(order), types.map((_tag, i) => ({ _tag, order, n: i + 1 }))))
  const newer = Subscription.make(name, {
    ...options,
    events: OrderEvent,
    handle: { Placed: handle, Refunded: handle }
  })
  return {
    append,
    handled,
    keyOf,
    newer,
    /** Appends events of so many keys while the newer release fails at each, and stops it when it has parked them. */
    park: <E, R>(events: Effect.Effect<unknown, E, R>, keys = 1) =>
      Effect.sync(() => {
        isDown = true
      }).pipe(
        Effect.andThen(events),
        Effect.andThen(awaitCount(newer, ({ parked }) => parked === keys)),
        Effect.provide(run(newer)),
        Effect.andThen(Effect.sync(() => {
          isDown = false
        }))
      ),
    older: {
      "has no such type": Subscription.make(name, { ...options, events: PlacedEvent, handle: { Placed: handle } }),
      "ignores the type": Subscription.make(name, {
        ...options,
        events: OrderEvent,
        handle: { Placed: handle, Refunded: Subscription.ignore }
      }),
      "has a narrower `where`": Subscription.make(name, {
        ...options,
        where: { streamPrefix: `${name}-other` },
        events: OrderEvent,
        handle: { Placed: handle, Refunded: handle }
      })
    }
  }
}

const subscriptions: ReadonlyArray<Case<Stores>> = Object.entries(kinds).flatMap(([by, partitionBy]) => [
  ...(["has no such type", "ignores the type", "has a narrower `where`"] as const).map((how) =>
    test(`a retry by code that ${how} leaves the event parked, by ${by}`, function*() {
      const { append, handled, keyOf, newer, older, park } = releases(partitionBy)
      const old = older[how]
      yield* park(append("1", "Refunded", "Placed"))
      yield* Effect.gen(function*() {
        const none = { requested: 1, retried: 0, failed: 1, skipped: 0, parkedLater: 0 }
        equal(yield* Parking.retryAll(old), none, "the outcome")
        const { entry, outcome, parked } = yield* Parking.retry(old, keyOf("1"))
        equal([outcome, parked?.position === entry.position, parked?.request], ["failed", true, undefined], "of one")
        equal(parked?.attempts, 1, "how often it was tried")
        for (const words of ["does not read", "Parking.skip"]) includes(entry.detail ?? "", words, "the reason")
        equal([...handled], [], "the handled events")
      }).pipe(Effect.provide(run(old)))
      yield* Effect.gen(function*() {
        equal((yield* Parking.retryAll(newer)).retried, 1, "what the newer code retries")
        equal([...handled], ["1:Refunded1", "1:Placed2"], "the events that it handles")
        equal((yield* DeliveryAudit.run(newer)).status, "complete", "the audit")
      }).pipe(Effect.provide(run(newer)))
    })
  ),

  test(`a retry of many keys leaves those with unread events parked, by ${by}`, function*() {
    const { append, handled, older, park } = releases(partitionBy)
    const old = older["has no such type"]
    const count = 120
    yield* park(
      Effect.forEach(upTo(count), (n) =>
        // Nothing follows some of the events.
        Effect.andThen(
          append(`${n}`, ...n % 3 === 0 ? ["Placed", "Refunded"] as const : ["Refunded"] as const),
          n % 3 === 1 ? append(`${n}`, "Placed") : Effect.void
        )),
      count
    )
    const third = count / 3
    yield* Effect.gen(function*() {
      const outcome = { requested: count, retried: third, failed: 2 * third, skipped: 0, parkedLater: 0 }
      equal(yield* Parking.retryAll(old), outcome, "the outcome")
      equal(yield* Parking.count(old), { parked: 2 * third, requested: 0, freeing: 0 }, "what is parked")
    }).pipe(Effect.provide(run(old)))
    equal(handled.toSorted(), upTo(third).map((n) => `${3 * n}:Placed1`).toSorted(), "the handled events")
  }),

  test(`a skip needs no code that reads the event, by ${by}`, function*() {
    const { append, handled, keyOf, older, park } = releases(partitionBy)
    const old = older["has no such type"]
    yield* park(append("1", "Refunded", "Placed"))
    yield* Effect.gen(function*() {
      const { outcome, parked } = yield* Parking.skip(old, keyOf("1"), { reason: "a test" })
      equal([outcome, parked], ["skipped", undefined], "the outcome")
      equal([...handled], ["1:Placed2"], "the handled events")
      equal((yield* DeliveryAudit.run(old)).status, "complete", "the audit")
    }).pipe(Effect.provide(run(old)))
  })
])

const Box = Schema.TaggedUnion({ BoxIn: { n: Schema.Int }, BoxOut: { n: Schema.Int } }).pipe(Event.legacy({
  BoxMoved: Event.from({ n: Schema.Int }).splitInto(
    ["BoxIn", "BoxOut"],
    ({ n }) => n === 0 ? [] : [{ _tag: n < 0 ? "BoxOut" as const : "BoxIn" as const, n }]
  )
}))
const BoxMoved = Schema.TaggedUnion({ BoxMoved: { n: Schema.Int } })

const parts: ReadonlyArray<Case<Stores>> = [
  test("a retry by code that ignores what the event decodes to leaves it parked", function*() {
    const name = unique("boxes")
    let isDown = true
    const handle = () => Effect.suspend(() => isDown ? Effect.die("down") : Effect.void)
    const boxes = (takes: boolean, where: EventFilter<never> = { streamPrefix: name }) =>
      Subscription.make(name, {
        where,
        events: Box,
        retry: Schedule.recurs(0),
        handle: { BoxIn: handle, BoxOut: takes ? handle : Subscription.ignore }
      })
    yield* Effect.gen(function*() {
      for (const n of [-1, 1]) yield* EventStore.append(BoxMoved, `${name}${n}`, [{ _tag: "BoxMoved", n }])
      yield* awaitCount(boxes(true), ({ parked }) => parked === 2)
    }).pipe(Effect.provide(run(boxes(true))))
    isDown = false
    yield* Effect.gen(function*() {
      const { failed, retried } = yield* Parking.retryAll(boxes(false))
      equal([failed, retried], [1, 1], "the outcome")
      equal((yield* parkedKeys(boxes(false))).map(({ key }) => key), [`${name}-1`], "what is parked")
    }).pipe(Effect.provide(run(boxes(false))))
  })
]

const ofAccount = { account: Schema.String }
const Transfer = Schema.TaggedUnion({ Debited: ofAccount, Credited: ofAccount }).pipe(
  Event.legacy({
    Transferred: Event.from({ accounts: Schema.Array(Schema.String) }).splitInto(
      ["Debited", "Credited"],
      ({ accounts: [from = "", to = ""] }) => [{ _tag: "Debited", account: from }, { _tag: "Credited", account: to }]
    )
  }),
  Event.tags({ account: "account" })
)
const Transferred = Schema.TaggedUnion({ Transferred: { accounts: Schema.Array(Schema.String) } }).pipe(
  Event.tags({ account: "accounts" })
)

const partsByTag: ReadonlyArray<Case<Stores>> = [
  test("a retry by code whose tag selects no part of the event leaves it parked", function*() {
    const name = unique("transfers")
    const handled: Array<string> = []
    const where = { streamPrefix: name, tags: [Event.tag("account", "broker")] }
    const handle = ({ _tag }: { readonly _tag: string }) => Effect.sync(() => handled.push(_tag))
    const older = Subscription.make(name, {
      where,
      events: Transferred,
      retry: Schedule.recurs(0),
      handle: () => Effect.die("down")
    })
    const newer = Subscription.make(name, { where, events: Transfer, retry: Schedule.recurs(0), handle })
    yield* Effect.gen(function*() {
      yield* EventStore.append(Transferred, name, [{ _tag: "Transferred", accounts: ["a", "b", "broker"] }])
      yield* awaitCount(older, ({ parked }) => parked === 1)
    }).pipe(Effect.provide(run(older)))
    const { outcome } = yield* Effect.provide(Parking.retry(newer, name), run(newer))
    equal([outcome, ...handled], ["failed"], "the outcome, and what was handled")
  })
]

const run2 = (projection: Projection.Any<"async">) => Layer.fresh(Projector.layer([projection], timing))

const documents: ReadonlyArray<Case<Stores>> = [
  test("a retry by code that gives the event another document leaves it parked", function*() {
    const name = unique("totals")
    let isBroken = true
    const totals = (isMoved: boolean) =>
      Projection.make(name, {
        events: OrderEvent,
        where: { streamPrefix: name },
        document: Schema.Int,
        key: ({ order, n }) => isMoved && n === 1 ? "moved" : order,
        evolve: {
          Placed: (sum = 0, { n }) => sum + n,
          Refunded: (sum = 0, { n }) => {
            if (isBroken) throw new Error("poison")
            return sum - n
          }
        }
      })
    const [before, after] = [totals(false), totals(true)]
    yield* Effect.gen(function*() {
      const event = { _tag: "Refunded" as const, order: "a" }
      yield* EventStore.append(OrderEvent, name, [{ ...event, n: 1 }, { _tag: "Placed", order: "a", n: 5 }])
      yield* EventStore.append(OrderEvent, name, [{ ...event, order: "b", n: 1 }])
      yield* awaitCount(before, ({ parked }) => parked === 2)
    }).pipe(Effect.provide(run2(before)))
    isBroken = false
    yield* Effect.gen(function*() {
      const { failed, retried } = yield* Parking.retryAll(after)
      equal([failed, retried], [2, 0], "the outcome")
      equal((yield* parkedKeys(after)).map(({ key }) => key), ["a", "b"], "what is parked")
    }).pipe(Effect.provide(run2(after)))
    yield* Effect.gen(function*() {
      equal((yield* Parking.retryAll(before)).retried, 2, "what the first code retries")
      equal(Option.getOrUndefined(yield* ProjectionStore.get(before, "a")), 4, "the document")
      equal((yield* DeliveryAudit.run(before)).status, "complete", "the audit")
    }).pipe(Effect.provide(run2(before)))
  }),

  test("a query after an event of unknown key waits until it is processed or skipped", function*() {
    const name = unique("totals")
    let isBroken = true
    const totals = Projection.make(name, {
      where: { streamPrefix: name },
      document: Schema.Int,
      events: PlacedEvent,
      key: ({ n, order }) => {
        if (isBroken && n > 1) throw new Error("no key")
        return order
      },
      evolve: { Placed: (sum = 0, { n }) => sum + n }
    })
    const append = (n: number) => EventStore.append(PlacedEvent, name, [{ _tag: "Placed", order: "a", n }])
    const untilReached = (position: Position.Position, timeout: Duration.Input = "30 seconds") =>
      ProjectionStore.awaitPosition(totals, position, timeout)
    yield* Effect.gen(function*() {
      const first = yield* append(1)
      const second = yield* append(2)
      yield* untilReached(first.position)
      yield* awaitCount(totals, ({ parked }) => parked === 1)
      const behind = yield* Effect.flip(untilReached(second.position, "50 millis"))
      equal(behind._tag, "ProjectionBehind", "while the partition waits")
      equal(yield* ProjectionStore.checkpoint(totals), Position.make(second.position - 1n), "the position")
      isBroken = false
      yield* Parking.retry(totals, "")
      yield* untilReached(second.position)
      equal(Option.getOrUndefined(yield* ProjectionStore.get(totals, "a")), 3, "the document after the retry")
      isBroken = true
      const third = yield* append(5)
      yield* awaitCount(totals, ({ parked }) => parked === 1)
      yield* Parking.skip(totals, "", { reason: "damaged" })
      yield* untilReached(third.position)
      equal(Option.getOrUndefined(yield* ProjectionStore.get(totals, "a")), 3, "the document after the skip")
    }).pipe(Effect.provide(run2(totals)))
  }),

  test("a retry of an event of unknown key and unread type leaves it parked", function*() {
    const name = unique("totals")
    let isBroken = true
    const options = { where: { streamPrefix: name }, document: Schema.Int, partitions: 2 }
    const newer = Projection.make(name, {
      ...options,
      events: OrderEvent,
      key: ({ _tag, order }) => {
        if (isBroken && _tag === "Refunded") throw new Error("no key")
        return order
      },
      evolve: { Placed: (sum = 0, { n }) => sum + n, Refunded: (sum = 0, { n }) => sum - n }
    })
    const old = Projection.make(name, {
      ...options,
      events: PlacedEvent,
      key: ({ order }) => order,
      evolve: { Placed: (sum = 0, { n }) => sum + n }
    })
    yield* Effect.gen(function*() {
      yield* EventStore.append(OrderEvent, name, [{ _tag: "Refunded", order: "a", n: 1 }])
      yield* awaitCount(newer, ({ parked }) => parked === 2)
    }).pipe(Effect.provide(run2(newer)))
    isBroken = false
    yield* Effect.gen(function*() {
      const { entry, outcome } = yield* Parking.retry(old, "")
      equal(outcome, "failed", "the outcome")
      includes(entry.detail ?? "", `does not read events of type "Refunded"`, "the reason")
      equal((yield* Parking.count(old)).parked, 2, "the parked entries")
    }).pipe(Effect.provide(run2(old)))
    yield* Effect.gen(function*() {
      equal((yield* Parking.retry(newer, "")).outcome, "retried", "what the newer code does")
      equal(Option.getOrUndefined(yield* ProjectionStore.get(newer, "a")), -1, "the document")
    }).pipe(Effect.provide(run2(newer)))
  })
]

/**
 * All cases of retries by code that does not read the parked event.
 *
 * @since 0.1.0
 * @category suites
 */
export const unreadParked: ReadonlyArray<Case<Stores>> = [
  ...subscriptions,
  ...parts,
  ...partsByTag,
  ...documents
]
