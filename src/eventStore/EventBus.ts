/**
 * Delivers the events of the log as they are committed to many listeners in this process, with one subscription to the log.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import { ListenerTooSlow } from "./EventBusError.ts"
import * as EventEncryption from "./EventEncryption.ts"
import * as EventStore from "./EventStore.ts"

/**
 * Delivers the live events of the log, from every process that appends, each once and in order.
 *
 * @since 0.1.0
 * @category services
 */
export class EventBus extends Context.Service<EventBus, {
  /**
   * Starts to listen. The Stream delivers every event of the set that is committed after `listen` has returned. It fails with `ListenerTooSlow`
   * rather than skip one, and with `LogDiverged` when the log was set back and does not have the last event that the bus has delivered.
   */
  readonly listen: <E extends Event.Any>(events: E) => Effect.Effect<
    Stream.Stream<RecordedEvent<Event.Of<E>>, ListenerTooSlow | EventStoreError>,
    EventStoreError,
    Scope.Scope
  >
}>()("evsrc/eventStore/EventBus") {}

interface Numbered {
  readonly number: number
  /** An event, or why all listeners end. */
  readonly event: Result.Result<EncodedEvent, EventStoreError>
}

/**
 * Returns a layer of the event bus over the event store, starting at its current high-water mark.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: {
    /** How many events a listener may fall behind before it misses any; 4,096 by default. */
    readonly capacity?: number | undefined
  } = {}
): Layer.Layer<EventBus, EventStoreError, EventStore.EventStore> =>
  Layer.effect(
    EventBus,
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { keys } = store[internals]
      const bus = yield* PubSub.sliding<Numbered>(options.capacity ?? 4096)
      yield* Effect.addFinalizer(() => PubSub.shutdown(bus))
      let position: LogPosition.LogPosition = yield* store.headPosition
      let number = 0
      const publish = (event: Numbered["event"]) => {
        number++
        return PubSub.publish(bus, { number, event })
      }
      const outages = OutageLog.make("The event bus")
      // The log may not grow for a long time after an outage.
      const reached = Effect.andThen(store.head, outages.succeeded("bus"))
      const follow = Effect.suspend(() =>
        Stream.runForEach(store.subscribeEncoded({ after: position }), (event) => {
          position = LogPosition.ofEvent(event)
          return publish(Result.succeed(event))
        })
      ).pipe(
        // Listeners have got events that the log does not have any more. They end; new ones start at the log's end as it is now.
        Effect.tapError(Effect.fnUntraced(function*(error) {
          if (error.reason._tag !== "LogDiverged") return
          position = yield* store.headPosition
          yield* publish(Result.fail(error))
        }))
      )
      const logFailure = (error: EventStoreError) =>
        outages.failed({
          source: "bus",
          kind: error.reason._tag === "LogDiverged" ? "LogDiverged" : "waiting",
          message: `The event bus is waiting for the store: ${error.message}`,
          cause: Cause.fail(error)
        })
      yield* Effect.andThen(reached, follow).pipe(
        Effect.tapError(logFailure),
        Effect.retry(Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("3 seconds")])),
        Background.withoutSpans,
        Effect.forkScoped
      )

      return EventBus.of({
        listen: Effect.fnUntraced(function*<E extends Event.Any>(events: E) {
          const codec = EventCodec.make(events)
          const wanted = new Set(codec.storedTypes)
          const subscription = yield* PubSub.subscribe(bus)
          let seen = number
          // An event committed before now is not live, but the bus may publish it later.
          const from = yield* store.head
          return Stream.fromSubscription(subscription).pipe(
            Stream.mapEffect((message): Effect.Effect<EncodedEvent, ListenerTooSlow | EventStoreError> => {
              const missed = message.number - seen - 1
              seen = message.number
              return missed <= 0 ? Effect.fromResult(message.event) : Effect.fail(new ListenerTooSlow({ missed }))
            }),
            Stream.filter((event) => event.position > from && wanted.has(event.type)),
            // A slow listener must not receive what was erased after the event was published. The bus has decrypted it, so a handler that listens adds it.
            Stream.mapEffect((event) => Effect.tap(EventEncryption.upToDate(keys, [event]), DecryptedValues.addAll)),
            Stream.flatMap(Stream.fromIterable),
            Stream.mapEffect((event) => Effect.fromResult(Result.mapError(codec.decode(event), storeError))),
            Stream.flatMap(Stream.fromIterable)
          )
        })
      })
    })
  )

/**
 * Starts to listen to the event bus.
 *
 * @since 0.1.0
 * @category accessors
 */
export const listen = <E extends Event.Any>(events: E) => Effect.flatMap(EventBus, (bus) => bus.listen(events))
