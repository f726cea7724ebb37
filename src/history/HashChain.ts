/**
 * Whether the log is what was appended: a verifier of the hash chains of its streams.
 *
 * With the option `hashChain` a store keeps with every event a SHA-256 over the event and the hash of the event before it in its stream. Whoever
 * changes an event afterwards, past the store, has to change every hash behind it too.
 *
 * @since 0.1.0
 */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import * as Schema from "effect/Schema"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"
import * as EventHash from "../event/EventHash.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"

/**
 * What a log was at some time, in a few bytes: kept elsewhere, where whoever may change the log cannot reach, it proves later that nothing up
 * to its position was changed, removed or put in between; events that are not chained included.
 *
 * - `position`: up to where
 * - `events`: how many
 * - `digest`: SHA-256 of their hashes, in 64 hexadecimal digits
 *
 * @since 0.1.0
 * @category schemas
 */
export const Anchor = Schema.Struct({
  position: Position.Position,
  events: Schema.Int,
  digest: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Anchor = typeof Anchor.Type

/**
 * What is wrong, and where.
 *
 * - `changed`: the event is not what its hash was made of. Where it is the last of its stream, its hash may have been changed instead
 * - `hash`: the event is right, as the one behind it proves; its hash was changed
 * - `unchained`: it has no hash, though the one before it has
 * - `missing`: the events from `version` to `last` are not there; `position` is that of the next one, which therefore cannot be verified
 * - `anchor`: up to the anchor's position the log is not what it was: `found` is what it is now
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | {
    readonly kind: "changed" | "hash" | "unchained"
    readonly stream: StreamId
    readonly version: Version
    readonly position: Position.Position
  }
  | {
    readonly kind: "missing"
    readonly stream: StreamId
    readonly version: number
    readonly last: number
    readonly position: Position.Position
  }
  | { readonly kind: "anchor"; readonly position: Position.Position; readonly expected: Anchor; readonly found: Anchor }

/**
 * - `verified`: how many events are as they were written
 * - `unchained`: how many have no hash, as those from before the chain was switched on
 * - `faults`: what is wrong, by position, the first of them; `faultCount` is how many there are
 * - `anchor`: what the log is now, to be kept elsewhere
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly isIntact: boolean
  readonly verified: number
  readonly unchained: number
  readonly faults: ReadonlyArray<Fault>
  readonly faultCount: number
  readonly anchor: Anchor
}

/**
 * - `against`: an earlier report's anchor
 * - `pageSize`: events read at a time; 500 by default
 * - `maxFaults`: how many faults are told; 1,000 by default
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly against?: Anchor | undefined
  readonly pageSize?: number | undefined
  readonly maxFaults?: number | undefined
}

/**
 * Reads the whole log, up to its present high-water mark, and computes every hash again, in this process.
 *
 * **Details**
 *
 * The log is read once, in the order of its positions, each event with the hash of the one before it; so what is held in memory is a page,
 * however many streams there are. That every event fits the stored hash before it, and that one its own event, is that the whole chain fits.
 *
 * **Gotchas**
 *
 * By itself it finds what was changed, and removed from the beginning or the middle of a stream. Whoever removes the end of a stream, or a whole
 * stream, or changes events and computes all the hashes behind them again, is found by an anchor only: keep those of reports where the
 * database's administrator cannot change them. Events that were not chained are covered by anchors only.
 *
 * **Example** (verify against what was yesterday)
 *
 * ```ts
 * const { anchor, faults, isIntact } = yield* HashChain.verify({ against: yesterday })
 * ```
 *
 * @since 0.1.0
 * @category verifying
 */
export const verify = Effect.fn("HashChain.verify")(
  function*(options: Options = {}): Effect.fn.Return<Report, EventStoreError, EventStore> {
    const { driver } = (yield* EventStore)[internals]
    const { digest } = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
    const limits = yield* Limits
    const limit = options.pageSize ?? Math.min(500, limits.pageSize)
    const sha256 = (data: Uint8Array) => digest(Digest.sha256, data)
    const faults = faultList(options.maxFaults ?? 1000)
    const log = runningDigest(sha256)
    const { against } = options
    let pending = against
    let verified = 0
    let unchained = 0

    const compare = Effect.fnUntraced(function*(expected: Anchor) {
      pending = undefined
      const found = yield* log.anchor(expected.position)
      if (found.digest === expected.digest && found.events === expected.events) return
      faults.add({ kind: "anchor", position: expected.position, expected, found })
    })

    const check = Effect.fnUntraced(function*(event: StoredEvent, own: string) {
      const { hash, position, previous, stream, version } = event
      const place = { stream, version, position }
      const suspect = faults.suspect(stream)
      const next = (previous?.version ?? 0) + 1
      const isGap = version > next
      if (isGap) faults.add({ kind: "missing", stream, version: next, last: version - 1, position })
      if (hash === undefined) {
        unchained++
        if (previous?.hash !== undefined) faults.add({ kind: "unchained", ...place }, own)
        return
      }
      if (own === hash) {
        verified++
        return
      }
      if (isGap) return
      // The event before it was found wrong: was it the event, or its hash?
      if (suspect !== undefined && Hex.encode(yield* sha256(EventHash.encode(event, suspect.own))) === hash) {
        verified++
        suspect.isRight()
        return
      }
      faults.add({ kind: "changed", ...place }, own)
    })

    let after = Position.start
    let end: Position.Position | undefined
    while (true) {
      const page = yield* driver.readStored({ after, limit, links: true })
      // Whoever appends meanwhile does not keep it going.
      const to = end ??= page.head
      const events = page.events.filter(({ position }) => position <= to)
      const hashes = yield* Effect.forEach(
        events,
        (event) => sha256(EventHash.encode(event, event.previous?.hash)),
        { concurrency: "unbounded" }
      )
      for (const [index, event] of events.entries()) {
        if (pending !== undefined && event.position > pending.position) yield* compare(pending)
        yield* log.add(hashes[index]!)
        yield* check(event, Hex.encode(hashes[index]!))
      }
      const last = page.events[page.events.length - 1]
      if (page.events.length < limit || last === undefined || last.position >= to) break
      after = last.position
    }
    if (pending !== undefined) yield* compare(pending)
    return {
      isIntact: faults.count() === 0,
      verified,
      unchained,
      faults: faults.list,
      faultCount: faults.count(),
      anchor: yield* log.anchor(end)
    }
  }
)

/** An event that is at fault; `own` is what its hash would be. */
interface Suspect {
  readonly own: string
  readonly isRight: () => void
}

/** The faults, and of each stream the event at fault that was met last. */
const faultList = (max: number) => {
  const list: Array<Fault> = []
  const suspects = new Map<string, Suspect>()
  let count = 0
  return {
    list,
    count: () => count,
    add: (fault: Fault, own?: string): void => {
      count++
      if (list.length >= max) return
      const index = list.push(fault) - 1
      if (own === undefined || fault.kind === "anchor" || fault.kind === "missing") return
      suspects.set(fault.stream, {
        own,
        isRight: () => {
          if (fault.kind === "changed") list[index] = { ...fault, kind: "hash" }
        }
      })
    },
    /** Each is asked for once, by the next event of its stream. */
    suspect: (stream: string): Suspect | undefined => {
      const found = suspects.get(stream)
      suspects.delete(stream)
      return found
    }
  }
}

const block = 256
const size = 32

/**
 * A digest of hashes in their order: of every 256, and of the rest, SHA-256 of the digest before and of them. So it costs little beside the
 * hashes themselves, and does not depend on the pages they come in.
 */
const runningDigest = (sha256: (data: Uint8Array) => Effect.Effect<Uint8Array>) => {
  const data = new Uint8Array(size * (block + 1))
  let held = 0
  let events = 0
  const digest = Effect.suspend(() => sha256(data.slice(0, size * (held + 1))))
  return {
    add: (hash: Uint8Array): Effect.Effect<void> =>
      Effect.suspend(() => {
        data.set(hash, size * (held + 1))
        held++
        events++
        if (held < block) return Effect.void
        return Effect.map(digest, (next) => {
          data.set(next)
          held = 0
        })
      }),
    anchor: (position: Position.Position): Effect.Effect<Anchor> =>
      Effect.map(digest, (bytes) => ({ position, events, digest: Hex.encode(bytes) }))
  }
}
