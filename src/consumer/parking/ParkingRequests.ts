/**
 * The queue of requests for the parked keys of a partition, which its owner carries out chunk by chunk, between pages of the log.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import type { LogPosition } from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { EventType } from "../../eventStore/driver/EventStoreDriver.ts"
import type { LeasedPartition } from "../batch/BatchProcessor.ts"
import type { Consumer } from "../Consumer.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as FormerPartitions from "../FormerPartitions.ts"
import * as PageReader from "../page/PageReader.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import type { Parked, ParkedPlace } from "./ParkingDriver.ts"
import * as Unparking from "./Unparking.ts"
import * as UnreadEvents from "./UnreadEvents.ts"

/**
 * What the owner of a partition knows when it carries out requests.
 *
 * @since 0.1.0
 * @category options
 */
export interface Progress extends Pick<LeasedPartition, "onRetry"> {
  readonly checkpoint: LogPosition
  /** The parked keys of the partition. */
  readonly parked: ReadonlySet<string>
  /** The requests to carry out: all, or only that for the event of unknown key at which the partition waits. */
  readonly which: "all" | "unknownKey"
}

/**
 * The result of a chunk.
 *
 * @since 0.1.0
 * @category models
 */
export interface Carried extends Unparking.Unparked {
  /** Whether there may be more to carry out. */
  readonly hasMore: boolean
}

/**
 * The requests of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingRequests {
  /** Carries out a chunk of the requests. Unless the result is `advanced`, another worker owns the partition. */
  readonly next: (progress: Progress) => Effect.Effect<Carried, EventStoreError>
}

/**
 * Returns the requests of a partition. It reads the log, once for many keys, since the first event at which one of them is parked. If the keys are
 * streams, and few beside the events of the log, it reads these streams instead.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (owned: Unparking.OwnedPartition): ParkingRequests => {
  const log = ofLog(owned)
  if (owned.processor.consumer.partitionBy !== "stream") return log
  const streams = ofStreams(owned)
  /** The chunks of streams, and the streams of these, since it was looked whether there are many. */
  let [chunks, read] = [0, 0]
  return {
    next: Effect.fnUntraced(function*(progress): Effect.fn.Return<Carried, EventStoreError> {
      // The key of an event is its stream, so none is unknown.
      if (progress.which === "unknownKey") return nothing
      if (chunks >= chunksBetweenLooks || read >= streamsBetweenLooks) [chunks, read] = [0, 0]
      const isLog = log.hasBegun() || (chunks === 0 && (yield* areMany(owned, progress)))
      const carried = yield* (isLog ? log : streams).next(progress)
      if (isLog || !carried.hasMore) [chunks, read] = [0, 0]
      else [chunks, read] = [chunks + 1, read + carried.freed.length + carried.failures.length]
      return carried
    })
  }
}

/** After so many chunks of streams, or so many streams, it is looked again whether there are many. More may have been requested meanwhile. */
const chunksBetweenLooks = 100
const streamsBetweenLooks = 1_000

/** A stream is read as fast as so many events of the log, or faster. */
const eventsPerStream = 50n

/** Whether so many streams wait that one pass reads the log faster than each of them. */
const areMany = (
  owned: Unparking.OwnedPartition,
  { checkpoint }: Progress
): Effect.Effect<boolean, EventStoreError> => {
  const enough = (waiting: ReadonlyArray<Parked>): boolean =>
    waiting.length >= 100
    && checkpoint.position - waiting[0]!.position < eventsPerStream * BigInt(waiting.length)
  return Effect.map(firstRequested(owned, enough), enough)
}

/** How many events a chunk may have. */
const chunkSize = ({ batchSize, maxBatchSize }: Unparking.OwnedPartition): ChunkSize => {
  let limit = batchSize
  return {
    limit: () => limit,
    read: (events) => {
      limit = events.length < limit ? batchSize : PageReader.nextLimit(events, batchSize, maxBatchSize)
    }
  }
}

