/**
 * Turns the failure of a handler into an `EventStoreError`: either the event failed, or the database is unavailable.
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
import type { HandlingConsumer } from "./BatchProcessor.ts"
import type { Consumer } from "./Consumer.ts"
import * as EventHandlers from "./EventHandlers.ts"

/** How many nested causes of an error are searched. */
const maxDepth = 8

/** Returns the error, or one of its causes, that says the database is unavailable. */
const unavailable = (error: unknown): EventStoreError | undefined => {
  for (let within = error, i = 0; within instanceof Object && i < maxDepth; i++) {
    if (within instanceof EventStoreError) return unavailableStore(within)
    if (isSqlError(within)) {
      return within.isRetryable || isTransient(within)
        ? storeError(new StoreUnavailable({ message: `The database is unavailable: ${within.message}`, cause: within }))
        : undefined
    }
    within = Reflect.get(within, "cause")
  }
  return undefined
}

/** After an append whose outcome is unknown the database is unavailable too, and the event is handled again. */
const unavailableStore = (error: EventStoreError): EventStoreError | undefined =>
  error.isRetryable
    ? error
    : error.reason._tag === "OutcomeUnknown"
    ? storeError(new StoreUnavailable({ message: error.message, cause: error }))
    : undefined

/**
 * Returns the failure of a handler as an `EventStoreError`. It `isRetryable` when the database is unavailable. The message names an error that
 * the handler does not declare.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  consumer: Pick<HandlingConsumer, "id" | "kind" | "parks">,
  event: EncodedEvent,
  cause: Cause.Cause<unknown>
): EventStoreError => {
  for (const reason of cause.reasons) {
    const found = unavailable(
      Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    )
    if (found !== undefined) return found
  }
  // An interruption of this fiber never arrives here: the handler interrupted itself, or awaited a fiber that was interrupted.
  const error = Cause.hasInterruptsOnly(cause) ? new Error("it was interrupted") : Cause.squash(cause)
  const undeclared = cause.reasons.find((reason) =>
    Cause.isFailReason(reason) && !EventHandlers.isDeclared(consumer.parks, reason.error)
  )
  return failed(consumer, event, error, [], undeclared === undefined ? "" : undeclaredHint(error))
}

const undeclaredHint = (error: unknown): string => {
  const tag = EventHandlers.tagOf(error)
  return tag === undefined
    ? " (the handler fails with an error without a _tag: handle it, or give it a _tag and name it in `parks`)"
    : ` (the handler does not declare "${tag}": handle it, or name it in \`parks\`)`
}

/**
 * Returns a `ConsumerFailed` for an error of the consumer's own code. The personal data of the event and the `secrets` are removed from the
 * message; the `hint` is appended as it is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const failed = (
  { id, kind }: Pick<Consumer, "id" | "kind">,
  event: EncodedEvent,
  cause: unknown,
  secrets: ReadonlyArray<unknown> = [],
  hint = ""
): EventStoreError => {
  if (cause instanceof EventStoreError) return cause
  const { position, type } = event
  const detail = EncryptedValue.scrub(describe(cause), [...EventPersonalData.secretsOf(event), ...secrets]) + hint
  return storeError(new ConsumerFailed({ kind, consumer: id, position, type, detail }))
}

/** Returns the message of an error; its name and fields when it has no message. */
const describe = (cause: unknown): string => {
  if (cause instanceof Error && cause.message !== "") return cause.message
  if (!Predicate.isObject(cause)) return String(cause)
  const name = Predicate.hasProperty(cause, "_tag") ? String(cause._tag) : cause instanceof Error ? cause.name : ""
  return `${name} ${Inspectable.toStringUnknown(cause, 0)}`.trim()
}
