import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import type { PartitionStatus } from "../../../src/consumer/ConsumerStatus.ts"
import type { Claim } from "../../../src/consumer/LeaseDriver.ts"
import * as WorkerState from "../../../src/consumer/worker/WorkerState.ts"
import * as Position from "../../../src/core/Position.ts"

const timing: WorkerState.Timing = {
  lease: Duration.seconds(9),
  retryDelay: { first: Duration.millis(100), max: Duration.millis(350) }
}
const seen = { position: Position.make(3n), head: Position.make(7n) }
const assignment = { partition: 0, epoch: 1n, position: Position.make(2n), requested: false }
const status = (one: Partial<PartitionStatus> = {}): PartitionStatus => ({
  state: "live",
  position: Position.make(5n),
  head: Position.make(5n),
  parked: 0,
  detail: undefined,
  ...one
})

type Event = WorkerState.WorkerEvent
const reconciled = (now: number, standby?: typeof seen, last?: Position.Position): Event => ({
  _tag: "Reconciled",
  now,
  claimedAt: now,
  standby,
  last
})
const claimFailed = (now: number, state: "retrying" | "stuck" = "retrying"): Event => ({
  _tag: "ClaimFailed",
  now,
  state,
  detail: "no database"
})
const newerEvent = (now: number): Event => ({ _tag: "NewerEventMet", now, detail: "version 2" })
const reported = (now: number, one: Partial<PartitionStatus> = {}, applied = 0): Event => ({
  _tag: "PartitionReported",
  now,
  partition: 0,
  status: status(one),
  applied
})
const partitionFailed = (now: number): Event => ({
  _tag: "PartitionFailed",
  now,
  assignment,
  state: "stuck",
  detail: "a bug"
})

const after = (...events: ReadonlyArray<Event>): WorkerState.WorkerState =>
  events.reduce((state, event) => WorkerState.transition(state, event, timing), WorkerState.initial(0, timing))
const statusAfter = (...events: ReadonlyArray<Event>) => WorkerState.statusOf("c@1", after(...events), 1)
const shown = (...events: ReadonlyArray<Event>) => {
  const { detail, state } = statusAfter(...events)
  return [state, detail]
}

const claim: Claim = {
  generation: "c@1",
  partitions: 1,
  assignmentSize: 1,
  nextLeaseEndsIn: undefined,
  assigned: [assignment]
}
const started: Event = { _tag: "PartitionStarted", now: 1, assignment }