interface ChunkSize {
  readonly limit: () => number
  /** Sets the limit of the next chunk after the events of one: it grows as the pages of the log do. */
  readonly read: (events: ReadonlyArray<EncodedEvent>) => void
}

const nothing: Carried = { advanced: "advanced", failures: [], freed: [], applied: 0, changed: [], hasMore: false }

/** The maximum number of streams that are read at a time. */
const concurrentReads = 4

const ofStreams = (owned: Unparking.OwnedPartition): ParkingRequests => {
  const { events: { [internals]: { driver } }, generation, partition, processor: { consumer }, store } = owned
  const size = chunkSize(owned)
  return {
    next: Effect.fnUntraced(function*({ checkpoint, onRetry }): Effect.fn.Return<Carried, EventStoreError> {
      const parked = yield* store.parked(generation, { partition, isRequested: true, limit: size.limit() })
      if (parked.length === 0) return nothing
      const unknown = yield* UnknownTypes.stoppingUpTo(driver, consumer, checkpoint.position)
      const streams = yield* readStreams(owned, parked, checkpoint.position, size.limit())
      size.read(streams.flatMap(({ events }) => events))
      const chunk = chunkOf(owned, streams, readBy(owned, unknown))
      return { ...yield* Unparking.apply({ ...owned, onRetry }, chunk, checkpoint), hasMore: true }
    })
  }
}

/** Reads streams, in order, until a number of events is reached. */
const readStreams = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  parked: ReadonlyArray<Parked>,
  upTo: Position.Position,
  limit: number
): Effect.fn.Return<ReadonlyArray<WaitingStream>, EventStoreError> {
  let left = limit
  const streams: Array<WaitingStream> = []
  for (const some of Arr.chunksOf(parked, concurrentReads)) {
    const read = yield* Effect.forEach(
      some,
      (one) => readStream(owned, one, upTo, left),
      { concurrency: concurrentReads }
    )
    for (const stream of read) {
      if (left === 0) return streams
      const taken = cut(stream, left)
      streams.push(taken)
      // A stream without a waiting event takes a read, too.
      left -= Math.max(1, taken.events.length)
    }
    if (left === 0) return streams
  }
  return streams
})

/** A parked stream and its events from the parked one on, or behind the one that it has reached. */
interface WaitingStream {
  readonly parked: Parked
  readonly events: ReadonlyArray<EncodedEvent>
  readonly isComplete: boolean
}

/** Reads up to a number of events behind the parked one. */
const readStream = Effect.fnUntraced(function*(
  { events: { [internals]: { driver } } }: Unparking.OwnedPartition,
  parked: Parked,
  upTo: Position.Position,
  limit: number
): Effect.fn.Return<WaitingStream, EventStoreError> {
  const { stream, version } = parked
  const read = yield* driver.readStream({ stream, direction: "forward", from: version, limit: limit + 1 })
  if (read[0]?.id !== parked.eventId) return yield* Unparking.diverged(parked)
  const seen = read.filter(({ position }) => position <= upTo)
  return {
    parked,
    // The event that a key has reached is not read again, so that a chunk of one event advances, too.
    events: parked.isFreeing ? seen.slice(1) : seen,
    isComplete: read.length <= limit || seen.length < read.length
  }
})

const cut = (stream: WaitingStream, limit: number): WaitingStream =>
  stream.events.length <= limit ? stream : { ...stream, events: stream.events.slice(0, limit), isComplete: false }

/** Returns whether the consumer reads an event, or stops at its type. */
const readBy = (owned: Unparking.OwnedPartition, unknown: ReadonlyArray<EventType>) => {
  const isTaken = EventFilter.matcher(UnknownTypes.addTo(owned.filter, unknown))
  return (event: EncodedEvent): boolean => isTaken(event) && UnknownTypes.isRelevant(unknown, event)
}

