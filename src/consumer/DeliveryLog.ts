/**
 * The delivery log of a consumer: counts and digests of the applied events, in segments, so that an audit finds missing and doubled events.
 *
 * @since 0.1.0
 */
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * Consecutive events that were applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliverySegment {
  /** The position of the first event. */
  readonly first: Position
  /** The number of events. */
  readonly events: number
  /** The exclusive or of the digests of their ids, a signed number of 64 bits. Two different sets of events hardly ever share one. */
  readonly digest: bigint
}

/**
 * The maximum number of events in a segment.
 *
 * @since 0.1.0
 * @category options
 */
export const segmentSize = 256

/** Ids of one millisecond differ in a few bits only. The factor spreads them; it is odd, so that different numbers stay different. */
const spread = 0x9e3779b97f4a7c15n

/**
 * Returns the digest of an event's id: both halves of it, spread over 64 bits.
 *
 * @since 0.1.0
 * @category accessors
 */
export const digestOf = (id: string): bigint => {
  const digits = id.replaceAll("-", "")
  return BigInt.asIntN(64, (BigInt(`0x${digits.slice(0, 16)}`) ^ BigInt(`0x0${digits.slice(16)}`)) * spread)
}

/**
 * Returns segments of events that are in order.
 *
 * @since 0.1.0
 * @category constructors
 */
export const segmentsOf = (events: ReadonlyArray<EncodedEvent>, size = segmentSize): ReadonlyArray<DeliverySegment> => {
  const segments: Array<DeliverySegment> = []
  for (let start = 0; start < events.length; start += size) {
    const part = events.slice(start, start + size)
    let digest = 0n
    for (const { id } of part) digest ^= digestOf(id)
    segments.push({ first: part[0]!.position, events: part.length, digest })
  }
  return segments
}
