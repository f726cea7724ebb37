/**
 * The version of a stream: how many events it has. The versions of its events are 1, 2, 3 … without a gap.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A whole number from 0 (no events yet) to 2^53 - 1.
 *
 * @since 0.1.0
 * @category models
 */
export const Version = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("evsrc/Version"))

/**
 * @since 0.1.0
 * @category models
 */
export type Version = typeof Version.Type

/**
 * Makes a version from a number. Throws unless it is a whole number from 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (version: number): Version => Version.make(version)

/**
 * The version of a stream that has no events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const zero: Version = make(0)

/**
 * The version that an append expects of its stream:
 *
 * - `"any"`: any version; the append waits for its turn and never conflicts
 * - `"noStream"`: the stream has no events
 * - `"streamExists"`: the stream has at least one event
 * - a version: the stream has exactly that version
 *
 * @since 0.1.0
 * @category models
 */
export type Expected = "any" | "noStream" | "streamExists" | Version

/**
 * Returns whether a value is an expected version.
 *
 * @since 0.1.0
 * @category guards
 */
export const isExpected = (value: unknown): value is Expected =>
  value === "any" || value === "noStream" || value === "streamExists" || isVersion(value)

/**
 * Returns whether a value is a version.
 *
 * @since 0.1.0
 * @category guards
 */
export const isVersion = (value: unknown): value is Version => Number.isSafeInteger(value) && Number(value) >= 0

/**
 * Returns whether a stream at version `actual` meets the expected version.
 *
 * @since 0.1.0
 * @category guards
 */
export const meets = (actual: number, expected: Expected): boolean =>
  expected === "any"
  || (expected === "noStream" ? actual === 0 : expected === "streamExists" ? actual > 0 : actual === expected)
