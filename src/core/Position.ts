/**
 * The position of an event in the whole log. Positions grow. They are not contiguous, because an append that is rolled back leaves the positions
 * it drew unused.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A bigint from 0 (before the first event) to 2^63 - 1. In JSON it is a string of digits, because a JSON number would lose digits above 2^53.
 *
 * @since 0.1.0
 * @category models
 */
export const Position = Schema.BigInt.check(
  Schema.makeFilter((n: bigint) => n >= 0n && n <= 9223372036854775807n || "a position must be from 0 to 2^63 - 1", {
    title: "Position"
  })
).pipe(Schema.brand("evsrc/Position"))

/**
 * @since 0.1.0
 * @category models
 */
export type Position = typeof Position.Type

/**
 * Returns whether a value is a position.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPosition = (value: unknown): value is Position =>
  typeof value === "bigint" && value >= 0n && value <= 9223372036854775807n

/**
 * Makes a position. Throws unless it is from 0 to 2^63 - 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (position: bigint): Position => Position.make(position)

/**
 * The position before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const start: Position = make(0n)

/**
 * Returns the later of two positions.
 *
 * @since 0.1.0
 * @category combinators
 */
export const max = (a: Position, b: Position): Position => a > b ? a : b

/**
 * Returns the earlier of two positions.
 *
 * @since 0.1.0
 * @category combinators
 */
export const min = (a: Position, b: Position): Position => a < b ? a : b
