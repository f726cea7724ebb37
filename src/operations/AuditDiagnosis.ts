/**
 * What is wrong with a segment of what a consumer has applied, as far as a count and an exclusive or of ids can tell.
 *
 * @since 0.1.0
 */
import { digestOf } from "../consumer/DeliveryLog.ts"
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * An event of the log, without what it says.
 *
 * @since 0.1.0
 * @category models
 */
export type Audited = Pick<EncodedEvent, "position" | "stream" | "version" | "id" | "type">

/**
 * A fault in what was applied, at or after a position.
 *
 * - `missing`: the event was not applied
 * - `doubled`: it was applied twice
 * - `unexpected`: it was applied, though it is not the partition's, or its stream is parked, or it was skipped
 * - `exchanged`: one of the two was not applied, and the other twice
 * - `unknown`: something was applied that is not in the log; its id has this `digest`
 * - `unresolved`: more is wrong between `position` and `upTo` than can be told from here: so many events were `expected`, and so many `applied`
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly kind: "missing" | "doubled" | "unexpected"; readonly position: Position; readonly event: Audited }
  | {
    readonly kind: "exchanged"
    readonly position: Position
    readonly upTo: Position
    readonly events: readonly [Audited, Audited]
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
 * - `expected`: the events, and `left` those of the consumer that were rightly not applied; the first of either, if there are very many
 * - `count`, `xor`: of all that were expected
 * - `applied`, `digest`: what was applied
 *
 * @since 0.1.0
 * @category models
 */
export interface Range {
  readonly from: Position
  readonly upTo: Position
  readonly expected: ReadonlyArray<Audited>
  readonly left: ReadonlyArray<Audited>
  readonly count: number
  readonly xor: bigint
  readonly applied: number
  readonly digest: bigint
}

const fault = (kind: "missing" | "doubled" | "unexpected") => (event: Audited): Fault => ({
  kind,
  position: event.position,
  event
})
const missing = fault("missing")
const doubled = fault("doubled")
const unexpected = fault("unexpected")

/**
 * The faults of a range, in order; none when count and digest are what they should be. Names what one fault can be put down to: some events
 * that lie side by side, or any two.
 *
 * @since 0.1.0
 * @category checks
 */
export const faultsOf = (range: Range): ReadonlyArray<Fault> => {
  const { applied, count, digest, expected, from, left, upTo, xor } = range
  const surplus = applied - count
  const sought = digest ^ xor
  if (surplus === 0 && sought === 0n) return []
  const unresolved: Fault = { kind: "unresolved", position: from, upTo, expected: count, applied }
  if (applied === 0 && digest === 0n) return [...expected.map(missing), ...count > expected.length ? [unresolved] : []]
  if (surplus < 0) {
    const found = runOf(expected, -surplus, sought) ?? (surplus === -2 ? pairOf(expected, expected, sought) : undefined)
    return found?.map(missing) ?? [unresolved]
  }
  if (surplus === 0) {
    const crossed = pairOf(expected, left, sought)
    if (crossed !== undefined) return [missing(crossed[0]), unexpected(crossed[1])]
    const events = pairOf(expected, expected, sought)
    return events === undefined ? [unresolved] : [{ kind: "exchanged", position: events[0].position, upTo, events }]
  }
  const twice = runOf(expected, surplus, sought)?.map(doubled) ?? runOf(left, surplus, sought)?.map(unexpected)
  if (twice !== undefined) return twice
  if (surplus === 1) {
    return [{ kind: "unknown", position: from, upTo, digest: sought }]
  }
  if (surplus > 2) return [unresolved]
  const crossed = pairOf(expected, left, sought)
  return pairOf(expected, expected, sought)?.map(doubled)
    ?? (crossed === undefined ? undefined : [doubled(crossed[0]), unexpected(crossed[1])])
    ?? [unresolved]
}

/** So many events side by side whose digests make up the one that is sought. */
const runOf = (events: ReadonlyArray<Audited>, length: number, sought: bigint): ReadonlyArray<Audited> | undefined => {
  let xor = 0n
  for (const [index, { id }] of events.entries()) {
    xor ^= digestOf(id)
    const out = events[index - length]
    if (out !== undefined) xor ^= digestOf(out.id)
    if (index >= length - 1 && xor === sought) return events.slice(index - length + 1, index + 1)
  }
  return undefined
}

/** Two different events, the first of `some` and the second of `others`, whose digests make up the one that is sought; in order. */
const pairOf = (
  some: ReadonlyArray<Audited>,
  others: ReadonlyArray<Audited>,
  sought: bigint
): readonly [Audited, Audited] | undefined => {
  const byDigest = new Map(others.map((event) => [digestOf(event.id), event]))
  for (const one of some) {
    const other = byDigest.get(digestOf(one.id) ^ sought)
    if (other !== undefined && other.id !== one.id) return [one, other]
  }
  return undefined
}
