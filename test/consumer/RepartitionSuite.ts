/**
 * Another number of partitions under the same version, on every back end: no event of a key is lost, repeated or out of order.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test } from "../../src/conformance/Suite.ts"
import type { Consumer } from "../../src/consumer/Consumer.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { internals } from "../../src/core/internals.ts"
import { partitionOf } from "../../src/core/partitionHash.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"
import * as ConsumerKeyFixtures from "./ConsumerKeyFixtures.ts"
import {
  assertAudit,
  fixture,
  type Mail,
  type Mails,
  partitionsOf,
  start,
  startIn,
  startProjection,
  untilPartitions
} from "./RepartitionFixtures.ts"

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

const minute = Duration.minutes(1)

const claimOf = (subscription: Consumer, owner: string) => ({
  consumer: subscription.id,
  owner,
  partitions: subscription.partitions,
  partitionedBy: "stream",
  reads: ConsumerReads.format(ConsumerReads.of(subscription)),
  lease: minute
})

const changeOf = (subscription: Consumer, from: number) => ({
  consumer: subscription.id,
  generation: subscription.id,
  from,
  to: subscription.partitions,
  reads: ConsumerReads.format(ConsumerReads.of(subscription))
})

/** Returns a course of a partition of two. */
const courseIn = (partition: number, name: string): string => {
  for (let n = 1;; n++) if (partitionOf(`${name}${n}`, 2) === partition) return `${name}${n}`
}

