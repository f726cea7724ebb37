/**
 * The cache of an aggregate's states in this process, limited in number and age.
 *
 * A cached state may be old, and is never wrong: it is the fold of the first events of a stream, which never change. So no other process
 * has to invalidate it; a load reads only the events after it. The exception is a log that was set back by a restore or a failover: a load or
 * an append that finds the last event of a cached state missing drops all of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
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
 * The cached states of one aggregate on one store. `now` is the time in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateStateCache<State> {
  /** Returns the cached state of a stream. Of an aggregate with personal data it may be used only after `mayUse`. */
  readonly get: (stream: string, now: number) => CachedState<State> | undefined
  /** Returns whether cached states may be used: not after a `checkErasures` that failed. `undefined` for an aggregate without personal data. */
  readonly mayUse: Effect.Effect<boolean> | undefined
  /**
   * Drops all states when a subject was erased since the last check, because its personal data may be in them. Returns the id of
   * the last erasure, or `undefined` for an aggregate without personal data.
   */
  readonly checkErasures: Effect.Effect<string | undefined, EventStoreError>
  /** Returns the id of the last erasure at the last check; after one that failed, an id of its own, which equals no other. */
  readonly checkedErasure: () => string | undefined
  /** Returns whether a state that the caller read before may still be used: an erasure may have dropped it since. */
  readonly isCurrent: (stream: string, state: CachedState<State>, now: number) => boolean
  /** Caches a state, unless a later one is cached: a slow reader may come after a fast one. */
  readonly put: (stream: string, state: CachedState<State>, now: number) => void
  /** Drops the state of a stream. */
  readonly remove: (stream: string) => void
  /** Drops all states. */
  readonly clear: () => void
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
  const states = new States<State>(yield* StateCache)
  let checked: string | undefined
  let failures = 0

  const checkErasures = lastErasure && Effect.map(lastErasure, (now) => {
    if (now !== checked) states.clear()
    return checked = now
  })

  return {
    get: (stream, now) => states.get(stream, now),
    mayUse: checkErasures && Effect.match(checkErasures, {
      onFailure: () => {
        // Nor may the state that an append in flight leads to, also one that was loaded after an earlier failure.
        checked = `unknown ${++failures}`
        return false
      },
      onSuccess: () => true
    }),
    checkErasures: checkErasures ?? Effect.undefined,
    checkedErasure: () => checked,
    isCurrent: (stream, state, now) => lastErasure === undefined || states.get(stream, now) === state,
    put: (stream, state, now) => {
      const cached = states.get(stream, now)
      if (cached === undefined || cached.version <= state.version) states.set(stream, state, now)
    },
    remove: (stream) => states.delete(stream),
    clear: () => states.clear()
  }
})

/**
 * States by their streams, least recently used first. It is synchronous, because each command looks a state up: the `Cache` of Effect took several
 * steps of its run loop and the arithmetic of a `Duration` for each access.
 */
class States<State> {
  readonly #entries = new Map<string, { readonly state: CachedState<State>; readonly expires: number }>()
  readonly #capacity: number
  readonly #timeToLive: number
  constructor({ capacity, timeToLive }: StateCache) {
    this.#capacity = capacity
    this.#timeToLive = Duration.toMillis(Duration.fromInputUnsafe(timeToLive))
  }
  get(stream: string, now: number): CachedState<State> | undefined {
    const entry = this.#entries.get(stream)
    if (entry === undefined) return undefined
    this.#entries.delete(stream)
    if (entry.expires <= now) return undefined
    this.#entries.set(stream, entry)
    return entry.state
  }
  set(stream: string, state: CachedState<State>, now: number): void {
    this.#entries.delete(stream)
    this.#entries.set(stream, { state, expires: now + this.#timeToLive })
    if (this.#entries.size <= this.#capacity) return
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest)
      return
    }
  }
  delete(stream: string): void {
    this.#entries.delete(stream)
  }
  clear(): void {
    this.#entries.clear()
  }
}
