/**
 * Why an effect for an event has failed: because of the event, or because the database cannot be used at the moment.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import { isSqlError } from "effect/sql/SqlError"
import { ConsumerFailed, EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import { isTransient } from "../core/sqlState.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import type { Consumer } from "./Consumer.ts"

/** An error of one's own may have several others within. */
const depth = 8

/** The error, or the one within that has caused it, for which the event is not to blame. */
const unavailable = (error: unknown): EventStoreError | undefined => {
  for (let within = error, i = 0; within instanceof Object && i < depth; i++) {
    if (within instanceof EventStoreError) return within.isRetryable ? within : undefined
    if (isSqlError(within)) {
      return within.isRetryable || isTransient(within)
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
export const of = (
  consumer: Pick<Consumer, "id" | "kind">,
  event: EncodedEvent,
  cause: Cause.Cause<unknown>
): EventStoreError => {
  for (const reason of cause.reasons) {
    const found = unavailable(
      Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    )
    if (found !== undefined) return found
  }
  // A fiber that is interrupted itself never comes here: the handler has interrupted itself, or waited for something that was.
  const error = Cause.hasInterruptsOnly(cause) ? new Error("it was interrupted") : Cause.squash(cause)
  return failed(consumer, event, error)
}

/**
 * That a consumer's own code failed on an event. The event's personal data is left out of the words that tell why, and the `secrets` are, too.
 *
 * @since 0.1.0
 * @category errors
 */
export const failed = (
  { id, kind }: Pick<Consumer, "id" | "kind">,
  event: EncodedEvent,
  cause: unknown,
  secrets: ReadonlyArray<unknown> = []
): EventStoreError => {
  if (cause instanceof EventStoreError) return cause
  const { position, type } = event
  const detail = EncryptedValue.scrub(describe(cause), [...EventPersonalData.secretsOf(event), ...secrets])
  return storeError(new ConsumerFailed({ kind, consumer: id, position, type, detail }))
}

/** What was thrown, in words; an error may have none but its name and its fields. */
const describe = (cause: unknown): string => {
  if (cause instanceof Error && cause.message !== "") return cause.message
  if (!Predicate.isObject(cause)) return String(cause)
  const name = Predicate.hasProperty(cause, "_tag") ? String(cause._tag) : cause instanceof Error ? cause.name : ""
  return `${name} ${Inspectable.toStringUnknown(cause, 0)}`.trim()
}
