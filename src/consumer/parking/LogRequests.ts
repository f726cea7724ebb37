/**
 * The requests for many parked keys, or for keys that are not streams: one pass through the log finds the events of all.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { Consumer } from "../Consumer.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as FormerPartitions from "../FormerPartitions.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import type { Parked } from "./ParkingDriver.ts"
import {
  type Carried,
  type ChunkSize,
  chunkSize,
  nothing,
  type ParkingRequests,
  type Progress,
  readBy,
  waits
} from "./RequestChunks.ts"
import * as RequestedKeys from "./RequestedKeys.ts"
import * as Unparking from "./Unparking.ts"
import * as UnreadEvents from "./UnreadEvents.ts"

/** The maximum number of pages that a chunk reads without finding events of its keys. */
const maxPagesInChunk = 10

/** The pauses before a pass looks again whether the high-water mark has moved: at least, so that no store is asked too often, and at most. */
const minPause = "10 millis"
const maxPause = "1 second"

/** A pass through the log for the requests of many keys. */
interface Pass {
  /** The keys that are not parked again, each as it is stored. */
  readonly keys: Map<string, Parked>
  after: Position.Position
}

/**
 * Returns the requests of a partition, of which a pass through the log carries out many.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (owned: Unparking.OwnedPartition): ParkingRequests & { readonly hasBegun: () => boolean } => {
  const { processor: { consumer } } = owned
  const size = chunkSize(owned)
  let pass: Pass | undefined
  return {
    hasBegun: () => pass !== undefined,
    next: Effect.fnUntraced(function*(progress): Effect.fn.Return<Carried, EventStoreError> {
      const { checkpoint, onRetry } = progress
      if (pass === undefined) {
        const requested = yield* RequestedKeys.next(owned, progress)
        const [first] = requested
        if (first === undefined) return nothing
        if (first.key === ConsumerKey.unknownKey) return yield* unparkUnknown(owned, first, progress)
        pass = passOf(requested)
      }
      const { isHeldBack, isLast, ...read } = yield* nextChunk(owned, pass, progress, size)
      if (isHeldBack) return { ...nothing, hasMore: true, later: markAbove(owned, pass.after) }
      const changed = yield* RequestedKeys.changedSince(owned, read)
      const chunk = Unparking.without(read, changed)
      const unparked = chunk.keys.length === 0
        ? nothing
        : yield* Unparking.apply({ ...owned, onRetry }, chunk, checkpoint)
      if (unparked.advanced !== "advanced") return { ...unparked, hasMore: false }
      const { freeing, untriedFrom } = unparked
      for (const parked of freeing) pass.keys.set(parked.key, parked)
      for (const { key } of unparked.failures) pass.keys.delete(key)
      for (const key of [...changed, ...unparked.changed, ...unparked.freed]) pass.keys.delete(key)
      // The rest of the chunk is read again.
      if (untriedFrom !== undefined) pass.after = Position.make(untriedFrom - 1n)
      if (!isLast || untriedFrom !== undefined) return { ...unparked, hasMore: true }
      const [freed, failures] = [[...unparked.freed], [...unparked.failures]]
      // Keys without an event in the last chunk have no further one up to the checkpoint, either.
      for (const some of Arr.chunksOf(pass.keys.values(), RequestedKeys.maxKeysInChunk)) {
        const keys = some.map((parked) => ({ parked, reached: undefined, isComplete: true }))
        const unread = some.filter(UnreadEvents.isRetried).map((parked) => UnreadEvents.failureOf(consumer, parked))
        const rest = yield* Unparking.apply({ ...owned, onRetry }, { keys, events: [], unread }, checkpoint)
        if (rest.advanced !== "advanced") return { ...rest, hasMore: false }
        freed.push(...rest.freed)
        failures.push(...rest.failures)
      }
      pass = undefined
      return { ...unparked, freed, failures, hasMore: true }
    })
  }
}

/** Ends when the high-water mark is probably above a position. */
const markAbove = (
  { events: { [internals]: { driver } } }: Unparking.OwnedPartition,
  position: Position.Position
): Effect.Effect<void> =>
  Effect.andThen(Effect.sleep(minPause), Effect.ignore(Effect.timeoutOption(driver.changed(position), maxPause)))

const passOf = (requested: ReadonlyArray<Parked>): Pass => ({
  keys: new Map(requested.map((parked) => [parked.key, parked])),
  // They are in the order of positions.
  after: Position.make(requested[0]!.position - 1n)
})

