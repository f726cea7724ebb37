/**
 * The event store: append to streams, read a stream or the whole log, follow the log as it grows. It is typed by the user's events; the driver
 * below it stores them encoded.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ConcurrencyConflict, type EventStoreError, invalidRequest } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type * as Receipt from "../core/Receipt.ts"
import { startCounters } from "../core/telemetry/metricUpdates.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import * as SnapshotStore from "../snapshot/SnapshotStore.ts"
import type { AppendCondition, EventStoreDriver } from "./driver/EventStoreDriver.ts"
import * as EventAppender from "./EventAppender.ts"
import type { AppendError, AppendOptions } from "./EventAppender.ts"
import * as EventEncryption from "./EventEncryption.ts"
import type { EventStoreInternals } from "./EventStoreInternals.ts"
import * as FirstReceipt from "./FirstReceipt.ts"
import * as FollowerReads from "./FollowerReads.ts"
import * as Limits from "./Limits.ts"
import * as LogIdentity from "./LogIdentity.ts"
import * as LogReader from "./LogReader.ts"
import type { QueryResult, ReadEncodedOptions, ReadLogOptions, ReadStreamOptions } from "./LogReader.ts"
import * as MemoryEventStore from "./memory/MemoryEventStore.ts"

export type { AppendError, AppendOptions } from "./EventAppender.ts"
export type { QueryResult, ReadEncodedOptions, ReadLogOptions, ReadStreamOptions } from "./LogReader.ts"

/**
 * The receipt of an append and the events it wrote.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  readonly receipt: Receipt.Receipt
  /** The events as a reader will find them; undefined when the command id was appended before. */
  readonly events: ReadonlyArray<EncodedEvent> | undefined
}

/**
 * The event store.
 *
 * The reads that take a set of events decode them. An event of the set that cannot be decoded fails the Stream with the reason
 * `UndecodableEvent`; so does an event outside the set in `readStream`. The `Encoded` variants do not decode.
 *
 * @since 0.1.0
 * @category services
 */
export class EventStore extends Context.Service<EventStore, {
  /** Appends all of `batch` to a stream, or nothing. Returns the first receipt when the `commandId` was appended before. */
  readonly append: <E extends Event.Any>(
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options?: AppendOptions
  ) => Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError>

  /** Appends like `append`, and also returns the events that it wrote. */
  readonly appendReturningEvents: <E extends Event.Any>(
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options?: AppendOptions
  ) => Effect.Effect<Appended, ConcurrencyConflict | EventStoreError>

  /**
   * Appends like `append`, provided that the condition holds, which `readByQuery` has returned: a dynamic consistency boundary
   * (https://dcb.events).
   */
  readonly appendIf: <E extends Event.Any>(
    condition: AppendCondition,
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options?: AppendOptions
  ) => Effect.Effect<Receipt.Receipt, AppendError>

  /**
   * Appends one last event to a stream and closes the stream, both or neither. Later appends fail with the reason `StreamClosed`; a command id
   * that was appended before still returns its receipt.
   */
  readonly close: <E extends Event.Any>(
    events: E,
    stream: string,
    summary: Event.Of<E>,
    options?: AppendOptions
  ) => Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError>

