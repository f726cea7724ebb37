/**
 * Verifies the hash chains of the log's streams, which show whether stored events were changed, and the index by which events are found by tag.
 *
 * With the option `hashChain` a store saves with every event a SHA-256 over the event and the hash of the event before it in its stream. To
 * change an event unnoticed, an attacker must recompute every later hash of the stream.
 *
 * @since 0.1.0
 */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import * as Schema from "effect/Schema"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"
import * as EventHash from "../event/EventHash.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, TagIndexRow } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { awaitReached } from "../eventStore/HighWaterMark.ts"
import { Limits } from "../eventStore/Limits.ts"
import { requireEvents } from "../eventStore/LogIdentity.ts"

/**
 * A fingerprint of the log up to a position. Store it where the database's administrator cannot change it: later it proves that no event up to
 * its position was changed, removed or inserted, including events that are not chained.
 *
 * @since 0.1.0
 * @category models
 */
export const Anchor = Schema.Struct({
  /** The last position that it covers. */
  position: Position.Position,
  /** The number of events that it covers. */
  events: Schema.Int,
  /** The SHA-256 of their hashes, in 64 hexadecimal digits. */
  digest: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Anchor = typeof Anchor.Type

/**
 * A fault of the log, and where it is.
 *
 * - `changed`: the event does not match its hash. If it is the last of its stream, the hash may have been changed instead
 * - `hash`: the event's hash was changed; the next event proves that the event itself is intact
 * - `unchained`: the event has no hash, although the one before it has one
 * - `doubled`: another row of the log has the same position, so a reader gets the event twice; or a row at an earlier position has the same version of
 *   the stream, so readers get two events of this version
 * - `missing`: the events from `version` to `last` are missing; `position` is that of the next event, which cannot be verified without them
 * - `tagMissing`: the index of tags lacks a tag of the event, so decisions and other reads by the tag do not find it
 * - `tagExtra`: the index of tags has a row for this position whose tag no event there has
 * - `anchor`: the log up to the anchor's position has changed; `found` is its anchor now
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | {
    readonly kind: "changed" | "hash" | "unchained" | "doubled"
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
  | {
    readonly kind: "tagMissing"
    readonly stream: StreamId
    readonly version: Version
    readonly position: Position.Position
    readonly tag: string
  }
  | { readonly kind: "tagExtra"; readonly position: Position.Position }
  | { readonly kind: "anchor"; readonly position: Position.Position; readonly expected: Anchor; readonly found: Anchor }

/**
 * The result of a verification.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** Whether there is no fault. */
  readonly isIntact: boolean
  /** The number of events that match their hash. */
  readonly verified: number
  /** The number of events without a hash, such as those from before the chain was switched on. */
  readonly unchained: number
  /** The first faults, by position. */
  readonly faults: ReadonlyArray<Fault>
  /** The number of all faults. */
  readonly faultCount: number
  /** The anchor of the log now. Store it elsewhere for a later verification. */
  readonly anchor: Anchor
}

/**
 * Options of a verification.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The anchor of an earlier report, to compare with. */
  readonly against?: Anchor | undefined
  /** The number of events read at a time; 500 by default. */
  readonly pageSize?: number | undefined
  /** The largest number of faults in the report; 1,000 by default. */
  readonly maxFaults?: number | undefined
  /** Runs after each page of the log. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The progress of a verification through the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** The position up to which the events are verified. */
  readonly position: Position.Position
  /** The position at which the verification ends. */
  readonly head: Position.Position
}

