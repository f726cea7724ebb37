/**
 * The cache of an aggregate's states in this process, limited in number and age.
 *
 * A cached state may be old, and is never wrong: it is the fold of the first events of a stream, which never change. So no other process
 * has to invalidate it; a load reads only the events after it. The exception is a log that was set back by a restore or a failover: a load or
 * an append that finds the last event of a cached state missing drops all of them.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { CachedState } from "./AggregateState.ts"

/**
 * The limits of the cache of states that a process has for each aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateCache {
  /** How many states are cached at most, 1,000 by default; the least recently used is dropped first. 0 turns the cache off. */
  readonly capacity: number
  /** How long a state stays cached after this process last read or wrote its stream, 5 minutes by default. */
  readonly timeToLive: Duration.Input
}

/**
 * The limits that apply when an aggregate is first used. Provide another value to change them.
 *
 * @since 0.1.0
 * @category references
 */
export const StateCache = Context.Reference<StateCache>("evsrc/aggregate/StateCache", {
  defaultValue: () => ({ capacity: 1_000, timeToLive: "5 minutes" })
})

/**
 * The cached states of one aggregate on one store.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateStateCache<State> {
  /** Returns the cached state of a stream, after `checkErasures`. */
  readonly get: (stream: string) => Effect.Effect<Option.Option<CachedState<State>>, EventStoreError>
  /**
   * Drops all states when a subject was erased since the last check, because its personal data may be in them. Returns the id of
   * the last erasure, or `undefined` for an aggregate without personal data.
   */
  readonly checkErasures: Effect.Effect<string | undefined, EventStoreError>
  /** Returns the id of the last erasure at the last check. */
  readonly checkedErasure: () => string | undefined
  /** Whether a state that the caller read before may still be used: an erasure may have dropped it since. */
  readonly isCurrent: (stream: string, state: CachedState<State>) => Effect.Effect<boolean>
  /** Caches a state, unless a later one is cached: a slow reader may come after a fast one. */
  readonly put: (stream: string, state: CachedState<State>) => Effect.Effect<void>
  /** Drops the state of a stream. */
  readonly remove: (stream: string) => Effect.Effect<void>
  /** Drops all states. */
  readonly clear: Effect.Effect<void>
}

/**
 * Makes an empty cache. `lastErasure` returns the id of the last erasure; it is `undefined` for an aggregate without personal data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<State>(
  lastErasure: Effect.Effect<string, EventStoreError> | undefined
): Effect.fn.Return<AggregateStateCache<State>> {
  const cache = yield* Cache.make({
    ...yield* StateCache,
    // States enter by `put` alone; nothing calls `Cache.get`, which would look one up.
    lookup: (_stream: string): Effect.Effect<CachedState<State>> => Effect.never
  })
  let checked: string | undefined

  const checkErasures: Effect.Effect<string | undefined, EventStoreError> = lastErasure === undefined
    ? Effect.undefined
    : Effect.flatMap(lastErasure, (now) => {
      if (now === checked) return Effect.succeed(now)
      checked = now
      return Effect.as(Cache.invalidateAll(cache), now)
    })

  return {
    get: (stream) => Effect.andThen(checkErasures, Cache.getSuccess(cache, stream)),
    checkErasures,
    checkedErasure: () => checked,
    isCurrent: (stream, state) =>
      lastErasure === undefined
        ? Effect.succeed(true)
        : Effect.map(Cache.getSuccess(cache, stream), (cached) => Option.isSome(cached) && cached.value === state),
    put: (stream, state) =>
      Effect.flatMap(
        Cache.getSuccess(cache, stream),
        (cached) =>
          Option.isSome(cached) && cached.value.version > state.version ? Effect.void : Cache.set(cache, stream, state)
      ),
    remove: (stream) => Cache.invalidate(cache, stream),
    clear: Cache.invalidateAll(cache)
  }
})
