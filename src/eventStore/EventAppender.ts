/**
 * An append on its way to the driver: validated, encoded, encrypted, sent.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import {
  AppendConditionFailed,
  CommandIdReused,
  ConcurrencyConflict,
  EventStoreError,
  invalidRequest,
  LogDiverged,
  storeError,
  StreamClosed
} from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Receipt from "../core/Receipt.ts"
import { inSpan } from "../core/telemetry/inSpan.ts"
import { countAppend, countConflict, countDuplicate, timeAppend } from "../core/telemetry/metricUpdates.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { Keys } from "../personalData/KeyStoreLookup.ts"
import { encodedEventsOf, encodeEvents, encodeMetadata, receiptOf } from "./AppendCodec.ts"
import type {
  AppendCondition,
  AppendRequest,
  AppendResult,
  CommandRecord,
  EventStoreDriver,
  StreamLock
} from "./driver/EventStoreDriver.ts"
import * as EventEncryption from "./EventEncryption.ts"
import * as FirstReceipt from "./FirstReceipt.ts"
import * as Limits from "./Limits.ts"
import * as PayloadHash from "./payload/PayloadHash.ts"

/**
 * Options of an append.
 *
 * @since 0.1.0
 * @category options
 */
export interface AppendOptions {
  /** The version that the stream must have; `"any"` by default. */
  readonly expected?: Version.Expected | undefined
  /**
   * The id of the last event that the caller has read in the stream; it needs an exact `expected`. When the stream has another event at that
   * version, because the log was set back, the append fails with `LogDiverged`.
   */
  readonly lastEventId?: string | undefined
  /**
   * Metadata that is stored with every event. Its `commandId` makes the append idempotent: the same id again returns the first receipt, and fails
   * with the reason `CommandIdReused` when the command, the stream or the content differs.
   */
  readonly metadata?: Metadata | undefined
  /** The content that the command id stands for: by default the events; the handlers of commands pass the payload. */
  readonly content?: PayloadHash.Content | undefined
}

/**
 * How a conditional append fails: on the version of its stream, on its condition, or otherwise.
 *
 * @since 0.1.0
 * @category errors
 */
export type AppendError = ConcurrencyConflict | AppendConditionFailed | EventStoreError

/**
 * An append as the caller asks for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Append<E extends Event.Any> {
  readonly events: E
  readonly stream: string
  readonly batch: ReadonlyArray<Event.Of<E>>
  readonly options: AppendOptions
  readonly condition?: AppendCondition | undefined
  readonly closes?: boolean
  readonly observer?: AppendObserver | undefined
}

/**
 * What a caller learns of an append before its outcome.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendObserver {
  /** Receives the stream and the events just before the append is sent. */
  readonly onSend: (request: Pick<AppendRequest, "events" | "stream">) => void
  /** A later append to the stream now comes after this one. A driver that does not know that never calls it. */
  readonly onQueued: () => void
  /** The command id was appended before, so nothing is written. A driver that does not know that early never calls it. */
  readonly onRepeated: () => void
  /** A lock of the stream, under which to append. */
  readonly lock?: StreamLock | undefined
}

/**
 * What an append needs of its event store.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendContext {
  readonly driver: EventStoreDriver
  readonly keys: Keys
  readonly limits: Limits.Limits
  readonly newId: () => string
  /** Sends a request to the driver. */
  readonly send: EventStoreDriver["append"]
}

/**
 * The outcome of an append. `written` returns the events as a reader will find them; it is undefined when the command id was appended before.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendOutcome {
  readonly receipt: Receipt.Receipt
  readonly written: (() => ReadonlyArray<EncodedEvent>) | undefined
}

/**
 * Appends all of a batch to a stream, or nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const append = <E extends Event.Any>(
  context: AppendContext,
  input: Append<E>
): Effect.Effect<AppendOutcome, AppendError> =>
  Effect.contextWith((caller: Context.Context<never>) =>
    Context.get(caller, HandledEvent.Current) === undefined
      ? appendNow(context, input)
      : Effect.andThen(rejectInInlineHandler(context, input.stream), Effect.suspend(() => appendNow(context, input)))
  )

/**
 * Fails when an inline handler appends in the transaction of the event that it handles. Other inline projections would see the new event before
 * that one, and the documents that are written after the handlers would lack it.
 */
