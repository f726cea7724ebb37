/**
 * Comparisons of a rebuilt generation with the active one.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { type Case, equal, test } from "../../../src/conformance/Suite.ts"
import * as Position from "../../../src/core/Position.ts"
import type { ProjectionStoreDriver } from "../../../src/projection/ProjectionStoreDriver.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import * as DocumentComparison from "../../../src/projection/rebuild/DocumentComparison.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import type { Stores } from "../../support/AccountFixtures.ts"
import { counters, driver, plant, quick, reasonOf, until } from "./RebuildFixtures.ts"

/** A store whose views of two generations a test prescribes, one after the other. */
const storeOf = (seen: ReadonlyArray<readonly [View, View]>) =>
  Effect.map(driver, (store): ProjectionStoreDriver => {
    let turn = 0
    const viewOf = ({ at, reached = Math.max(...at), revision }: View) => ({
      positions: at.map((position) => Position.make(BigInt(position))),
      reached: Position.make(BigInt(reached)),
      documents: new Map(revision === 0 ? [] : [["k", { key: "k", document: revision, revision: BigInt(revision) }]])
    })
    return {
      ...store,
      generationPage: ({ after }) =>
        Effect.succeed(after === undefined ? [{ key: "k", document: null, revision: 1n }] : []),
      load: (_, keys) => Effect.succeed(keys.map((key) => ({ key, document: null, revision: 1n }))),
      views: () =>
        Effect.sync(() => {
          const [a, b] = seen[Math.min(turn++, seen.length - 1)]!
          return [viewOf(a), viewOf(b)]
        })
    }
  })

interface View {
  readonly at: ReadonlyArray<number>
  /** What former partitions have reached, if one is ahead. */
  readonly reached?: number
  readonly revision: number
}

const status = (seen: ReadonlyArray<readonly [View, View]>, maxAttempts = 3) =>
  Effect.flatMap(
    storeOf(seen),
    (store) =>
      Stream.runCollect(DocumentComparison.pages("p", store, ["a", "b"], { maxAttempts, timeout: 0, pageSize: 2 }))
  ).pipe(
    Effect.map((pages) => pages.flatMap(({ differences }) => differences.map(({ _tag }) => _tag)))
  )

/**
 * Comparisons of two generations while both advance.
 *
 * @since 0.1.0
 * @category suites
 */
export const comparisons: ReadonlyArray<Case<Stores>> = [
  test("compares documents once both generations have applied the same events to them", function*() {
    const view = (at: number, revision: number): View => ({ at: [at], revision })
    equal(yield* status([[view(5, 1), view(5, 1)]]), [], "the same, at the same position")
    equal(yield* status([[view(5, 1), view(5, 2)]]), ["Different"], "another, at the same position")
    equal(
      yield* status([[view(6, 2), view(5, 1)], [view(6, 2), view(6, 2)]]),
      [],
      "one was ahead, and the other has come"
    )
    equal(
      yield* status([[view(6, 1), view(5, 2)], [view(8, 1), view(7, 2)]]),
      ["Different"],
      "another, and neither has changed while both have passed the first view"
    )
    equal(
      yield* status([[view(6, 3), view(5, 3)], [view(7, 3), view(6, 4)], [view(7, 3), view(7, 4)]]),
      ["Different"],
      "the same only as one is ahead: an event is missing on one side"
    )
    equal(
      yield* status([1, 2, 3, 4, 5].map((n) => [view(2 * n, n), view(2 * n + 1, n + 1)] as const)),
      ["Unsettled"],
      "changed in every view"
    )
    equal(
      yield* status([[view(6, 0), view(5, 2)], [view(9, 0), view(7, 2)], [view(9, 0), view(9, 0)]]),
      [],
      "one that was made and removed between two views, on the side that is ahead"
    )
    equal(
      reasonOf(yield* Effect.flip(status([[view(6, 1), view(5, 1)]]))),
      "Stalled",
      "a generation that does not advance"
    )
    const wide = (a: number, b: number, revision: number): View => ({ at: [a, b], revision })
    equal(
      yield* status([[wide(9, 5, 1), wide(5, 9, 2)], [wide(9, 9, 1), wide(9, 9, 1)]]),
      [],
      "two partitions, each ahead on another side"
    )
    equal(
      yield* status([[{ at: [5], reached: 9, revision: 2 }, view(5, 1)], [view(9, 2), view(9, 2)]]),
      [],
      "one whose former partitions were ahead"
    )
  }),

  test("finds no false difference while events arrive, with other partitions too", function*() {
    const { append, projection } = counters()
    const counts = projection()
    const ids = Array.from({ length: 12 }, (_, i) => `k${i}`)
    yield* Effect.gen(function*() {
      const receipts = yield* Effect.forEach(ids, (id) => append(id))
      yield* until(counts, receipts.at(-1)!)
      const rebuilt = projection({ partitions: 3 })
      yield* Stream.runDrain(Rebuild.run(rebuilt, quick))
      yield* plant(counts.id, { planted: 7 })
      let n = 0
      const writer = yield* Effect.forkChild(Effect.forever(Effect.suspend(() => append(ids[n++ % 4]!))))
      const differences = yield* Stream.runCollect(Rebuild.compare(rebuilt, { pageSize: 5 }))
      yield* Fiber.interrupt(writer)
      // Otherwise pending events would overwrite the damage done below.
      yield* until(counts, yield* append(ids.at(-1)!))
      equal(
        differences.filter(({ _tag }) => _tag === "Different").map(({ key }) => key),
        ["planted"],
        "the differences"
      )
      yield* plant(counts.id, { planted: undefined, k0: 1000 })
      const still = yield* Stream.runCollect(Rebuild.compare(rebuilt))
      equal(still.map(({ _tag, key }) => `${_tag} ${key}`), ["Different k0"], "when no events come, all is settled")
    }).pipe(Effect.provide(Layer.mergeAll(Projector.layer([counts]))))
  })
]
