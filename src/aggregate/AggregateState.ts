/**
 * The state of one instance of an aggregate, and the fold of its stream into it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import { deepFreeze } from "../core/deepFreeze.ts"
import { type EventStoreError, storeError, type UndecodableEvent } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent, NewEvent } from "../event/RecordedEvent.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import { ofOneLog } from "../eventStore/LogIdentity.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"

/**
 * The state of an instance after an event of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out State> {
  readonly state: State
  /** The version of the last event in the state; 0 when the stream is empty. */
  readonly version: Version.Version
  /** The position of that event; 0 when the stream is empty. */
  readonly position: Position.Position
}

/**
 * A state that a cache or a snapshot holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface CachedState<out State> extends Loaded<State> {
  /** The id of the last event, which shows whether the log still has that event; empty when the stream is empty. */
  readonly eventId: string
}

/**
 * Returns the state before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty = <State>(decider: { readonly initial: State }): CachedState<State> => ({
  state: decider.initial,
  version: Version.zero,
  position: Position.start,
  eventId: ""
})

/**
 * Reads the events after `from` and folds them into it, up to the first event that is not `wanted`. The same read verifies that the log
 * still has the last event of `from`. Returns `undefined` when it has not, because an older backup was restored, or when the log was set back meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const verifyAndCatchUp = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  from: CachedState<State>,
  wanted: (encoded: EncodedEvent) => boolean = () => true
): Effect.Effect<CachedState<State> | undefined, EventStoreError> =>
  Effect.suspend(() => {
    if (from.version === 0) return catchUp(store, decider, stream, from, wanted)
    let isThere = false
    const loaded = fold(store, decider, stream, from, from.version, (encoded) => {
      if (encoded.version !== from.version) return isThere && wanted(encoded) ? "fold" : "end"
      isThere = encoded.position === from.position && encoded.id === from.eventId
      return "skip"
    })
    return Effect.catchReason(
      Effect.map(loaded, (loaded) => isThere ? loaded : undefined),
      "EventStoreError",
      "LogDiverged",
      () => Effect.succeed(undefined)
    )
  })

/**
 * Reads the events after `from` and folds them into it, up to the first event that is not `wanted`. If the log is set back between two pages, it begins
 * again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const catchUp = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  from: CachedState<State>,
  wanted?: (encoded: EncodedEvent) => boolean
): Effect.Effect<CachedState<State>, EventStoreError> =>
  ofOneLog(fold(
    store,
    decider,
    stream,
    from,
    Version.make(from.version + 1),
    wanted === undefined ? () => "fold" : (encoded) => wanted(encoded) ? "fold" : "end"
  ))

/**
 * Folds events just written into the state before them, as if they had been read: an event may change when it is encoded, as a date loses
 * its microseconds. Returns `undefined` when the events do not decode, do not follow the state, or `evolve` throws.
 *
 * @since 0.1.0
 * @category combinators
 */
export const foldWritten = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  from: CachedState<State>,
  written: ReadonlyArray<EncodedEvent>
): CachedState<State> | undefined => {
  return Result.getOrUndefined(Result.try(() => {
    let loaded = from
    for (const encoded of written) {
      const next = foldOne(decider, loaded, encoded)
      if (Result.isFailure(next) || encoded.version !== loaded.version + 1) return undefined
      loaded = next.success
    }
    // Later commands, a snapshot and the caller of `load` share it, in production too.
    deepFreeze(loaded.state)
    return loaded
  }))
}

/**
 * Folds events on their way to the log into the state before them, like `foldWritten`. The position of the state is not known yet.
 *
 * @since 0.1.0
 * @category combinators
 */
export const foldSent = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  from: CachedState<State>,
  events: ReadonlyArray<NewEvent>
): CachedState<State> | undefined =>
  Result.getOrUndefined(Result.try(() => {
    const codec = EventCodec.make(decider.aggregate.events)
    let { state } = from
    for (const { data, decrypted = data, schemaVersion, type } of events) {
      // What an event has in plaintext decodes without its metadata.
      const decoded = codec.decodeData({ type, schemaVersion, data: parseJson(decrypted) })
      if (Result.isFailure(decoded)) return undefined
      for (const event of decoded.success) state = decider.evolve(state, event)
    }
    deepFreeze(state)
    const version = Version.make(from.version + events.length)
    return { state, version, position: from.position, eventId: events.at(-1)?.id ?? from.eventId }
  }))

/** Folds the events of a stream from a version on, as `take` says for each. Fails on an event that cannot be decoded. */
const fold = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  state: CachedState<State>,
  from: Version.Version,
  take: (encoded: EncodedEvent) => "fold" | "skip" | "end"
): Effect.Effect<CachedState<State>, EventStoreError> =>
  Effect.suspend(() => {
    let loaded = state
    const read = store[internals].forEachPage(stream, { from }, (events) => {
      for (const encoded of events) {
        const taken = take(encoded)
        if (taken === "end") return "end"
        if (taken === "skip") continue
        const next = foldOne(decider, loaded, encoded)
        if (Result.isFailure(next)) return storeError(next.failure)
        loaded = next.success
      }
      return "continue"
    })
    return Effect.map(read, () => loaded)
  })

/** Folds one stored event, which may decode to several events or none; either way the state has its version and position. */
const foldOne = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  { state }: CachedState<State>,
  encoded: EncodedEvent
): Result.Result<CachedState<State>, UndecodableEvent> =>
  Result.map(EventCodec.make(decider.aggregate.events).decode(encoded), (recorded) => ({
    state: recorded.reduce((state, { event }) => decider.evolve(state, event), state),
    version: encoded.version,
    position: encoded.position,
    eventId: encoded.id
  }))
