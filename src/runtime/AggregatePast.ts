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
import type { AggregateDecider } from "../domain/Aggregate.ts"
import type * as Command from "../domain/Command.ts"
import type { StateSchema } from "../domain/Decision.ts"
import { type EventStoreError, invalidRequest, MomentNotReached, storeError } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import * as EventCodec from "../domain/EventCodec.ts"
import type { EventRecord, RecordedEvent } from "../domain/EventRecord.ts"
import * as Moment from "../domain/Moment.ts"
import * as Version from "../domain/Version.ts"
import * as EventStore from "../store/EventStore.ts"
import { type Loaded, type LoadOptions, look } from "./AggregateState.ts"
import * as Past from "./Past.ts"

/**
 * An instance at a moment, and the events that led there, oldest first, which are read when the Stream is run.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateAt<out State, out E> extends Loaded<State>, Past.Stood {
  readonly position: Loaded<State>["position"]
  readonly events: Stream.Stream<EventRecord<E>, EventStoreError>
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
  readonly recorded: RecordedEvent
  readonly events: ReadonlyArray<E>
  readonly state: State
}

const loadOptions = (moment: Moment.Moment): LoadOptions => {
  switch (moment._tag) {
    case "Now":
      return {}
    case "Version":
      return { atVersion: moment.version }
    case "Position":
      return { atPosition: moment.position }
    case "Instant":
      return { atTime: moment.instant }
  }
}

const beyond = (stream: string, moment: Moment.Moment, version: Version.Version): MomentNotReached | undefined =>
  moment._tag === "Version" && version < moment.version
    ? new MomentNotReached({ moment, reached: Moment.version(version), stream })
    : undefined

/** The events of a stream after one version and up to another. */
const eventsBetween = <E extends Event.Any>(
  store: EventStore.EventStore["Service"],
  events: E,
  stream: string,
  after: number,
  upTo: number
): Stream.Stream<EventRecord<Event.Of<E>>, EventStoreError> =>
  upTo <= after
    ? Stream.empty
    : store.readStream(events, stream, { from: Version.make(after + 1), limit: upTo - after })

/**
 * One instance of an aggregate at a moment. At version 0, and before its first event, it has the initial state. Fails with `MomentNotReached`
 * at a version or position that there is not yet.
 *
 * **Example** (a user after its third event)
 *
 * ```ts
 * const { events, recordedAt, state } = yield* TimeTravel.aggregate(UserDecider, userId, Moment.version(3))
 * ```
 *
 * @since 0.1.0
 * @category aggregates
 */
export const aggregate = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  moment: Moment.Moment
): Effect.Effect<
  AggregateAt<State, Event.Of<Events>>,
  MomentNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = decider.aggregate.streamOf(id)
    const loaded = yield* stateAt(decider, id, moment)
    const last = loaded.version === 0
      ? Option.none()
      : yield* Stream.runHead(store.readStreamRecorded(stream, { from: loaded.version, limit: 1 }))
    return {
      ...loaded,
      recordedAt: Past.stoodAt(Option.getOrUndefined(last)).recordedAt,
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
  moment: Moment.Moment,
  options?: Parameters<typeof look>[3]
): Effect.Effect<Loaded<State>, MomentNotReached | EventStoreError, EventStore.EventStore> =>
  Effect.gen(function*() {
    const { driver } = yield* EventStore.EventStore
    yield* Past.reached(driver, moment)
    const loaded = yield* look(decider, id, loadOptions(moment), options)
    const problem = beyond(decider.aggregate.streamOf(id), moment, loaded.version)
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
  moment: Moment.Moment = Moment.now,
  { after = Version.zero }: { readonly after?: Version.Version | undefined } = {}
): Stream.Stream<
  AggregateStep<State, Event.Of<Events>>,
  MomentNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Stream.unwrap(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = decider.aggregate.streamOf(id)
    yield* Past.reached(store.driver, moment)
    if (moment._tag === "Version") {
      const last = yield* Stream.runHead(store.readStreamRecorded(stream, { direction: "backward", limit: 1 }))
      const problem = beyond(stream, moment, Option.isSome(last) ? last.value.version : Version.zero)
      if (problem !== undefined) return yield* problem
    }
    const start = after === 0
      ? { state: decider.initial, version: after }
      : yield* look(decider, id, { ...loadOptions(moment), atVersion: after })
    if (start.version < after) return Stream.empty
    const codec = EventCodec.of(decider.aggregate.events)
    let { state } = start
    return store.readStreamRecorded(stream, { from: Version.make(after + 1) }).pipe(
      Past.until(moment),
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
  { from, to }: Past.Between<Moment.Moment>
): Effect.Effect<
  Past.Difference<AggregateAt<State, Event.Of<Events>>, Event.Of<Events>>,
  MomentNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const { events, state, streamOf } = decider.aggregate
    // One that needs services, which such a Schema may, fails below.
    const encode = Schema.encodeUnknownResult(Schema.toCodecJson(state as StateSchema))
    const encoded = (at: AggregateAt<State, Event.Of<Events>>) =>
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
      changes: Past.changes(yield* Effect.fromResult(encoded(before)), yield* Effect.fromResult(encoded(after))),
      events: eventsBetween(store, events, streamOf(id), earlier.version, later.version)
    }
  })