const chunkOf = (
  owned: Unparking.OwnedPartition,
  streams: ReadonlyArray<WaitingStream>,
  isRead: (event: EncodedEvent) => boolean
): Unparking.Chunk => {
  const { consumer } = owned.processor
  const unread = new Set(
    streams.flatMap(({ events: [first], parked }) =>
      UnreadEvents.isRetried(parked) &&
        (first === undefined || !isRead(first) || UnreadEvents.isIgnored(consumer, first))
        ? [parked]
        : []
    )
  )
  return {
    keys: streams.map(({ events, isComplete, parked }) => ({
      parked,
      reached: events.length === 0 ? undefined : Unparking.placeOf(events.at(-1)!),
      isComplete
    })),
    events: streams.flatMap(({ events, parked }) =>
      unread.has(parked) ?
        [] :
        events.flatMap((event) =>
          waits(owned, parked, event) && isRead(event) ? [{ event, keys: [parked.key], isSingle: true }] : []
        )
    ).toSorted((a, b) => a.event.position < b.event.position ? -1 : 1),
    unread: Array.from(unread, (parked) => UnreadEvents.failureOf(consumer, parked))
  }
}

/** Whether an event of a parked key is to be applied. */
const waits = (
  { former, processor: { consumer } }: Unparking.OwnedPartition,
  parked: Parked,
  event: EncodedEvent
): boolean =>
  (event.position > parked.position || (event.position === parked.position && UnreadEvents.isRetried(parked)))
  && !FormerPartitions.isProcessedUnderOtherKeys(former, ConsumerKey.format(consumer.partitionBy), event, parked.key)

/** The requests for so many keys are carried out in one pass through the log. */
const maxKeysInPass = 5_000

/** The maximum number of keys without further events that one transaction frees. */
const maxKeysInChunk = 1_000

/** The maximum number of pages that a chunk reads without finding events of its keys. */
const maxPagesInChunk = 10

/** A pass through the log for the requests of many keys. */
interface Pass {
  /** The keys that are not parked again, each as it is stored. */
  readonly keys: Map<string, Parked>
  after: Position.Position
}

