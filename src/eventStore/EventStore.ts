/**
 * The event store: append to streams, read a stream or the whole log, follow the log as it grows. Typed by the user's events;
 * a driver below keeps them encoded.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  AppendConditionFailed,
  CommandIdReused,
  ConcurrencyConflict,
  EventStoreError,
  invalidRequest,
  storeError,
  StreamClosed
} from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import type { Metadata } from "../core/Metadata.ts"
import { countAppend, countConflict, countDuplicate } from "../core/metricUpdates.ts"
import * as Position from "../core/Position.ts"
import type * as Receipt from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, NewEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as Encryption from "../personalData/Encryption.ts"
import * as SnapshotStore from "../snapshot/SnapshotStore.ts"
import { encodeAll, encodeMetadata, receiptOf, recordedOf, sameCommand } from "./AppendCodec.ts"
import * as EncryptingEventStoreDriver from "./EncryptingEventStoreDriver.ts"
import type { AppendCondition, AppendRequest, EventStoreDriver, StreamPage } from "./EventStoreDriver.ts"
import * as Limits from "./Limits.ts"
import { decode, defaultPageSize, logPages, type ReadLogOptions, streamPages } from "./LogReader.ts"
import * as MemoryEventStore from "./MemoryEventStore.ts"

/**
 * @since 0.1.0
 * @category options
 */
export interface AppendOptions {
  /** What the stream's version must be; `"any"` by default. */
  readonly expected?: Version.Expected | undefined
  /** Kept with every event. Its `commandId` makes the append idempotent. */
  readonly metadata?: Metadata | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface ReadStreamOptions {
  /** The first version to read, inclusive. By default 1 forwards, the last version backwards. */
  readonly from?: Version.Version | undefined
  readonly direction?: "forward" | "backward" | undefined
  /** At most this many events; all by default. */
  readonly limit?: number | undefined
  /** Events fetched at a time; 500 by default. */
  readonly pageSize?: number | undefined
}

/**
 * How a conditional append fails: on the version of its stream, on its condition, or otherwise.
 *
 * @since 0.1.0
 * @category errors
 */
export type AppendError = ConcurrencyConflict | AppendConditionFailed | EventStoreError

/**
 * The event store.
 *
 * The reads that take a set of events decode them; an event of the set that cannot be decoded, or in `readStream` an event
 * outside of it, fails the Stream with the reason `UndecodableEvent`. The `Recorded` variants do not decode.
 *
 * @since 0.1.0
 * @category services
 */
export class EventStore extends Context.Service<EventStore, {
  /**
   * Appends all of `batch` to a stream, or nothing. With a `commandId` that was appended before, answers the first receipt.
   */
  readonly append: <E extends Event.Any>(
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options?: AppendOptions
  ) => Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError>

  /**
   * Like `append`, and tells what it has written, as a reader will find it. `written` is undefined when the command id was appended
   * before.
   */
  readonly appendReturningEvents: <E extends Event.Any>(
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options?: AppendOptions
  ) => Effect.Effect<Appended, ConcurrencyConflict | EventStoreError>

  /**
   * Like `append`, if the condition holds too, which `readQuery` has answered: a dynamic consistency boundary
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
   * Appends one last event to a stream and closes it, both or neither: whatever is appended to it afterwards fails with the reason
   * `StreamClosed`. Only a command id that was appended before still answers its receipt.
   */
  readonly close: <E extends Event.Any>(
    events: E,
    stream: string,
    summary: Event.Of<E>,
    options?: AppendOptions
  ) => Effect.Effect<Receipt.Receipt, ConcurrencyConflict | EventStoreError>

