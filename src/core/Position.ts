/**
 * The place of an event in the whole log. Positions grow; they are not contiguous, because a rolled-back append burns
 * the positions it drew.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A bigint from 0 (before the first event) up to 2^63 - 1. In JSON it is a string of digits, since a JSON number would lose
 * digits above 2^53.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Position = Schema.BigInt.check(
  Schema.makeFilter((n: bigint) => n >= 0n && n <= 9223372036854775807n || "a position lies between 0 and 2^63 - 1", {
    title: "Position"
  })
).pipe(Schema.brand("evsrc/Position"))

/**
 * @since 0.1.0
 * @category models
 */
export type Position = typeof Position.Type

/**
 * Whether a value is a position; for callers without types.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPosition = (value: unknown): value is Position =>
  typeof value === "bigint" && value >= 0n && value <= 9223372036854775807n

/**
 * Makes a position. Throws when it lies outside 0 … 2^63 - 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (position: bigint): Position => Position.make(position)

/**
 * The position before the first event.
 *
 * @since 0.1.0
 * @category constants
 */
export const start: Position = make(0n)

/**
 * The later of two positions.
 *
 * @since 0.1.0
 * @category combinators
 */
export const max = (a: Position, b: Position): Position => a > b ? a : b
