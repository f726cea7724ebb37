import { assert, it } from "@effect/vitest"
import { Duration } from "effect"
import { Position, Rebuild } from "evsrc"

const progress: Rebuild.Progress = {
  phase: "building",
  projection: "p@1",
  generation: "p@1~2",
  position: Position.make(30n),
  head: Position.make(120n),
  applied: 420_000,
  total: 1_000_000,
  perSecond: 10_000,
  elapsed: Duration.seconds(42),
  parked: 0,
  detail: undefined,
  compared: undefined
}

const bar = (change: Partial<Rebuild.Progress>) => Rebuild.formatProgress({ ...progress, ...change }, { width: 10 })

it("formats the progress of a rebuild in one line", () => {
  assert.strictEqual(
    bar({}),
    "p@1~2 ████░░░░░░  42 %  420,000 of 1,000,000 events  10,000/s  00:58 left  00:42"
  )
  assert.strictEqual(
    bar({ total: undefined }),
    "p@1~2 ██░░░░░░░░  25 %  420,000 events  10,000/s  00:42",
    "by positions"
  )
  assert.strictEqual(
    bar({ phase: "cut-over", elapsed: Duration.minutes(75), parked: 2 }),
    "p@1~2 ██████████ 100 %  420,000 of 1,000,000 events  cut-over  1:15:00  2 parked"
  )
  assert.strictEqual(
    bar({ phase: "comparing", compared: { documents: 1200, different: 3, unsettled: 1, differences: [] } }),
    "p@1~2 ██████████ 100 %  420,000 of 1,000,000 events  comparing  1,200 documents, 3 different, 1 unsettled  00:42"
  )
  assert.strictEqual(
    bar({ head: Position.start, position: Position.start, total: 0, applied: 0, perSecond: 0, detail: "it is stuck" }),
    "p@1~2 ░░░░░░░░░░   0 %  0 of 0 events  0/s  00:42  it is stuck",
    "nothing to do"
  )
})
