/**
 * Turns the failure of a handler into an `EventStoreError`: either the event failed, or the database is unavailable.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import { isSqlError } from "effect/sql/SqlError"
import { ConsumerFailed, EventStoreError, isOwnError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as LockWait from "../core/lockWait.ts"
import * as SchemaIssues from "../core/schemaIssues.ts"
import { isTransient } from "../core/sqlState.ts"
import * as userCode from "../core/userCode.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import type { HandlingConsumer } from "./batch/EventHandling.ts"
import type { Consumer } from "./Consumer.ts"
import * as EventHandlers from "./EventHandlers.ts"

/** How many nested causes of an error are searched. */
const maxDepth = 8

/** The personal data that words of the user's code may quote; `undefined` when it is not known. */
type Secrets = ReadonlyArray<unknown> | undefined

const withheld = "its words are withheld, because they may quote personal data"

const scrub = (text: string, secrets: Secrets): string =>
  secrets === undefined ? withheld : EncryptedValue.scrub(text, secrets)

/** Returns the error, or one of its causes, that says the database is unavailable, or that a lock was not free. */
const unavailable = (error: unknown, secrets: Secrets): EventStoreError | undefined => {
  for (let within = error, i = 0; within instanceof Object && i < maxDepth; i++) {
    if (within instanceof EventStoreError) return unavailableStore(within, isOwnError(within), secrets)
    if (isSqlError(within)) {
      const words = scrub(LockWait.describe(within), secrets)
      if (LockWait.isOfRow(within)) {
        return LockWait.ofKey(outOfReach(`A statement has waited too long for a lock: ${words}`, within, secrets))
      }
      return within.isRetryable || isTransient(within)
        ? outOfReach(`The database is unavailable: ${words}`, within, secrets)
        : undefined
    }
    within = Reflect.get(within, "cause")
  }
  return undefined
}

const outOfReach = (message: string, cause: unknown, secrets: Secrets): EventStoreError =>
  storeError(new StoreUnavailable({ message, cause: secrets?.length === 0 ? cause : undefined }))

/** After an append whose outcome is unknown the database is unavailable too, and the event is handled again. */
const unavailableStore = (error: EventStoreError, isOwn: boolean, secrets: Secrets): EventStoreError | undefined =>
  error.isRetryable && isOwn
    ? error
    : error.isRetryable || error.reason._tag === "OutcomeUnknown"
    ? outOfReach(isOwn ? error.message : scrub(error.message, secrets), error, isOwn ? [] : secrets)
    : undefined

/**
 * Returns the failure of a handler as an `EventStoreError`. It `isRetryable` when the database is unavailable, and
 * after a lock timeout; `LockWait.isOfKey` is true if events of other keys may not need the lock. The message names an error that
 * the handler does not declare. The personal data of the event, and all that the handler has `read`, is removed from the words.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  consumer: Pick<HandlingConsumer, "id" | "kind" | "parks" | "events">,
  event: EncodedEvent,
  cause: Cause.Cause<unknown>,
  read: DecryptedValues.DecryptedValues = DecryptedValues.make()
): EventStoreError => {
  const secrets = read.isComplete ? [...EventPersonalData.secretsOf(event, consumer.events), ...read.values] : undefined
  const found = cause.reasons.map((reason) =>
    unavailable(
      Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined,
      secrets
    )
  )
  const unavailability = found.find((one) => one !== undefined && !LockWait.isOfKey(one)) ??
    found.find(Predicate.isNotUndefined)
  if (unavailability !== undefined) return unavailability
  // An interruption of this fiber never arrives here: the handler interrupted itself, or awaited a fiber that was interrupted.
  if (Cause.hasInterruptsOnly(cause)) return consumerFailed(consumer, event, "it was interrupted")
  const error = Cause.squash(cause)
  if (isOwnError(error)) return error
  const tag = EventHandlers.tagOf(error)
  const isDeclared = tag !== undefined && EventHandlers.isDeclared(consumer.parks, error)
  // The words of this library quote nothing, and say which function of the user threw.
  const words = userCode.isOwnError(error)
    ? error.message
    : secrets === undefined
    ? `${isDeclared ? `"${tag}"` : userCode.classOf(error)}; ${withheld}`
    : scrub(describe(error), secrets)
  const undeclared = cause.reasons.some((reason) =>
    Cause.isFailReason(reason) && !EventHandlers.isDeclared(consumer.parks, reason.error)
  )
  return consumerFailed(
    consumer,
    event,
    words + (undeclared ? undeclaredHint(secrets && tag && scrub(tag, secrets)) : "")
  )
}

const undeclaredHint = (tag: string | undefined): string =>
  tag === undefined
    ? " (the handler fails with an error that it does not declare: handle it, or give it a _tag and name it in `parks`)"
    : ` (the handler does not declare "${tag}": handle it, or name it in \`parks\`)`

/**
 * Returns a `ConsumerFailed` for an error of a projection's own code. The personal data of the event and the `secrets` are removed from the
 * message.
 *
 * @since 0.1.0
 * @category constructors
 */
export const failed = (
  consumer: Pick<Consumer, "id" | "kind" | "events">,
  event: EncodedEvent,
  cause: unknown,
  secrets: ReadonlyArray<unknown> = []
): EventStoreError => {
  if (isOwnError(cause)) return cause
  return consumerFailed(
    consumer,
    event,
    EncryptedValue.scrub(describe(cause), [...EventPersonalData.secretsOf(event, consumer.events), ...secrets])
  )
}

/**
 * Returns a `ConsumerFailed` for a lock timeout of one key. Returns every other error unchanged.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofLock = (
  consumer: Pick<Consumer, "id" | "kind">,
  event: EncodedEvent,
  error: EventStoreError
): EventStoreError => LockWait.isOfKey(error) ? LockWait.ofKey(consumerFailed(consumer, event, error.message)) : error

const consumerFailed = (
  { id, kind }: Pick<Consumer, "id" | "kind">,
  { position, type }: EncodedEvent,
  detail: string
): EventStoreError => storeError(new ConsumerFailed({ kind, consumer: id, position, type, detail }))

/** Returns the message of an error; its name and fields when it has no message. */
const describe = (cause: unknown): string => {
  try {
    const invalid = SchemaIssues.inThrown(cause)
    if (invalid !== undefined) return invalid.message
    if (cause instanceof Error && cause.message !== "") return cause.message
    if (!Predicate.isObject(cause)) return String(cause)
    const name = Predicate.hasProperty(cause, "_tag") ? String(cause._tag) : cause instanceof Error ? cause.name : ""
    return `${name} ${Inspectable.toStringUnknown(cause, 0)}`.trim()
  } catch {
    return "an error that cannot be read"
  }
}
