/**
 * The errors of an input that is not valid.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

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
 * The store rejected an append or a read before it reached the log: a stream name that is not valid, no events, too many, too large.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("evsrc/InvalidRequest")("InvalidRequest", {
  message: Schema.String
}) {}
