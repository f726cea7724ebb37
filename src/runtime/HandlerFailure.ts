/**
 * Why an effect for an event has failed: because of the event, or because the database cannot be used at the moment.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { EventStoreError, storeError, StoreUnavailable } from "../domain/errors.ts"
import type { RecordedEvent } from "../domain/EventRecord.ts"
import * as ProjectionFold from "./ProjectionFold.ts"

/** An error of one's own may have several others within. */
const depth = 8

/** Resources exhausted (53), operator intervention such as a shutdown (57), system errors such as a full disk (58). */
const passing = /^(53|57|58)[0-9A-Z]{3}$/

/** Whether the same statement may succeed when it is simply sent again. */
const isPassing = (error: SqlError): boolean => {
  const { cause } = error.reason
  return error.isRetryable
    || (Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) && passing.test(cause.code))
}

/** The error, or the one within that has caused it, for which the event is not to blame. */
const unavailable = (error: unknown): EventStoreError | undefined => {
  for (let within = error, i = 0; within instanceof Object && i < depth; i++) {
    if (within instanceof EventStoreError) return within.isRetryable ? within : undefined
    if (isSqlError(within)) {
      return isPassing(within)
        ? storeError(new StoreUnavailable({ message: `The database is unavailable: ${within.message}`, cause: within }))
        : undefined
    }
    within = Reflect.get(within, "cause")
  }
  return undefined
}

/**
 * What a handler has failed with as an error of the store, which `isRetryable` when it is not the event's fault.
 *
 * @since 0.1.0
 * @category errors
 */
export const of = (follower: string, event: RecordedEvent, cause: Cause.Cause<unknown>): EventStoreError => {
  for (const reason of cause.reasons) {
    const found = unavailable(
      Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    )
    if (found !== undefined) return found
  }
  // A fiber that is interrupted itself never comes here: the handler has interrupted itself, or waited for something that was.
  const error = Cause.hasInterruptsOnly(cause) ? new Error("it was interrupted") : Cause.squash(cause)
  return ProjectionFold.failed(follower, event, error)
}
