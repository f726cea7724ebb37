/**
 * Arguments and flags that several commands have.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as AsOf from "../core/AsOf.ts"
import * as LogPosition from "../core/LogPosition.ts"

/**
 * The position after which a command reads.
 *
 * @since 0.1.0
 * @category options
 */
export const after = Flag.String("after").pipe(
  Flag.withMetavar("position"),
  Flag.filterMap(
    LogPosition.parse,
    (text) =>
      `"${text}" is no position; give digits, such as 42, or a position with the id of its event, such as 42_<id>`
  )
)

/**
 * The largest number of items that a command prints.
 *
 * @since 0.1.0
 * @category options
 */
export const limit = Flag.Int("limit").pipe(
  Flag.withAlias("n"),
  Flag.filter((limit) => limit > 0, (limit) => `the limit is ${limit}; it must be at least 1`)
)

/**
 * A point in time of a stream.
 *
 * @since 0.1.0
 * @category options
 */
export const at = Flag.String("at").pipe(
  Flag.withMetavar("version:3 | position:42 | instant:…"),
  Flag.withDescription("As of this point in time: version:3, position:42 or instant:2030-01-31T12:00:00Z"),
  Flag.withSchema(AsOf.FromString),
  Flag.optional
)

/**
 * The name of a stream.
 *
 * @since 0.1.0
 * @category options
 */
export const stream = Argument.String("stream").pipe(
  Argument.withDescription("The name of the stream, such as Order-7")
)

/**
 * Returns the value of an optional flag, or `undefined`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const given = Option.getOrUndefined
