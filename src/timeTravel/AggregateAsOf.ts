/**
 * Instances of aggregates as they were.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import { type Loaded, type LoadOptions, look } from "../aggregate/AggregateStateCache.ts"
import type * as Command from "../command/Command.ts"
import * as AsOf from "../core/AsOf.ts"
import { AsOfNotReached, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Version from "../core/Version.ts"
import type { StateSchema } from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as asOfReads from "./asOfReads.ts"

/**
 * An instance at a moment, and the events that led there, oldest first, which are read when the Stream is run.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateAsOf<out State, out E> extends Loaded<State>, asOfReads.AsOfPoint {
  readonly position: Loaded<State>["position"]
  readonly events: Stream.Stream<RecordedEvent<E>, EventStoreError>
}

/**
 * - `recorded`: an event as it is in the log
 * - `events`: what it means today: mostly one event
 * - `state`: the state after it
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateStep<out State, out E> {
  readonly recorded: EncodedEvent
  readonly events: ReadonlyArray<E>
  readonly state: State
}

const loadOptions = (asOf: AsOf.AsOf): LoadOptions => {
  switch (asOf._tag) {
    case "Now":
      return {}
    case "Version":
      return { atVersion: asOf.version }
    case "Position":
      return { atPosition: asOf.position }
    case "Instant":
      return { atTime: asOf.instant }
  }
}

const beyond = (stream: string, asOf: AsOf.AsOf, version: Version.Version): AsOfNotReached | undefined =>
  asOf._tag === "Version" && version < asOf.version
    ? new AsOfNotReached({ asOf, reached: AsOf.version(version), stream })
    : undefined

/** The events of a stream after one version and up to another. */
const eventsBetween = <E extends Event.Any>(
  store: EventStore.EventStore["Service"],
  events: E,
  stream: string,
  after: number,
  upTo: number
): Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError> =>
  upTo <= after
    ? Stream.empty
    : store.readStream(events, stream, { from: Version.make(after + 1), limit: upTo - after })

/**
 * One instance of an aggregate at a moment. At version 0, and before its first event, it has the initial state. Fails with `AsOfNotReached`
 * at a version or position that there is not yet.
 *
 * **Example** (a user after its third event)
 *
 * ```ts
 * const { events, recordedAt, state } = yield* TimeTravel.aggregate(UserDecider, userId, AsOf.version(3))
 * ```
 *
 * @since 0.1.0
 * @category aggregates
 */
export const aggregate = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  asOf: AsOf.AsOf
): Effect.Effect<
  AggregateAsOf<State, Event.Of<Events>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = decider.aggregate.streamOf(id)
    const loaded = yield* stateAt(decider, id, asOf)
    const last = loaded.version === 0
      ? Option.none()
      : yield* Stream.runHead(store.readStreamEncoded(stream, { from: loaded.version, limit: 1 }))
    return {
      ...loaded,
      recordedAt: asOfReads.pointOf(Option.getOrUndefined(last)).recordedAt,
      events: eventsBetween(store, decider.aggregate.events, stream, 0, loaded.version)
    }
  })

/**
 * The state of an instance at a moment, as `aggregate` tells it.
 *
 * @since 0.1.0
 * @category aggregates
 */
export const stateAt = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  asOf: AsOf.AsOf,
  options?: Parameters<typeof look>[3]
): Effect.Effect<Loaded<State>, AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    yield* asOfReads.reached(driver, asOf)
    const loaded = yield* look(decider, id, loadOptions(asOf), options)
    const problem = beyond(decider.aggregate.streamOf(id), asOf, loaded.version)
    if (problem !== undefined) return yield* problem
    return loaded
  })

/**
 * How an instance came to a moment: its events, each with the state after it. `after`: only those after this version; the state at it is
 * loaded first. Nothing but one page of events is held at a time.
 *
 * @since 0.1.0
 * @category aggregates
 */
export const history = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  asOf: AsOf.AsOf = AsOf.now,
  { after = Version.zero }: { readonly after?: Version.Version | undefined } = {}
): Stream.Stream<
  AggregateStep<State, Event.Of<Events>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Stream.unwrap(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = decider.aggregate.streamOf(id)
    yield* asOfReads.reached(store[internals].driver, asOf)
    if (asOf._tag === "Version") {
      const last = yield* Stream.runHead(store.readStreamEncoded(stream, { direction: "backward", limit: 1 }))
      const problem = beyond(stream, asOf, Option.isSome(last) ? last.value.version : Version.zero)
      if (problem !== undefined) return yield* problem
    }
    const start = after === 0
      ? { state: decider.initial, version: after }
      : yield* look(decider, id, { ...loadOptions(asOf), atVersion: after })
    if (start.version < after) return Stream.empty
    const codec = EventCodec.make(decider.aggregate.events)
    let { state } = start
    return store.readStreamEncoded(stream, { from: Version.make(after + 1) }).pipe(
      asOfReads.until(asOf),
      Stream.mapEffect((recorded) => {
        const decoded = codec.decode(recorded)
        if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
        const events = decoded.success.map(({ event }) => event)
        state = events.reduce((state, event) => decider.evolve(state, event), state)
        return Effect.succeed({ recorded, events, state })
      })
    )
  }))

/**
 * What differs between two moments of an instance.
 *
 * @since 0.1.0
 * @category aggregates
 */
export const aggregateDiff = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  { from, to }: asOfReads.Between<AsOf.AsOf>
): Effect.Effect<
  asOfReads.Difference<AggregateAsOf<State, Event.Of<Events>>, Event.Of<Events>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const { events, state, streamOf } = decider.aggregate
    // One that needs services, which such a Schema may, fails below.
    const encode = Schema.encodeUnknownResult(Schema.toCodecJson(state as StateSchema))
    const encoded = (at: AggregateAsOf<State, Event.Of<Events>>) =>
      Result.mapBoth(encode(at.state), {
        onFailure: ({ message }) =>
          invalidRequest(
            `the state of "${
              streamOf(id)
            }" at version ${at.version} does not satisfy its Schema and cannot be compared: ${message}`
          ),
        onSuccess: Option.some
      })
    const [before, after] = [yield* aggregate(decider, id, from), yield* aggregate(decider, id, to)]
    const [earlier, later] = before.version <= after.version ? [before, after] : [after, before]
    return {
      from: before,
      to: after,
      changes: asOfReads.changes(yield* Effect.fromResult(encoded(before)), yield* Effect.fromResult(encoded(after))),
      events: eventsBetween(store, events, streamOf(id), earlier.version, later.version)
    }
  })
