/**
 * Cases about the partitions of a consumer: claims, leases and checkpoints.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { HeldInHand } from "../consumer/LeaseDriver.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import { acquire, advance, at, claim, driver, keys, minute, notes, put, written } from "./ProjectionStoreFixtures.ts"
import { type Case, equal, isAtLeast, test, unique } from "./Suite.ts"

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [
  test("returns the start as the checkpoint of a new projection", function*() {
    const { id } = notes()
    equal((yield* (yield* driver).checkpoint(id)).position, Position.start, "the checkpoint")
    equal(yield* acquire(id), Option.some({ epoch: 1n, position: Position.start }), "the first lease")
  }),

  test("stores with a checkpoint the id of the event there", function*() {
    const { id } = notes()
    const store = yield* driver
    const eventId = "0198c0de-0000-7000-8000-000000000001"
    const stored = Effect.map(
      Effect.all([store.progress(id), claim(id)]),
      ([[progress], { assigned: [assigned] }]) => {
        equal(progress?.count, assigned?.count, "the number of events before it")
        return [progress?.eventId, assigned?.eventId]
      }
    )
    const { assigned: [assigned] } = yield* claim(id)
    equal(yield* stored, [undefined, undefined], "at the start")
    yield* store.advance({ ...written(id, assigned!.epoch, 0, 5), toEventId: eventId })
    equal(yield* stored, [eventId, eventId], "after an event")
    const key = unique("note")
    yield* store.advance({
      ...written(id, assigned!.epoch, 5, 7, [put(key, "open")]),
      toEventId: eventId.replace("1", "2"),
      toCount: { since: at(2), events: 4 },
      reads: [{ key, revision: 0n }]
    })
    equal((yield* store.progress(id))[0]?.count, { since: at(2), events: 4 }, "the number of events before it")
    equal(yield* stored, [eventId.replace("1", "2"), eventId.replace("1", "2")], "after a write on condition")
  }),

  test("excludes other workers until the lease expires or is released", function*() {
    const { id } = notes()
    const store = yield* driver
    equal(Option.map(yield* acquire(id, "one"), ({ epoch }) => epoch), Option.some(1n), "the first owner")
    equal(yield* acquire(id, "two"), Option.none(), "another owner")
    equal(yield* acquire(id, "one"), Option.some({ epoch: 1n, position: Position.start }), "the same owner")
    yield* store.release(id, "two")
    equal(yield* acquire(id, "two"), Option.none(), "a lease that another worker has released without owning it")
    yield* store.release(id, "one")
    equal(yield* advance(id, 1n, 0, 1), false, "a write by a worker that has released its lease")
    equal(yield* acquire(id, "two"), Option.some({ epoch: 3n, position: Position.start }), "given back")

    const short = notes()
    yield* acquire(short.id, "one", Duration.seconds(2))
    const { nextLeaseEndsIn } = yield* claim(short.id, "two")
    isAtLeast(2000, nextLeaseEndsIn ?? Infinity, "the time until the lease ends")
    const taken = yield* acquire(short.id, "two").pipe(
      Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("30 seconds")
    )
    equal(Option.map(taken, (lease) => lease.epoch), Option.some(2n), "ended")
  }),

  test("names the former owner of a partition whose lease has ended, in the claim that takes it over", function*() {
    const { id } = notes()
    const store = yield* driver
    const takenFrom = (owner: string, lease = minute) =>
      Effect.map(claim(id, owner, lease), ({ assigned }) => assigned.map((one) => one.takenFrom))
    equal(yield* takenFrom("one"), [undefined], "a new partition")
    yield* store.release(id, "one")
    equal(yield* takenFrom("two", Duration.seconds(1)), [undefined], "one that was given back")
    const taken = yield* takenFrom("three").pipe(
      Effect.repeat({ until: (found) => found.length > 0, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("30 seconds")
    )
    equal(taken, ["two"], "one whose lease has ended")
    equal(yield* takenFrom("three"), [undefined], "the next heartbeat")
  }),

  test("spreads partitions evenly, each to one worker", function*() {
    const { id } = notes()
    const store = yield* driver
    const assigned = (owner: string, lease = minute) =>
      Effect.map(claim(id, owner, lease, 8), ({ assigned }) => assigned.map((one) => one.partition))
    equal(yield* assigned("one"), [0, 1, 2, 3, 4, 5, 6, 7], "one worker has all")
    equal(yield* assigned("two"), [], "the second finds none free")
    const { assigned: all, assignmentSize } = yield* claim(id, "one", minute, 8)
    equal([all.length, assignmentSize], [8, 4], "the assignment of the first worker shrinks by half")
    for (const partition of [4, 5, 6, 7]) yield* store.release(id, "one", partition)
    equal(yield* assigned("two"), [4, 5, 6, 7], "which the second takes")
    equal((yield* claim(id, "three", minute, 8)).assignmentSize, 3, "of three workers, three each at most")
    yield* store.release(id, "two")
    equal(yield* assigned("three"), [4, 5, 6, 7], "the released partitions")
    const progress = yield* store.progress(id)
    equal(progress.map((p) => p.owner), ["one", "one", "one", "one", "three", "three", "three", "three"], "the owners")
    const other = yield* claim(id, "one", minute, 4)
    equal([other.partitions, other.change], [8, undefined], "another number, while workers have this one")
  }),

  test("shows what the owner had in hand at its last heartbeat, until that has ended", function*() {
    const { id } = notes()
    const store = yield* driver
    const event = { position: at(6), type: "Sent" }
    const beat = (inHand: ReadonlyArray<HeldInHand>, owner = "one") =>
      store.claim({
        consumer: id,
        owner,
        partitions: 3,
        partitionedBy: "document",
        reads: "",
        lease: minute,
        inHand,
        renewOnly: owner !== "one"
      })
    const shown = Effect.map(
      store.progress(id),
      (all) =>
        all.map(({ inHand, readAt }) =>
          inHand && [inHand.event, Math.floor(Duration.toHours(DateTime.distance(inHand.since, readAt)) * 3600)]
        )
    )
    const { assigned: [first] } = yield* beat([])
    equal(yield* shown, [undefined, undefined, undefined], "nothing at first")
    const waits = { partition: 2, event: undefined, millis: 7200_000 }
    yield* beat([waits, { partition: 1, event, millis: 3600_000 }])
    equal(yield* shown, [undefined, [event, 3600], [undefined, 7200]], "an event, and handlers that wait")
    yield* beat([waits], "two")
    equal(yield* shown, [undefined, [event, 3600], [undefined, 7200]], "what a worker that owns no partition has")
    yield* beat([{ partition: 0, event, millis: 3600_000 }])
    equal(yield* shown, [[event, 3600], undefined, undefined], "what is in hand later")
    equal(yield* advance(id, first!.epoch, 0, 7), true, "the checkpoint moves")
    equal(yield* shown, [undefined, undefined, undefined], "an event that began before the checkpoint moved")
    yield* beat([{ partition: 1, event, millis: 0 }])
    yield* store.release(id, "one", 1)
    equal(yield* shown, [undefined, undefined, undefined], "after the partition was given back")
  }),

  test("lists the workers of a generation, and those that wait to continue from it", function*() {
    const { id } = notes()
    const store = yield* driver
    yield* claim(id, "two", minute, 2)
    yield* claim(id, "one", minute, 4)
    yield* acquire(id, "short", Duration.millis(1))
    const later = notes()
    const outcome = yield* store.continueVersion({
      consumer: later.id,
      from: id,
      owner: "three",
      lease: minute,
      partitions: 3,
      partitionedBy: "document",
      reads: ""
    })
    equal(outcome, "draining", "a version waits")
    const workers = yield* store.workers(id).pipe(
      Effect.repeat({ until: (all) => all.length <= 3, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("20 seconds")
    )
    equal(
      workers.map(({ owner, partitions, successor }) => [owner, partitions, successor]),
      [["one", 4, undefined], ["three", 3, later.id], ["two", 2, undefined]],
      "the workers"
    )
  }),

  test("a reset asks the workers for their partitions, and moves checkpoints when none is leased", function*() {
    const { id } = notes()
    const store = yield* driver
    const start = Position.make(0n)
    const reset = { consumer: id, generation: id, to: LogPosition.make(start, undefined), lost: [], reads: "" }
    const [first] = (yield* claim(id, "one", minute, 1)).assigned
    equal(yield* advance(id, first!.epoch, 0, 7), true, "the checkpoint moves")
    equal(yield* store.drain(id, "reset", minute), false, "a partition is leased")
    equal(yield* store.resetCheckpoints(reset), undefined, "a reset meanwhile")
    equal((yield* claim(id, "one", minute, 1)).change, "drain", "what the worker reads")
    const workers = yield* store.workers(id)
    equal(workers.map(({ owner, resets }) => [owner, resets]), [["one", false], ["reset", true]], "the processes")
    yield* store.release(id, "one", 0)
    equal((yield* claim(id, "two", minute, 1)).assigned.length, 0, "a claim before the reset")
    equal(yield* store.drain(id, "reset", Duration.millis(100)), true, "no partition is leased")
    const from = yield* store.resetCheckpoints(reset)
    equal(from?.map(({ position }) => position), [Position.make(7n)], "the checkpoints before")
    // A reset that was killed withdraws nothing.
    const claimed = yield* claim(id, "two", minute, 1).pipe(
      Effect.repeat({ until: ({ change }) => change === undefined, schedule: Schedule.spaced("5 millis") }),
      Effect.timeout("20 seconds")
    )
    equal(claimed.assigned.map(({ position }) => position), [start], "a claim after the reset")
    equal(yield* store.resetCheckpoints(reset), undefined, "another reset")
    equal((yield* store.resetCheckpoints({ ...reset, evenIfLeased: true }))?.length, 1, "one that takes the partition")
    equal(yield* advance(id, claimed.assigned[0]!.epoch, 0, 9), false, "a write of the owner after it")
  }),

  test("keeps the partitions of a worker that stops claiming", function*() {
    const { id } = notes()
    const store = yield* driver
    const bid = (owner: string, renewOnly = false, lease = minute) =>
      Effect.map(
        store.claim({ consumer: id, owner, partitions: 4, partitionedBy: "document", reads: "", lease, renewOnly }),
        ({ assigned, assignmentSize }) => [assigned.map(({ partition }) => partition), assignmentSize] as const
      )
    equal(yield* bid("one"), [[0, 1, 2, 3], 4], "one worker has all")
    yield* store.release(id, "one", 2)
    equal(yield* bid("one", true), [[0, 1, 3], 4], "it does not take back what it gave")
    equal(yield* bid("two"), [[2], 4], "which is within another's share")
    for (const partition of [0, 1, 3]) yield* store.release(id, "one", partition)
    equal(yield* bid("two"), [[0, 1, 2, 3], 4], "as all is")
    equal(yield* bid("one", true, Duration.seconds(1)), [[], 4], "a renewal by a worker that owns no partition")
    equal(yield* bid("one"), [[], 2], "a claim by the same worker after its renewal")
    equal((yield* bid("two"))[1], 2, "for others too")
  }),

  test("grants one of 20 concurrent claims", function*() {
    const { id } = notes()
    const bids = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, i) => `owner-${i}`),
      (owner) => acquire(id, owner),
      { concurrency: "unbounded" }
    )
    equal(bids.filter(Option.isSome).length, 1, "owners")
  }),

  test("rejects a write without the lease", function*() {
    const { id } = notes()
    yield* acquire(id, "one", Duration.zero)
    equal(yield* advance(id, 1n, 0, 5, [put("a", "open")]), true, "while it is the owner")
    yield* (yield* driver).release(id, "one")
    yield* acquire(id, "two")
    equal(yield* advance(id, 1n, 5, 6, [put("a", "done"), put("b", "open")]), false, "after another took over")
    equal((yield* (yield* driver).checkpoint(id)).position, at(5), "the checkpoint")
    equal(yield* keys(id, ["status=4open"]), ["a"], "the documents")
    equal(yield* advance(id, 3n, 5, 6, [put("b", "open")]), true, "the new owner writes")
  })
]
