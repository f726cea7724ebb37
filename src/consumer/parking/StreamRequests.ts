/**
 * The requests for parked keys that are streams: each stream is read by itself.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import type * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import type { Parked } from "./ParkingDriver.ts"
import { type Carried, chunkSize, nothing, type ParkingRequests, readBy, waits } from "./RequestChunks.ts"
import * as Unparking from "./Unparking.ts"
import * as UnreadEvents from "./UnreadEvents.ts"

/** The maximum number of streams that are read at a time. */
const concurrentReads = 4

/**
 * Returns the requests of a partition, of which each chunk has the events of some streams.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (owned: Unparking.OwnedPartition): ParkingRequests => {
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