/**
 * Recomputes the hash of every event up to the current high-water mark, in this process, compares the index of tags with the tags of the events,
 * and returns a report.
 *
 * **Details**
 *
 * It reads the log once, in the order of positions, each event with the stored hash of the event before it. So only one page is in memory,
 * however many streams there are. Every event is checked against the stored hash before it, and that hash against its own event; together
 * these checks cover the whole chain. Each tag of an event is looked up in the index; then each row of the index is compared with its event.
 *
 * It fails with `LogDiverged` if the log is set back meanwhile, and with `StoreUnavailable` if an append in flight moves the high-water mark back, and
 * holds it for 30 seconds.
 *
 * **Gotchas**
 *
 * Without an anchor it finds changed and doubled events, and events removed from the beginning or the middle of a stream. Only an anchor shows
 * that the end of a stream or a whole stream was removed, or that events were changed and all later hashes recomputed. Only an anchor covers
 * events without a hash.
 *
 * **Example** (verify against yesterday's anchor)
 *
 * ```ts
 * const { anchor, faults, isIntact } = yield* HashChain.verify({ against: yesterday })
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const verify = Effect.fn("HashChain.verify")(
  function*(options: Options = {}): Effect.fn.Return<Report, EventStoreError, EventStore> {
    const { driver } = (yield* EventStore)[internals]
    const { digest } = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
    const limit = options.pageSize ?? Math.min(500, (yield* Limits).pageSize)
    const sha256 = (data: Uint8Array) => digest(Digest.sha256, data)
    const faults = faultList(options.maxFaults ?? 1000)
    const log = runningDigest(sha256)
    const { against } = options
    let pending = against
    let verified = 0
    let unchained = 0
    let checked: Position.Position | undefined

    const compare = Effect.fnUntraced(function*(expected: Anchor) {
      pending = undefined
      const found = yield* log.anchor(expected.position)
      if (found.digest === expected.digest && found.events === expected.events) return
      faults.add({ kind: "anchor", position: expected.position, expected, found })
    })

    const check = Effect.fnUntraced(function*(event: StoredEvent, recomputed: string) {
      const { hash, position, previous, repeats, stream, version } = event
      const place = { stream, version, position }
      if (position === checked || repeats === true) return faults.add({ kind: "doubled", ...place })
      checked = position
      const suspect = faults.takeSuspect(stream)
      const next = (previous?.version ?? 0) + 1
      const isGap = version > next
      if (isGap) faults.add({ kind: "missing", stream, version: next, last: version - 1, position })
      if (hash === undefined) {
        unchained++
        if (previous?.hash !== undefined) faults.add({ kind: "unchained", ...place }, recomputed)
        return
      }
      if (recomputed === hash) {
        verified++
        return
      }
      if (isGap) return
      // The event before was faulty. If this hash continues from its recomputed hash, only its stored hash was changed.
      if (suspect !== undefined && Hex.encode(yield* sha256(EventHash.encode(event, suspect.recomputed))) === hash) {
        verified++
        suspect.exonerate()
        return
      }
      faults.add({ kind: "changed", ...place }, recomputed)
    })

    let after = Position.start
    // Events appended meanwhile are left out, so that the verification ends.
    const end = yield* endOf(driver, against)
    const to = end.position
    while (after < to) {
      const { events, reached } = yield* readPage(driver, after, limit, end)
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
      yield* compareTags(driver, events, faults)
      after = reached
      if (options.onProgress !== undefined) yield* options.onProgress({ position: Position.min(after, to), head: to })
    }
    yield* requireEvents(driver, [end])
    yield* findExtraTags(driver, faults)
    if (pending !== undefined) yield* compare(pending)
    return {
      isIntact: faults.count() === 0,
      verified,
      unchained,
      faults: faults.list.toSorted((one, other) => Number(one.position - other.position)),
      faultCount: faults.count(),
      anchor: yield* log.anchor(to)
    }
  }
)

/** Returns the last event to verify: that at the high-water mark, or at the position of an anchor that an append in flight has moved the mark behind. */
const endOf = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  against: Anchor | undefined
): Effect.fn.Return<LogPosition.LogPosition, EventStoreError> {
  const head = yield* driver.head
  const isBehind = against !== undefined && against.position > head && against.position <= (yield* driver.last)
  const position = isBehind ? against.position : head
  const [eventId] = yield* driver.eventIds([position])
  return LogPosition.make(position, eventId)
})

/**
 * Returns a page of the log up to an event, and the position that it has reached. A doubled event is never split between two pages, of which the second
 * would begin behind it. After a page at whose end an append in flight has moved the high-water mark back, it waits.
 */
