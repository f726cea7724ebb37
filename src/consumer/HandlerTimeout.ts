/**
 * How long the handler of a projection may take for an event. Its transaction holds a connection, and the other keys of its partition wait meanwhile.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { HandlingConsumer } from "./batch/EventHandling.ts"
import * as HandlerError from "./HandlerError.ts"
import * as EventInHand from "./worker/EventInHand.ts"

const defaultTimeout = Duration.minutes(1)

/**
 * Returns the timeout of a handler with its default. Throws when it is infinite or not above 0; `maker` names the constructor that the user called.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (maker: string, name: string, input: Duration.Input = defaultTimeout): Duration.Duration => {
  const timeout = Duration.fromInputUnsafe(input)
  if (!Duration.isFinite(timeout) || !Duration.isPositive(timeout)) {
    throw new Error(
      `${maker}: \`handlerTimeout\` of "${name}" is ${
        Duration.format(timeout)
      }; use a finite duration above 0, because the other keys of the `
        + `partition wait for so long`
    )
  }
  return timeout
}

/**
 * Returns the limit of the handler of an event, and the error after it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const limitOf = (
  consumer: Pick<HandlingConsumer, "id" | "kind" | "events">,
  timeout: Duration.Duration,
  event: EncodedEvent
): EventInHand.HandlerLimit<EventStoreError> => ({
  timeout,
  error: () => {
    const error = HandlerError.failed(
      consumer,
      event,
      new Error(
        `its handler has not ended within ${
          Duration.format(timeout)
        } (handlerTimeout), and was interrupted; give what it calls a timeout, or `
          + "raise handlerTimeout"
      )
    )
    timeouts.add(error)
    return error
  },
  onAbandoned: Effect.logWarning(EventInHand.goesOn(event))
})

const timeouts = new WeakSet<EventStoreError>()

/**
 * Returns whether an error is that of a handler that has not ended in time.
 *
 * @since 0.1.0
 * @category guards
 */
export const is = (error: EventStoreError): boolean => timeouts.has(error)
