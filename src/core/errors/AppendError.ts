/**
 * The errors of an append: what the log has differs from what the caller expects.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Position } from "../Position.ts"
import { Version } from "../Version.ts"
import { shorten } from "./shorten.ts"

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