const rejectInInlineHandler = Effect.fnUntraced(
  function*({ driver }: AppendContext, stream: string): Effect.fn.Return<void, EventStoreError> {
    const inline = (yield* HandledEvent.active).find(({ uncommitted }) => uncommitted !== undefined)
    if (inline === undefined || !driver.inTransaction(yield* Effect.context<never>())) return
    return yield* invalidRequest(
      `the inline handler of "${inline.consumer}" appends to stream "${stream}" in the transaction of the event that it handles, so inline `
        + "projections would see the events in another order than that of the log; append in the handler of a subscription"
    )
  }
)

const appendNow = <E extends Event.Any>(
  context: AppendContext,
  input: Append<E>
): Effect.Effect<AppendOutcome, AppendError> => {
  const encoded = encode(context, input)
  if (Result.isFailure(encoded)) return Effect.fail(encoded.failure)
  const { command, commandId } = input.options.metadata ?? {}
  const use: FirstReceipt.CommandUse | undefined = commandId === undefined ? undefined : {
    command,
    commandId,
    stream: encoded.success.stream,
    content: input.options.content
      ?? PayloadHash.ofEvents(input.events, encoded.success.events, input.closes === true)
  }
  const request = input.observer === undefined
    ? encoded.success
    : withObserver(encoded.success, input.observer)
  const sendObserved = (request: AppendRequest) => {
    input.observer?.onSend(request)
    return send(context, request, command, use)
  }
  const isPersonal = EventPersonalData.hasPersonalData(input.events) || use?.content.isPersonal === true
  if (!isPersonal) {
    return sendObserved(use === undefined ? request : withHash(request, use.content))
  }
  return Effect.matchEffect(encrypt(context, input.events, request, use), {
    onFailure: (error) => firstReceipt(context, use, error),
    onSuccess: sendObserved
  })
}

const withObserver = (request: AppendRequest, { lock, onQueued, onRepeated }: AppendObserver): AppendRequest => ({
  ...request,
  onQueued,
  onRepeated,
  lock
})

/** Adds the hash of a content without personal data to the metadata of the first event. */
const withHash = (request: AppendRequest, { whole }: PayloadHash.Content): AppendRequest => ({
  ...request,
  events: EventEncryption.withHash(request.events, whole)
})

/** Validates an append and encodes its events and metadata. */
const encode = <E extends Event.Any>(
  { limits, newId }: AppendContext,
  { batch, closes, condition, events, options, stream }: Append<E>
): Result.Result<AppendRequest, EventStoreError> => {
  const { metadata = {} } = options
  const expected = options.expected === undefined ? "any" : options.expected
  if (!Version.isExpected(expected)) {
    return invalid(
      `the expected version "${
        String(expected)
      }" is not valid; pass "any", "noStream", "streamExists" or a whole number from 0`
    )
  }
  const { lastEventId } = options
  if (lastEventId !== undefined && (typeof expected !== "number" || expected === 0)) {
    return invalid(`\`lastEventId\` needs the exact version of that event; pass it as \`expected\``)
  }
  const wrongIds = Limits.checkEventIds([lastEventId, ...(condition?.basis ?? []).map(({ eventId }) => eventId)])
  if (wrongIds !== undefined) return Result.fail(wrongIds)
  const metadataText = encodeMetadata(metadata)
  if (Result.isFailure(metadataText)) return invalid(metadataText.failure)
  const encoded = encodeEvents(EventCodec.make(events), batch, metadataText.success, newId)
  if (Result.isFailure(encoded)) return invalid(encoded.failure)
  const name = Limits.checkStream(stream)
  if (name instanceof EventStoreError) return Result.fail(name)
  const rejection = Limits.checkAppend(limits, encoded.success, metadata.commandId)
  if (rejection !== undefined) return Result.fail(rejection)
  const wrongQuery = condition === undefined ? undefined : EventQuery.validate(condition.query)
  if (wrongQuery !== undefined) return invalid(wrongQuery)
  return Result.succeed({
    stream: name,
    expected,
    lastEventId,
    events: encoded.success,
    commandId: metadata.commandId,
    condition,
    closes
  })
}

const invalid = (message: string): Result.Result<never, EventStoreError> => Result.fail(invalidRequest(message))

/** Encrypts the personal data of a request's events, and adds the hashes of the content. */
const encrypt = (
  { keys }: AppendContext,
  events: Event.Any,
  request: AppendRequest,
  use: FirstReceipt.CommandUse | undefined
): Effect.Effect<AppendRequest, EventStoreError> =>
  Effect.map(
    EventEncryption.encryptEvents(keys, events, request.events, use?.content),
    (encrypted) => ({ ...request, events: encrypted })
  )