describe("the states of a worker", () => {
  it("starts, works or stands by after a claim", () => {
    assert.strictEqual(after()._tag, "Claiming")
    assert.strictEqual(after(reconciled(1))._tag, "Working")
    assert.strictEqual(after(reconciled(1, seen))._tag, "Standby")
    assert.strictEqual(after(reconciled(1, seen), reconciled(2))._tag, "Working")
  })

  it("shows in standby how far the others are", () => {
    assert.deepInclude(statusAfter(reconciled(1, seen)), { state: "standby", ...seen, lag: 0n })
  })

  it("keeps the generation of the last claim through a failure", () => {
    const claimed: Event = { _tag: "Claimed", now: 1, generation: "c@1~2", lost: [] }
    assert.strictEqual(after(claimed, claimFailed(2)).generation, "c@1~2")
  })

  it("forgets the status of lost partitions", () => {
    const state = after(started, { _tag: "Claimed", now: 2, generation: "c@1", lost: [0] })
    assert.deepStrictEqual(Array.from(state.partitions.keys()), [])
  })

  it("doubles the pause between failed claims up to the maximum", () => {
    const delays = [1, 2, 3, 4].map((count) => {
      const state = after(...Array.from({ length: count }, (_, i) => claimFailed(i)))
      return state._tag === "Failing" ? Duration.toMillis(state.delay) : undefined
    })
    assert.deepStrictEqual(delays, [100, 200, 350, 350])
  })

  it("pauses at most a third of the lease while the database is unavailable", () => {
    const short: WorkerState.Timing = { ...timing, lease: Duration.millis(600) }
    const delaysOf = (kind: "retrying" | "stuck") =>
      [1, 2, 3].map((count) => {
        const failures = Array.from({ length: count }, (_, i) => claimFailed(i, kind))
        const state = failures.reduce(
          (state, event) => WorkerState.transition(state, event, short),
          WorkerState.initial(0, short)
        )
        return state._tag === "Failing" ? Duration.toMillis(state.delay) : undefined
      })
    assert.deepStrictEqual(delaysOf("retrying"), [100, 200, 200])
    assert.deepStrictEqual(delaysOf("stuck"), [100, 200, 350])
    const failed = { ...partitionFailed(1), state: "retrying" } as const
    const state = [failed, failed, failed].reduce<WorkerState.WorkerState>(
      (state, event) => WorkerState.transition(state, event, short),
      WorkerState.initial(0, short)
    )
    assert.deepStrictEqual(state.retryDelays.get(0), Duration.millis(200))
  })

  it("starts with the first pause again after a claim that succeeded", () => {
    const state = after(claimFailed(1), claimFailed(2), reconciled(3), claimFailed(4))
    assert.deepInclude(state, { _tag: "Failing", delay: Duration.millis(100) })
  })

  it("shows a failed claim before the partitions, whose status is older", () => {
    assert.deepStrictEqual(shown(reconciled(1), reported(2)), ["live", undefined])
    assert.deepStrictEqual(shown(reconciled(1), reported(2), claimFailed(3)), ["retrying", "no database"])
    assert.deepStrictEqual(shown(reported(2), claimFailed(3, "stuck")), ["stuck", "no database"])
  })

  it("shows readers as held back if the mark stays below the last event of a claim before", () => {
    const [old, last] = [Position.make(5n), Position.make(9n)]
    const before = [reconciled(1, undefined, last), reported(2)]
    const reread = (head: Position.Position | undefined): Event => ({
      _tag: "Reconciled",
      now: 3,
      claimedAt: 3,
      standby: undefined,
      last,
      head
    })
    assert.strictEqual(WorkerState.seemsHeldBack(after(...before)), true)
    assert.deepStrictEqual(shown(...before, reread(old)), ["live", WorkerState.heldBack({ head: old, last })])
    // A mark that could not be read in time is no recovery.
    assert.deepStrictEqual(
      shown(...before, reread(old), reconciled(1, undefined, last))[1],
      shown(...before, reread(old))[1]
    )
    // The partition has not read since, because it has an event in hand.
    assert.deepStrictEqual(shown(...before, reread(last)), ["live", undefined])
    assert.deepStrictEqual(shown(...before, reread(undefined)), ["live", undefined])
  })

  it("records when the worker last did anything", () => {
    assert.strictEqual(after(reconciled(1), reported(42)).heartbeat, 42)
  })
})

