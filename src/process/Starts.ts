/**
 * Which inputs start instances, where one process manager takes over from another at a point in time.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type * as Reaction from "./Reaction.ts"

/**
 * Returns whether an input starts an instance: `startsUntil` and `from: { since }` with the same time select each input once. The position at which `since`
 * begins does not, because events may be recorded a little before one at an earlier position, or long before it if the clock of the database was set back.
 *
 * @since 0.1.0
 * @category guards
 */
export const isStart = (
  { from, startsUntil }: Pick<ProcessContract.Contract, "from" | "startsUntil">,
  { starts }: Reaction.Correlation,
  { recordedAt }: Pick<RecordedEvent<unknown>, "recordedAt">
): boolean =>
  starts && (startsUntil === undefined || DateTime.isLessThan(recordedAt, startsUntil))
  && !(typeof from === "object" && "since" in from && DateTime.isLessThan(recordedAt, from.since))