const readPage = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  after: Position.Position,
  limit: number,
  end: LogPosition.LogPosition
) {
  const { events, head } = yield* driver.readStored({ after, limit: limit + 1, links: true })
  const last = events[limit - 1]?.position
  const reached = last ?? Position.max(after, head)
  if (last === undefined && reached < end.position) yield* awaitReached(driver, end, "A verification")
  const inPage = ({ position }: StoredEvent, index: number) => index < limit || position === last
  return { events: events.filter((event, index) => inPage(event, index) && event.position <= end.position), reached }
})

/** Adds the tags of events that the index of tags lacks. */
const compareTags = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: ReadonlyArray<StoredEvent>,
  faults: FaultList
): Effect.fn.Return<void, EventStoreError> {
  const tags = events.flatMap(({ position, tags }) =>
    // The column of a row that was changed by hand may have anything.
    Array.from(new Set(tags)).filter((tag) => typeof tag === "string").map((tag) => ({ position, tag }))
  )
  if (tags.length === 0) return
  const places = new Map(events.map(({ position, stream, version }) => [position, { stream, version, position }]))
  for (const { position, tag } of yield* driver.unindexedTags(tags)) {
    faults.add({ kind: "tagMissing", ...places.get(position)!, tag })
  }
})

/** A page of the index takes some ten milliseconds. */
const indexPageSize = 2000

const findExtraTags = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  faults: FaultList
): Effect.fn.Return<void, EventStoreError> {
  for (let after: TagIndexRow | undefined;;) {
    const { extra, last } = yield* driver.tagIndex({ after, limit: indexPageSize })
    for (const { position } of extra) faults.add({ kind: "tagExtra", position })
    if (last === undefined) return
    after = last
  }
})

/** A faulty event. */
interface Suspect {
  /** The hash recomputed from the event. */
  readonly recomputed: string
  /** Records that the event itself is intact. */
  readonly exonerate: () => void
}

interface FaultList {
  readonly list: ReadonlyArray<Fault>
  readonly count: () => number
  readonly add: (fault: Fault, recomputed?: string) => void
  /** Returns the faulty event just before the next event of a stream, and forgets it. */
  readonly takeSuspect: (stream: string) => Suspect | undefined
}

/** Collects faults, and remembers the last faulty event of each stream. */
const faultList = (max: number): FaultList => {
  const list: Array<Fault> = []
  const suspects = new Map<string, Suspect>()
  let count = 0
  return {
    list,
    count: () => count,
    add: (fault, recomputed) => {
      count++
      if (list.length >= max) return
      const index = list.push(fault) - 1
      if (recomputed === undefined || !("stream" in fault)) return
      suspects.set(fault.stream, {
        recomputed,
        exonerate: () => {
          if (fault.kind === "changed") list[index] = { ...fault, kind: "hash" }
        }
      })
    },
    takeSuspect: (stream) => {
      const found = suspects.get(stream)
      suspects.delete(stream)
      return found
    }
  }
}

const blockHashes = 256
const hashBytes = 32

/**
 * Returns a running digest of hashes: for each block of 256 hashes, SHA-256 of the digest before and the block. It costs little beside the
 * hashes themselves, and does not depend on page sizes.
 */
const runningDigest = (sha256: (data: Uint8Array) => Effect.Effect<Uint8Array>) => {
  const data = new Uint8Array(hashBytes * (blockHashes + 1))
  let pending = 0
  let events = 0
  const digest = Effect.suspend(() => sha256(data.slice(0, hashBytes * (pending + 1))))
  return {
    add: (hash: Uint8Array): Effect.Effect<void> =>
      Effect.suspend(() => {
        data.set(hash, hashBytes * (pending + 1))
        pending++
        events++
        if (pending < blockHashes) return Effect.void
        return Effect.map(digest, (next) => {
          data.set(next)
          pending = 0
        })
      }),
    anchor: (position: Position.Position): Effect.Effect<Anchor> =>
      Effect.map(digest, (bytes) => ({ position, events, digest: Hex.encode(bytes) }))
  }
}
