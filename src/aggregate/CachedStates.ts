/**
 * Loads the states of an aggregate's instances through the cache of this process.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import { countStateRead } from "../core/telemetry/metricUpdates.ts"
import * as safeSpan from "../core/telemetry/safeSpan.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import type { AggregateSnapshotter } from "./AggregateSnapshotter.ts"
import type { CachedState } from "./AggregateState.ts"
import type { AggregateStateCache } from "./AggregateStateCache.ts"
import * as StateReader from "./StateReader.ts"

/**
 * The states of one aggregate on one store. Within a transaction of the caller the cache is neither read nor written, since what is read there may be
 * rolled back.
 *
 * @since 0.1.0
 * @category models
 */
export interface CachedStates<State> {
  /** Returns the cached state of a stream. */
  readonly cached: (stream: string) => Effect.Effect<CachedState<State> | undefined>
  /** Returns the state with every event so far, and caches it. */
  readonly current: (
    stream: string,
    cached: CachedState<State> | undefined
  ) => Effect.Effect<CachedState<State>, EventStoreError>
  /**
   * Caches the state after events that were just appended to `from`, unless a subject was erased since `lastErasure` was read, and writes a snapshot
   * when one is due. A state that is `undefined` could not be folded.
   */
  readonly appended: (
    stream: string,
    from: CachedState<State>,
    state: CachedState<State> | undefined,
    lastErasure: string | undefined
  ) => Effect.Effect<void>
  /** Notes that the current handler uses a state that another command has read, so that its errors quote nothing of it. */
  readonly noteShared: Effect.Effect<void>
}

/** What the states are read from, and cached in. */
interface Sources<State> {
  readonly cache: AggregateStateCache<State>
  readonly read: StateReader.StateReader<State>
  readonly snapshotter: AggregateSnapshotter<State> | undefined
  readonly inTransaction: EventStoreDriver["inTransaction"]
  /** Whether the states may have personal data. */
  readonly isPersonal: boolean
}

/**
 * Makes the states of an aggregate.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State>(sources: Sources<State>): CachedStates<State> => {
  const { cache, inTransaction, isPersonal, read, snapshotter } = sources
  const find = lookup(sources)

  /** Reads the current state, and writes a snapshot when one is due. */
  const readCurrent = (stream: string, cached: CachedState<State> | undefined) =>
    Effect.suspend(() => {
      const lastErasure = cache.checkedErasure()
      return Effect.flatMap(
        Effect.timed(read(stream, cached, StateReader.unbounded)),
        ([cost, { from, loaded, unusable }]) => {
          // The log does not have the last event of the cached state: it was set back, so other states may be of lost events too.
          if (cached !== undefined && from < cached.version) cache.clear()
          return snapshotter === undefined ? Effect.succeed(loaded) : Effect.as(
            snapshotter.afterRead(stream, from, loaded, lastErasure, cost, unusable),
            loaded
          )
        }
      )
    })

  const readAndCache = Effect.fnUntraced(function*(
    stream: string,
    given: CachedState<State> | undefined
  ): Effect.fn.Return<CachedState<State>, EventStoreError> {
    const lastErasure = yield* cache.checkErasures
    const clock = yield* Clock.Clock
    const isUsable = given !== undefined && cache.isCurrent(stream, given, clock.currentTimeMillisUnsafe())
    const loaded = yield* readCurrent(stream, isUsable ? given : undefined)
    // A subject was erased during the read.
    if (lastErasure !== (yield* cache.checkErasures)) return yield* readAndCache(stream, undefined)
    // The version went down, which happens only when an older backup was restored.
    if (given !== undefined && loaded.version < given.version) cache.remove(stream)
    cache.put(stream, loaded, clock.currentTimeMillisUnsafe())
    return loaded
  })

  const cacheAppended = (
    [stream, from, state, lastErasure]: Parameters<CachedStates<State>["appended"]>,
    caller: Context.Context<never>
  ) => {
    if (state === undefined) {
      // The append has succeeded all the same; the next load of the stream fails with the reason.
      cache.remove(stream)
      return Effect.void
    }
    if (lastErasure !== cache.checkedErasure()) return Effect.void
    cache.put(stream, state, millisOf(caller))
    return snapshotter === undefined
      ? Effect.void
      : snapshotter.afterAppend(stream, from.version, state, lastErasure)
  }

  return {
    cached: (stream) =>
      Effect.contextWith((caller: Context.Context<never>) =>
        inTransaction(caller) ? Effect.undefined : find(stream, caller)
      ),
    current: (stream, cached) =>
      safeSpan.withSpan(
        Effect.contextWith((caller: Context.Context<never>) =>
          inTransaction(caller)
            ? Effect.map(read(stream, cached, StateReader.unbounded), ({ loaded }) => loaded)
            : readAndCache(stream, cached)
        ),
        "Aggregate.load",
        { "evsrc.stream": stream, "evsrc.version": cached?.version ?? 0 },
        isPersonal
      ),
    appended: (...state) =>
      Effect.contextWith((caller: Context.Context<never>) =>
        inTransaction(caller) ? Effect.void : cacheAppended(state, caller)
      ),
    // Nothing was decrypted for the handler.
    noteShared: isPersonal ? DecryptedValues.addUnknown : Effect.void
  }
}

/** Returns the lookup of a cached state. It looks at the erasures first, if the aggregate has personal data. */
const lookup = <State>({ cache, isPersonal }: Sources<State>) => {
  const find = (stream: string, caller: Context.Context<never>): Effect.Effect<CachedState<State> | undefined> => {
    const found = cache.get(stream, millisOf(caller))
    countStateRead(caller, found !== undefined)
    // A handler that uses a cached state may quote it, and nothing was decrypted for it.
    return found !== undefined && isPersonal ? Effect.as(DecryptedValues.addUnknown, found) : Effect.succeed(found)
  }
  const { mayUse } = cache
  if (mayUse === undefined) return find
  return (stream: string, caller: Context.Context<never>) =>
    Effect.flatMap(mayUse, (mayUse) => {
      if (mayUse) return find(stream, caller)
      countStateRead(caller, false)
      return Effect.undefined
    })
}

const millisOf = (caller: Context.Context<never>): number => Context.get(caller, Clock.Clock).currentTimeMillisUnsafe()
