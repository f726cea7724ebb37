/**
 * What travels with every event without being part of it: who acted, why, and within which trace.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The hash of a whole payload, and the salts that it begins with, each encrypted under the key of its subject. `fields` are the names of the fields
 * that `payloadHash` covers.
 *
 * @since 0.1.0
 * @category models
 */
export const PersonalPayloadHash = Schema.Struct({
  hash: Schema.String,
  salts: Schema.Array(Schema.Json),
  fields: Schema.optionalKey(Schema.Array(Schema.String))
})

/**
 * @since 0.1.0
 * @category models
 */
export type PersonalPayloadHash = typeof PersonalPayloadHash.Type

/**
 * The metadata of an event. All fields are optional; dispatching a command fills in those that it knows.
 *
 * @since 0.1.0
 * @category models
 */
export const Metadata = Schema.Struct({
  /** The name of the command that caused the event. */
  command: Schema.optionalKey(Schema.String),
  /** The id of that command. A store appends the same id once. */
  commandId: Schema.optionalKey(Schema.String),
  /** The id of the correlation that the event belongs to; by default the id of the first command. */
  correlationId: Schema.optionalKey(Schema.String),
  /** The id of the message that caused the command; the command's own id when it came from outside. */
  causationId: Schema.optionalKey(Schema.String),
  /** Who acted. */
  actor: Schema.optionalKey(Schema.String),
  /** The W3C trace context of the span in which the command was dispatched. */
  traceparent: Schema.optionalKey(Schema.String),
  /** Anything else, as JSON. */
  attributes: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  /** The subjects of the event's encrypted personal data. The store writes it. */
  subjects: Schema.optionalKey(Schema.Array(Schema.String)),
  /**
   * The hash of what the command's payload and its events have in common in plaintext, on the first event of a command id; of the whole payload if
   * nothing can be personal data. The store writes it, and compares it when the command id comes again.
   */
  payloadHash: Schema.optionalKey(Schema.String),
  /** The salted hash of the command's whole payload. The store writes it. */
  personalPayloadHash: Schema.optionalKey(PersonalPayloadHash)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Metadata = typeof Metadata.Type

/**
 * Metadata without any field.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty: Metadata = {}
