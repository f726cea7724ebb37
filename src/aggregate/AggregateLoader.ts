/**
 * Loads the states of an aggregate's instances: from the cache of this process, from a snapshot, or from the first event on; then from the
 * events that follow.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as Position from "../core/Position.ts"
import type * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateSnapshotter from "./AggregateSnapshotter.ts"
import type { CachedState, Loaded } from "./AggregateState.ts"
import * as AggregateStateCache from "./AggregateStateCache.ts"
import * as AggregateStream from "./AggregateStream.ts"
import * as CachedStates from "./CachedStates.ts"
import * as StateReader from "./StateReader.ts"

/**
 * Which state `load` returns. Without any of the first three it is the current one.
 *
 * @since 0.1.0
 * @category options
 */
export interface LoadOptions {
  /** Folds only events up to this version of the stream. */
  readonly atVersion?: Version.Version | undefined
  /** Folds only events up to this position of the log. */
  readonly atPosition?: Position.Position | undefined
  /** Folds only the events before the first one recorded after this instant. */
  readonly atTime?: DateTime.DateTime | undefined
  /**
   * `"fresh"`, the default, includes every event committed before the call. `"stale"` returns the cached state without a round trip, and
   * may miss events of other processes; without a cached state it is fresh. Use it for reading only. Past states are always fresh.
   */
  readonly policy?: "fresh" | "stale" | undefined
}

/**
 * Returns the state of one instance of an aggregate, current or past.
 *
 * @since 0.1.0
 * @category combinators
 */
export const load = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  { atPosition, atTime, atVersion, policy = "fresh" }: LoadOptions = {}
): Effect.Effect<Loaded<State>, EventStoreError, EventStore.EventStore> =>
  atPosition === undefined && atTime === undefined && atVersion === undefined
    ? Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const stream = yield* AggregateStream.of(decider.aggregate, id)
      const loader = yield* loaderOf(store, decider)
      const cached = yield* loader.cached(stream)
      return toLoaded(cached !== undefined && policy === "stale" ? cached : yield* loader.current(stream, cached))
    })
    : loadReadOnly(decider, id, { atPosition, atTime, atVersion })

/**
 * Returns a state as `load` does, and writes neither a snapshot nor the cache.
 *
 * @since 0.1.0
 * @category combinators
 */
export const loadReadOnly = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  { atPosition, atTime, atVersion }: Omit<LoadOptions, "policy">,
  { snapshots = true }: {
    /** Whether to start from a snapshot, true by default. A decider whose `evolve` differs from that of the program must not. */
    readonly snapshots?: boolean | undefined
  } = {}
): Effect.Effect<Loaded<State>, EventStoreError, EventStore.EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = yield* AggregateStream.of(decider.aggregate, id)
    const loader = yield* loaderOf(store, decider)
    const cached = atTime === undefined ? yield* loader.cached(stream) : undefined
    const isIncluded = ({ position, version }: Pick<EncodedEvent, "position" | "version">) =>
      (atVersion === undefined || version <= atVersion) && (atPosition === undefined || position <= atPosition)
    // Recorded times need not grow along a stream, so no version bounds an instant. A position is bounded by the cached version alone.
    const maxVersion = atTime !== undefined
      ? 0
      : atPosition === undefined
      ? atVersion ?? Infinity
      : cached !== undefined && isIncluded(cached)
      ? cached.version
      : 0
    const past = yield* loader.past(stream, cached, {
      maxVersion,
      useSnapshots: snapshots,
      wanted: (encoded) =>
        isIncluded(encoded) && (atTime === undefined || DateTime.isLessThanOrEqualTo(encoded.recordedAt, atTime))
    })
    return toLoaded(past)
  })

const toLoaded = <State>({ position, state, version }: CachedState<State>): Loaded<State> => ({
  state,
  version,
  position
})

/**
 * Loads the states of one aggregate on one store.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateLoader<State> extends CachedStates.CachedStates<State> {
  /** Returns a state within bounds. It is not cached, since it would evict a current one. */
  readonly past: (
    stream: string,
    cached: CachedState<State> | undefined,
    bounds: StateReader.Bounds
  ) => Effect.Effect<CachedState<State>, EventStoreError>
  /** Returns the id of the last erasure at the last look at the cache. */
  readonly checkedErasure: () => string | undefined
  /** Drops all cached states, because the log was set back. */
  readonly drop: Effect.Effect<void>
}

const handling = new WeakSet<object>()

/**
 * Remembers that a decider handles the commands of its aggregate in this process, so that the snapshots are from its `evolve`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const setHandling = (decider: object): void => void handling.add(decider)

/**
 * Returns whether a decider handles the commands of its aggregate in this process.
 *
 * @since 0.1.0
 * @category guards
 */
export const isHandling = (decider: object): boolean => handling.has(decider)

const loaders = new WeakMap<EventStore.EventStore["Service"], WeakMap<object, unknown>>()

/**
 * Returns the loader of a store and a decider: for the same two, always the same loader.
 *
 * @since 0.1.0
 * @category constructors
 */
export const loaderOf = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>
): Effect.Effect<AggregateLoader<State>> =>
  Effect.suspend(() => {
    let ofStore = loaders.get(store)
    if (ofStore === undefined) loaders.set(store, ofStore = new WeakMap())
    const found = ofStore.get(decider)
    // The loader of a decider is stored under that decider; a WeakMap cannot say so in its type.
    if (found !== undefined) return Effect.succeed(found as AggregateLoader<State>)
    return Effect.tap(make(store, decider), (made) => Effect.sync(() => ofStore.set(decider, made)))
  })

const make = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>
): Effect.fn.Return<AggregateLoader<State>> {
  const snapshotter = decider.stateSnapshots && AggregateSnapshotter.make(store, decider.stateSnapshots)
  const { inTransaction } = store[internals].driver
  const hasPersonalData = EventPersonalData.hasPersonalData(decider.aggregate.events)
  const cache = yield* AggregateStateCache.make<State>(hasPersonalData ? store[internals].keys.lastErasure : undefined)
  const read = StateReader.make(store, decider, snapshotter)
  return {
    ...CachedStates.make({ cache, read, snapshotter, inTransaction, isPersonal: decider.personalFields.size > 0 }),
    past: (stream, cached, bounds) =>
      Effect.map(
        read(stream, cached !== undefined && cached.version <= bounds.maxVersion ? cached : undefined, bounds),
        ({ loaded }) => loaded
      ),
    checkedErasure: cache.checkedErasure,
    drop: Effect.sync(cache.clear)
  }
})
