/**
 * The errors that more than one concept fails with.
 *
 * `ConcurrencyConflict` is an error of its own, because callers decide on it. Everything else that a store fails with is an `EventStoreError`
 * with a tagged `reason`; handle single reasons with `Effect.catchReason`.
 *
 * **Details**
 *
 * The convention for every error of evsrc:
 *
 * - An error of several concepts is defined in `errors/`, and imported from here. An error of one concept is defined beside it, in `<Concept>Error.ts`.
 * - The entry point exports each error by its own name (`import { NotParked } from "evsrc"`); no namespace exports an error.
 * - It extends `Schema.TaggedError`. Its `_tag` is the name of the class, its identifier `evsrc/<name>`.
 * - Its name says what happened (`StreamClosed`, `NotParked`). Only an error that wraps reasons ends in `Error`.
 * - Its fields are data; `message` says what was wrong, the value, what is allowed and what to do.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { AppendConditionFailed, CommandIdReused, LogDiverged, StreamClosed } from "./errors/AppendError.ts"
import { InvalidRequest } from "./errors/InputError.ts"
import {
  ConsumerFailed,
  CursorExpired,
  EventsUntagged,
  IndexIncomplete,
  InlineProjectionMissing,
  ProjectionIncomplete,
  UndecodableDocument,
  UndecodableEvent
} from "./errors/ReadError.ts"
import {
  CircularWait,
  GenerationDiscarded,
  KeyStoreUnavailable,
  OutcomeUnknown,
  StoreFailure,
  StoreMisconfigured,
  StoreUnavailable,
  SubjectErased
} from "./errors/StoreError.ts"

export * from "./errors/AppendError.ts"
export * from "./errors/InputError.ts"
export * from "./errors/ReadError.ts"
export * from "./errors/StoreError.ts"

/**
 * Returns whether newer code than this program has written the event, so that another process may be able to decode it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfNewerCode = ({ reason }: EventStoreError): boolean =>
  reason._tag === "UndecodableEvent" && reason.problem === "NewerVersion"

/**
 * The reasons of an `EventStoreError`.
 *
 * @since 0.1.0
 * @category errors
 */
export const EventStoreErrorReason = Schema.Union([
  InvalidRequest,
  CommandIdReused,
  AppendConditionFailed,
  LogDiverged,
  StreamClosed,
  UndecodableEvent,
  UndecodableDocument,
  EventsUntagged,
  ProjectionIncomplete,
  InlineProjectionMissing,
  IndexIncomplete,
  CursorExpired,
  ConsumerFailed,
  CircularWait,
  GenerationDiscarded,
  StoreUnavailable,
  KeyStoreUnavailable,
  SubjectErased,
  OutcomeUnknown,
  StoreMisconfigured,
  StoreFailure
])

/**
 * @since 0.1.0
 * @category errors
 */
export type EventStoreErrorReason = typeof EventStoreErrorReason.Type

/**
 * The error of the stores. Its `reason` says what happened.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventStoreError extends Schema.TaggedError<EventStoreError>("evsrc/EventStoreError")("EventStoreError", {
  reason: EventStoreErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** Whether the same request may succeed when it is sent again. */
  get isRetryable(): boolean {
    return this.reason._tag === "StoreUnavailable" || this.reason._tag === "KeyStoreUnavailable"
  }
}

const own = new WeakSet<EventStoreError>()

/**
 * Returns an `EventStoreError` with the given reason.
 *
 * @since 0.1.0
 * @category constructors
 */
export const storeError = (reason: EventStoreErrorReason): EventStoreError => {
  const error = new EventStoreError({ reason })
  own.add(error)
  return error
}

/**
 * Returns whether this library made an error, so that its words quote no personal data. A user's code can make one too, and one may come from another
 * process.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOwnError = (error: unknown): error is EventStoreError =>
  error instanceof EventStoreError && own.has(error)

/**
 * Returns an `EventStoreError` with the reason `InvalidRequest`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const invalidRequest = (message: string): EventStoreError => storeError(new InvalidRequest({ message }))