const ofLog = (owned: Unparking.OwnedPartition): ParkingRequests & { readonly hasBegun: () => boolean } => {
  const { processor: { consumer } } = owned
  const size = chunkSize(owned)
  let pass: Pass | undefined
  return {
    hasBegun: () => pass !== undefined,
    next: Effect.fnUntraced(function*(progress): Effect.fn.Return<Carried, EventStoreError> {
      const { checkpoint, onRetry } = progress
      if (pass === undefined) {
        const requested = yield* requestedKeys(owned, progress)
        const [first] = requested
        if (first === undefined) return nothing
        if (first.key === ConsumerKey.unknownKey) return yield* unparkUnknown(owned, first, progress)
        pass = passOf(requested)
      }
      const { isLast, ...read } = yield* nextChunk(owned, pass, progress, size)
      const changed = yield* changedSince(owned, read)
      const chunk = Unparking.without(read, changed)
      const unparked = chunk.keys.length === 0
        ? nothing
        : yield* Unparking.apply({ ...owned, onRetry }, chunk, checkpoint)
      if (unparked.advanced !== "advanced") return { ...unparked, hasMore: false }
      const done = new Set([...unparked.failures.map(({ key }) => key), ...changed, ...unparked.changed])
      for (const { parked, reached } of read.keys) {
        if (isLast || done.has(parked.key)) pass.keys.delete(parked.key)
        else pass.keys.set(parked.key, { ...parked, ...reached, isFreeing: true })
      }
      if (!isLast) return { ...unparked, hasMore: true }
      const [freed, failures] = [[...unparked.freed], [...unparked.failures]]
      // Keys without an event in the last chunk have no further one up to the checkpoint, either.
      for (const some of Arr.chunksOf(pass.keys.values(), maxKeysInChunk)) {
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

/** Returns the keys for the next pass, as far as they are to be carried out; one of unknown key only if it is the first. */
const requestedKeys = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  { which }: Progress
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError> {
  const { generation, partition, store } = owned
  if (which === "unknownKey") {
    return yield* store.parked(generation, { partition, key: ConsumerKey.unknownKey, isRequested: true, limit: 1 })
  }
  const requested = yield* firstRequested(owned)
  yield* Unparking.requireEvents(owned, requested)
  const isUnknown = ({ key }: Parked) => key === ConsumerKey.unknownKey
  return requested.slice(0, 1).some(isUnknown) ? requested : requested.filter((one) => !isUnknown(one))
})

/** Returns the first keys with a request, in the order of their positions: as many as a pass may have, or as are enough. */
const firstRequested = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition,
  areEnough: (requested: ReadonlyArray<Parked>) => boolean = () => false
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError> {
  const requested: Array<Parked> = []
  let after: ParkedPlace | undefined
  while (requested.length < maxKeysInPass && !areEnough(requested)) {
    const page = yield* store.parked(generation, { partition, isRequested: true, after, limit: maxKeysInChunk })
    requested.push(...page)
    after = page.at(-1)
    if (page.length < maxKeysInChunk) break
  }
  return requested
})

const passOf = (requested: ReadonlyArray<Parked>): Pass => ({
  keys: new Map(requested.map((parked) => [parked.key, parked])),
  // They are in the order of positions.
  after: Position.make(requested[0]!.position - 1n)
})

/** Returns the keys of a chunk whose request was withdrawn or replaced since the pass has begun: that may be long ago. */
const changedSince = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition,
  { keys }: Unparking.Chunk
): Effect.fn.Return<ReadonlyArray<string>, EventStoreError> {
  const parked = keys.flatMap(({ parked }) => parked.isFreeing ? [] : [parked])
  if (parked.length === 0) return []
  const upTo = parked.reduce((max, { position }) => Position.max(max, position), Position.start)
  const first = parked.reduce((min, { position }) => position < min ? position : min, upTo)
  const found = new Map<string, string | undefined>()
  let after: ParkedPlace = { position: first, partition: -1, key: "" }
  while (true) {
    const page = yield* store.parked(generation, { partition, isRequested: true, upTo, after, limit: maxKeysInChunk })
    for (const { key, request } of page) found.set(key, request?.id)
    const last = page.at(-1)
    if (last === undefined || page.length < maxKeysInChunk) break
    after = last
  }
  return parked.flatMap(({ key, request }) => found.get(key) === request?.id ? [] : [key])
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

/**
 * Reads the next events of a pass, up to the checkpoint. Where the partition waits at an event of unknown key, that event is left out: a request for
 * it applies it under its keys that are free then, and it still waits for the others.
 */
const nextChunk = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  pass: Pass,
  { checkpoint: { position: upTo }, parked }: Pick<Progress, "checkpoint" | "parked">,
  size: ChunkSize
): Effect.fn.Return<Unparking.Chunk & { readonly isLast: boolean }, EventStoreError> {
  const { events: { [internals]: { driver } }, processor: { consumer, keysOf } } = owned
  const limit = size.limit()
  const unknown = yield* UnknownTypes.stoppingUpTo(driver, consumer, upTo)
  const filter = UnknownTypes.addTo(owned.filter, unknown)
  const events: Array<ConsumerKey.KeyedEvent> = []
  const reached = new Map<string, EncodedEvent>()
  const unread = new Set<string>()
  const waitsAtLast = parked.has(ConsumerKey.unknownKey)
  let isLast = false
  for (let pages = 0; !isLast && reached.size === 0 && pages < maxPagesInChunk; pages++) {
    const page = yield* driver.readAll({ ...filter, after: pass.after, limit })
    size.read(page.events)
    const read = page.reached.position
    isLast = read >= upTo
    // The high-water mark may step back for a moment, to before an append in flight.
    if (read <= pass.after && !isLast) yield* Effect.sleep("10 millis")
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
    isLast
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
