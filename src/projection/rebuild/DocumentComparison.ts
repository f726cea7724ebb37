/**
 * Compares the documents of two generations of a projection while both advance.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import * as Position from "../../core/Position.ts"
import type { GenerationView, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import { RebuildRejected } from "./RebuildError.ts"
import type { Compared } from "./RebuildProgress.ts"

/**
 * A document that differs between the generations, or that could not be compared.
 *
 * - `Different`: both generations have applied the same events to it, and its contents differ or it exists in only one of them
 * - `Unsettled`: it changed between all attempts to compare it
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  readonly _tag: "Different" | "Unsettled"
  readonly key: string
  /** The encoded document of the active generation; undefined if there is none. */
  readonly active: Schema.Json | undefined
  /** The encoded document of the rebuilt generation; undefined if there is none. */
  readonly rebuilt: Schema.Json | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface CompareOptions {
  /** The number of documents compared at a time; 500 by default. */
  readonly pageSize?: number | undefined
  /** The maximum number of attempts for a document that keeps changing; 20 by default. */
  readonly maxAttempts?: number | undefined
  /** The maximum wait for both generations to reach the position of either; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * The result for a page of documents.
 *
 * @since 0.1.0
 * @category models
 */
export interface ComparedPage {
  /** The number of documents that were compared. */
  readonly documents: number
  readonly differences: ReadonlyArray<Difference>
}

type Pair = readonly [GenerationView, GenerationView]
type Keys = ReadonlyArray<string>

interface Comparison {
  readonly projection: string
  readonly store: ProjectionStoreDriver
  readonly generations: readonly [active: string, rebuilt: string]
  readonly pageSize: number
  readonly maxAttempts: number
  /** In milliseconds. */
  readonly timeout: number
}

const pause = Duration.millis(20)

/**
 * Compares the documents of two generations, page by page.
 *
 * **Details**
 *
 * A view reads documents and positions as of one point in time. Two documents are comparable when both generations have applied the same events
 * to them: when all partitions are at the same position, and no document has a later event; or when, in a later view, both generations have passed
 * every position that the view before had reached, and the revisions of the documents are unchanged.
 *
 * @since 0.1.0
 * @category reading
 */
export const pages = (
  projection: string,
  store: ProjectionStoreDriver,
  generations: readonly [active: string, rebuilt: string],
  options: CompareOptions
): Stream.Stream<ComparedPage, RebuildRejected | EventStoreError> => {
  const comparison: Comparison = {
    projection,
    store,
    generations,
    pageSize: options.pageSize ?? 500,
    maxAttempts: options.maxAttempts ?? 20,
    timeout: Duration.toMillis(options.timeout ?? "30 seconds")
  }
  const [active, rebuilt] = generations
  return Stream.concat(
    pagesOf(comparison, active, Effect.succeed),
    // The documents that the active generation has too were compared before.
    pagesOf(comparison, rebuilt, (keys) =>
      Effect.map(store.load(active, keys), (found) => {
        const compared = new Set(found.map(({ key }) => key))
        return keys.filter((key) => !compared.has(key))
      }))
  )
}

/**
 * Returns the sums after each page.
 *
 * @since 0.1.0
 * @category reading
 */
export const sums = <E, R>(pages: Stream.Stream<ComparedPage, E, R>): Stream.Stream<Compared, E, R> =>
  Stream.mapAccum(
    pages,
    () => ({ documents: 0, different: 0, unsettled: 0 }),
    (sum, { differences, documents }) => {
      const unsettled = differences.filter(({ _tag }) => _tag === "Unsettled").length
      const next = {
        documents: sum.documents + documents,
        different: sum.different + differences.length - unsettled,
        unsettled: sum.unsettled + unsettled
      }
      return [next, [{ ...next, differences }]]
    }
  )

/** Compares the selected documents of each page of a generation. */
const pagesOf = (
  comparison: Comparison,
  generation: string,
  select: (keys: Keys) => Effect.Effect<Keys, EventStoreError>
) =>
  Stream.paginate(
    undefined,
    Effect.fnUntraced(function*(after: string | undefined) {
      const { pageSize, store } = comparison
      const found = yield* store.generationPage({ generation, after, limit: pageSize })
      const keys = found.map(({ key }) => key)
      const page = yield* comparePage(comparison, yield* select(keys))
      const next = keys.length < pageSize ? Option.none() : Option.fromUndefinedOr(keys.at(-1))
      return [[page], next] as const
    })
  )

const comparePage = Effect.fnUntraced(function*(
  comparison: Comparison,
  keys: Keys
): Effect.fn.Return<ComparedPage, RebuildRejected | EventStoreError> {
  const { generations, maxAttempts, store } = comparison
  const differences: Array<Difference> = []
  let pending = keys
  let before = yield* store.views(generations, pending)
  for (let attempt = 1; pending.length > 0; attempt++) {
    const now: Pair = isEven(before) ? before : yield* viewAfter(comparison, before, pending)
    const changing: Array<string> = []
    for (const key of pending) {
      const [active, rebuilt] = now.map(({ documents }) => documents.get(key)?.document)
      if (isSettled(before, now, key)) {
        if (!Equal.equals(active, rebuilt)) differences.push({ _tag: "Different", key, active, rebuilt })
      } else if (attempt < maxAttempts) changing.push(key)
      else differences.push({ _tag: "Unsettled", key, active, rebuilt })
    }
    pending = changing
    before = now
  }
  return { documents: keys.length, differences }
})

/** Returns the next view of documents, once both generations have passed every position of the view before. */
const viewAfter = Effect.fnUntraced(function*(
  { generations, projection, store, timeout }: Comparison,
  before: Pair,
  keys: Keys
): Effect.fn.Return<Pair, RebuildRejected | EventStoreError> {
  const wanted = before.map(({ reached }) => reached).reduce(Position.max, Position.start)
  const deadline = (yield* monotonicMillis) + timeout
  while (true) {
    const now = yield* store.views(generations, keys)
    const behind = now.findIndex(({ positions }) =>
      positions.length === 0 || positions.some((position) => position < wanted)
    )
    if (behind < 0 || isEven(now)) return now
    if ((yield* monotonicMillis) >= deadline) {
      return yield* new RebuildRejected({
        projection,
        reason: "Stalled",
        detail: `generation "${generations[
          behind
        ]!}" has not reached position ${wanted} within ${timeout} ms; run a projector of this projection`
      })
    }
    yield* Effect.sleep(pause)
  }
})

/**
 * Whether all partitions of both generations are at the same position, so that both have applied the same events. After the number of partitions has
 * changed, a document may contain later events than those of its partition.
 */
const isEven = ([a, b]: Pair): boolean =>
  a.positions.length > 0 && b.positions.length > 0
  && [...a.positions, ...b.positions, a.reached, b.reached].every((position) => position === a.positions[0])

/** Whether both generations have applied the same events to a document, as `now` has passed every position of `before`. */
const isSettled = (before: Pair, now: Pair, key: string): boolean => {
  if (isEven(now)) return true
  const revisionsIn = (pair: Pair) => pair.map(({ documents }) => documents.get(key)?.revision)
  const [a, b] = revisionsIn(now)
  if (!Equal.equals(revisionsIn(before), [a, b])) return false
  // A missing document may have existed between the views; the other generation must have passed those events too.
  const [active, rebuilt] = now
  return (a !== undefined || hasPassed(rebuilt, active)) && (b !== undefined || hasPassed(active, rebuilt))
}

const hasPassed = ({ positions }: GenerationView, { reached }: GenerationView): boolean =>
  positions.every((position) => position >= reached)
