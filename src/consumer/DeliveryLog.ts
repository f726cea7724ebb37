/**
 * The delivery log of a consumer: counts and digests of the deliveries, each of an event under one of its keys. They are kept in segments, so that
 * an audit finds missing and doubled ones.
 *
 * @since 0.1.0
 */
import { hashOf } from "../core/partitionHash.ts"
import type { Position } from "../core/Position.ts"

/**
 * Consecutive deliveries.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliverySegment {
  /** The position of the first event. */
  readonly first: Position
  /** The number of deliveries. */
  readonly events: number
  /** The exclusive or of their digests, a signed number of 64 bits. Two different sets of deliveries hardly ever share one. */
  readonly digest: bigint
}

/**
 * The maximum number of deliveries in a segment.
 *
 * @since 0.1.0
 * @category options
 */
export const segmentSize = 256

/** Ids of one millisecond differ in a few bits only. The factor spreads them; it is odd, so that different numbers stay different. */
const spread = 0x9e3779b97f4a7c15n

/**
 * Returns the digest of an event's id, both halves of it, and of the key, if the event has several: spread over 64 bits.
 *
 * @since 0.1.0
 * @category accessors
 */
export const digestOf = (id: string, key?: string): bigint => {
  const digits = id.replaceAll("-", "")
  const of = (BigInt(`0x${digits.slice(0, 16)}`) ^ BigInt(`0x0${digits.slice(16)}`)) * spread
  return BigInt.asIntN(64, key === undefined ? of : (of ^ BigInt(hashOf(key) >>> 0)) * spread)
}

/**
 * Returns segments of deliveries that are in order.
 *
 * @since 0.1.0
 * @category constructors
 */
export const segmentsOf = (
  deliveries: ReadonlyArray<{ readonly event: { readonly position: Position }; readonly digest: bigint }>,
  size = segmentSize
): ReadonlyArray<DeliverySegment> => {
  const segments: Array<DeliverySegment> = []
  for (let start = 0; start < deliveries.length; start += size) {
    const part = deliveries.slice(start, start + size)
    let digest = 0n
    for (const one of part) digest ^= one.digest
    segments.push({ first: part[0]!.event.position, events: part.length, digest })
  }
  return segments
}
