/**
 * What a consumer of the log has applied: a count and a digest, in segments, so that an audit can tell where something is missing or doubled.
 *
 * @since 0.1.0
 */
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * Events that were applied one after the other, from position `first` on. The digest is the exclusive or of those of their ids, a signed
 * number of 64 bits, so that no two sets of events are likely to share one.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliverySegment {
  readonly first: Position
  readonly events: number
  readonly digest: bigint
}

/**
 * Most events in a segment.
 *
 * @since 0.1.0
 * @category constants
 */
export const segmentSize = 256

/** Odd, so that different numbers stay different; the ids of a test, or those of one millisecond, differ in few bits. */
const scatter = 0x9e3779b97f4a7c15n

/**
 * The digest of an event's id: both halves of it, scattered over 64 bits.
 *
 * @since 0.1.0
 * @category digests
 */
export const digestOf = (id: string): bigint => {
  const digits = id.replaceAll("-", "")
  return BigInt.asIntN(64, (BigInt(`0x${digits.slice(0, 16)}`) ^ BigInt(`0x0${digits.slice(16)}`)) * scatter)
}

/**
 * Events, in order, as segments.
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
