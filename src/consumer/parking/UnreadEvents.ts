/**
 * Retries by code that does not read the parked event. No handler would run, so such a retry fails.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { ConsumerFailed, storeError } from "../../core/errors.ts"
import * as Event from "../../event/Event.ts"
import * as EventCodec from "../../event/EventCodec.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { Failure } from "../batch/Failure.ts"
import type { Consumer } from "../Consumer.ts"
import * as ConsumerDefinition from "../ConsumerDefinition.ts"
import type { Parked } from "./ParkingDriver.ts"

/**
 * A failure with the place of its event in the log, but not the event.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedDelivery extends Omit<Failure, "event"> {
  readonly event: Pick<EncodedEvent, "id" | "position" | "stream" | "type" | "version">
}

/**
 * Returns whether the event of a parked key is to be retried. A skip needs no code that reads the event.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetried = ({ isFreeing, request }: Parked): boolean => !isFreeing && request?.action !== "skip"

/**
 * Returns whether a consumer ignores all current events that a stored one decodes to.
 *
 * @since 0.1.0
 * @category guards
 */
export const isIgnored = (consumer: Consumer, event: EncodedEvent): boolean => {
  const { events, handles, where: { tags = [] } } = consumer
  if (tags.length === 0 && Event.currentTypes(events, event.type).every((type) => handles.includes(type))) return false
  const [all, read] = [EventCodec.make(events).decode(event), ConsumerDefinition.decode(consumer, event)]
  return Result.isSuccess(all) && Result.isSuccess(read) && all.success.length > 0 && read.success.length === 0
}

/**
 * Returns the failure of a retry by code that does not read the parked event. It does not count as an attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const failureOf = (
  { id, kind, reads }: Consumer,
  { eventId, key, position, stream, type, version }: Parked
): FailedDelivery => ({
  event: { id: eventId, position, stream, type, version },
  key,
  attempts: 0,
  error: storeError(
    new ConsumerFailed({
      kind,
      consumer: id,
      position,
      type,
      detail: (reads.includes(type)
        ? "this program does not read it: it ignores what the event decodes to, its `where` does not select the event, or it gives the event another key"
        : `this program does not read events of type "${type}"`)
        + "; retry it by a program that handles it, or skip it by Parking.skip"
    })
  )
})
