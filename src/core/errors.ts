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
 * - An error of several concepts is defined here. An error of one concept is defined beside it, in `<Concept>Error.ts`.
 * - The entry point exports each error by its own name (`import { NotParked } from "evsrc"`); no namespace exports an error.
 * - It extends `Schema.TaggedError`. Its `_tag` is the name of the class, its identifier `evsrc/<name>`.
 * - Its name says what happened (`StreamClosed`, `NotParked`). Only an error that wraps reasons ends in `Error`.
 * - Its fields are data; `message` says what was wrong, the value, what is allowed and what to do.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { AsOf, format } from "./AsOf.ts"
import { Position } from "./Position.ts"
import { Version } from "./Version.ts"

const expectedSchema = Schema.Union([Schema.Literals(["any", "noStream", "streamExists"]), Version])

/**
 * The stream was not at the version the append expected. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConcurrencyConflict extends Schema.TaggedError<ConcurrencyConflict>("evsrc/ConcurrencyConflict")(
  "ConcurrencyConflict",
  { stream: Schema.String, expected: expectedSchema, actual: Version }
) {
  override get message(): string {
    const expected = typeof this.expected === "number" ? `version ${this.expected}` : `"${this.expected}"`
    return `Stream "${shorten(this.stream)}" is at version ${this.actual}, but ${expected} was expected`
  }
}

/**
 * Since a decision was read, an event was appended that it would have had to take into account. Nothing was written. A command
 * that is decided on several entities fails with it, as the reason of an `EventStoreError`, when its retries are used up.
 *
 * - `position`: the newest such event
 *
 * @since 0.1.0
 * @category errors
 */
export class AppendConditionFailed
  extends Schema.TaggedError<AppendConditionFailed>("evsrc/AppendConditionFailed")("AppendConditionFailed", {
    position: Position
  })
{
  override get message(): string {
    return `What was decided on has changed in the meantime, by the event at position ${this.position}`
  }
}

/**
 * A command's payload does not satisfy its schema. Nothing was decided.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCommand extends Schema.TaggedError<InvalidCommand>("evsrc/InvalidCommand")("InvalidCommand", {
  command: Schema.String,
  message: Schema.String
}) {}

/**
 * The payload of a query does not satisfy its Schema. Its handler was not called.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidQuery extends Schema.TaggedError<InvalidQuery>("evsrc/InvalidQuery")("InvalidQuery", {
  query: Schema.String,
  message: Schema.String
}) {}

/**
 * The command id was used before, by another command or on another stream. A command id names one command: make a new one.
 *
 * @since 0.1.0
 * @category errors
 */
export class CommandIdReused extends Schema.TaggedError<CommandIdReused>("evsrc/CommandIdReused")("CommandIdReused", {
  commandId: Schema.String,
  stream: Schema.String,
  firstStream: Schema.String,
  command: Schema.optionalKey(Schema.String),
  firstCommand: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    const first = `${this.firstCommand ?? "an append"} on stream "${shorten(this.firstStream)}"`
    const now = `${this.command ?? "an append"} on stream "${shorten(this.stream)}"`
    return `Command id "${shorten(this.commandId)}" was used before, for ${first}, and now for ${now}; `
      + "give every command an id of its own"
  }
}

/**
 * The stream is closed, at that version: it takes no more events. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamClosed extends Schema.TaggedError<StreamClosed>("evsrc/StreamClosed")("StreamClosed", {
  stream: Schema.String,
  version: Version
}) {
  override get message(): string {
    return `Stream "${
      shorten(this.stream)
    }" was closed at version ${this.version} and takes no more events; go on in a new stream`
  }
}

/**
 * The append or read was refused before it reached the log: a bad stream name, no events, too many, too large.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("evsrc/InvalidRequest")("InvalidRequest", {
  message: Schema.String
}) {}

/**
 * An event in the log cannot be turned into a domain event. It stays where it is; nothing skips it.
 *
 * - `NewerVersion`: it was written by newer code than this program, as happens while a new release is deployed
 *
 * @since 0.1.0
 * @category errors
 */
export class UndecodableEvent extends Schema.TaggedError<UndecodableEvent>("evsrc/UndecodableEvent")(
  "UndecodableEvent",
  {
    problem: Schema.Literals(["UnknownType", "NewerVersion", "UnknownVersion", "Malformed", "UpcasterFailed"]),
    position: Position,
    stream: Schema.String,
    version: Version,
    type: Schema.String,
    schemaVersion: Schema.Int,
    detail: Schema.String
  }
) {
  override get message(): string {
    return `Event "${this.type}" (schema version ${this.schemaVersion}) at position ${this.position}, stream `
      + `"${shorten(this.stream)}" version ${this.version}, cannot be decoded: ${this.detail}`
  }
}

/**
 * Whether the event was written by newer code: then it is this program that lags behind, and another may go on.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfNewerCode = ({ reason }: EventStoreError): boolean =>
  reason._tag === "UndecodableEvent" && reason.problem === "NewerVersion"

/**
 * A document in a projection does not satisfy the projection's Schema, most likely because that changed and the projection's
 * `version` did not.
 *
 * @since 0.1.0
 * @category errors
 */
