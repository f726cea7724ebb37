/**
 * Reads the states of an aggregate's instances from the store: a snapshot or a cached state, and the events that follow.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import { deepFreeze } from "../core/deepFreeze.ts"
import type { EventStoreError } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { Snapshot } from "../snapshot/SnapshotDriver.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateSnapshotter from "./AggregateSnapshotter.ts"
import { type CachedState, catchUp, empty, verifyAndCatchUp } from "./AggregateState.ts"

/**
 * Which events a state may include.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bounds {
  /** All events up to this version are wanted, so a state up to it may be the start. */
  readonly maxVersion: number
  readonly useSnapshots: boolean
  /** The fold ends before the first event that is not wanted. */
  readonly wanted?: (encoded: EncodedEvent) => boolean
}

/**
 * Bounds that include every event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unbounded: Bounds = { maxVersion: Infinity, useSnapshots: true }

/**
 * A state that was read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Read<State> {
  readonly loaded: CachedState<State>
  /** The version of the state from which the fold began. */
  readonly from: number
  /** A snapshot that could not be used, to be replaced. */
  readonly unusable: Snapshot | undefined
}

/**
 * Reads a state from the best start there is: the given cached state, a snapshot, or the first event.
 *
 * @since 0.1.0
 * @category models
 */
export type StateReader<State> = (
  stream: string,
  cached: CachedState<State> | undefined,
  bounds: Bounds
) => Effect.Effect<Read<State>, EventStoreError>

/**
 * Makes the reader of an aggregate on a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  snapshotter: AggregateSnapshotter.AggregateSnapshotter<State> | undefined
): StateReader<State> => {
  const fromSnapshot = Effect.fnUntraced(function*(
    stream: string,
    { maxVersion, useSnapshots, wanted }: Bounds
  ): Effect.fn.Return<Read<State>, EventStoreError> {
    const found = snapshotter === undefined || !useSnapshots || maxVersion === 0
      ? AggregateSnapshotter.none
      : yield* snapshotter.find(stream, maxVersion)
    if (found._tag === "Usable") {
      const loaded = yield* verifyAndCatchUp(store, decider, stream, found.state, wanted)
      yield* snapshotter!.verified(found.snapshot, loaded !== undefined)
      if (loaded !== undefined) return { loaded, from: found.state.version, unusable: undefined }
    }
    const loaded = yield* catchUp(store, decider, stream, empty(decider), wanted)
    return { loaded, from: 0, unusable: found._tag === "None" ? undefined : found.snapshot }
  })

  const readOne = Effect.fnUntraced(function*(
    stream: string,
    cached: CachedState<State> | undefined,
    bounds: Bounds
  ): Effect.fn.Return<Read<State>, EventStoreError> {
    if (cached === undefined) return yield* fromSnapshot(stream, bounds)
    const loaded = yield* verifyAndCatchUp(store, decider, stream, cached, bounds.wanted)
    return loaded === undefined
      ? yield* fromSnapshot(stream, bounds)
      : { loaded, from: cached.version, unusable: undefined }
  })
  return (stream, cached, bounds) =>
    Effect.map(readOne(stream, cached, bounds), (read) => {
      // Commands, a snapshot and the caller of `load` share it, in production too.
      deepFreeze(read.loaded.state)
      return read
    })
}
