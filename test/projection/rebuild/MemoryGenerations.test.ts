import { assert, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { Position, ProjectionStore } from "evsrc"
import { internals } from "../../../src/core/internals.ts"

it.effect("a generation that was active before the previous one is retired, not building", () =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const consumer = "p@1"
    const claim = (generation: string) =>
      driver.claim({
        consumer,
        generation,
        owner: "me",
        partitions: 1,
        partitionedBy: "document",
        reads: "",
        lease: Duration.minutes(1)
      })
    const statuses = Effect.map(driver.generations(consumer), (all) => all.map(({ status }) => status))
    yield* claim(consumer)
    const begun: Array<string> = []
    for (let n = 0; n < 3; n++) {
      const { generation } = yield* driver.beginGeneration({ consumer, head: Position.start })
      begun.push(generation)
      yield* claim(generation)
      assert.strictEqual((yield* statuses).at(-1), "building")
      yield* driver.cutOver({ consumer, to: generation, ifBehind: "cutOver" })
    }
    assert.deepStrictEqual(begun, ["p@1~1", "p@1~2", "p@1~3"], "none is resumed")
    assert.deepStrictEqual(yield* statuses, ["retired", "retired", "previous", "active"])
  }).pipe(Effect.provide(ProjectionStore.layerMemory)))
