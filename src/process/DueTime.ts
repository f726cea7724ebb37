/**
 * When a deadline is due.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Reaction from "./Reaction.ts"

const [min, max] = [Date.parse("0001-01-01T00:00:00Z"), Date.parse("9999-12-31T23:59:59.999Z")]

/**
 * Returns the instant at which a deadline is due; `undefined` outside of the years 1 to 9999, where the text of an instant does not sort as the instant does.
 *
 * @since 0.1.0
 * @category guards
 */
export const valid = (millis: number): DateTime.Utc | undefined =>
  millis >= min && millis <= max ? DateTime.makeUnsafe(millis) : undefined

/**
 * Returns when a deadline is due that a reaction sets, or why it can never be.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (due: Reaction.Due, from: DateTime.Utc): Result.Result<DateTime.Utc, string> => {
  const millis = "after" in due ? DateTime.toEpochMillis(from) + millisOf(due.after) : instantOf(due.at)
  if (Number.isNaN(millis)) {
    return Result.fail(
      "after" in due
        ? `\`after\` a time that is no duration; use a text such as "15 minutes", a Duration, or a number of milliseconds`
        : "`at` an invalid date; use a Date or a DateTime"
    )
  }
  return Result.fromNullishOr(
    valid(millis),
    () => "to an instant outside of the years 1 to 9999; to wait without end, set no deadline"
  )
}

/** Returns a duration in milliseconds; `NaN` for a value that is no duration. Effect takes `NaN` for zero. */
const millisOf = (input: Duration.Input): number =>
  Number.isNaN(input) ? NaN : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

const instantOf = (at: DateTime.DateTime | Date): number =>
  at instanceof Date ? at.getTime() : DateTime.isDateTime(at) ? DateTime.toEpochMillis(at) : NaN
