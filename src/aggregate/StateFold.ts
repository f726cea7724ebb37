/**
 * The fold of a stream into the state of an aggregate's instance.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import { type EventStoreError, storeError, type UndecodableEvent } from "../core/errors.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import type { CachedState } from "./AggregateState.ts"

/**
 * Folds the events after those that are already in a state, after a look at the last of these. None where the log has another in its place, or
 * none: it was set back by a backup that was restored.
 *
 * @since 0.1.0
 * @category folding
 */
export const catchUp = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  from: CachedState<State>,
  wanted: (recorded: EncodedEvent) => boolean = () => true
): Effect.Effect<CachedState<State> | undefined, EventStoreError> =>
  Effect.suspend(() => {
    if (from.version === 0) return continueFrom(store, decider, stream, from, wanted)
    let isThere = false
    const later = store.readStreamEncoded(stream, { from: from.version }).pipe(
      Stream.filter((recorded) => {
        if (recorded.version !== from.version) return true
        isThere = recorded.position === from.position && recorded.id === from.eventId
        return false
      }),
      Stream.takeWhile((recorded) => isThere && wanted(recorded))
    )
    return Effect.map(foldAll(decider, later, from), (loaded) => isThere ? loaded : undefined)
  })

/**
 * Folds the events after those that are already in the state, up to the first that is not wanted.
 *
 * @since 0.1.0
 * @category folding
 */
export const continueFrom = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  from: CachedState<State>,
  wanted?: (recorded: EncodedEvent) => boolean
): Effect.Effect<CachedState<State>, EventStoreError> => {
  const events = store.readStreamEncoded(stream, { from: Version.make(from.version + 1) })
  return foldAll(decider, wanted === undefined ? events : Stream.takeWhile(events, wanted), from)
}

/** Folds the events of a stream into a state, which are those that come next. Fails on one that cannot be decoded. */
const foldAll = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  events: Stream.Stream<EncodedEvent, EventStoreError>,
  from: CachedState<State>
): Effect.Effect<CachedState<State>, EventStoreError> =>
  Effect.suspend(() => {
    let loaded = from
    const fold = Stream.runForEachArray(events, (page) => {
      for (const recorded of page) {
        const next = foldOne(decider, loaded, recorded)
        if (Result.isFailure(next)) return Effect.fail(storeError(next.failure))
        loaded = next.success
      }
      return Effect.void
    })
    return Effect.map(fold, () => loaded)
  })

/** The state after one more event, whatever that means today; its version and position count all the same. */
const foldOne = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  { state }: CachedState<State>,
  recorded: EncodedEvent
): Result.Result<CachedState<State>, UndecodableEvent> =>
  Result.map(EventCodec.make(decider.aggregate.events).decode(recorded), (records) => ({
    state: records.reduce((state, { event }) => decider.evolve(state, event), state),
    version: recorded.version,
    position: recorded.position,
    eventId: recorded.id
  }))

/**
 * The state after events just written, folded as if they had been read: encoding may change an event, as a date loses its microseconds. None
 * when they do not decode.
 *
 * @since 0.1.0
 * @category folding
 */
export const foldEncoded = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  from: CachedState<State>,
  written: ReadonlyArray<EncodedEvent>
): CachedState<State> | undefined => {
  let loaded = from
  for (const recorded of written) {
    const next = foldOne(decider, loaded, recorded)
    if (Result.isFailure(next) || recorded.version !== loaded.version + 1) return undefined
    loaded = next.success
  }
  return loaded
}
