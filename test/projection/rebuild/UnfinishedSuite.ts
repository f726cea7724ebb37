/**
 * Generations that a run has begun and not finished, and those that lack events of parked keys: no run takes over what other code has built, and
 * no cut-over shows documents without events that readers have seen.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test } from "../../../src/conformance/Suite.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import type { Stores } from "../../support/AccountFixtures.ts"
import { counters, countOf, cutOver, driver, quick, reasonOf, statuses, until } from "./RebuildFixtures.ts"

/** Runs a rebuild until its worker reports a failure, and interrupts it. */
const interrupted = (projection: Parameters<typeof cutOver>[0], options: Rebuild.RunOptions = {}) =>
  Rebuild.run(projection, { ...quick, ...options }).pipe(
    Stream.takeUntil(({ detail }) => detail?.includes("poison") === true),
    Stream.runCollect,
    Effect.timeout("1 minute")
  )

const stopsAt = (limit: number) => ({ onFailure: "stop", fails: (n: number) => n > limit }) as const

/**
 * Unfinished generations, and cut-overs to generations with parked keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const unfinished: ReadonlyArray<Case<Stores>> = [
  test("corrected code begins again, and does not resume what wrong code has built", function*() {
    const { append, projection } = counters()
    const [wrong, stillWrong, right] = [projection({ step: 2 }), projection({ step: 3 }), projection()]
    yield* until(wrong, yield* append("a", 5)).pipe(Effect.provide(Projector.layer([wrong])))
    yield* cutOver(stillWrong, { cutOver: false })
    equal((yield* cutOver(right)).at(-1)?.phase, "cut-over", "the last phase")
    equal(yield* countOf(right, "a"), 5, "the document")
    const [first, second, third] = [right.id, `${right.id}~1`, `${right.id}~2`]
    equal(yield* statuses(right), [`${first} previous`, `${second} discarded`, `${third} active`], "the generations")
    equal(yield* (yield* driver).generationPage({ generation: second, limit: 10 }), [], "the wrong documents")

    const half = projection({ step: 3, ...stopsAt(10) })
    yield* interrupted(half, { build: "2", batchSize: 2 })
    yield* cutOver(right, { build: "3" })
    equal(yield* countOf(right, "a"), 5, "the document after an interrupted rebuild")
  }),

  test("runs of one build share a generation; `resume` continues that of another build", function*() {
    const { append, projection } = counters()
    const counts = projection()
    yield* until(counts, yield* append("a", 3)).pipe(Effect.provide(Projector.layer([counts])))
    const generationOf = (options: Rebuild.RunOptions) =>
      Stream.runCollect(Rebuild.run(counts, { ...quick, ...options })).pipe(
        Effect.timeout("1 minute"),
        Effect.map((progress) => progress.at(-1)!.generation)
      )
    equal(yield* generationOf({ build: "a" }), `${counts.id}~1`, "the first run")
    equal(yield* generationOf({ build: "a" }), `${counts.id}~1`, "the same build")
    equal(yield* generationOf({ build: "b" }), `${counts.id}~2`, "another build")
    equal(yield* generationOf({}), `${counts.id}~3`, "without a build")
    equal(yield* generationOf({}), `${counts.id}~4`, "again")
    equal(yield* generationOf({ resume: true }), `${counts.id}~4`, "with resume")
    equal(yield* generationOf({ build: "a" }), `${counts.id}~5`, "an earlier build")
    equal(yield* generationOf({ build: "b", resume: true }), `${counts.id}~5`, "another build with resume")
    const outcomes = yield* Effect.all([
      Effect.flip(Rebuild.cutOver(counts)),
      Effect.flip(Rebuild.cutOver(counts, { build: "b" })),
      Effect.flip(Stream.runDrain(Rebuild.compare(counts)))
    ])
    equal(outcomes.map(reasonOf), ["OtherBuild", "OtherBuild", "OtherBuild"], "a cut-over to another build")
    includes(outcomes[1]!.message, `was begun with the build "a", but this call is with the build "b"`, "why")
    equal((yield* Rebuild.cutOver(counts, { build: "a" })).active, `${counts.id}~5`, "to the same one")
    const invalid = yield* Effect.flip(generationOf({ build: "" }))
    includes(String(invalid), "`build` must not be empty", "an empty name")
  }),

  test("other code rebuilds beside an unfinished first generation; its own resumes it", function*() {
    const { append, projection } = counters()
    yield* append("a", 6)
    const wrong = projection({ step: 2, ...stopsAt(8) })
    yield* interrupted(wrong, { build: "1", batchSize: 2 })
    const right = projection()
    equal(yield* statuses(right), [`${right.id} building`], "interrupted")
    const resumed = yield* interrupted(wrong, { build: "1", batchSize: 2 })
    equal(resumed.at(-1)?.generation, right.id, "resumed by the same build")
    const progress = yield* cutOver(right, { build: "2" })
    equal(progress.at(-1)?.generation, `${right.id}~1`, "the generation of another build")
    equal(yield* countOf(right, "a"), 6, "the document")
  }),

  test("rejects a run of unknown code beside another; ends one that was discarded", function*() {
    const { append, projection } = counters()
    const counts = projection()
    yield* until(counts, yield* append("a", 3)).pipe(Effect.provide(Projector.layer([counts])))
    const running = yield* Effect.forkChild(
      Effect.flip(Stream.runDrain(Rebuild.runContinuously(counts, { ...quick, build: "a" })))
    )
    yield* Effect.repeat(Rebuild.list(counts), {
      until: (all) => all.some(({ partitions, status }) => status === "building" && partitions > 0)
    }).pipe(Effect.timeout("1 minute"))
    const rejected = yield* Effect.forEach(
      [{}, { build: "b" }],
      (options) => Effect.flip(Stream.runDrain(Rebuild.rebuild(counts, { ...quick, ...options })))
    )
    equal(rejected.map(reasonOf), ["Running", "Running"], "other runs")
    includes(rejected[0]!.message, `"${counts.id}~1", which was begun with the build "a"`, "which one")
    yield* Stream.runDrain(Rebuild.run(counts, { ...quick, resume: true }))
    equal(yield* statuses(counts), [`${counts.id} active`, `${counts.id}~1 building`], "shared")
    yield* Rebuild.discard(counts, `${counts.id}~1`)
    const ended = yield* Effect.timeout(Fiber.join(running), "1 minute")
    equal(reasonOf(ended), "NoGeneration", "the run of a discarded generation")
    includes(ended.message, "was discarded while this run was building it", "why")
  }),

  test("a rebuild whose new code parks keys is not cut over, unless the caller says so", function*() {
    const { append, projection } = counters()
    const [old, failing] = [projection({ step: 2 }), projection({ fails: (n) => n === 2 })]
    yield* append("b")
    yield* until(old, yield* append("a", 4)).pipe(Effect.provide(Projector.layer([old])))
    const rejected = yield* Effect.flip(cutOver(failing))
    equal(reasonOf(rejected), "Parked", "the reason")
    includes(rejected.message, `1 key is parked in generation "${old.id}~1"`, "the number and the generation")
    includes(rejected.message, `: "a"; `, "the key")
    equal([yield* countOf(old, "a"), yield* countOf(old, "b")], [8, 2], "readers see what they have seen")
    equal(yield* statuses(old), [`${old.id} active`, `${old.id}~1 building`], "nothing has changed")
    equal(reasonOf(yield* Effect.flip(Rebuild.cutOver(failing))), "Parked", "a cut-over of its own")
    yield* cutOver(failing, { resume: true, cutOver: { evenIfParked: true } })
    equal([yield* countOf(old, "a"), yield* countOf(old, "b")], [1, 1], "even so")
    // The key is parked in the active generation too, so readers lose nothing.
    equal((yield* cutOver(failing)).at(-1)?.phase, "cut-over", "a rebuild that parks the same keys")
    yield* cutOver(projection())
    equal(yield* countOf(old, "a"), 4, "corrected")
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(old))), "Parked", "a rollback")
    yield* Rebuild.rollback(old, { evenIfParked: true })
    equal(yield* countOf(old, "a"), 1, "rolled back even so")
  })
]
