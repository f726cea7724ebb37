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
 * The stream is not at the version that the append expected. Nothing was written.
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
    return `Stream "${
      shorten(this.stream)
    }" is at version ${this.actual}, but the append expected ${expected}; read it again and retry`
  }
}

/**
 * After the events of an append condition were read, another event was appended that matches its query. Nothing was written. A decision fails
 * with it, as the reason of an `EventStoreError`, when its retries are used up.
 *
 * @since 0.1.0
 * @category errors
 */
export class AppendConditionFailed
  extends Schema.TaggedError<AppendConditionFailed>("evsrc/AppendConditionFailed")("AppendConditionFailed", {
    /** The position of the newest such event. */
    position: Position
  })
{
  override get message(): string {
    return `The append condition does not hold: the event at position ${this.position} matches its query; read the query again and retry`
  }
}

/**
 * The log does not have an event that was read from it before. An older backup of the log was restored, a failover lost its last events, or the
 * position comes from another log. Nothing was written, and nothing was read.
 *
 * A command that was decided on such an event is decided again by itself. A consumer stops; see "Restore and failover" in docs/operations.md.
 *
 * @since 0.1.0
 * @category errors
 */
export class LogDiverged extends Schema.TaggedError<LogDiverged>("evsrc/LogDiverged")("LogDiverged", {
  /** The id of the event that was read before. */
  eventId: Schema.String,
  /** The position at which it was read. */
  position: Schema.optionalKey(Position),
  /** The stream in which it was read, and its version there. */
  stream: Schema.optionalKey(Schema.String),
  version: Schema.optionalKey(Version),
  /** How many of the events before it are not in the log, if only such are missing. */
  missing: Schema.optionalKey(Schema.Int)
}) {
  override get message(): string {
    if (this.missing !== undefined) {
      return `The log does not have ${this.missing} of the events that were read before event ${this.eventId} at position ${this.position}: a `
        + `failover lost them, or an older backup of the log was restored. For a consumer, rebuild the projection or reset the subscription`
    }
    const position = this.position === undefined ? [] : [`position ${this.position}`]
    const version = this.stream === undefined ? [] : [`version ${this.version} of stream "${shorten(this.stream)}"`]
    return `The log does not have event ${this.eventId} at ${
      [...position, ...version].join(", ")
    }, where it was read before: an older `
      + `backup of the log was restored, a failover lost events, or this is another log. Read the log again; for a consumer, rebuild the `
      + `projection or reset the subscription`
  }
}

/**
 * The payload of a command does not satisfy its Schema. Nothing was decided.
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
 * The command id was used before: by another command, on another stream, or with another payload. A command id belongs to one command with one
 * payload.
 *
 * @since 0.1.0
 * @category errors
 */
export class CommandIdReused extends Schema.TaggedError<CommandIdReused>("evsrc/CommandIdReused")("CommandIdReused", {
  commandId: Schema.String,
  /** What is not as it was when the id was first used. */
  differs: Schema.Literals(["command", "stream", "payload"]),
  stream: Schema.String,
  firstStream: Schema.String,
  command: Schema.optionalKey(Schema.String),
  firstCommand: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    const first = `${this.firstCommand ?? "an append"} on stream "${shorten(this.firstStream)}"`
    const now = `${this.command ?? "an append"} on stream "${shorten(this.stream)}"`
    const uses = this.differs === "payload" ? `${first}, and now with another payload` : `${first}, and now for ${now}`
    return `Command id "${shorten(this.commandId)}" was used before, for ${uses}; give every command an id of its own`
  }
}

/**
 * The stream is closed and accepts no more events. Nothing was written.
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
    }" was closed at version ${this.version} and accepts no more events; append to a new stream`
  }
}

/**
 * The store rejected an append or a read before it reached the log: a stream name that is not valid, no events, too many, too large.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("evsrc/InvalidRequest")("InvalidRequest", {
  message: Schema.String
}) {}

/**
 * An event in the log cannot be decoded. It stays in the log, and no reader skips it.
 *
 * The problem `NewerVersion` means that newer code than this program has written it, as happens while a release is deployed.
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
 * Returns whether newer code than this program has written the event, so that another process may be able to decode it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfNewerCode = ({ reason }: EventStoreError): boolean =>
  reason._tag === "UndecodableEvent" && reason.problem === "NewerVersion"

/**
 * A stored document does not satisfy the Schema of its projection, most likely because the Schema changed and the projection's `version` did
 * not.
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
    }" of projection "${this.projection}" cannot be decoded: ${this.detail}. If its `
      + `Schema has changed, raise the version of the projection`
  }
}

/**
 * The documents of an inline projection lack events, or may lack some. Either no program has built `Projector.layerInline` with it on this store,
 * or a program appended without it, or the log was imported since, or its definition reads other events than before.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionIncomplete extends Schema.TaggedError<ProjectionIncomplete>("evsrc/ProjectionIncomplete")(
  "ProjectionIncomplete",
  {
    projection: Schema.String,
    /** The first event that a program appended without the projection, if it is known. */
    position: Schema.optionalKey(Position)
  }
) {
  override get message(): string {
    return this.position === undefined
      ? `The documents of inline projection "${this.projection}" may lack events. Start a program with Projector.layerInline([...]) that `
        + "includes it: the layer makes them again from the log"
      : `The documents of inline projection "${this.projection}" lack the event at position ${this.position}, which a program without the `
        + "projection appended. Give every program that appends Projector.layerInline([...]) with it. A program that has this layer makes "
        + "the documents again within seconds or when it starts; Projector.repairInline does so at once"
  }
}

