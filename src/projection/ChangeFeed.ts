/**
 * Values that are looked at again whenever they may have changed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as HighWaterMark from "../eventStore/HighWaterMark.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * - `mark`: names the present, before something is looked at
 * - `changed`: ends when something may have changed since
 *
 * @since 0.1.0
 * @category models
 */
export interface Signal<E, R> {
  readonly mark: Effect.Effect<Position.Position, E, R>
  readonly changed: (since: Position.Position) => Effect.Effect<void, E, R>
}

/**
 * What `look` answers, and again whenever its text is another. Ends only by failing.
 *
 * @since 0.1.0
 * @category watching
 */
export const watch = <A, E, R>(
  signal: Signal<E, R>,
  look: Effect.Effect<{ readonly text: string; readonly value: A }, E, R>
): Stream.Stream<A, E, R> =>
  Stream.paginate(
    { since: undefined as Position.Position | undefined, text: undefined as string | undefined },
    Effect.fnUntraced(function*(last) {
      if (last.since !== undefined) yield* signal.changed(last.since)
      const since = yield* signal.mark
      const { text, value } = yield* look
      return [text === last.text ? [] : [value], Option.some({ since, text })] as const
    })
  )

/**
 * Counts how often somebody has seen that a consumer has moved, in any partition or to another target.
 *
 * @since 0.1.0
 * @category constructors
 */
export const progressOf = Effect.fnUntraced(function*(
  driver: ProjectionStoreDriver,
  consumer: string,
  interval: Parameters<typeof HighWaterMark.make>[0]["interval"]
): Effect.fn.Return<Signal<EventStoreError, never> & { readonly wake: Effect.Effect<void> }, never, Scope.Scope> {
  let seen = 0n
  let last: string | undefined
  const look = Effect.gen(function*() {
    const generation = yield* driver.activeGeneration(consumer)
    const partitions = yield* driver.progress(generation)
    // The digest tells of a parked stream that goes on behind the checkpoint.
    const now = [generation, ...partitions.map(({ digest, position }) => `${position}:${digest}`)].join(" ")
    if (now !== last) seen++
    last = now
    return Position.make(seen)
  })
  const watch = yield* HighWaterMark.make({ head: look, interval })
  return { ...watch, mark: Effect.sync(() => Position.make(seen)) }
})
