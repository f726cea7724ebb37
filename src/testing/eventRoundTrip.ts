/**
 * Events as a store returns them.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * Returns an event encoded as in a store. Throws `SpecFailed` if it does not satisfy its Schema.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encode = <Events extends Event.Any>(
  events: Events,
  event: Event.Of<Events>
): EventCodec.EncodedPayload => {
  const encoded = EventCodec.make(events).encode(event)
  if (Result.isFailure(encoded)) throw new SpecFailed(encoded.failure, "an event that satisfies its Schema", event)
  return encoded.success
}

/**
 * Returns an event that was encoded and decoded as in a store. Throws `SpecFailed` if it cannot be.
 *
 * @since 0.1.0
 * @category combinators
 */
export const roundTrip = <Events extends Event.Any>(events: Events, event: Event.Of<Events>): Event.Of<Events> => {
  const encoded = encode(events, event)
  const decoded = EventCodec.make(events).decodeData(encoded)
  if (Result.isFailure(decoded)) {
    throw new SpecFailed(decoded.failure.detail, "an event that decodes again", encoded)
  }
  // An event of the current version decodes to one event.
  return decoded.success[0]!
}