/** A command that was appended before its subject was erased still returns its first receipt. */
const firstReceipt = (
  { driver, keys }: AppendContext,
  use: FirstReceipt.CommandUse | undefined,
  error: EventStoreError
): Effect.Effect<AppendOutcome, EventStoreError> =>
  use === undefined || error.reason._tag !== "SubjectErased"
    ? Effect.fail(error)
    : Effect.flatMap(driver.receipt(use.commandId), (first) =>
      Option.isNone(first) ? Effect.fail(error) : duplicate(keys, first.value, use))

/** Sends a request to the driver and turns its result into an outcome. */
const send = (
  context: AppendContext,
  request: AppendRequest,
  command: string | undefined,
  use: FirstReceipt.CommandUse | undefined
): Effect.Effect<AppendOutcome, AppendError> =>
  inSpan(
    timeAppend(context.send(request), (result) => outcomeOf(context, request, command, use, result)),
    "EventStore.append",
    { "evsrc.stream": request.stream, "evsrc.events": request.events.length }
  )

const outcomeOf = (
  { keys }: AppendContext,
  request: AppendRequest,
  command: string | undefined,
  use: FirstReceipt.CommandUse | undefined,
  result: AppendResult
): Effect.Effect<AppendOutcome, AppendError> => {
  const { events, expected, stream } = request
  switch (result._tag) {
    case "Appended":
      return countAppend(events.length, {
        receipt: receiptOf(request, command, result.version, result.positions),
        written: () => encodedEventsOf(request, result)
      })
    case "Duplicate":
      return Effect.andThen(countDuplicate, duplicate(keys, result.first, use!))
    case "Closed":
      return Effect.fail(storeError(new StreamClosed({ stream, version: result.version })))
    case "Conflict":
      return Effect.andThen(countConflict, new ConcurrencyConflict({ stream, expected, actual: result.actual }))
    case "Diverged":
      return Effect.andThen(countConflict, Effect.fail(storeError(divergedOf(request))))
    case "Changed":
      return Effect.andThen(countConflict, new AppendConditionFailed({ position: result.position }))
  }
}

/** Returns the error of an append that rests on an event that the log does not have. */
const divergedOf = ({ condition, expected, lastEventId, stream }: AppendRequest): LogDiverged => {
  const { eventId = "", position } = condition?.basis?.at(-1) ?? {}
  return lastEventId !== undefined && typeof expected === "number"
    ? new LogDiverged({ eventId: lastEventId, stream, version: expected })
    : new LogDiverged({ eventId, ...(position === undefined ? {} : { position }) })
}

const duplicate = (
  keys: Keys,
  first: CommandRecord,
  use: FirstReceipt.CommandUse
): Effect.Effect<AppendOutcome, EventStoreError> =>
  Effect.map(FirstReceipt.requireSame(keys, first, use), (receipt) => ({ receipt, written: undefined }))

/**
 * Appends without a condition, so that no condition can fail.
 *
 * @since 0.1.0
 * @category constructors
 */
export const appendUnconditionally = <E extends Event.Any>(
  context: AppendContext,
  input: Omit<Append<E>, "condition">
): Effect.Effect<AppendOutcome, ConcurrencyConflict | EventStoreError> =>
  Effect.catchTag(append(context, input), "AppendConditionFailed", Effect.die)

/**
 * Appends one last event to a stream and closes it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const close = Effect.fn("EventStore.close")(function*<E extends Event.Any>(
  context: AppendContext,
  input: Omit<Append<E>, "condition" | "closes">
): Effect.fn.Return<Receipt.Receipt, ConcurrencyConflict | EventStoreError> {
  const { options, stream } = input
  const empty = invalidRequest(
    `stream "${stream}" has no events and cannot be closed; append to it first, or leave it open`
  )
  const expected = options.expected === undefined || options.expected === "any" ? "streamExists" : options.expected
  if (expected === "noStream" || expected === 0) return yield* empty
  const { receipt, written } = yield* appendUnconditionally(context, {
    ...input,
    options: { ...options, expected },
    closes: true
  }).pipe(
    Effect.catchTag(
      "ConcurrencyConflict",
      (conflict): Effect.Effect<never, ConcurrencyConflict | EventStoreError> =>
        Effect.fail(conflict.actual === 0 ? empty : conflict)
    )
  )
  if (written !== undefined) return receipt
  // The command id may be that of an append that did not close the stream.
  const { closed } = yield* context.driver.streamStatus(receipt.stream)
  if (Option.isSome(closed) && closed.value.version === receipt.version) return receipt
  return yield* storeError(
    new CommandIdReused({
      commandId: options.metadata?.commandId ?? "",
      differs: "payload",
      stream,
      firstStream: receipt.stream
    })
  )
})