  /**
   * Reads the events of one stream, by version. A stream that does not exist is empty. The Stream fails with `LogDiverged` if the log is set back between
   * two pages.
   */
  readonly readStream: <E extends Event.Any>(
    events: E,
    stream: string,
    options?: ReadStreamOptions
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  /** Reads one stream like `readStream`, without decoding its events. */
  readonly readStreamEncoded: (
    stream: string,
    options?: ReadStreamOptions
  ) => Stream.Stream<EncodedEvent, EventStoreError>

  /**
   * Reads the events of the set in the whole log, by position, up to the high-water mark; then the Stream ends. It fails with `StoreUnavailable` if an
   * append in flight moves the mark back meanwhile, and holds it for 30 seconds.
   */
  readonly readAll: <E extends Event.Any>(
    events: E,
    options?: ReadLogOptions<NoInfer<Event.TagText<E>>>
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  /** Reads the whole log like `readAll`, without decoding its events. */
  readonly readAllEncoded: (options?: ReadEncodedOptions) => Stream.Stream<EncodedEvent, EventStoreError>

  /** Reads all events that match a query, and returns with them the condition for `appendIf` that no other event has matched since. */
  readonly readByQuery: (query: EventQuery.EventQuery) => Effect.Effect<QueryResult, EventStoreError>

  /** Reads like `readAll` and then, without end, delivers every event as it is committed. It skips no event and repeats none. */
  readonly subscribe: <E extends Event.Any>(
    events: E,
    options?: ReadLogOptions<NoInfer<Event.TagText<E>>>
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  /** Reads and follows the log like `subscribe`, without decoding its events. */
  readonly subscribeEncoded: (options?: ReadEncodedOptions) => Stream.Stream<EncodedEvent, EventStoreError>

  /** Returns the high-water mark: every event at or below this position is visible and final. */
  readonly head: Effect.Effect<Position.Position, EventStoreError>

  /** Returns the high-water mark like `head`, with the id of the event there, to read after it later. */
  readonly headPosition: Effect.Effect<LogPosition.LogPosition, EventStoreError>

  /** Returns the receipt of a command id, if it was appended. */
  readonly receipt: (commandId: string) => Effect.Effect<Option.Option<Receipt.Receipt>, EventStoreError>

  /** What the runtime builds on; `EventStore.driver` returns the driver. */
  readonly [internals]: EventStoreInternals
}>()("evsrc/eventStore/EventStore") {}

/**
 * Makes an event store over a driver. It checks every request against `Limits` before the driver sees it. It encrypts personal data with the
 * given keys, by default with the `KeyStore` of the context.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  plainDriver: EventStoreDriver,
  givenKeys?: KeyStoreLookup.Keys
): Effect.fn.Return<EventStore["Service"], never, Scope.Scope> {
  const keys = givenKeys ?? (yield* KeyStoreLookup.keyStore)
  const driver = EventEncryption.make(keys, plainDriver)
  const limits = yield* Limits.Limits
  const newId = yield* IdGenerator
  const snapshots = yield* SnapshotStore.make(driver.snapshots)

  const followed = yield* FollowerReads.ofDriver(driver)
  yield* startCounters

  const upToDate = (events: Stream.Stream<EncodedEvent, EventStoreError>) =>
    EventEncryption.streamUpToDate(keys, events)
  const readStreamEncoded = (stream: string, options: ReadStreamOptions = {}) =>
    upToDate(LogReader.readStream(driver, limits, stream, options))
  const readAllEncoded = (options: ReadEncodedOptions = {}) => upToDate(LogReader.logPages(driver, limits, options))
  const subscribeEncoded = (options: ReadEncodedOptions = {}) =>
    upToDate(LogReader.logPages(driver, limits, options, followed.readAll))

  const recordOf = (commandId: string) => {
    const wrong = Limits.validateCommandId(commandId)
    return wrong === undefined ? driver.receipt(commandId) : Effect.fail(invalidRequest(wrong))
  }

  const withSend = (send: EventStoreDriver["append"]): EventStore["Service"] => {
    const context: EventAppender.AppendContext = { driver, keys, limits, newId, send }
    return EventStore.of({
      [internals]: {
        driver,
        keys,
        snapshots,
        forEachPage: (stream, options, visit) => LogReader.forEachPage(driver, limits, stream, options, visit),
        firstReceipt: (use) =>
          Effect.flatMap(recordOf(use.commandId), (found) =>
            Option.isSome(found)
              ? Effect.asSome(FirstReceipt.requireSame(keys, found.value, use))
              : Effect.succeedNone),
        appending: context,
        readByQueryAfter: queryReader(driver, limits, keys),
        followed,
        changeAppends: (change) => withSend((request) => send(change(request)))
      },
      append: (events, stream, batch, options = {}) =>
        Effect.map(
          EventAppender.appendUnconditionally(context, { events, stream, batch, options }),
          ({ receipt }) => receipt
        ),
      appendReturningEvents: (events, stream, batch, options = {}) =>
        Effect.map(EventAppender.appendUnconditionally(context, { events, stream, batch, options }), appendedOf),
      appendIf: (condition, events, stream, batch, options = {}) =>
        Effect.map(
          EventAppender.append(context, { events, stream, batch, options, condition }),
          ({ receipt }) => receipt
        ),
      close: (events, stream, summary, options = {}) =>
        EventAppender.close(context, { events, stream, batch: [summary], options }),
      readStreamEncoded,
      readStream: (events, stream, options) =>
        LogReader.decode(EventCodec.make(events), readStreamEncoded(stream, options)),
      readAllEncoded,
      readAll: (events, options) => {
        const codec = EventCodec.make(events)
        return LogReader.decode(codec, readAllEncoded({ ...options, types: codec.storedTypes }), options?.where?.tags)
      },
      readByQuery: (query) => queryReader(driver, limits, keys)(query, Position.start),
      subscribeEncoded,
      subscribe: (events, options) => {
        const codec = EventCodec.make(events)
        return LogReader.decode(codec, subscribeEncoded({ ...options, types: codec.storedTypes }), options?.where?.tags)
      },
      head: driver.head,
      headPosition: LogIdentity.headPosition(driver),
      receipt: (commandId) => Effect.map(recordOf(commandId), Option.map(({ receipt }) => receipt))
    })
  }

  return withSend(driver.append)
})

/** Returns the read by a query. The read of its later pages may take its time, so what was erased meanwhile is erased in the first ones. */
const queryReader = (
  driver: EventStoreDriver,
  limits: Limits.Limits,
  keys: KeyStoreLookup.Keys
): EventStoreInternals["readByQueryAfter"] =>
(query, after, basis) =>
  Effect.flatMap(
    LogReader.readByQuery(driver, limits, query, after, basis),
    (found) => Effect.map(EventEncryption.upToDate(keys, found.events), (events) => ({ ...found, events }))
  )

const appendedOf = ({ receipt, written }: EventAppender.AppendOutcome): Appended => ({ receipt, events: written?.() })

/**
 * Returns a layer of the event store over a driver.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(driver: Effect.Effect<EventStoreDriver, E, R>) =>
  Layer.effect(EventStore, Effect.flatMap(driver, (driver) => make(driver)))

/**
 * An event store in memory. It behaves like every other and ends with the process; use it in tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<EventStore> = layer(MemoryEventStore.make())

/**
 * Returns a layer like `layerMemory`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: MemoryEventStore.MemoryOptions): Layer.Layer<EventStore> =>
  layer(MemoryEventStore.make(options))

/**
 * Appends all of `batch` to a stream, or nothing.
 *
 * @since 0.1.0
 * @category accessors
 */
export const append = <E extends Event.Any>(
  events: E,
  stream: string,
  batch: ReadonlyArray<Event.Of<E>>,
  options?: AppendOptions
): Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.append(events, stream, batch, options))

/**
 * Appends like `append`, and also returns the events that it wrote.
 *
 * @since 0.1.0
 * @category accessors
 */
export const appendReturningEvents = <E extends Event.Any>(
  events: E,
  stream: string,
  batch: ReadonlyArray<Event.Of<E>>,
  options?: AppendOptions
): Effect.Effect<Appended, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.appendReturningEvents(events, stream, batch, options))

/**
 * Appends like `append`, provided that a condition holds.
 *
 * @since 0.1.0
 * @category accessors
 */
export const appendIf = <E extends Event.Any>(
  condition: AppendCondition,
  events: E,
  stream: string,
  batch: ReadonlyArray<Event.Of<E>>,
  options?: AppendOptions
): Effect.Effect<Receipt.Receipt, AppendError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.appendIf(condition, events, stream, batch, options))