const definitions: ReadonlyArray<Case<Stores>> = [
  ...([[1, 4], [4, 8], [8, 3], [4, 1]] as const).map(([from, to]) =>
    test(`a subscription goes on with ${to} partitions instead of ${from}, each key where it was`, function*() {
      const mails = fixture()
      const slow = mails.streamIn([from, 0])
      const streams = upTo(9).map((n) => mails.streamIn([from, n % from]))
      mails.blocked.add(slow)
      yield* mails.append(...streams, slow, ...streams, slow, ...streams)
      // With one partition, the blocked stream blocks the others.
      const { end } = yield* startIn(start(mails.subscription(from)))
      if (from > 1) yield* mails.untilHandled(slow, ...streams.filter((_, index) => (index + 1) % from === 0))
      else yield* mails.until(() => mails.handled.length >= 9)
      yield* end
      mails.blocked.clear()
      yield* mails.append(slow, ...streams)
      const subscription = mails.subscription(to)
      yield* start(subscription)
      yield* mails.untilHandled()
      mails.assertOnce()
      equal(yield* partitionsOf(subscription), to, "the number of partitions")
      yield* assertAudit(subscription)
    })
  ),

  test("the number of partitions changes twice while keys are behind", function*() {
    const mails = fixture()
    const first = mails.streamIn([4, 0], [8, 0])
    const second = mails.streamIn([4, 1], [8, 1], [3, 0])
    const streams = upTo(12).map((n) => mails.streamIn([4, n % 4], [8, n % 8]))
    mails.blocked.add(first)
    yield* mails.append(first, ...streams, second, ...streams)
    const behind = (...places: ReadonlyArray<readonly [number, number]>) =>
      streams.filter((_, index) => places.some(([of, partition]) => (index + 1) % of === partition))
    const { end } = yield* startIn(start(mails.subscription(4)))
    yield* mails.untilHandled(first, ...behind([4, 0]))
    yield* end
    mails.blocked.add(second)
    yield* mails.append(second, first, ...streams)
    const { end: endSecond } = yield* startIn(start(mails.subscription(8)))
    yield* mails.untilHandled(first, second, ...behind([8, 0], [8, 1]))
    yield* endSecond
    mails.blocked.clear()
    const subscription = mails.subscription(3)
    yield* start(subscription)
    yield* mails.untilHandled()
    mails.assertOnce()
    yield* assertAudit(subscription)
  }),

  test("the number of partitions changes once no program with the old number runs", function*() {
    const mails = fixture()
    const streams = upTo(8).map((n) => mails.streamIn([2, n % 2], [4, n % 4]))
    yield* mails.append(...streams)
    const [older, newer] = [mails.subscription(2), mails.subscription(4)]
    const { end } = yield* startIn(start(older))
    yield* mails.until(() => mails.handled.length > 0)
    yield* start(newer)
    yield* mails.append(...streams, ...streams)
    yield* mails.untilHandled()
    equal(yield* partitionsOf(newer), 2, "the number of partitions while both run")
    const { reasons } = yield* Health.of([newer])
    includes(reasons.join(), "it works with 2 partitions, while this definition has 4", "the health")
    yield* Effect.forkChild(end)
    yield* mails.append(...streams, ...streams)
    yield* untilPartitions(newer, 4)
    yield* mails.append(...streams)
    yield* mails.untilHandled()
    mails.assertOnce()
    // A program of the release before does not change it back.
    yield* start(older)
    yield* mails.append(...streams)
    yield* mails.untilHandled()
    equal(yield* partitionsOf(newer), 4, "the number of partitions when an older program starts again")
    mails.assertOnce()
    yield* assertAudit(newer)
  }),

  test("a projection with handlers goes on with another number of partitions", function*() {
    const mails = fixture()
    const slow = mails.streamIn([4, 0])
    const streams = upTo(3).map((n) => mails.streamIn([4, n]))
    const positions = yield* mails.append(slow, ...streams, ...streams)
    const older = mails.projection(4)
    const store = yield* driver
    const { assigned } = yield* store.claim(claimOf(older, "old"))
    for (const { epoch, partition, position: from } of assigned.slice(1)) {
      const to = positions.at(-1)!
      yield* store.advance({ generation: older.id, partition, epoch, from, to, changes: [], applied: [] })
    }
    yield* store.release(older.id, "old")
    mails.handled.push(...streams.flatMap((stream) => [`${stream}/1`, `${stream}/2`]))
    const projection = mails.projection(6)
    yield* startProjection(projection)
    yield* mails.append(slow, ...streams)
    yield* mails.untilHandled()
    mails.assertOnce()
    equal(yield* partitionsOf(projection), 6, "the number of partitions")
    yield* assertAudit(projection)
  }),

  test("documents by document keep the order of each in another number of partitions", function*() {
    const { append, audited, awaitPosition, projection, seen } = ConsumerKeyFixtures.fixture({ partitions: 4 })
    const courses = upTo(7).map((n) => `course ${n}`)
    const round = (n: number) =>
      Effect.map(Effect.forEach(courses, (course) => append(n, [course, "all"])), (positions) => positions.at(-1)!)
    yield* Effect.provide(Effect.flatMap(round(1), awaitPosition), Projector.layer([projection]))
    for (const [n, partitions] of [[2, 7], [3, 1], [4, 3]] as const) {
      const layer = Projector.layer([{ ...projection, partitions }], { batchSize: 3 })
      yield* Effect.provide(Effect.flatMap(round(n), awaitPosition), Layer.fresh(layer))
      equal(yield* partitionsOf(projection), partitions, "the number of partitions")
      for (const course of courses) equal(yield* seen(course), upTo(n), `the document of ${course}`)
      yield* audited
    }
    equal(yield* seen("all"), upTo(4).flatMap((n) => courses.map(() => n)), "the document of all")
  })
]