/** The partition has waited at an event of unknown key, so no other one was missed. Its keys may be known by now, and parked. */
const unparkUnknown = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  entry: Parked,
  { checkpoint, onRetry, parked }: Progress
): Effect.fn.Return<Carried, EventStoreError> {
  const { events: { [internals]: { driver } }, former, partition, processor: { consumer, keysOf } } = owned
  const { stream, version } = entry
  const [recorded] = yield* driver.readStream({ stream, direction: "forward", from: version, limit: 1 })
  if (recorded?.id !== entry.eventId) return yield* Unparking.diverged(entry)
  const unknown = yield* UnknownTypes.stoppingUpTo(driver, consumer, recorded.position)
  const isRetried = UnreadEvents.isRetried(entry)
  const isUnread = isRetried && (!readBy(owned, unknown)(recorded) || UnreadEvents.isIgnored(consumer, recorded))
  const by = ConsumerKey.format(consumer.partitionBy)
  const isLeftOut = (key: string) =>
    (key !== ConsumerKey.unknownKey && parked.has(key)) || FormerPartitions.isProcessed(former, by, recorded, key)
  const selected = !isRetried || isUnread
    ? undefined
    : ConsumerKey.select(recorded, keysOf(recorded), { index: partition, of: consumer.partitions, isLeftOut })
  const chunk = {
    keys: [{ parked: entry, reached: undefined, isComplete: true }],
    events: Arr.fromNullishOr(selected),
    unread: isUnread ? [UnreadEvents.failureOf(consumer, entry)] : []
  }
  return { ...yield* Unparking.apply({ ...owned, onRetry }, chunk, checkpoint), hasMore: true }
})

/** The next events of a pass. */
interface PassChunk extends Unparking.Chunk {
  /** Whether the chunk ends at the checkpoint. */
  readonly isLast: boolean
  /**
   * Whether the high-water mark is below the checkpoint, and ends the chunk: an append in flight has set it back, or the checkpoint is that of a page
   * which the process has handed on. Then the chunk has no keys.
   */
  readonly isHeldBack: boolean
}

/**
 * Reads the next events of a pass, up to the checkpoint. Where the partition waits at an event of unknown key, that event is left out: a request for
 * it applies it under its keys that are free then, and it still waits for the others.
 */
const nextChunk = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  pass: Pass,
  { checkpoint: { position: upTo }, parked }: Pick<Progress, "checkpoint" | "parked">,
  size: ChunkSize
): Effect.fn.Return<PassChunk, EventStoreError> {
  const { events: { [internals]: { driver } }, processor: { consumer, keysOf } } = owned
  const limit = size.limit()
  const unknown = yield* UnknownTypes.stoppingUpTo(driver, consumer, upTo)
  const filter = UnknownTypes.addTo(owned.filter, unknown)
  const events: Array<ConsumerKey.KeyedEvent> = []
  const reached = new Map<string, EncodedEvent>()
  const unread = new Set<string>()
  const waitsAtLast = parked.has(ConsumerKey.unknownKey)
  let isLast = false
  let isHeldBack = false
  for (let pages = 0; !isLast && !isHeldBack && reached.size === 0 && pages < maxPagesInChunk; pages++) {
    const page = yield* driver.readAll({ ...filter, after: pass.after, limit })
    size.read(page.events)
    const read = page.reached.position
    isLast = read >= upTo
    isHeldBack = read <= pass.after && !isLast
    pass.after = Position.max(pass.after, read)
    for (const event of page.events) {
      if (event.position > upTo || (waitsAtLast && event.position === upTo)) continue
      if (!UnknownTypes.isRelevant(unknown, event)) continue
      const all = keysOf(event)
      const ofPass = (all ?? Array.from(pass.keys.keys())).flatMap((key) => pass.keys.get(key) ?? [])
        .filter(({ isFreeing, position }) => isFreeing ? event.position > position : event.position >= position)
      for (const parked of ofPass) {
        if (isUnread(consumer, parked, event, reached)) unread.add(parked.key)
        reached.set(parked.key, event)
      }
      const keys = ofPass.flatMap((parked) =>
        waits(owned, parked, event) && !unread.has(parked.key) ? [parked.key] : []
      )
      if (keys.length > 0) events.push({ event, keys, isSingle: all === undefined || all.length === 1 })
    }
  }
  const keys = Array.from(reached, ([key, event]) => ({
    parked: pass.keys.get(key)!,
    reached: Unparking.placeOf(event),
    isComplete: isLast
  }))
  return {
    keys,
    events: yield* withoutSkipped(owned, events),
    unread: Array.from(unread, (key) => UnreadEvents.failureOf(consumer, pass.keys.get(key)!)),
    isLast,
    isHeldBack
  }
})

/** Whether the next event of a key that is to be retried shows that the parked one is not read: a read one comes first. */
const isUnread = (
  consumer: Consumer,
  parked: Parked,
  event: EncodedEvent,
  reached: ReadonlyMap<string, EncodedEvent>
): boolean =>
  UnreadEvents.isRetried(parked) && !reached.has(parked.key)
  && (event.position > parked.position || UnreadEvents.isIgnored(consumer, event))

/** An event that was skipped because its keys were unknown is skipped under each of them, also where they are known by now. */
const withoutSkipped = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition,
  events: ReadonlyArray<ConsumerKey.KeyedEvent>
): Effect.fn.Return<ReadonlyArray<ConsumerKey.KeyedEvent>, EventStoreError> {
  if (events.length === 0) return events
  const positions = events.map(({ event }) => event.position)
  const skipped = new Set(yield* store.skippedAt(generation, partition, ConsumerKey.unknownKey, positions))
  return skipped.size === 0 ? events : events.filter(({ event }) => !skipped.has(event.position))
})
