/**
 * Compares two targets of a projection while both move on.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import type { GenerationView, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import { RebuildRejected } from "./RebuildError.ts"

/**
 * A document that is not the same in both targets, or of which that could not be told.
 *
 * - `Different`: it is another, or missing, with the same events applied on both sides
 * - `Unsettled`: it has changed whenever it was looked at
 * - `active`, `rebuilt`: the encoded documents; undefined where there is none
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  readonly _tag: "Different" | "Unsettled"
  readonly key: string
  readonly active: Schema.Json | undefined
  readonly rebuilt: Schema.Json | undefined
}

/**
 * - `pageSize`: documents compared at a time; 500 by default
 * - `attempts`: how often a document that keeps changing is looked at; 20 by default
 * - `within`: how long to wait for both targets to come as far as either; 30 seconds by default
 *
 * @since 0.1.0
 * @category options
 */
export interface CompareOptions {
  readonly pageSize?: number | undefined
  readonly attempts?: number | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * Documents that were compared, and which of them are different.
 *
 * @since 0.1.0
 * @category models
 */
export interface ComparedPage {
  readonly documents: number
  readonly differences: ReadonlyArray<Difference>
}

type Pair = readonly [GenerationView, GenerationView]
type Keys = ReadonlyArray<string>

const pause = Duration.millis(20)

/**
 * The documents of both targets, page by page.
 *
 * **Details**
 *
 * Documents and positions are read together, as they are at one moment. What is read is a status when both sides have applied the same
 * events to the document: when all partitions stand at the same positions; or when, a while later, both have passed every position of the
 * first look, and its revisions are what they were.
 *
 * @since 0.1.0
 * @category reading
 */
export const pages = (
  projection: string,
  store: ProjectionStoreDriver,
  generations: readonly [string, string],
  options: CompareOptions
): Stream.Stream<ComparedPage, RebuildRejected | EventStoreError> => {
  const { attempts = 20, pageSize: limit = 500 } = options
  const timeout = Duration.toMillis(options.timeout ?? "30 seconds")
  const [active, rebuilt] = generations

  /** The next look at documents, as soon as both sides have passed every position of the look before. */
  const lookAfter = Effect.fnUntraced(function*(before: Pair, keys: Keys) {
    const all = before.flatMap(({ positions }) => positions)
    const wanted = all.reduce(Position.max, Position.start)
    const deadline = (yield* Clock.currentTimeMillis) + timeout
    while (true) {
      const now = yield* store.views(generations, keys)
      const behind = now.findIndex(({ positions }) =>
        positions.length === 0 || positions.some((position) => position < wanted)
      )
      if (behind < 0 || isEven(now)) return now
      if ((yield* Clock.currentTimeMillis) >= deadline) {
        return yield* new RebuildRejected({
          projection,
          reason: "NotFollowed",
          detail:
            `${generations[behind]!} has not reached position ${wanted} within ${timeout} ms; is anybody working on it?`
        })
      }
      yield* Effect.sleep(pause)
    }
  })

  const verify = Effect.fnUntraced(function*(keys: Keys) {
    const differences: Array<Difference> = []
    let pending = keys
    let before = yield* store.views(generations, pending)
    for (let attempt = 1; pending.length > 0; attempt++) {
      const now: Pair = isEven(before) ? before : yield* lookAfter(before, pending)
      const open: Array<string> = []
      for (const key of pending) {
        const [a, b] = now.map(({ documents }) => documents.get(key)?.document)
        if (isSettled(before, now, key)) {
          if (!Equal.equals(a, b)) differences.push({ _tag: "Different", key, active: a, rebuilt: b })
        } else if (attempt < attempts) open.push(key)
        else differences.push({ _tag: "Unsettled", key, active: a, rebuilt: b })
      }
      pending = open
      before = now
    }
    return { documents: keys.length, differences }
  })

  const keysOf = (generation: string, after: string | undefined) =>
    Effect.map(store.generationPage({ generation, after, limit }), (page) => page.map(({ key }) => key))

  const walk = (generation: string, select: (keys: Keys) => Effect.Effect<Keys, EventStoreError>) =>
    Stream.paginate(
      undefined,
      Effect.fnUntraced(function*(after: string | undefined) {
        const keys = yield* keysOf(generation, after)
        const page = yield* verify(yield* select(keys))
        const last = keys.length < limit ? Option.none() : Option.fromUndefinedOr(keys.at(-1))
        return [[page], last] as const
      })
    )

  return Stream.concat(
    walk(active, Effect.succeed),
    // What the active one has too was compared.
    walk(rebuilt, (keys) =>
      Effect.map(store.load(active, keys), (found) => {
        const known = new Set(found.map(({ key }) => key))
        return keys.filter((key) => !known.has(key))
      }))
  )
}

/** Whether all partitions of both stand at the same positions, so that both have applied the same events. */
const isEven = ([{ positions: a }, { positions: b }]: Pair): boolean =>
  a.length > 0 && b.length > 0
  && (a.length === b.length
    ? a.every((position, index) => position === b[index])
    : [...a, ...b].every((position) => position === a[0]))

/** Whether both sides have applied the same events to a document, as `now` has passed every position of `before`. */
const isSettled = (before: Pair, now: Pair, key: string): boolean => {
  if (isEven(now)) return true
  const revisions = (pair: Pair) => pair.map(({ documents }) => documents.get(key)?.revision)
  const [a, b] = revisions(now)
  if (!Equal.equals(revisions(before), [a, b])) return false
  // One that is missing may have been there in between; the other must have passed that too.
  const [as, bs] = now.map(({ positions }) => positions)
  return (a !== undefined || hasPassed(bs!, as!)) && (b !== undefined || hasPassed(as!, bs!))
}

const hasPassed = (one: ReadonlyArray<Position.Position>, other: ReadonlyArray<Position.Position>): boolean =>
  one.every((position) => other.every((passed) => position >= passed))