/**
 * The append would leave out an inline projection that `Projector.layerInline` has registered with `appendsWithout: "reject"`. Nothing was
 * written.
 *
 * @since 0.1.0
 * @category errors
 */
export class InlineProjectionMissing
  extends Schema.TaggedError<InlineProjectionMissing>("evsrc/InlineProjectionMissing")("InlineProjectionMissing", {
    projection: Schema.String,
    stream: Schema.String,
    /** The type of the event that the projection would miss. */
    type: Schema.String
  })
{
  override get message(): string {
    return `The append to stream "${
      shorten(this.stream)
    }" would leave event "${this.type}" out of inline projection "${this.projection}". Append `
      + "through Projector.layerInline([...]) with this version of it. If no program uses it any more, call Projector.retireInline"
  }
}

/**
 * Documents of a projection were written without an index that a list uses: by code that did not declare it yet. The list would lack them.
 *
 * @since 0.1.0
 * @category errors
 */
export class IndexIncomplete extends Schema.TaggedError<IndexIncomplete>("evsrc/IndexIncomplete")("IndexIncomplete", {
  projection: Schema.String,
  /** The indexed fields that the list uses. */
  fields: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `Documents of projection "${this.projection}" were written by code without an index on ${
      this.fields.join(", ")
    }, and a list would lack `
      + "them. When no process runs that code any more, index them with ProjectionStore.reindex, or rebuild the projection"
  }
}

/**
 * The page after a cursor cannot be read, because a rebuild has replaced the documents since. Nothing was read.
 *
 * @since 0.1.0
 * @category errors
 */
export class CursorExpired extends Schema.TaggedError<CursorExpired>("evsrc/CursorExpired")("CursorExpired", {
  projection: Schema.String,
  /** The generation that the page before was read from. */
  generation: Schema.String,
  /** The generation that readers read now. */
  active: Schema.String
}) {
  override get message(): string {
    return `The cursor belongs to generation "${this.generation}" of projection "${this.projection}", and readers now read "${this.active}"; begin `
      + "with the first page"
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
 * The store cannot be reached or is too busy. Nothing was written; a retry may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("evsrc/StoreUnavailable")(
  "StoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * The key store of personal data cannot be reached. Nothing was written, and personal data cannot be read; a retry may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyStoreUnavailable extends Schema.TaggedError<KeyStoreUnavailable>("evsrc/KeyStoreUnavailable")(
  "KeyStoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * An event has personal data of a subject that was erased. Nothing was written. A person who returns needs a new subject.
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
    }; use a new `
      + `subject for new data about the person`
  }
}

/**
 * The connection was lost between an append and its result, so the events may be in the log or not. Send the append again under the same
 * command id to find out.
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
 * The store is not set up for this program: missing or newer migrations, a read replica, a wrong isolation level, missing rights, a missing
 * key store.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreMisconfigured extends Schema.TaggedError<StoreMisconfigured>("evsrc/StoreMisconfigured")(
  "StoreMisconfigured",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * A handler waits for its own consumer, or a transaction for a consumer to reach an event that it has not committed. The wait could never end.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircularWait extends Schema.TaggedError<CircularWait>("evsrc/CircularWait")("CircularWait", {
  /** The id of the consumer to wait for. */
  consumer: Schema.String,
  /** The position that it was to reach. */
  position: Position,
  /** `handler`: a handler of the consumer waits; `transaction`: the transaction that appends the event waits. */
  waiting: Schema.Literals(["handler", "transaction"])
}) {
  override get message(): string {
    return this.waiting === "handler"
      ? `A handler of "${this.consumer}" waits until "${this.consumer}" has reached position ${this.position}, which it does only after the handler has `
        + `ended; read without \`after\`, or do the work that waits outside the handler`
      : `A transaction waits until "${this.consumer}" has reached position ${this.position}, which the transaction has not committed yet; wait after `
        + `the commit, or read without \`after\``
  }
}

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
  ProjectionIncomplete,
  InlineProjectionMissing,
  IndexIncomplete,
  CursorExpired,
  ConsumerFailed,
  CircularWait,
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

/**
 * A projection did not reach a position within the timeout of a read.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionBehind extends Schema.TaggedError<ProjectionBehind>("evsrc/ProjectionBehind")(
  "ProjectionBehind",
  { projection: Schema.String, wanted: Position, reached: Position }
) {
  override get message(): string {
    return `Projection "${this.projection}" has reached position ${this.reached}, not yet ${this.wanted}; read again later, or with a longer timeout`
  }
}

/**
 * A point in time is in the future: a version that the stream has not reached, or a position that the log has not reached. An instant never
 * fails, because only the database's clock could tell.
 *
 * @since 0.1.0
 * @category errors
 */
export class AsOfNotReached extends Schema.TaggedError<AsOfNotReached>("evsrc/AsOfNotReached")(
  "AsOfNotReached",
  {
    asOf: AsOf,
    /** How far the log or the stream has come, as a point in time of the same kind. */
    reached: AsOf,
    /** The stream whose version it is. */
    stream: Schema.optionalKey(Schema.String)
  }
) {
  override get message(): string {
    const what = this.stream === undefined ? "The log" : `Stream "${shorten(this.stream)}"`
    return `${what} has reached ${format(this.reached)}, not yet ${
      format(this.asOf)
    }; use an earlier point in time, or read again later`
  }
}

/** Shortens a name from outside, which may be very long, for a message. */
const shorten = (name: string): string =>
  name.length <= 120 ? name : `${name.slice(0, 120)}… (${name.length} characters)`