const parking: ReadonlyArray<Case<Stores>> = [
  test("a key that was parked in other partitions waits, and is retried in order", function*() {
    const mails = fixture()
    const parked = mails.streamIn([2, 1], [4, 3])
    const streams = upTo(4).map((n) => mails.streamIn([4, n % 4]))
    mails.failing.add(`${parked}/2`)
    yield* mails.append(parked, parked, ...streams, parked)
    const { end } = yield* startIn(start(mails.subscription(2)))
    yield* mails.untilHandled(parked)
    yield* end
    yield* mails.append(parked, ...streams)
    const subscription = mails.subscription(4)
    yield* start(subscription)
    yield* mails.untilHandled(parked)
    equal(mails.versionsOf(parked), [1], "what was handled of the parked key")
    const { items: [entry] } = yield* Parking.list(subscription)
    equal([entry?.key, entry?.partition], [parked, 3], "where it is parked")
    const { items: history } = yield* Parking.history(subscription)
    equal(history.map(({ action }) => action), ["parked", "moved"], "the parking log")
    yield* assertAudit(subscription)
    mails.failing.clear()
    yield* Parking.retry(subscription, parked)
    yield* mails.untilHandled()
    mails.assertOnce()
    yield* assertAudit(subscription)
  }),

  test("a request that no worker has carried out is carried out in the new partitions", function*() {
    const mails = fixture()
    // The new partitions start at its first event, which is before those that wait behind parked ones.
    const slow = mails.streamIn([2, 0], [4, 0])
    const parked = upTo(4).map((n) => mails.streamIn([2, 1], [4, n % 2 === 0 ? 1 : 3]))
    for (const stream of parked) mails.failing.add(`${stream}/1`)
    mails.blocked.add(slow)
    yield* mails.append(slow, ...parked, ...parked)
    const older = mails.subscription(2)
    const { end } = yield* startIn(start(older))
    yield* Parking.count(older).pipe(
      Effect.repeat({ until: ({ parked }) => parked === 4, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("1 minute")
    )
    yield* end
    mails.blocked.clear()
    equal((yield* Effect.flip(Parking.retryAll(older, { timeout: "20 millis" })))._tag, "StillParked", "the request")
    mails.failing.clear()
    const subscription = mails.subscription(4)
    yield* start(subscription)
    yield* mails.untilHandled()
    mails.assertOnce()
    yield* assertAudit(subscription)
  }),

  test("requests for keys wait while a partition that is behind waits at an event of unknown key", function*() {
    const { append, audited, awaitPosition, poison, projection, seen } = ConsumerKeyFixtures.fixture({ partitions: 2 })
    const [skipped, retried] = ["a", "b"].map((name) => courseIn(1, name))
    const both = [skipped!, retried!]
    for (const course of both) poison.add(`${course}3`)
    const positions = yield* Effect.forEach([1, 2, 3, 4], (n) => append(n, both))
    let isBroken = true
    const newer: typeof projection = {
      ...projection,
      partitions: 3,
      keysOf: (record) => {
        if (isBroken && record.position === positions[1]) throw new Error("no key")
        return projection.keysOf(record)
      }
    }
    const last = positions.at(-1)!
    // Partition 0 stays where it is.
    const store = yield* driver
    yield* store.claim({ ...claimOf(projection, "old"), partitionedBy: "document" })
    yield* store.release(projection.id, "old", 1)
    yield* ConsumerKeyFixtures.until(
      Effect.map(store.progress(projection.id), (progress) => progress[1]?.position === last)
    ).pipe(Effect.provide(Layer.fresh(Projector.layer([projection]))))
    yield* store.release(projection.id, "old")
    poison.clear()
    yield* Effect.gen(function*() {
      yield* ConsumerKeyFixtures.until(Effect.map(Parking.count(newer), ({ parked }) => parked === 5))
      const timeout = "300 millis"
      const skip = Effect.flip(Parking.skip(newer, skipped!, { reason: "damaged", timeout }))
      equal((yield* skip)._tag, "StillParked", "the request to skip")
      equal((yield* Effect.flip(Parking.retry(newer, retried!, { timeout })))._tag, "StillParked", "that to retry")
      isBroken = false
      yield* Parking.retry(newer, "")
      yield* awaitPosition(last)
      yield* ConsumerKeyFixtures.until(Effect.map(Parking.count(newer), ({ parked }) => parked === 0))
    }).pipe(Effect.provide(attentive(Projector.layer([newer]), newer)))
    equal(yield* seen(skipped!), [1, 2, 4], "the events that were not skipped")
    equal(yield* seen(retried!), [1, 2, 3, 4], "the events that were retried")
    yield* audited
  }),

  test("partitions and version change a limited number of times while one is behind", function*() {
    const mails = fixture()
    const store = yield* driver
    const [position] = yield* mails.append(mails.streamIn([2, 0]))
    const definitions = [mails.subscription(2), mails.subscription(3)] as const
    const change = Effect.fnUntraced(function*(now: Mail, next: Mail) {
      const { assigned: [first, last] } = yield* store.claim(claimOf(now, "old"))
      const { epoch, partition, position: from } = first!
      const to = { to: position!, toEventId: undefined }
      yield* store.advance({ generation: now.id, partition, epoch, from, ...to, changes: [], applied: [] })
      yield* store.release(now.id, "old")
      yield* store.claim(claimOf(next, "new"))
      const isChanged = yield* store.repartition(changeOf(next, now.partitions))
      yield* store.release(now.id, "new")
      return { isChanged, former: last!.former?.length ?? 0 }
    })
    const layouts: Array<number> = []
    for (let n = 0; n <= 32; n++) {
      const { former, isChanged } = yield* change(definitions[n % 2]!, definitions[(n + 1) % 2]!)
      layouts.push(former)
      equal(isChanged, n < 32, `change ${n + 1}`)
    }
    equal(layouts, [0, ...upTo(32)], "the former numbers that a worker is given")
    includes((yield* Health.of([definitions[1]])).reasons.join(), "it has changed too often while", "the health")
    const next = mails.subscription(1, { version: 2, from: { version: 1 } })
    const claim = { ...claimOf(next, "next"), from: definitions[0].id }
    equal(yield* store.continueVersion(claim), "former", "a new version")
    includes((yield* Health.of([next])).reasons.join(), "have changed too often while", "the health of the new version")
  }),

  test("a request finds keys that have moved to other partitions since they were listed", function*() {
    const mails = fixture()
    const store = yield* driver
    const [older, newer] = [mails.subscription(2), mails.subscription(3)]
    const streams = [mails.streamIn([2, 1], [3, 0]), mails.streamIn([2, 1], [3, 1]), mails.streamIn([2, 1], [3, 2])]
    const positions = yield* mails.append(...streams)
    const { assigned } = yield* store.claim(claimOf(older, "old"))
    const { epoch, partition, position: from } = assigned[1]!
    const to = positions.at(-1)!
    yield* store.advance({ generation: older.id, partition, epoch, from, to, changes: [], applied: [] })
    yield* store.park(
      older.id,
      1,
      streams.map((stream, index) => ({
        key: stream,
        stream: StreamId.make(stream),
        version: Version.make(1),
        position: positions[index]!,
        eventId: globalThis.crypto.randomUUID(),
        type: "Sent",
        error: "a test"
      }))
    )
    yield* store.release(older.id, "old")
    const listed = yield* store.parkedPlaces(older.id, {})
    yield* store.claim(claimOf(newer, "new"))
    equal(yield* store.repartition(changeOf(newer, 2)), true, "the change")
    equal(yield* store.request(newer.id, { id: "one", action: "retry" }, listed), 3, "the keys of a request")
    equal((yield* store.requestProgress(newer.id, "one")).waiting, 3, "those that wait for a worker")
    equal(yield* store.withdraw(newer.id, listed), 3, "the keys of which it is withdrawn")
    const views = yield* store.views([newer.id, newer.id], [])
    equal(views.map(({ reached }) => reached), [to, to], "of which documents may contain events")
  }),

  test("a definition with another number shows the events that wait behind a parked key", function*() {
    const { append, awaitPosition, poison, projection } = ConsumerKeyFixtures.fixture({
      partitions: 2,
      partitionBy: { tag: "course" }
    })
    const courses = ["a", "b", "c", "d"]
    for (const course of courses) poison.add(`${course}1`)
    for (const n of [1, 2]) yield* Effect.forEach(courses, (course) => append(n, [course]))
    yield* Effect.provide(Effect.flatMap(append(1, ["e"]), awaitPosition), Projector.layer([projection]))
    for (const course of courses) {
      const { waiting } = yield* Parking.inspect({ ...projection, partitions: 5 }, `course:${course}`)
      equal(waiting.length, 1, `the events that wait behind ${course}`)
    }
  }),

  test("the number of partitions changes only after an event of unknown key was skipped", function*() {
    const { append, appendOdd, audited, awaitPosition, projection, seen } = ConsumerKeyFixtures.fixture({
      partitions: 2
    })
    const courses = upTo(6).map((n) => `course ${n}`)
    yield* Effect.provide(Effect.flatMap(append(1, courses), awaitPosition), Projector.layer([projection]))
    yield* appendOdd()
    yield* Effect.repeat(Parking.count(projection), {
      until: ({ parked }) => parked === 2,
      schedule: Schedule.spaced("5 millis")
    }).pipe(Effect.provide(Layer.fresh(Projector.layer([projection]))))
    const last = yield* append(2, courses)
    const newer = { ...projection, partitions: 5 }
    yield* Effect.gen(function*() {
      const { status } = yield* Projector.Projector
      yield* Effect.repeat(status, {
        until: ([one]) => one?.state === "stuck" && one.partitions === 2,
        schedule: Schedule.spaced("5 millis")
      })
      equal(yield* partitionsOf(newer), 2, "the number of partitions")
      const { reasons } = yield* Health.of([newer])
      includes(reasons.join(), "cannot change yet: a partition waits at a parked event of unknown key", "the health")
      yield* Parking.skip(newer, "", { reason: "damaged" })
      yield* awaitPosition(last)
      yield* untilPartitions(newer, 5)
      yield* awaitPosition(yield* append(3, courses))
    }).pipe(Effect.provide(attentive(Projector.layer([newer]), newer)))
    for (const course of courses) equal(yield* seen(course), [1, 2, 3], `the document of ${course}`)
    yield* audited
  }),

  test("one partition by stream with documents stays one, and says why", function*() {
    const { append, awaitPosition, projection } = ConsumerKeyFixtures.fixture({ partitions: 1, partitionBy: "stream" })
    yield* Effect.provide(Effect.flatMap(append(1, ["a"]), awaitPosition), Projector.layer([projection]))
    const newer = { ...projection, partitions: 2 }
    yield* Effect.provide(
      Effect.flatMap(append(2, ["a"]), awaitPosition),
      attentive(Projector.layer([newer]), newer)
    )
    equal(yield* partitionsOf(newer), 1, "the number of partitions")
    const { reasons } = yield* Health.of([newer])
    includes(reasons.join(), "rebuild the projection by Rebuild.rebuild", "the health")
  }),

  test("one partition by stream parks what the former ones would have, in a retry too", function*() {
    const two = ConsumerKeyFixtures.fixture({ partitions: 2, partitionBy: "stream" })
    const { append, projection, seen, type } = two
    const [slow, fast] = [courseIn(0, `${type}-`), courseIn(1, `${type}-`)]
    const store = yield* driver
    yield* store.claim(claimOf(projection, "frozen"))
    yield* store.release(projection.id, "frozen", 1)
    yield* append(1, ["a"], slow)
    const second = yield* append(2, ["a"], fast)
    yield* Effect.provide(
      ConsumerKeyFixtures.until(Effect.map(seen("a"), (found) => found.length === 1)),
      Projector.layer([projection])
    )
    yield* store.release(projection.id, "frozen")
    const one = { ...projection, partitions: 1 }
    yield* Effect.gen(function*() {
      yield* two.awaitPosition(second)
      equal(yield* partitionsOf(one), 1, "the number of partitions")
      equal(yield* seen("a"), [2], "the document without the earlier event")
      const retried = yield* Parking.retry(one, slow)
      equal(retried.outcome, "failed", "a retry")
      // From then on the order of all streams is that of the log.
      yield* two.awaitPosition(yield* append(3, ["a"], `${type}-other`))
      equal(yield* seen("a"), [2, 3], "the document with an event of another stream")
      equal((yield* Parking.retry(one, slow)).outcome, "failed", "a later retry")
      const { items: [parked] } = yield* Parking.list(one)
      includes(parked?.error ?? "", "Rebuild the projection by Rebuild.rebuild", "the error")
      yield* Stream.runDrain(Rebuild.rebuild(one))
      equal(yield* seen("a"), [1, 2, 3], "the rebuilt document")
    }).pipe(Effect.provide(attentive(Projector.layer([one]), one)))
  })
]

const fencing: ReadonlyArray<Case<Stores>> = [
  test("no write of an owner before the change succeeds, also when partitions come back", function*() {
    const mails = fixture()
    const stream = mails.streamIn([4, 3])
    const [position] = yield* mails.append(stream)
    const store = yield* driver
    const [four, two] = [mails.subscription(4), mails.subscription(2)]
    const { assigned } = yield* store.claim(claimOf(four, "old"))
    const advance = (partition: number, epoch: bigint) =>
      store.advance({
        generation: four.id,
        partition,
        epoch,
        from: Position.start,
        to: position!,
        changes: [],
        applied: []
      })
    equal(yield* store.repartition(changeOf(two, 4)), false, "a change while partitions are leased")
    yield* store.release(four.id, "old")
    equal((yield* store.claim(claimOf(two, "new"))).change, "repartition", "what the claim says")
    equal(yield* store.repartition(changeOf(two, 3)), false, "a change from another number")
    equal(yield* store.repartition(changeOf(two, 4)), true, "the change")
    for (const { epoch, partition } of assigned) equal(yield* advance(partition, epoch), "lost", `${partition} of 4`)
    equal(yield* store.repartition(changeOf(four, 2)), true, "the change back")
    for (const { epoch, partition } of assigned) equal(yield* advance(partition, epoch), "lost", `${partition} again`)
    yield* store.release(four.id, "new")
    const { assigned: [first] } = yield* store.claim(claimOf(four, "newest"))
    equal(yield* advance(first!.partition, first!.epoch), "advanced", "a write of the owner")
  }),

  test("partitions that are leased are given back before the number changes", function*() {
    const mails = fixture()
    const store = yield* driver
    const [four, two] = [mails.subscription(4), mails.subscription(2)]
    yield* store.claim(claimOf(two, "old"))
    const held = yield* store.claim(claimOf(four, "new"))
    equal([held.partitions, held.change, held.assignmentSize], [2, undefined, 1], "while the older one runs")
    yield* store.release(two.id, "old")
    const { assigned } = yield* store.claim({ ...claimOf(four, "other"), owner: "other" })
    equal(assigned.length, 0, "nothing is claimed")
    const draining = yield* store.claim(claimOf(four, "new"))
    equal([draining.change, draining.assignmentSize], ["repartition", 0], "nothing is leased")
  })
]

/** Leaves one partition of two behind, and the other one at an event that the log has lost. */
const diverge = Effect.fnUntraced(function*(mails: Mails) {
  const positions = yield* mails.append(mails.streamIn([2, 0]), mails.streamIn([2, 1]))
  const lost = { position: positions.at(-1)!, eventId: globalThis.crypto.randomUUID() }
  const older = mails.subscription(2)
  const store = yield* driver
  const { assigned } = yield* store.claim(claimOf(older, "old"))
  const { epoch, partition, position: from } = assigned[1]!
  const to = { to: lost.position, toEventId: lost.eventId }
  yield* store.advance({ generation: older.id, partition, epoch, from, ...to, changes: [], applied: [] })
  yield* store.release(older.id, "old")
  return lost
})

/** A program is stuck, because the log has lost an event that a partition has processed, and it handles nothing. */
const assertDiverged = Effect.fnUntraced(
  function*(mails: Mails, subscription: Mail, { eventId, position }: Effect.Success<ReturnType<typeof diverge>>) {
    const { status } = Context.get(
      yield* Layer.build(Layer.fresh(attentive(Subscription.layer([subscription]), subscription))),
      Subscription.Subscriptions
    )
    yield* ConsumerKeyFixtures.until(Effect.map(status, ([one]) => one?.state === "stuck"))
    const [one] = yield* status
    includes(one?.detail ?? "", eventId, "the event of which the status says that it is lost")
    includes(one?.detail ?? "", `position ${position}`, "its position")
    equal(mails.handled, [], "what was handled")
  },
  Effect.scoped
)

const lost: ReadonlyArray<Case<Stores>> = [
  test("the number of partitions does not change over an event that the log has lost", function*() {
    const mails = fixture()
    const lost = yield* diverge(mails)
    const newer = mails.subscription(3)
    yield* assertDiverged(mails, newer, lost)
    equal(yield* partitionsOf(newer), 2, "the number of partitions")
    includes((yield* Health.of([newer])).reasons.join(), lost.eventId, "the health")
  }),

  test("a new version does not continue over an event that the log has lost", function*() {
    const mails = fixture()
    const lost = yield* diverge(mails)
    const newer = mails.subscription(2, { version: 2, from: { version: 1 } })
    yield* assertDiverged(mails, newer, lost)
    equal(yield* partitionsOf(newer), 0, "the number of partitions")
  }),

  test("partitions do not go on when the log has lost an event that a former one has processed", function*() {
    const mails = fixture()
    const lost = yield* diverge(mails)
    const newer = mails.subscription(3)
    const store = yield* driver
    yield* store.claim(claimOf(newer, "new"))
    equal(yield* store.repartition(changeOf(newer, 2)), true, "the change")
    yield* store.release(newer.id, "new")
    yield* assertDiverged(mails, newer, lost)
    const { reasons, status } = yield* Health.of([newer])
    equal(status, "red", "the health")
    includes(reasons.join(), lost.eventId, "why")
    includes((yield* Effect.flip(DeliveryAudit.run(newer))).message, lost.eventId, "the audit")
  })
]

const reads: ReadonlyArray<Case<Stores>> = [
  test("code that reads more is rejected for an event that a former partition has passed", function*() {
    const mails = fixture()
    const [slow, fast] = [mails.streamIn([2, 0]), mails.streamIn([2, 1])]
    const Both = Schema.TaggedUnion({ Sent: { n: Schema.Int }, Seen: { n: Schema.Int } })
    const [first] = yield* mails.append(slow)
    const seen = yield* EventStore.append(Both, fast, [Both.cases.Seen.make({ n: 1 })])
    const older = mails.subscription(2)
    const store = yield* driver
    const { assigned } = yield* store.claim(claimOf(older, "old"))
    for (const { epoch, partition, position: from } of assigned) {
      // The faster partition has passed the event, and the slower one has not.
      const to = partition === 0 ? Position.make(first! - 1n) : seen.position
      yield* store.advance({ generation: older.id, partition, epoch, from, to, changes: [], applied: [] })
    }
    yield* store.release(older.id, "old")
    const newer = mails.subscription(3)
    yield* store.claim(claimOf(newer, "new"))
    equal(yield* store.repartition(changeOf(newer, 2)), true, "the change")
    yield* store.release(newer.id, "new")
    const both = Subscription.make(mails.name, {
      events: Both,
      where: { streamPrefix: `${mails.name}-` },
      partitions: 3,
      handle: () => Effect.void
    })
    const { status } = Context.get(
      yield* Layer.build(Layer.fresh(attentive(Subscription.layer([both]), both))),
      Subscription.Subscriptions
    )
    const [one] = yield* Effect.timeout(
      Effect.repeat(status, { until: ([one]) => one?.state === "stuck", schedule: Schedule.spaced("5 millis") }),
      "30 seconds"
    )
    includes(one?.detail ?? "", `such as "Seen" at position ${seen.position}`, "why it is stuck")
  })
]

export const repartitions: ReadonlyArray<Case<Stores>> = [...definitions, ...parking, ...fencing, ...lost, ...reads]
