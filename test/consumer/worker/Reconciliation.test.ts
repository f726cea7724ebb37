import { assert, describe, it } from "@effect/vitest"
import { reconcile, type RunningPartition } from "../../../src/consumer/worker/Reconciliation.ts"
import * as Position from "../../../src/core/Position.ts"

const assignment = (partition: number, epoch = 1n, requested = false) => ({
  partition,
  epoch,
  position: Position.start,
  requested
})
const running = (...all: ReadonlyArray<readonly [number, Partial<RunningPartition>]>) =>
  new Map(all.map(([partition, one]) => [partition, { generation: "g", epoch: 1n, hasEnded: false, ...one }]))
const claim = (...assigned: ReadonlyArray<ReturnType<typeof assignment>>) => ({ generation: "g", assigned })
const nothing = { lost: [], stop: [], ended: [], release: [], start: [], wake: [] }

describe("reconcile", () => {
  it("starts every owned partition that does not run", () => {
    const [a, b] = [assignment(0), assignment(1)]
    assert.deepStrictEqual(reconcile(claim(a, b), running([0, {}]), 2), { ...nothing, start: [b] })
  })

  it("does nothing when all that is owned runs", () => {
    assert.deepStrictEqual(reconcile(claim(assignment(0)), running([0, {}]), 1), nothing)
  })

  it("restarts an owned partition whose processor has ended", () => {
    assert.deepStrictEqual(reconcile(claim(assignment(0)), running([0, { hasEnded: true }]), 1), {
      ...nothing,
      ended: [0],
      start: [assignment(0)]
    })
  })

  it("stops what exceeds the assignment, and releases it once it has ended", () => {
    const claimed = claim(assignment(0), assignment(1))
    assert.deepStrictEqual(reconcile(claimed, running([0, {}], [1, {}]), 1), { ...nothing, lost: [1], stop: [1] })
    assert.deepStrictEqual(reconcile(claimed, running([0, {}], [1, { hasEnded: true }]), 1), {
      ...nothing,
      lost: [1],
      ended: [1],
      release: [1]
    })
  })

  it("releases at once what exceeds the assignment and does not run", () => {
    assert.deepStrictEqual(reconcile(claim(assignment(0), assignment(1)), running([0, {}]), 1).release, [1])
  })

  it("stops partitions that another worker has taken over", () => {
    assert.deepStrictEqual(reconcile(claim(), running([3, {}]), 1), { ...nothing, lost: [3], stop: [3] })
  })

  it("stops a processor of an earlier epoch and waits for its end", () => {
    const claimed = claim(assignment(0, 2n))
    assert.deepStrictEqual(reconcile(claimed, running([0, {}]), 1), { ...nothing, lost: [0], stop: [0] })
    assert.deepStrictEqual(reconcile(claimed, running([0, { hasEnded: true }]), 1).start, [assignment(0, 2n)])
  })

  it("stops processors of another generation", () => {
    const plan = reconcile(claim(assignment(0)), running([0, { generation: "g~1" }]), 1)
    assert.deepStrictEqual(plan, { ...nothing, lost: [0], stop: [0] })
  })

  it("wakes running partitions with a request, and no others", () => {
    const claimed = claim(assignment(0, 1n, true), assignment(1), assignment(2, 1n, true))
    const plan = reconcile(claimed, running([0, {}], [1, {}]), 3)
    assert.deepStrictEqual(plan.wake, [0])
    assert.deepStrictEqual(plan.start, [assignment(2, 1n, true)])
  })
})
