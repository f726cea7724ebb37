/**
 * Reads a value again whenever it may have changed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as ReaderWakeups from "../eventStore/ReaderWakeups.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Signals changes by a number that grows: a position of the log, or a count of changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signal<E, R> {
  /** Returns the current number; taken before a read. */
  readonly current: Effect.Effect<Position.Position, E, R>
  /** Ends once the number is greater than the given one. */
  readonly changed: (since: Position.Position) => Effect.Effect<void, E, R>
}

/**
 * Returns a stream of the values of `read`: the first one, and after each signal the next one whose text differs. Ends only by failing.
 *
 * @since 0.1.0
 * @category watching
 */
export const watch = <A, E, R>(
  signal: Signal<E, R>,
  read: Effect.Effect<{ readonly text: string; readonly value: A }, E, R>
): Stream.Stream<A, E, R> =>
  Stream.paginate(
    { since: undefined as Position.Position | undefined, text: undefined as string | undefined },
    Effect.fnUntraced(function*(last) {
      if (last.since !== undefined) yield* signal.changed(last.since)
      const since = yield* signal.current
      const { text, value } = yield* read
      return [text === last.text ? [] : [value], Option.some({ since, text })] as const
    })
  )

/**
 * The signal that a consumer has progressed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProgressSignal extends Signal<EventStoreError, never> {
  /** Makes the signal look for progress at once. */
  readonly wake: Effect.Effect<void>
}

/**
 * Returns the signal of a consumer's progress: it counts how often the active generation, or the progress of one of its partitions, was found
 * changed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const progressOf = Effect.fnUntraced(function*(
  driver: ProjectionStoreDriver,
  consumer: string,
  interval: Parameters<typeof ReaderWakeups.make>[0]["interval"]
): Effect.fn.Return<ProgressSignal, never, Scope.Scope> {
  let changes = 0n
  let last: string | undefined
  const count = Effect.gen(function*() {
    const generation = yield* driver.activeGeneration(consumer)
    const partitions = yield* driver.progress(generation)
    // The digest shows when a parked stream is retried: its events are behind the checkpoint.
    const progress = [generation, ...partitions.map(({ digest, position }) => `${position}:${digest}`)].join(" ")
    if (progress !== last) changes++
    last = progress
    return Position.make(changes)
  })
  const watcher = yield* ReaderWakeups.make({ head: count, interval })
  return { ...watcher, current: Effect.sync(() => Position.make(changes)) }
})
