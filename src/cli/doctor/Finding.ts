/**
 * What `doctor` finds.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A finding.
 *
 * - `fine`: nothing to do
 * - `warning`: the store works, but may become slow or fail later
 * - `problem`: the store does not work, or may lose events whose receipts it has returned
 *
 * @since 0.1.0
 * @category schemas
 */
export const Finding = Schema.Struct({
  check: Schema.String,
  level: Schema.Literals(["fine", "warning", "problem"]),
  /** What was found. */
  found: Schema.String,
  /** What to do; `null` if the level is `fine`. */
  advice: Schema.NullOr(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Finding = typeof Finding.Type

/**
 * Returns a finding that is fine.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fine = (check: string, found: string): Finding => ({ check, level: "fine", found, advice: null })

/**
 * Returns a warning.
 *
 * @since 0.1.0
 * @category constructors
 */
export const warning = (check: string, found: string, advice: string): Finding => ({
  check,
  level: "warning",
  found,
  advice
})

/**
 * Returns a problem.
 *
 * @since 0.1.0
 * @category constructors
 */
export const problem = (check: string, found: string, advice: string): Finding => ({
  check,
  level: "problem",
  found,
  advice
})
