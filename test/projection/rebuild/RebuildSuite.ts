/**
 * Rebuilds, from the first event to the cut-over.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { type Case, equal, test } from "../../../src/conformance/Suite.ts"
import * as ConsumerReads from "../../../src/consumer/ConsumerReads.ts"
import * as Position from "../../../src/core/Position.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import type { Stores } from "../../support/AccountFixtures.ts"
import { comparisons } from "./DocumentComparisonSuite.ts"
import { generations } from "./GenerationsSuite.ts"
import { counters, countOf, cutOver, driver, plant, quick, reasonOf, statuses, until } from "./RebuildFixtures.ts"
import { unfinished } from "./UnfinishedSuite.ts"

const whole: ReadonlyArray<Case<Stores>> = [
  test("a rebuild finds differences, cuts over, and is rolled back, while events arrive", function*() {
    const { append, projection } = counters()
    const counts = projection()
    const beside = `${counts.id}~1`
    yield* Effect.gen(function*() {
      yield* append("right", 3)
      yield* append("gone", 2)
      yield* until(counts, yield* append("wrong", 4))
      yield* plant(counts.id, { wrong: 40, gone: undefined, ghost: 1 })

      const writer = yield* Effect.forkChild(Effect.forever(append("busy")))
      const progress = yield* cutOver(counts, { compare: true })
      yield* Fiber.interrupt(writer)
      equal(progress.at(-1)?.phase, "cut-over", "the last phase")
      equal(Array.from(new Set(progress.map(({ generation }) => generation))), [beside], "the generation")
      const differences = progress.flatMap(({ compared }) => compared?.differences ?? [])
      equal(
        differences.filter(({ _tag }) => _tag === "Different").toSorted((a, b) => a.key < b.key ? -1 : 1),
        [
          { _tag: "Different", key: "ghost", active: { n: 1 }, rebuilt: undefined },
          { _tag: "Different", key: "gone", active: undefined, rebuilt: { n: 2 } },
          { _tag: "Different", key: "wrong", active: { n: 40 }, rebuilt: { n: 4 } }
        ],
        "the differences, and none that is not there"
      )

      equal(yield* statuses(counts), [`${counts.id} previous`, `${beside} active`], "the generations")
      const counted = Effect.forEach(["right", "wrong", "gone", "ghost"], (id) => countOf(counts, id))
      equal(yield* counted, [3, 4, 2, undefined], "the new documents")
      yield* until(counts, yield* append("wrong"))
      equal(yield* counted, [3, 5, 2, undefined], "the projector goes on with them")
      const busy = yield* countOf(counts, "busy")

      equal(yield* Rebuild.rollback(counts), { active: counts.id, previous: beside }, "rolled back")
      yield* until(counts, yield* append("right"))
      equal(yield* counted, [4, 41, undefined, 1], "the old ones, from where they were")
      equal(yield* countOf(counts, "busy"), busy, "and no event is missing")
      equal(yield* statuses(counts), [`${counts.id} active`, `${beside} previous`], "the generations")

      yield* Rebuild.rollback(counts)
      yield* until(counts, yield* append("right"))
      equal(yield* counted, [5, 5, 2, undefined], "and back again")
    }).pipe(Effect.provide(Projector.layer([counts], { lease: "1 second" })))
  }),

  test("an interrupted rebuild resumes where it stopped", function*() {
    const { append, projection } = counters()
    let healed = false
    const counts = projection({ onFailure: "stop", fails: (n) => !healed && n === 6 })
    yield* append("a", 5)
    yield* Effect.gen(function*() {
      yield* until(counts, yield* append("b"))
    }).pipe(Effect.provide(Projector.layer([counts])))
    yield* append("a", 4)
    const stuck = yield* Rebuild.run(counts, { ...quick, build: "a", batchSize: 2 }).pipe(
      Stream.takeUntil(({ detail }) => detail?.includes("poison") === true),
      Stream.runCollect,
      Effect.timeout("1 minute")
    )
    equal(stuck.at(-1)?.applied, 6, "applied before it was interrupted")
    healed = true
    const resumed = Rebuild.run(counts, { ...quick, build: "a" })
    const rest = yield* Stream.runCollect(resumed).pipe(Effect.timeout("1 minute"))
    equal(rest[0]?.generation, stuck[0]?.generation, "the same generation")
    equal(Math.min(rest[0]!.applied, 6), 6, "events applied before, at least")
    equal(rest.at(-1)?.phase, "caught-up", "the last phase")
    const [found] = yield* (yield* driver).load(`${counts.id}~1`, ["a"])
    equal([rest.at(-1)?.applied, found?.document], [10, { n: 9 }], "every event once")
    equal(yield* statuses(counts), [`${counts.id} active`, `${counts.id}~1 building`], "the generations")
    equal(yield* countOf(counts, "a"), 5, "the active documents are as they were")
  }),

  test("several processes build one generation", function*() {
    const { append, projection } = counters()
    const counts = projection({ partitions: 4 })
    const receipts = yield* Effect.forEach(["a", "b", "c", "d", "e", "f"], (id) => append(id, 3))
    yield* until(counts, receipts.at(-1)!).pipe(Effect.provide(Projector.layer([counts])))
    const generations = yield* Effect.all(
      [1, 2, 3].map(() => Stream.runCollect(Rebuild.run(counts, { ...quick, build: "a" }))),
      { concurrency: "unbounded" }
    ).pipe(Effect.timeout("1 minute"))
    equal(
      generations.map((progress) => progress.at(-1)?.generation),
      [1, 2, 3].map(() => `${counts.id}~1`),
      "the generation"
    )
    equal(generations.map((progress) => progress.at(-1)?.applied), [18, 18, 18], "every event once")
  }),

  test("the first generation of a new version is active at once; the old version stays", function*() {
    const { append, projection } = counters()
    const [old, raised] = [projection(), projection({ version: 2 })]
    yield* until(old, yield* append("a", 3)).pipe(Effect.provide(Projector.layer([old])))
    const progress = yield* cutOver(raised)
    equal(Array.from(new Set(progress.map(({ generation }) => generation))), [raised.id], "the generation")
    equal(progress.at(-1)?.phase, "caught-up", "the last phase")
    yield* append("a")
    yield* cutOver(old)
    equal([yield* countOf(raised, "a"), yield* countOf(old, "a")], [3, 4], "both are read")
    equal(yield* statuses(raised), [`${raised.id} active`], "the generations")
    equal((yield* cutOver(raised)).at(-1)?.generation, `${raised.id}~1`, "the generation of a later rebuild")
    equal(yield* countOf(raised, "a"), 4, "after the cut-over")
  }),

  test("a generation with other partitions is cut over; one by another key is rejected", function*() {
    const { append, projection } = counters()
    const [one, four] = [projection(), projection({ partitions: 4 })]
    yield* append("a", 2)
    yield* until(one, yield* append("b", 2)).pipe(Effect.provide(Projector.layer([one])))
    const progress = yield* cutOver(four)
    equal(progress.at(-1)?.phase, "cut-over", "the last phase")
    yield* Effect.gen(function*() {
      yield* until(four, yield* append("a"))
    }).pipe(Effect.provide(Projector.layer([four])))
    equal(yield* countOf(one, "a"), 3, "read by either")
    const byTag = { ...four, partitionBy: { tag: "counter" } } as const
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(byTag))), "PartitionMismatch", "to roll back with another key")
    yield* Rebuild.rollback(four)
    yield* until(four, yield* append("a")).pipe(Effect.provide(Projector.layer([four])))
    equal(yield* countOf(one, "a"), 4, "after the rollback, with the new number")
    yield* (yield* driver).beginGeneration({ consumer: four.id, head: Position.start, build: "a" })
    yield* (yield* driver).claim({
      consumer: four.id,
      generation: `${four.id}~2`,
      owner: "builder",
      partitions: 4,
      partitionedBy: "document",
      reads: ConsumerReads.format(ConsumerReads.of(one)),
      lease: Duration.seconds(1)
    })
    const run = yield* Effect.flip(Stream.runDrain(Rebuild.run(byTag, { ...quick, build: "a" })))
    equal(reasonOf(run), "PartitionMismatch", "to resume with another key")
    equal(reasonOf(yield* Effect.flip(Rebuild.cutOver(byTag))), "PartitionMismatch", "to cut over to it")
  })
]

/**
 * Rebuilds.
 *
 * @since 0.1.0
 * @category suites
 */
export const rebuilds: ReadonlyArray<Case<Stores>> = [...whole, ...unfinished, ...generations, ...comparisons]