  /** The events of one stream, by version, in pages. A stream that does not exist is empty. */
  readonly readStream: <E extends Event.Any>(
    events: E,
    stream: string,
    options?: ReadStreamOptions
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  readonly readStreamEncoded: (
    stream: string,
    options?: ReadStreamOptions
  ) => Stream.Stream<EncodedEvent, EventStoreError>

  /** The events of the set in the whole log, by position, up to the high-water mark; then the Stream ends. */
  readonly readAll: <E extends Event.Any>(
    events: E,
    options?: ReadLogOptions
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  /**
   * What a decision needs to see of the log: the matches of a query, and the condition under which what is appended next still
   * rests on them.
   */
  readonly readByQuery: (
    query: EventQuery.EventQuery
  ) => Effect.Effect<QueryResult, EventStoreError>

  readonly readAllEncoded: (options?: ReadLogOptions) => Stream.Stream<EncodedEvent, EventStoreError>

  /** Like `readAll`, and then, without end, every event as it is committed. None is skipped and none comes twice. */
  readonly subscribe: <E extends Event.Any>(
    events: E,
    options?: ReadLogOptions
  ) => Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError>

  readonly subscribeEncoded: (options?: ReadLogOptions) => Stream.Stream<EncodedEvent, EventStoreError>

  /** The high-water mark: everything at or below it is visible and final. */
  readonly head: Effect.Effect<Position.Position, EventStoreError>

  /** The receipt of a command id, if it was appended. */
  readonly receipt: (commandId: string) => Effect.Effect<Option.Option<Receipt.Receipt>, EventStoreError>

  /** What the runtime builds on; `EventStore.driver` returns the driver. */
  readonly [internals]: Internals
}>()("evsrc/eventStore/EventStore") {}

/**
 * What the runtime builds on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Internals {
  /** The back end, behind decryption. */
  readonly driver: EventStoreDriver
  /** The key store of personal data. */
  readonly keys: Encryption.Keys
  /** The snapshots of aggregates' instances. */
  readonly snapshots: SnapshotStore.SnapshotStore
  /** Returns this event store, except that its appends send the changed request to the driver. Inline projections use it. */
  readonly changeAppends: (change: (request: AppendRequest) => AppendRequest) => EventStore["Service"]
}

/**
 * @since 0.1.0
 * @category models
 */
export interface QueryResult {
  readonly events: ReadonlyArray<EncodedEvent>
  readonly condition: AppendCondition
}

/** What became of an append; its events are put together for those who ask. */
interface Outcome {
  readonly receipt: Receipt.Receipt
  readonly written: (() => ReadonlyArray<EncodedEvent>) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  readonly receipt: Receipt.Receipt
  readonly events: ReadonlyArray<EncodedEvent> | undefined
}

// Without its place in the program's text: to capture that took 5 % of the time of a process that does nothing but append.
const inAppendSpan = Effect.withSpan("EventStore.append", ({ events, stream }: AppendRequest) => ({
  attributes: { "evsrc.stream": stream, "evsrc.events": events.length }
}), { captureStackTrace: false })

/**
 * An event store over a driver. Checks every request against `Limits` before the driver sees it. Personal data goes by the key store that is
 * given, or else by that of the context.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  given: EventStoreDriver,
  ofOther?: Encryption.Keys
): Effect.fn.Return<EventStore["Service"], never, Scope.Scope> {
  const keys = ofOther ?? (yield* Encryption.keyStore)
  const driver = EncryptingEventStoreDriver.make(keys, given)
  const limits = yield* Limits.Limits
  const newId = yield* IdGenerator
  const snapshots = yield* SnapshotStore.make(driver.snapshots)

  const appendOn = <E extends Event.Any>(
    send: EventStoreDriver["append"],
    condition: AppendCondition | undefined,
    events: E,
    stream: string,
    batch: ReadonlyArray<Event.Of<E>>,
    options: AppendOptions,
    closes?: boolean
  ): Effect.Effect<Outcome, AppendError> =>
    Effect.suspend(() => {
      const metadata = options.metadata ?? {}
      const expected = options.expected === undefined ? "any" : options.expected
      if (!Version.isExpected(expected)) {
        return Effect.fail(
          invalidRequest(`"${String(expected)}" is no expected version: it is any, noStream, streamExists or a version`)
        )
      }
      const metadataText = encodeMetadata(metadata)
      if (Result.isFailure(metadataText)) return Effect.fail(invalidRequest(metadataText.failure))
      const encoded = encodeAll(EventCodec.make(events), batch, metadataText.success, newId)
      if (Result.isFailure(encoded)) return Effect.fail(invalidRequest(encoded.failure))
      const name = Limits.checkStream(stream)
      if (name instanceof EventStoreError) return Effect.fail(name)
      const rejection = Limits.checkAppend(limits, encoded.success, metadata.commandId)
      if (rejection !== undefined) return Effect.fail(rejection)
      const query = condition === undefined ? undefined : EventQuery.validate(condition.query)
      if (query !== undefined) return Effect.fail(invalidRequest(query))
      const { command, commandId } = metadata
      const append = (batch: ReadonlyArray<NewEvent>) =>
        appendEncoded(send, { stream: name, expected, events: batch, commandId, condition, closes }, command)
      if (EventPersonalData.fieldLocators(events).size === 0) return append(encoded.success)
      const encrypted = Effect.result(EncryptingEventStoreDriver.encryptEvents(keys, events, encoded.success, metadata))
      return Effect.flatMap(encrypted, (batch) =>
        Result.isSuccess(batch) ? append(batch.success) : unlessDone(batch.failure))

      /** What was done before the subject was erased stays done. */
      function unlessDone(error: EventStoreError): Effect.Effect<Outcome, AppendError> {
        if (commandId === undefined || error.reason._tag !== "SubjectErased") {
          return Effect.fail(error)
        }
        return Effect.flatMap(
          driver.receipt(commandId),
          Option.match({
            onNone: () =>
              Effect.fail(error),
            onSome: (first) =>
              Effect.map(sameCommand(first, commandId, stream, command), (receipt) => ({ receipt, written: undefined }))
          })
        )
      }
    })

  const appendEncoded = (
    send: EventStoreDriver["append"],
    request: AppendRequest,
    command: string | undefined
  ): Effect.Effect<Outcome, AppendError> =>
    inAppendSpan(
      Effect.flatMap(send(request), (result): Effect.Effect<Outcome, AppendError> => {
        switch (result._tag) {
          case "Appended":
            return Effect.as(countAppend(request.events.length), {
              receipt: receiptOf(request, command, result.version, result.positions),
              written: () => recordedOf(request, result)
            })
          case "Duplicate":
            return Effect.andThen(
              countDuplicate,
              Effect.map(
                sameCommand(result.receipt, request.commandId!, request.stream, command),
                (receipt) => ({ receipt, written: undefined })
              )
            )
          case "Closed":
            return Effect.fail(storeError(new StreamClosed({ stream: request.stream, version: result.version })))
          case "Conflict":
            return Effect.andThen(
              countConflict,
              new ConcurrencyConflict({ stream: request.stream, expected: request.expected, actual: result.actual })
            )
          case "Changed":
            return Effect.andThen(countConflict, new AppendConditionFailed({ position: result.position }))
        }
      }),
      request
    )

  const close = Effect.fn("EventStore.close")(function*<E extends Event.Any>(
    send: EventStoreDriver["append"],
    events: E,
    stream: string,
    summary: Event.Of<E>,
    options: AppendOptions = {}
  ): Effect.fn.Return<Receipt.Receipt, ConcurrencyConflict | EventStoreError> {
    const nothing = invalidRequest("a stream without events cannot be closed: append to it first, or leave it alone")
    const expected = options.expected === undefined || options.expected === "any" ? "streamExists" : options.expected
    if (expected === "noStream" || expected === 0) return yield* nothing
    const { receipt, written } = yield* unconditional(
      appendOn(send, undefined, events, stream, [summary], { ...options, expected }, true)
    ).pipe(
      Effect.catchTag(
        "ConcurrencyConflict",
        (conflict): Effect.Effect<never, ConcurrencyConflict | EventStoreError> =>
          Effect.fail(conflict.actual === 0 ? nothing : conflict)
      )
    )
    // The command id may be that of an append that has closed nothing.
    const { closed } = written === undefined ? yield* driver.streamStatus(receipt.stream) : { closed: Option.none() }
    if (written === undefined && (Option.isNone(closed) || closed.value.version !== receipt.version)) {
      return yield* storeError(
        new CommandIdReused({ commandId: options.metadata?.commandId ?? "", stream, firstStream: receipt.stream })
      )
    }
    return receipt
  })

  /** Without a condition there is none to break. */
  const unconditional = <A>(self: Effect.Effect<A, AppendError>) =>
    Effect.catchTag(self, "AppendConditionFailed", Effect.die)

  const readStreamEncoded = (
    stream: string,
    options: ReadStreamOptions = {}
  ): Stream.Stream<EncodedEvent, EventStoreError> =>
    Stream.suspend(() => {
      const name = Limits.checkStream(stream)
      if (name instanceof EventStoreError) return Stream.fail(name)
      const pageSize = options.pageSize ?? Math.min(defaultPageSize, limits.pageSize)
      const rejection = Limits.checkPageSize(limits, pageSize)
      if (rejection !== undefined) return Stream.fail(rejection)
      const direction = options.direction ?? "forward"
      const total = options.limit ?? Infinity
      if (total !== Infinity && !Version.isVersion(total)) {
        return Stream.fail(invalidRequest(`a limit is a whole number from 0, not ${total}`))
      }
      if (options.from !== undefined && !Version.isVersion(options.from)) {
        return Stream.fail(invalidRequest(`one reads from a version, not from ${options.from}`))
      }
      const first: StreamPage = {
        stream: name,
        direction,
        from: options.from ?? (direction === "forward" ? Version.make(1) : Version.make(Number.MAX_SAFE_INTEGER)),
        limit: pageSize
      }
      return streamPages(driver, first, total)
    })

  const readAllEncoded = (options: ReadLogOptions & { readonly types?: ReadonlyArray<string> } = {}) =>
    logPages(driver, limits, options, false)

  const subscribeEncoded = (options: ReadLogOptions & { readonly types?: ReadonlyArray<string> } = {}) =>
    logPages(driver, limits, options, true)

  const readQuery = Effect.fn("EventStore.readByQuery")(function*(
    query: EventQuery.EventQuery
  ): Effect.fn.Return<QueryResult, EventStoreError> {
    const problem = EventQuery.validate(query)
    if (problem !== undefined) return yield* invalidRequest(problem)
    const limit = limits.pageSize
    const first = yield* driver.readByQuery({ query, after: Position.start, limit })
    const events = Array.from(first.events)
    let full = first.events.length >= limit
    while (full) {
      const next = yield* driver.readByQuery({ query, after: events[events.length - 1]!.position, limit })
      events.push(...next.events)
      full = next.events.length >= limit
    }
    // Every page shows what lies up to the first page's head: that is final. What it shows beyond may have gaps yet.
    const seen = events.flatMap(({ position }) => position > first.head ? [position] : [])
    return { events, condition: { query, after: first.head, seen } }
  })

  const sendingBy = (send: EventStoreDriver["append"]): EventStore["Service"] =>
    EventStore.of({
      [internals]: {
        driver,
        keys,
        snapshots,
        changeAppends: (change) => sendingBy((request) => send(change(request)))
      },
      append: (events, stream, batch, options = {}) =>
        Effect.map(unconditional(appendOn(send, undefined, events, stream, batch, options)), ({ receipt }) => receipt),
      appendReturningEvents: (events, stream, batch, options = {}) =>
        Effect.map(
          unconditional(appendOn(send, undefined, events, stream, batch, options)),
          ({ receipt, written }) => ({
            receipt,
            events: written?.()
          })
        ),
      appendIf: (condition, events, stream, batch, options = {}) =>
        Effect.map(appendOn(send, condition, events, stream, batch, options), ({ receipt }) => receipt),
      close: (events, stream, summary, options) => close(send, events, stream, summary, options),
      readByQuery: readQuery,
      readStreamEncoded,
      readStream: (events, stream, options) => decode(EventCodec.make(events), readStreamEncoded(stream, options)),
      readAllEncoded,
      readAll: (events, options) => {
        const codec = EventCodec.make(events)
        return decode(codec, readAllEncoded({ ...options, types: codec.storedTypes }))
      },
      subscribeEncoded,
      subscribe: (events, options) => {
        const codec = EventCodec.make(events)
        return decode(codec, subscribeEncoded({ ...options, types: codec.storedTypes }))
      },
      head: driver.head,
      receipt: (commandId) => {
        const problem = Limits.validateCommandId(commandId)
        return problem === undefined ? driver.receipt(commandId) : Effect.fail(invalidRequest(problem))
      }
    })

  return sendingBy(driver.append)
})

/**
 * A layer from a driver's layer or effect.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(driver: Effect.Effect<EventStoreDriver, E, R>) =>
  Layer.effect(EventStore, Effect.flatMap(driver, (driver) => make(driver)))

/**
 * An event store in memory: the same behaviour as every other, gone with the process. For tests and trials.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<EventStore> = layer(MemoryEventStore.make())

/**
 * Like `layerMemory`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: MemoryEventStore.MemoryOptions): Layer.Layer<EventStore> =>
  layer(MemoryEventStore.make(options))

export type { ReadLogOptions }

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
