/**
 * What `doctor` finds.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A finding.
 *
 * - `fine`: it is as it should be
 * - `warning`: it works, but may fail or be slow one day
 * - `problem`: the store does not work, or may lose what it has confirmed
 *
 * @since 0.1.0
 * @category schemas
 */
export const Finding = Schema.Struct({
  check: Schema.String,
  level: Schema.Literals(["fine", "warning", "problem"]),
  /** What was found. */
  found: Schema.String,
  /** What to do; `null` for a finding that is fine. */
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
