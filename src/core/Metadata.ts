/**
 * What travels with every event without being part of it: who, why and within which trace.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * All fields are optional; dispatching a command fills in every one it knows.
 *
 * - `command`: the name of the command that caused the event
 * - `commandId`: its id; the same id is appended once
 * - `correlationId`: the conversation the event belongs to, the first command's id by default
 * - `causationId`: the message that caused the command; the command itself when it came from outside
 * - `actor`: who acted
 * - `traceparent`: the W3C trace context of the span in which it was dispatched
 * - `attributes`: anything else, as JSON
 * - `subjects`: whose personal data the event has, encrypted; the store says so
 *
 * @since 0.1.0
 * @category schemas
 */
export const Metadata = Schema.Struct({
  command: Schema.optionalKey(Schema.String),
  commandId: Schema.optionalKey(Schema.String),
  correlationId: Schema.optionalKey(Schema.String),
  causationId: Schema.optionalKey(Schema.String),
  actor: Schema.optionalKey(Schema.String),
  traceparent: Schema.optionalKey(Schema.String),
  attributes: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  subjects: Schema.optionalKey(Schema.Array(Schema.String))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Metadata = typeof Metadata.Type

/**
 * Metadata that says nothing.
 *
 * @since 0.1.0
 * @category constants
 */
export const empty: Metadata = {}
