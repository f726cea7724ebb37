/**
 * Aggregate instances as of a version, position or instant.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import { isHandling, type LoadOptions, loadReadOnly } from "../aggregate/AggregateLoader.ts"
import type { Loaded } from "../aggregate/AggregateState.ts"
import * as AggregateStream from "../aggregate/AggregateStream.ts"
import type * as Command from "../command/Command.ts"
import * as AsOf from "../core/AsOf.ts"
import { AsOfNotReached, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Version from "../core/Version.ts"
import type { StateSchema } from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as asOfReads from "./asOfReads.ts"
import * as upToDate from "./upToDate.ts"

/**
 * An aggregate instance as of a point in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateAsOf<out State, out E> extends Loaded<State>, asOfReads.AsOfPoint {
  readonly position: Loaded<State>["position"]
  /** The events up to that point, oldest first. They are read when the Stream runs. */
  readonly events: Stream.Stream<RecordedEvent<E>, EventStoreError>
}

/**
 * One event of an instance's history, and the state after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateStep<out State, out E> {
  /** The event as stored, in the schema version of its time. */
  readonly encoded: EncodedEvent
  /** The event upcast to the current version: mostly one event, several if an upcaster splits it, none if it drops it. */
  readonly events: ReadonlyArray<E>
  /** The state after the event. */
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

const notReached = (stream: string, asOf: AsOf.AsOf, version: Version.Version): AsOfNotReached | undefined =>
  asOf._tag === "Version" && version < asOf.version
    ? new AsOfNotReached({ asOf, reached: AsOf.version(version), stream })
    : undefined

/** Returns the events of a stream with a version greater than `after`, up to `upTo`. */
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
 * Returns an aggregate instance as of a version, position or instant. Version 0, and any point before the first event, yield the initial
 * state. Fails with `AsOfNotReached` if the stream has no such version, or the log no such position, yet.
 *
 * **Example** (a user after its third event)
 *
 * ```ts
 * const { events, recordedAt, state } = yield* TimeTravel.aggregate(UserDecider, userId, AsOf.version(3))
 * ```
 *
 * @since 0.1.0
 * @category accessors
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
    const stream = yield* AggregateStream.of(decider.aggregate, id)
    const loaded = yield* stateAt(decider, id, asOf)
    const last = loaded.version === 0
      ? Option.none()
      : yield* Stream.runHead(store.readStreamEncoded(stream, { from: loaded.version, limit: 1 }))
    const { driver } = store[internals]
    yield* asOfReads.requireLog(driver, asOf)
    return {
      ...loaded,
      recordedAt: asOfReads.pointOf(Option.getOrUndefined(last)).recordedAt,
      events: asOfReads.ofLog(driver, asOf)(eventsBetween(store, decider.aggregate.events, stream, 0, loaded.version))
    }
  })

/**
 * Returns the state of an aggregate instance as of a point in time, without its events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const stateAt = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  asOf: AsOf.AsOf,
  // Another decider may have another `evolve`, so the snapshots of the program are not its own.
  options: Parameters<typeof loadReadOnly>[3] = { snapshots: isHandling(decider) }
): Effect.Effect<Loaded<State>, AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  upToDate.read(
    EventPersonalData.hasPersonalData(decider.aggregate.events),
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      yield* asOfReads.awaitReached(driver, asOf)
      const loaded = yield* loadReadOnly(decider, id, loadOptions(asOf), options)
      yield* asOfReads.requireLog(driver, asOf)
      const error = notReached(decider.aggregate.streamOf(id), asOf, loaded.version)
      if (error !== undefined) return yield* error
      return loaded
    })
  )

/**
 * Returns the history of an aggregate instance: its events up to a point in time, each with the state after it. With `after`, the history
 * starts behind this version. Only one page of events is in memory at a time.
 *
 * @since 0.1.0
 * @category accessors
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
  Stream.unwrap(
    Effect.map(EventStore.EventStore, (store) =>
      upToDate.steps(store, EventPersonalData.hasPersonalData(decider.aggregate.events))(
        Stream.unwrap(Effect.gen(function*() {
          const stream = yield* AggregateStream.of(decider.aggregate, id)
          yield* asOfReads.awaitReached(store[internals].driver, asOf)
          if (asOf._tag === "Version") {
            const last = yield* Stream.runHead(store.readStreamEncoded(stream, { direction: "backward", limit: 1 }))
            const error = notReached(stream, asOf, Option.isSome(last) ? last.value.version : Version.zero)
            if (error !== undefined) {
              return yield* error
            }
          }
          const start = after === 0
            ? { state: decider.initial, version: after }
            : yield* loadReadOnly(decider, id, { ...loadOptions(asOf), atVersion: after }, {
              snapshots: isHandling(decider)
            })
          if (start.version < after) {
            return Stream.empty
          }
          const codec = EventCodec.make(decider.aggregate.events)
          let { state } = start
          return store.readStreamEncoded(stream, { from: Version.make(after + 1) }).pipe(
            asOfReads.takeAsOf(asOf),
            asOfReads.ofLog(store[internals].driver, asOf),
            Stream.mapEffect((encoded) => {
              const decoded = codec.decode(encoded)
              if (Result.isFailure(decoded)) {
                return Effect.fail(storeError(decoded.failure))
              }
              const events = decoded.success.map(({ event }) =>
                event
              )
              state = events.reduce((state, event) => decider.evolve(state, event), state)
              return Effect.succeed({ encoded, events, state })
            })
          )
        }))
      ))
  )

/**
 * Returns the difference between an aggregate instance as of two points in time. Fails with `InvalidRequest` if a state does not satisfy
 * its Schema.
 *
 * @since 0.1.0
 * @category accessors
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
  upToDate.read(
    EventPersonalData.hasPersonalData(decider.aggregate.events),
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { events, state, streamOf } = decider.aggregate
      // A Schema that needs services to encode fails here, as a typed error.
      const encode = SchemaFailure.parser(state, Schema.encodeUnknownResult(Schema.toCodecJson(state as StateSchema)))
      const isPersonal = EventPersonalData.hasPersonalData(events) || PersonalFields.isPersonal(state)
      const encoded = (at: AggregateAsOf<State, Event.Of<Events>>) =>
        Result.mapBoth(encode(at.state), {
          onFailure: (failure) =>
            invalidRequest(
              `the state of "${
                streamOf(id)
              }" at version ${at.version} does not satisfy its Schema, so it cannot be compared: `
                + SchemaFailure.messageOf(failure, isPersonal)
            ),
          onSuccess: Option.some
        })
      const [before, after] = [yield* aggregate(decider, id, from), yield* aggregate(decider, id, to)]
      const [earlier, later] = before.version <= after.version ? [before, after] : [after, before]
      return {
        from: before,
        to: after,
        changes: asOfReads.changes(yield* Effect.fromResult(encoded(before)), yield* Effect.fromResult(encoded(after))),
        events: eventsBetween(store, events, streamOf(id), earlier.version, later.version).pipe(
          asOfReads.ofLog(store[internals].driver, from),
          asOfReads.ofLog(store[internals].driver, to)
        )
      }
    })
  )