describe("a worker that yields to newer code", () => {
  it("keeps the last committed event that it could read", () => {
    const last = Position.make(9n)
    const state = after(reconciled(1, undefined, last), reconciled(2))
    assert.strictEqual(WorkerState.statusOf("ticks@1", state, 0).last, last)
  })

  it("claims nothing for a lease, and then claims again", () => {
    const state = after(reconciled(1), newerEvent(1_000))
    assert.strictEqual(state._tag, "Yielding")
    assert.deepStrictEqual(WorkerState.yieldAt(state, 9_999), { until: 10_000, detail: "version 2", error: undefined })
    assert.strictEqual(WorkerState.yieldAt(state, 10_000), undefined)
    assert.strictEqual(after(newerEvent(1_000), reconciled(9_999))._tag, "Yielding")
    assert.strictEqual(after(newerEvent(1_000), reconciled(10_000))._tag, "Working")
  })

  it("respects a yield that was in force when the claim began", () => {
    const late: Event = { _tag: "Reconciled", now: 11_000, claimedAt: 9_000, standby: undefined, last: undefined }
    assert.strictEqual(after(newerEvent(1_000), late)._tag, "Yielding")
  })

  it("yields longer every time, up to the maximum", () => {
    const patient = { ...timing, retryDelay: { first: Duration.millis(100), max: Duration.seconds(30) } }
    let state = WorkerState.initial(0, patient)
    const times = [1, 2, 3].map(() => {
      state = WorkerState.transition(state, newerEvent(0), patient)
      return state._tag === "Yielding" ? state.yielding.until : undefined
    })
    assert.deepStrictEqual(times, [9_000, 18_000, 30_000])
  })

  it("goes on yielding after a failed claim", () => {
    assert.deepStrictEqual(shown(newerEvent(0), claimFailed(1)), ["retrying", "no database"])
    assert.strictEqual(after(newerEvent(0), claimFailed(1), reconciled(2))._tag, "Yielding")
    assert.strictEqual(after(claimFailed(1), newerEvent(2), reconciled(3))._tag, "Yielding")
  })

  it("is shown as stuck, whether or not it owns partitions", () => {
    assert.deepStrictEqual(shown(newerEvent(0), reconciled(1, seen)), ["stuck", "version 2"])
    assert.deepStrictEqual(shown(reported(0), newerEvent(1), reconciled(2)), ["stuck", "version 2"])
  })
})

describe("the partitions of a worker", () => {
  it("begin at their checkpoint, and keep their status when they start again", () => {
    assert.deepStrictEqual(
      after(started).partitions.get(0),
      status({
        state: "catching-up",
        position: assignment.position,
        head: assignment.position
      })
    )
    assert.deepStrictEqual(after(reported(1), started).partitions.get(0), status())
  })

  it("add up the events that they applied", () => {
    assert.strictEqual(after(reported(1, {}, 3), reported(2, {}, 4)).applied, 7)
  })

  it("keep their position when they fail", () => {
    assert.deepStrictEqual(
      after(reported(1), partitionFailed(2)).partitions.get(0),
      status({ state: "stuck", detail: "a bug" })
    )
  })

  it("pause longer with every failure, until they advance", () => {
    const pause = (...events: ReadonlyArray<Event>) => after(...events).retryDelays.get(0)
    assert.deepStrictEqual(pause(partitionFailed(1)), Duration.millis(100))
    assert.deepStrictEqual(pause(partitionFailed(1), partitionFailed(2)), Duration.millis(200))
    const stuck = reported(2, { state: "stuck" })
    assert.deepStrictEqual(pause(partitionFailed(1), stuck, partitionFailed(3)), Duration.millis(200))
    assert.deepStrictEqual(pause(partitionFailed(1), reported(2), partitionFailed(3)), Duration.millis(100))
  })
})

describe("the time of the next claim", () => {
  const next = (state: WorkerState.WorkerState, given: Partial<Claim> = {}) =>
    WorkerState.nextClaimIn(state, { ...claim, ...given }, 1_000, timing)

  it("is a third of the lease away", () => {
    assert.strictEqual(next(after(reconciled(1), reported(2))), 3_000)
  })

  it("is within a second while a stream is parked", () => {
    assert.strictEqual(next(after(reconciled(1), reported(2, { parked: 1 }))), 1_000)
  })

  it("follows the end of another's lease when the worker owns too few partitions", () => {
    const state = after(reconciled(1))
    assert.strictEqual(next(state, { assignmentSize: 2, nextLeaseEndsIn: 500 }), 501)
    assert.strictEqual(next(state, { assignmentSize: 2, nextLeaseEndsIn: 0 }), 10)
    assert.strictEqual(next(state, { assignmentSize: 1, nextLeaseEndsIn: 500 }), 3_000)
  })

  it("is the end of a yield", () => {
    const yielding = after(newerEvent(-7_500))
    assert.strictEqual(next(yielding), 500)
    assert.strictEqual(next(yielding, { assignmentSize: 2, nextLeaseEndsIn: 100 }), 500)
    assert.strictEqual(next(after(newerEvent(-8_500))), 1)
  })
})
