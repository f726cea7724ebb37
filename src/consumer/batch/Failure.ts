/**
 * Events that failed, and what follows for the events after them: whether the consumer stops, the key is parked, or the batch is tried again.
 *
 * @since 0.1.0
 */
import { EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type * as Consumer from "../Consumer.ts"
import type { FailedEvent } from "../parking/ParkingDriver.ts"
import { awaitsNewerCode } from "../UnknownTypes.ts"
import type { LeasedPartition } from "./BatchProcessor.ts"

/**
 * An event that failed under a key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly event: EncodedEvent
  readonly key: string
  readonly error: EventStoreError
  /** How often the handler was tried; once unless it has retries. */
  readonly attempts?: number | undefined
}

/**
 * Whether a consumer tries no event after one with this error: either it is to stop at failures, or newer code wrote the event, and another
 * process may have that code.
 *
 * @since 0.1.0
 * @category guards
 */
export const stopsAt = (
  consumer: Pick<Consumer.Consumer, "onFailure" | "unknownTypes">,
  error: EventStoreError
): boolean => consumer.onFailure === "stop" || awaitsNewerCode(consumer, error)

/**
 * Returns an event that failed as it is parked.
 *
 * @since 0.1.0
 * @category accessors
 */
export const failedEventOf = (
  { attempts = 1, error, event, key }: Omit<Failure, "event"> & {
    readonly event: Pick<EncodedEvent, "id" | "position" | "stream" | "type" | "version">
  }
): FailedEvent => ({
  key,
  stream: event.stream,
  version: event.version,
  position: event.position,
  eventId: event.id,
  type: event.type,
  error: error.message,
  attempts
})

/**
 * Returns whether the store failed and not the event. Then nothing is parked, and the whole batch is tried again.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfTheStore = (error: EventStoreError): boolean => error.isRetryable

/**
 * Returns whether an event failed because a lock was not free. It parks its key only if events of other keys can be handled meanwhile.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLockedIn =
  ({ onFailure }: Pick<Consumer.Consumer, "onFailure">, { parksAll = false }: Pick<LeasedPartition, "parksAll">) =>
  ({ error }: Pick<Failure, "error">): boolean => !parksAll && onFailure === "park" && LockWait.isOfKey(error)

/**
 * Returns the error of a partition that waits for a lock, because it is not known whether events of other keys need it too.
 *
 * @since 0.1.0
 * @category constructors
 */
export const othersWait = ({ error }: Failure): EventStoreError => {
  const waits = storeError(
    new StoreUnavailable({
      message: `${error.message}; nothing is parked, because no event of another key could be handled meanwhile`,
      cause: undefined
    })
  )
  waiting.add(waits)
  return waits
}

const waiting = new WeakSet<EventStoreError>()

/**
 * Returns whether an error is from `othersWait`. Then a larger batch may have an event of another key.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOthersWait = (error: unknown): boolean => error instanceof EventStoreError && waiting.has(error)
