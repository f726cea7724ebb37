/**
 * The version of a stream: how many events it has. Versions of events run 1, 2, 3 … without a hole.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A whole number from 0 (no events yet) to 2^53 - 1.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Version = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("evsrc/Version"))

/**
 * @since 0.1.0
 * @category models
 */
export type Version = typeof Version.Type

/**
 * Makes a version from a number. Throws when it is not a whole number of at least 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (version: number): Version => Version.make(version)

/**
 * The version of a stream that has no events.
 *
 * @since 0.1.0
 * @category constants
 */
export const zero: Version = make(0)

/**
 * What an append expects of its stream:
 *
 * - `"any"`: nothing; the append waits its turn and never conflicts
 * - `"noStream"`: the stream has no events
 * - `"streamExists"`: the stream has at least one event
 * - a version: the stream has exactly that version
 *
 * @since 0.1.0
 * @category models
 */
export type Expected = "any" | "noStream" | "streamExists" | Version

/**
 * Whether a value is an expectation; for callers without types.
 *
 * @since 0.1.0
 * @category guards
 */
export const isExpected = (value: unknown): value is Expected =>
  value === "any" || value === "noStream" || value === "streamExists" || isVersion(value)

/**
 * Whether a value is a version; for callers without types.
 *
 * @since 0.1.0
 * @category guards
 */
export const isVersion = (value: unknown): value is Version => Number.isSafeInteger(value) && Number(value) >= 0

/**
 * Whether a stream at version `actual` meets the expectation.
 *
 * @since 0.1.0
 * @category guards
 */
export const meets = (actual: number, expected: Expected): boolean =>
  expected === "any"
  || (expected === "noStream" ? actual === 0 : expected === "streamExists" ? actual > 0 : actual === expected)