/**
 * Appends one last event to a stream and closes the stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const close = <E extends Event.Any>(
  events: E,
  stream: string,
  summary: Event.Of<E>,
  options?: AppendOptions
): Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.close(events, stream, summary, options))

const withStore = <A, E>(
  read: (store: EventStore["Service"]) => Stream.Stream<A, E>
): Stream.Stream<A, E, EventStore> => Stream.unwrap(Effect.map(EventStore, read))

/**
 * Reads the events of one stream, by version.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readStream = <E extends Event.Any>(
  events: E,
  stream: string,
  options?: ReadStreamOptions
): Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError, EventStore> =>
  withStore((store) => store.readStream(events, stream, options))

/**
 * Reads one stream without decoding its events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readStreamEncoded = (
  stream: string,
  options?: ReadStreamOptions
): Stream.Stream<EncodedEvent, EventStoreError, EventStore> =>
  withStore((store) => store.readStreamEncoded(stream, options))

/**
 * Reads the events of the set in the whole log, by position, up to the high-water mark.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readAll = <E extends Event.Any>(
  events: E,
  options?: ReadLogOptions<NoInfer<Event.TagText<E>>>
): Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError, EventStore> =>
  withStore((store) => store.readAll(events, options))

/**
 * Reads the whole log without decoding its events, up to the high-water mark.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readAllEncoded = (
  options?: ReadEncodedOptions
): Stream.Stream<EncodedEvent, EventStoreError, EventStore> => withStore((store) => store.readAllEncoded(options))

/**
 * Reads all events that match a query, and returns with them the condition for `appendIf`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readByQuery = (
  query: EventQuery.EventQuery
): Effect.Effect<QueryResult, EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.readByQuery(query))

/**
 * Reads the events of the set in the whole log and then delivers every event as it is committed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subscribe = <E extends Event.Any>(
  events: E,
  options?: ReadLogOptions<NoInfer<Event.TagText<E>>>
): Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError, EventStore> =>
  withStore((store) => store.subscribe(events, options))

/**
 * Reads and follows the whole log without decoding its events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subscribeEncoded = (
  options?: ReadEncodedOptions
): Stream.Stream<EncodedEvent, EventStoreError, EventStore> => withStore((store) => store.subscribeEncoded(options))

/**
 * Returns the high-water mark of the log: every event at or below this position is visible and final.
 *
 * @since 0.1.0
 * @category accessors
 */
export const head: Effect.Effect<Position.Position, EventStoreError, EventStore> = Effect.flatMap(
  EventStore,
  (store) => store.head
)

/**
 * Returns the high-water mark like `head`, with the id of the event there, to read after it later.
 *
 * @since 0.1.0
 * @category accessors
 */
export const headPosition: Effect.Effect<LogPosition.LogPosition, EventStoreError, EventStore> = Effect.flatMap(
  EventStore,
  (store) => store.headPosition
)

/**
 * Returns the receipt of a command id, if it was appended.
 *
 * @since 0.1.0
 * @category accessors
 */
export const receipt = (
  commandId: string
): Effect.Effect<Option.Option<Receipt.Receipt>, EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) => store.receipt(commandId))

/**
 * Returns the driver of the event store, for the author of a back end and for tests that inject faults.
 *
 * @since 0.1.0
 * @category accessors
 */
export const driver: Effect.Effect<EventStoreDriver, never, EventStore> = Effect.map(
  EventStore,
  (store) => store[internals].driver
)