export class UndecodableDocument extends Schema.TaggedError<UndecodableDocument>("evsrc/UndecodableDocument")(
  "UndecodableDocument",
  { projection: Schema.String, key: Schema.String, detail: Schema.String }
) {
  override get message(): string {
    return `Document "${
      shorten(this.key)
    }" of projection "${this.projection}" cannot be decoded: ${this.detail}. When its `
      + `Schema has changed, raise the projection's version`
  }
}

/**
 * The code of a consumer failed on an event: a projection's `key` or `evolve` threw or returned a document that does not satisfy its Schema, or
 * a handler of a projection or a subscription failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConsumerFailed extends Schema.TaggedError<ConsumerFailed>("evsrc/ConsumerFailed")("ConsumerFailed", {
  kind: Schema.Literals(["projection", "subscription"]),
  consumer: Schema.String,
  position: Position,
  type: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    const kind = this.kind === "projection" ? "Projection" : "Subscription"
    return `${kind} "${this.consumer}" failed on event "${this.type}" at position ${this.position}: ${this.detail}`
  }
}

/**
 * The store could not be reached or is too busy. Nothing was written; trying again may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("evsrc/StoreUnavailable")(
  "StoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * The key store of personal data could not be asked. Nothing was written, and nothing is read without it; trying again may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyStoreUnavailable extends Schema.TaggedError<KeyStoreUnavailable>("evsrc/KeyStoreUnavailable")(
  "KeyStoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * An event has personal data of a subject that was erased. Nothing was written: who comes back gets a new name as a subject.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubjectErased extends Schema.TaggedError<SubjectErased>("evsrc/SubjectErased")("SubjectErased", {
  subject: Schema.String,
  erasedAt: Schema.DateTimeUtc
}) {
  override get message(): string {
    return `The personal data of "${shorten(this.subject)}" was erased at ${
      DateTime.formatIso(this.erasedAt)
    }; what is new about the `
      + `person needs another subject`
  }
}

/**
 * The connection was lost after an append was sent and before its answer arrived: it may be in the log or not. Send
 * it again under the same command id to find out.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>("evsrc/OutcomeUnknown")("OutcomeUnknown", {
  stream: Schema.String,
  message: Schema.String,
  cause: Schema.Defect()
}) {}

/**
 * The store is not set up for this program: migrations missing or newer, a read replica, a wrong isolation level, missing
 * rights.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreMisconfigured extends Schema.TaggedError<StoreMisconfigured>("evsrc/StoreMisconfigured")(
  "StoreMisconfigured",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * The store failed in a way that none of the other reasons describes.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreFailure extends Schema.TaggedError<StoreFailure>("evsrc/StoreFailure")("StoreFailure", {
  message: Schema.String,
  cause: Schema.Defect()
}) {}

/**
 * @since 0.1.0
 * @category errors
 */
export const EventStoreErrorReason = Schema.Union([
  InvalidRequest,
  CommandIdReused,
  AppendConditionFailed,
  StreamClosed,
  UndecodableEvent,
  UndecodableDocument,
  ConsumerFailed,
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
 * The one error of the stores. `reason` says which of its kinds it is.
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
  /** Whether the same request may succeed when it is simply sent again. */
  get isRetryable(): boolean {
    return this.reason._tag === "StoreUnavailable" || this.reason._tag === "KeyStoreUnavailable"
  }
}

/**
 * An `EventStoreError` with the given reason.
 *
 * @since 0.1.0
 * @category constructors
 */
export const storeError = (reason: EventStoreErrorReason): EventStoreError => new EventStoreError({ reason })

/**
 * An `EventStoreError` that refuses a request, with the words that say why.
 *
 * @since 0.1.0
 * @category constructors
 */
export const invalidRequest = (message: string): EventStoreError => storeError(new InvalidRequest({ message }))

/**
 * A read model had not reached the wanted position when the wait for it ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionBehind extends Schema.TaggedError<ProjectionBehind>("evsrc/ProjectionBehind")(
  "ProjectionBehind",
  { projection: Schema.String, wanted: Position, reached: Position }
) {
  override get message(): string {
    return `Projection "${this.projection}" has reached position ${this.reached}, not yet ${this.wanted}`
  }
}

/**
 * A moment lies beyond what has happened so far: a version that the stream has not, or a position that the log has not reached. An instant is
 * never refused, as only the database's clock could tell.
 *
 * - `reached`: how far it has come, a moment of the same kind
 * - `stream`: whose version it is
 *
 * @since 0.1.0
 * @category errors
 */
export class AsOfNotReached extends Schema.TaggedError<AsOfNotReached>("evsrc/AsOfNotReached")(
  "AsOfNotReached",
  { asOf: AsOf, reached: AsOf, stream: Schema.optionalKey(Schema.String) }
) {
  override get message(): string {
    const what = this.stream === undefined ? "The log" : `Stream "${shorten(this.stream)}"`
    return `${what} has reached ${format(this.reached)}, not yet ${format(this.asOf)}`
  }
}

/** Names from outside may be absurdly long; a message for people is not. */
const shorten = (name: string): string =>
  name.length <= 120 ? name : `${name.slice(0, 120)}… (${name.length} characters)`
