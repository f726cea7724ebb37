/**
 * Where a subscription that has never run starts, on every back end: where an earlier version stands, after a position, or at a time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import * as Generations from "../../src/operations/Generations.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import {
  assertAudit,
  fixture,
  type Mail,
  partitionsOf,
  start,
  startIn,
  untilPartitions
} from "../consumer/RepartitionFixtures.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const Billed = Schema.TaggedUnion({ Billed: { n: Schema.Int, customer: Schema.String } }).pipe(
  Event.tags({ customer: "customer" })
)

const rejects = (subscription: Mail, ...words: ReadonlyArray<string>) =>
  Effect.map(Effect.flip(start(subscription)), (error) => {
    equal(error.reason._tag, "InvalidRequest", "the reason")
    for (const word of words) includes(error.message, word, "the message")
  })

const statusOf = (subscription: Mail) =>
  Effect.map(
    Layer.build(Layer.fresh(attentive(
      Subscription.layer([subscription], { retryDelay: { first: "20 millis", max: "50 millis" } }),
      subscription
    ))),
    (context) => Context.get(context, Subscription.Subscriptions).status
  )

const versions: ReadonlyArray<Case<Stores>> = [
  ...([4, 2, 7] as const).map((partitions) =>
    test(`a version continues with ${partitions} partitions where one with 4 stands`, function*() {
      const mails = fixture()
      const slow = mails.streamIn([4, 0])
      const parked = mails.streamIn([4, 1])
      const streams = upTo(8).map((n) => mails.streamIn([4, n % 4]))
      mails.blocked.add(slow)
      mails.failing.add(`${parked}/1`)
      yield* mails.append(slow, parked, parked, ...streams, ...streams)
      const older = mails.subscription(4)
      const { end } = yield* startIn(start(older))
      yield* mails.untilHandled(slow, parked, ...streams.filter((_, index) => (index + 1) % 4 === 0))
      yield* end
      mails.blocked.clear()
      const newer = mails.subscription(partitions, { version: 2, from: { version: 1 } })
      yield* start(newer)
      yield* mails.append(parked, ...streams)
      yield* mails.untilHandled(parked)
      equal(mails.versionsOf(parked), [], "the parked key")
      yield* assertAudit(newer)
      mails.failing.clear()
      yield* Parking.retry(newer, parked)
      yield* mails.untilHandled()
      mails.assertOnce()
      equal(yield* partitionsOf(newer), partitions, "the number of partitions")
      yield* assertAudit(newer)
      yield* assertAudit(older)
    })
  ),

  test("an earlier version gives back its partitions before another one continues", function*() {
    const mails = fixture()
    const streams = upTo(8).map((n) => mails.streamIn([2, n % 2]))
    yield* mails.append(...streams, ...streams)
    const older = mails.subscription(2)
    const newer = mails.subscription(2, { version: 2, from: { version: 1 } })
    const { end } = yield* startIn(start(older))
    yield* mails.until(() => mails.handled.length > 3)
    yield* start(newer)
    yield* mails.append(...streams, ...streams)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* driver.progress(newer.id).pipe(
      Effect.repeat({ until: (progress) => progress.length > 0, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    yield* mails.append(...streams)
    yield* mails.untilHandled()
    mails.assertOnce()
    const { reasons, status } = yield* Health.of([older])
    equal(status, "yellow", "the health of the earlier version")
    includes(reasons.join(), `${newer.id} has continued`, "the health of the earlier version")
    const third = mails.subscription(2, { version: 3, from: { version: 1 } })
    yield* rejects(third, "another version has continued from there")
    includes(
      (yield* Effect.flip(Checkpoints.reset(older, "end"))).message,
      "has continued from its checkpoints; reset that instead",
      "a reset"
    )
    yield* end
    // It comes back, as after a rollback of the release, and handles nothing.
    yield* start(older)
    yield* mails.append(...streams)
    yield* mails.untilHandled()
    mails.assertOnce()
    yield* assertAudit(newer)
  }),

  test("a retry asked of a version from which another one has continued names that one", function*() {
    const mails = fixture()
    const parked = mails.streamIn([1, 0])
    mails.failing.add(`${parked}/1`)
    yield* mails.append(parked)
    const older = mails.subscription(1)
    const { end } = yield* startIn(start(older))
    yield* Parking.count(older).pipe(
      Effect.repeat({ until: (count) => count.parked === 1, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    yield* end
    const waits = yield* Effect.forkChild(Effect.flip(Parking.retry(older, parked, { timeout: "1 minute" })))
    yield* Parking.count(older).pipe(
      Effect.repeat({ until: (count) => count.requested === 1, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    const newer = mails.subscription(1, { version: 2, from: { version: 1 } })
    yield* start(newer)
    const errors = [
      yield* Effect.timeout(Fiber.join(waits), "1 minute"),
      yield* Effect.flip(Parking.retry(older, parked)),
      yield* Effect.flip(Parking.skip(older, parked, { reason: "by mistake" })),
      yield* Effect.flip(Parking.retryAll(older)),
      yield* Effect.flip(Parking.skipAll(older, { reason: "by mistake" }))
    ]
    for (const error of errors) includes(error.message, `call this for "${newer.id}" instead`, "the message")
  }),

  test("a version that another one was to continue from goes on if that one ends before", function*() {
    const mails = fixture()
    const stream = mails.streamIn([1, 0])
    const older = mails.subscription(1)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* start(older)
    yield* mails.append(stream)
    yield* mails.untilHandled()
    const newer = mails.subscription(1, { version: 2, from: { version: 1 } })
    const continuation = {
      consumer: newer.id,
      from: older.id,
      owner: "newer",
      partitions: 1,
      partitionedBy: "stream",
      reads: "",
      lease: Duration.millis(300)
    } as const
    equal(yield* driver.continueVersion(continuation), "draining", "the first request")
    yield* mails.append(stream)
    yield* mails.untilHandled()
    mails.assertOnce()
  }),

  test("another key continues only without parked keys, and the earlier version works on", function*() {
    const mails = fixture()
    const [parked, stream] = [mails.streamIn([2, 0]), mails.streamIn([2, 1])]
    mails.failing.add(`${parked}/1`)
    const older = mails.subscription(2)
    yield* start(older)
    yield* mails.append(parked, stream)
    yield* mails.untilHandled(parked)
    yield* Parking.count(older).pipe(
      Effect.repeat({ until: (count) => count.parked === 1, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    const newer = {
      ...mails.subscription(3, { version: 2, from: { version: 1 } }),
      partitionBy: { tag: "none" }
    } as const
    const status = yield* statusOf(newer)
    const [one] = yield* Effect.repeat(status, {
      until: ([one]) => one?.state === "stuck",
      schedule: Schedule.spaced("5 millis")
    })
    includes(one?.detail ?? "", "it has parked keys", "why it is stuck")
    includes((yield* Health.of([newer])).reasons.join(), "it has parked keys", "the health")
    yield* mails.append(stream)
    yield* mails.untilHandled(parked)
    mails.failing.clear()
    yield* Parking.retry(older, parked)
    yield* Effect.repeat(status, { until: ([one]) => one?.state === "live", schedule: Schedule.spaced("20 millis") })
    yield* mails.append(stream, parked)
    yield* mails.untilHandled()
    mails.assertOnce()
    yield* assertAudit(newer)
  }),

  test("a retry under another key leaves out what the earlier version has handled", function*() {
    const { name, streamIn, until } = fixture()
    const [slow, fast] = [streamIn([2, 0]), streamIn([2, 1])]
    const handled: Array<string> = []
    const blocked = new Set([slow])
    let isFailing = true
    const subscription = (version: number, options: { readonly from?: Subscription.From } = {}) =>
      Subscription.make(name, {
        events: Billed,
        where: { streamPrefix: `${name}-` },
        partitions: 2,
        partitionBy: version === 1 ? "stream" : { tag: "customer" },
        retry: Schedule.recurs(0),
        version,
        ...options,
        handle: {
          Billed: ({ n }, { stream }) =>
            Effect.gen(function*() {
              while (blocked.has(stream)) yield* Effect.sleep("5 millis")
              if (n === 1 && isFailing) return yield* Effect.die(new Error("fails"))
              handled.push(`${version}:${n}`)
            })
        }
      })
    const startOf = (one: ReturnType<typeof subscription>) =>
      Effect.asVoid(Layer.build(Layer.fresh(attentive(Subscription.layer([one], { stopTimeout: 0 }), one))))
    const bill = (stream: string, n: number) =>
      EventStore.append(Billed, stream, [Billed.cases.Billed.make({ n, customer: name })])
    yield* bill(slow, 1)
    yield* bill(fast, 2)
    const { position: last } = yield* bill(fast, 3)
    const [older, newer] = [subscription(1), subscription(2, { from: { version: 1 } })]
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const { end } = yield* startIn(startOf(older))
    yield* driver.progress(older.id).pipe(
      Effect.repeat({ until: ([, fast]) => fast?.position === last, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    yield* end
    blocked.clear()
    const first = yield* startIn(startOf(newer))
    yield* Parking.count(newer).pipe(
      Effect.repeat({ until: ({ parked }) => parked === 1, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    yield* bill(fast, 4)
    yield* first.end
    isFailing = false
    const key = `customer:${name}`
    equal((yield* Parking.inspect(newer, key)).waiting.length, 1, "the events that wait")
    yield* startOf(newer)
    yield* Parking.retry(newer, key)
    yield* until(() => handled.length >= 4)
    equal(handled, ["1:2", "1:3", "2:1", "2:4"], "what each version has handled")
    yield* assertAudit(newer)
  }),

  test("a version that cannot continue from an earlier one says why, or starts otherwise", function*() {
    const mails = fixture()
    const stream = mails.streamIn([1, 0])
    yield* mails.append(stream)
    const from = { version: 1 } as const
    const second = mails.subscription(1, { version: 2, from })
    yield* rejects(second, "has never run", "otherwise")
    includes((yield* Health.of([second])).reasons.join(), `${mails.name}@1", but that has never run`, "the health")
    yield* Effect.scoped(Effect.andThen(
      start(mails.subscription(1, { version: 3, from: { ...from, otherwise: "now" } })),
      Effect.andThen(mails.append(stream), mails.until(() => mails.handled.length === 1))
    ))
    equal(mails.versionsOf(stream), [2], "what is handled with `otherwise: now`")
    yield* start(mails.subscription(1, { version: 4, from: { ...from, otherwise: "start" } }))
    yield* mails.until(() => mails.handled.length === 3)
    equal(mails.versionsOf(stream), [2, 1, 2], "what is handled with `otherwise: start`")
    const fifth = mails.subscription(1, { version: 5, from: { version: 3 } })
    yield* Effect.scoped(Effect.andThen(start(fifth), untilPartitions(fifth, 1)))
    const sixth = mails.subscription(1, { version: 6, from: { version: 3 } })
    includes((yield* Health.of([sixth])).reasons.join(), "another version has continued", "the health of a third one")
    yield* Generations.discard(mails.subscription(1, { version: 3 }).id, { evenIfActive: true })
    const seventh = mails.subscription(1, { version: 7, from: { version: 3 } })
    yield* rejects(seventh, "was discarded")
    includes((yield* Health.of([seventh])).reasons.join(), "was discarded", "the health of one after it")
  })
]

const positions: ReadonlyArray<Case<Stores>> = [
  test("a subscription starts after a position, and keeps its checkpoint after that", function*() {
    const mails = fixture()
    const streams = [mails.streamIn([2, 0]), mails.streamIn([2, 1])]
    const [, , third] = yield* mails.append(...streams, ...streams, ...streams)
    const store = (yield* EventStore.EventStore)[internals].driver
    const [id] = yield* store.eventIds([third!])
    const subscription = mails.subscription(2, { from: { after: LogPosition.make(third!, id) } })
    yield* Effect.scoped(Effect.andThen(start(subscription), mails.until(() => mails.handled.length === 3)))
    equal([mails.versionsOf(streams[0]!), mails.versionsOf(streams[1]!)], [[3], [2, 3]], "what is handled")
    yield* assertAudit(subscription)
    yield* mails.append(...streams)
    yield* start(subscription)
    yield* mails.until(() => mails.handled.length === 5)
    yield* assertAudit(subscription)
  }),

  test("a subscription does not start after a position that the log does not have", function*() {
    const mails = fixture()
    const [position] = yield* mails.append(mails.streamIn([1, 0]))
    const beyond = Position.make(position! + 1_000_000n)
    yield* rejects(mails.subscription(1, { from: { after: beyond } }), "the high-water mark of the log is", "\"now\"")
    const other = LogPosition.make(position!, globalThis.crypto.randomUUID())
    const error = yield* Effect.flip(start(mails.subscription(1, { from: { after: other } })))
    equal(error.reason._tag, "LogDiverged", "the reason for another event")
  }),

  test("a subscription starts with the first event that was recorded at a time or later", function*() {
    const mails = fixture()
    const stream = mails.streamIn([1, 0])
    yield* mails.append(stream, stream)
    yield* Effect.sleep("5 millis")
    const [third] = yield* mails.append(stream, stream)
    const store = (yield* EventStore.EventStore)[internals].driver
    const { events } = yield* store.readAll({ after: Position.make(third! - 1n), limit: 1 })
    const since = events[0]!.recordedAt
    const subscription = mails.subscription(1, { from: { since } })
    yield* start(subscription)
    yield* mails.until(() => mails.handled.length === 2)
    equal(mails.versionsOf(stream), [3, 4], "what is handled")
    yield* assertAudit(subscription)
    const now = DateTime.makeUnsafe(yield* Clock.currentTimeMillis)
    const future = fixture()
    yield* rejects(future.subscription(1, { from: { since: DateTime.add(now, { hours: 1 }) } }), "in the future")
    yield* start(future.subscription(1, { from: { since: now } }))
    const later = future.streamIn([1, 0])
    yield* future.append(later)
    yield* future.untilHandled()
  })
]

export const starts: ReadonlyArray<Case<Stores>> = [...versions, ...positions]
