/**
 * Diagnoses a segment of a delivery log from its count and its digest.
 *
 * @since 0.1.0
 */
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * An event of the log, without its payload.
 *
 * @since 0.1.0
 * @category models
 */
export type AuditedEvent = Pick<EncodedEvent, "position" | "stream" | "version" | "id" | "type">

/**
 * An event under one of its keys, without its payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuditedDelivery {
  readonly event: AuditedEvent
  readonly digest: bigint
}

/**
 * A difference between the log and what a consumer applied, at or after a position.
 *
 * - `missing`: the event was not applied
 * - `doubled`: it was applied twice
 * - `unexpected`: it was applied, although it belongs to another partition, was skipped, or its key is parked
 * - `exchanged`: one of the two events was not applied, and the other one twice
 * - `unknown`: something was applied that is not in the log; its id has this `digest`
 * - `unresolved`: between `position` and `upTo` the counts or digests differ in a way that names no event
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly kind: "missing" | "doubled" | "unexpected"; readonly position: Position; readonly event: AuditedEvent }
  | {
    readonly kind: "exchanged"
    readonly position: Position
    readonly upTo: Position
    readonly events: readonly [AuditedEvent, AuditedEvent]
  }
  | { readonly kind: "unknown"; readonly position: Position; readonly upTo: Position; readonly digest: bigint }
  | {
    readonly kind: "unresolved"
    readonly position: Position
    readonly upTo: Position
    readonly expected: number
    readonly applied: number
  }

/**
 * What should have been applied between two positions, and what was.
 *
 * @since 0.1.0
 * @category models
 */
export interface Range {
  readonly from: Position
  readonly upTo: Position
  /** The events to be applied; the first ones, if there are very many. */
  readonly expected: ReadonlyArray<AuditedDelivery>
  /** The events not to be applied, because they are parked or skipped; the first ones, if there are very many. */
  readonly excluded: ReadonlyArray<AuditedDelivery>
  /** The number of all events to be applied, and the exclusive or of their digests. */
  readonly expectedCount: number
  readonly expectedDigest: bigint
  /** The number of applied events, and the exclusive or of their digests, according to the delivery log. */
  readonly applied: number
  readonly digest: bigint
}

const fault = (kind: "missing" | "doubled" | "unexpected") => ({ event }: AuditedDelivery): Fault => ({
  kind,
  position: event.position,
  event
})
const missing = fault("missing")
const doubled = fault("doubled")
const unexpected = fault("unexpected")

/**
 * Returns the faults of a range, in order; none when count and digest match. Names the events when one fault explains the difference: events
 * side by side that are missing or doubled, or any two events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const faultsOf = (range: Range): ReadonlyArray<Fault> => {
  const { applied, digest, excluded, expected, expectedCount, expectedDigest, from, upTo } = range
  const surplus = applied - expectedCount
  const sought = digest ^ expectedDigest
  if (surplus === 0 && sought === 0n) return []
  const unresolved: Fault = { kind: "unresolved", position: from, upTo, expected: expectedCount, applied }
  if (applied === 0 && digest === 0n) {
    return [...expected.map(missing), ...expectedCount > expected.length ? [unresolved] : []]
  }
  if (surplus < 0) {
    const found = runOf(expected, -surplus, sought) ?? (surplus === -2 ? pairOf(expected, expected, sought) : undefined)
    return found?.map(missing) ?? [unresolved]
  }
  if (surplus === 0) {
    const crossed = pairOf(expected, excluded, sought)
    if (crossed !== undefined) return [missing(crossed[0]), unexpected(crossed[1])]
    const events = pairOf(expected, expected, sought)
    return events === undefined ? [unresolved] : [{
      kind: "exchanged",
      position: events[0].event.position,
      upTo,
      events: [events[0].event, events[1].event]
    }]
  }
  const run = runOf(expected, surplus, sought)?.map(doubled) ?? runOf(excluded, surplus, sought)?.map(unexpected)
  if (run !== undefined) return run
  if (surplus === 1) return [{ kind: "unknown", position: from, upTo, digest: sought }]
  if (surplus > 2) return [unresolved]
  const crossed = pairOf(expected, excluded, sought)
  return pairOf(expected, expected, sought)?.map(doubled)
    ?? (crossed === undefined ? undefined : [doubled(crossed[0]), unexpected(crossed[1])])
    ?? [unresolved]
}

/** Returns `length` consecutive events whose digests combine to the sought one. */
const runOf = (
  events: ReadonlyArray<AuditedDelivery>,
  length: number,
  sought: bigint
): ReadonlyArray<AuditedDelivery> | undefined => {
  let xor = 0n
  for (const [index, { digest }] of events.entries()) {
    xor ^= digest
    const out = events[index - length]
    if (out !== undefined) xor ^= out.digest
    if (index >= length - 1 && xor === sought) return events.slice(index - length + 1, index + 1)
  }
  return undefined
}

/** Returns two different events, one of `some` and one of `others`, whose digests combine to the sought one. */
const pairOf = (
  some: ReadonlyArray<AuditedDelivery>,
  others: ReadonlyArray<AuditedDelivery>,
  sought: bigint
): readonly [AuditedDelivery, AuditedDelivery] | undefined => {
  const byDigest = new Map(others.map((one) => [one.digest, one]))
  for (const one of some) {
    const other = byDigest.get(one.digest ^ sought)
    if (other !== undefined && other.digest !== one.digest) return [one, other]
  }
  return undefined
}
