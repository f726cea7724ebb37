/**
 * Lets code that reads other events continue from the checkpoints of earlier code, if no event is lost by it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, EventType, PartitionFilter } from "../eventStore/driver/EventStoreDriver.ts"
import type { ConsumerDriver, Progress } from "./CheckpointDriver.ts"
import type { Consumer } from "./Consumer.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import * as ConsumerReads from "./ConsumerReads.ts"
import * as FormerPartitions from "./FormerPartitions.ts"
import type { Claim } from "./LeaseDriver.ts"
import type { Parked } from "./parking/ParkingDriver.ts"
import * as UnknownTypes from "./UnknownTypes.ts"

type Log = Pick<EventStoreDriver, "eventTypes" | "readAll">

/** The code of a worker. */
interface Code {
  readonly log: Log
  readonly store: ConsumerDriver
  readonly consumer: Consumer
  readonly reads: ConsumerReads.ConsumerReads
}

/**
 * Takes over the partitions of a generation that were processed by code with other reads, and returns whether it took one. Fails with
 * `StoreMisconfigured`, with nothing changed, when the log has events that only one of both reads at or below a checkpoint. For handlers, events
 * that the earlier code has handled do not count.
 *
 * **Details**
 *
 * During a deployment, processes with both codes run side by side. The code that reads more takes partitions over at once, because the other one
 * passes events. Handlers outside a transaction first end the event in hand, and what they have handled is saved. The code that reads less waits until no
 * worker of the other one is alive.
 *
 * @since 0.1.0
 * @category combinators
 */
export const settle = Effect.fnUntraced(function*(
  log: Log,
  store: ConsumerDriver,
  consumer: Consumer,
  { generation, otherReadsAlive = false }: Pick<Claim, "generation" | "otherReadsAlive">
): Effect.fn.Return<boolean, EventStoreError> {
  const reads = ConsumerReads.of(consumer)
  const code: Code = { log, store, consumer, reads }
  const candidates: Array<Candidate> = []
  for (const progress of yield* store.progress(generation)) {
    if (progress.reads === ConsumerReads.format(reads)) continue
    // The search of the log is repeated when the owner has given it back.
    if (progress.takenBy === ConsumerReads.format(reads) && isLeased(progress)) continue
    const stored = ConsumerReads.parse(progress.reads)
    const takesOver = ConsumerReads.isWithin(stored, reads)
    if (!takesOver && otherReadsAlive && ConsumerReads.isWithin(reads, stored) && stored.keeps === reads.keeps) continue
    const waiting = yield* requireNoneLost(code, { progress, stored }, progress.startsAfter)
    if (takesOver || !otherReadsAlive) candidates.push({ progress, stored, takesOver, waiting })
  }
  let isChanged = false
  for (const candidate of candidates) {
    if (yield* take(code, candidate)) isChanged = true
  }
  return isChanged
})

/** A partition that was processed by code with other reads. */
interface Processed {
  readonly progress: Progress
  readonly stored: ConsumerReads.ConsumerReads
}

interface Candidate extends Processed {
  readonly takesOver: boolean
  readonly waiting: Waiting
}

/** The parked keys behind which events wait that only one of both codes reads. Until the owner frees one of them, no such event is lost. */
type Waiting = ReadonlyMap<string, Parked>

/** Whether what a handler does is not rolled back when the checkpoint is not moved. */
const isOutsideTransaction = ({ kind }: Pick<Consumer, "kind">): boolean => kind === "subscription"

const isLeased = ({ leasedUntil, owner, readAt }: Progress): boolean =>
  owner !== undefined && leasedUntil !== undefined && DateTime.isGreaterThanOrEqualTo(leasedUntil, readAt)

/**
 * Returns what other code reads that waits for a partition while its owner still has it at a checkpoint; undefined if none does.
 *
 * @since 0.1.0
 * @category accessors
 */
export const waitingFor = Effect.fnUntraced(function*(
  store: Pick<ConsumerDriver, "progress">,
  consumer: Consumer,
  owned: { readonly generation: string; readonly partition: number; readonly epoch: bigint },
  position: Position.Position
): Effect.fn.Return<string | undefined, EventStoreError> {
  if (!isOutsideTransaction(consumer)) return undefined
  const found = (yield* store.progress(owned.generation)).find(({ partition }) => partition === owned.partition)
  return found?.epoch === owned.epoch && found.position === position ? found.takenBy : undefined
})

/**
 * Returns the first position, of those after one and up to another, at which a partition may have an event that code with the reads `takenBy` reads and
 * the consumer does not; undefined if there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const firstBeyond = Effect.fnUntraced(function*(
  log: Log,
  { partitionBy, partitions, ...consumer }: Consumer,
  takenBy: string,
  { after, partition, upTo }: Pick<Range, "after" | "upTo"> & { readonly partition: number }
): Effect.fn.Return<Position.Position | undefined, EventStoreError> {
  const found = yield* find(log, ConsumerReads.parse(takenBy), ConsumerReads.of(consumer), {
    after,
    upTo,
    partition: ConsumerKey.partitionFilter(partitionBy, partition, partitions),
    isApplied: () => Effect.succeed(true)
  })
  return found === "undecided" ? Position.make(after + 1n) : found?.position
})

/** How often a partition is tried while its owner moves the checkpoint. The next heartbeat tries again. */
const maxAttempts = 20

const take = Effect.fnUntraced(function*(
  code: Code,
  candidate: Candidate
): Effect.fn.Return<boolean, EventStoreError> {
  const { store } = code
  const { stored, takesOver } = candidate
  let { progress, waiting } = candidate
  const { generation, partition, reads: from } = progress
  const to = ConsumerReads.format(code.reads)
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const { epoch, position } = progress
    const keys = Array.from(waiting.values())
    const drains = isOutsideTransaction(code.consumer)
    const change = { generation, partition, epoch, position, from, to, takesOver, drains, waiting: keys }
    const result = yield* store.changeReads(change)
    if (result === "changed") return true
    if (result === "draining") return false
    const current = (yield* store.progress(generation)).find((one) => one.partition === partition)
    if (current === undefined || current.reads !== from) return false
    if (result === "unchanged" && current.position === position) return false
    const after = result === "freed" ? Position.start : position
    const found = yield* requireNoneLost(
      code,
      { progress: current, stored },
      Position.max(after, current.startsAfter)
    )
    waiting = result === "freed" ? found : new Map([...found, ...waiting])
    progress = current
  }
  return false
})

/**
 * Fails when the log has events after a position, and up to the checkpoint, that are lost if the code continues there. Returns the keys on which this
 * rests.
 */
const requireNoneLost = Effect.fnUntraced(function*(
  { consumer, log, reads, store }: Code,
  { progress, stored }: Processed,
  after: Position.Position
): Effect.fn.Return<Waiting, EventStoreError> {
  const { former = [], generation, partition, partitions, position } = progress
  const found = new Map<string, Parked | undefined>()
  // Former partitions may have passed events of their keys that are after the checkpoint.
  const upTo = Position.max(position, FormerPartitions.reached(former))
  if (upTo === Position.start) return new Map()
  if (stored.keeps !== reads.keeps) {
    return yield* rejected(
      `${generation} ${keeps(stored)} up to position ${position}, but ${
        keeps(reads)
      } in this program; raise its version`
    )
  }
  const range = {
    after,
    upTo,
    partition: ConsumerKey.partitionFilter(consumer.partitionBy, partition, partitions),
    isApplied: isApplied(store, consumer, progress, found)
  }
  if (consumer.earlierEvents === "reject") {
    const passed = yield* find(log, reads, stored, range)
    if (passed !== undefined) {
      return yield* rejected(
        `${generation} cannot continue after position ${position}: this program reads events that the program which brought it there did not `
          + `read, ${describe(passed)}; ${remedy(reads)}`
      )
    }
  }
  const left = reads.keeps === "documents" ? yield* find(log, stored, reads, range) : undefined
  if (left !== undefined) {
    return yield* rejected(
      `${generation} cannot continue after position ${position}: its documents contain events that this program does not read, `
        + `${describe(left)}; ${remedy(reads)}`
    )
  }
  return new Map(Array.from(found).flatMap(([key, parked]) => parked === undefined ? [] : [[key, parked] as const]))
})

const rejected = (message: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(storeError(new StoreMisconfigured({ message, cause: undefined })))

const keeps = (reads: ConsumerReads.ConsumerReads): string =>
  reads.keeps === "documents" ? "keeps documents" : "has handlers"

const describe = (found: EncodedEvent | "undecided"): string =>
  found === "undecided"
    ? `or may have, because more than ${maxEvents} events would have to be read to know it`
    : `such as "${found.type}" at position ${found.position} in stream "${found.stream}"`

const remedy = (reads: ConsumerReads.ConsumerReads): string =>
  reads.keeps === "documents"
    ? "rebuild it by Rebuild.rebuild, or raise its version"
    : "raise its version, move its checkpoint by Checkpoints.reset, or continue without these events by `earlierEvents: \"pass\"`"

/** The events to look at. */
interface Range {
  readonly after: Position.Position
  readonly upTo: Position.Position
  readonly partition: PartitionFilter | undefined
  /** Returns whether the partition has applied an event or passed it, and not parked it. */
  readonly isApplied: (event: EncodedEvent) => Effect.Effect<boolean, EventStoreError>
}

/**
 * Events of a parked key are read again when it is retried or skipped, by the code of that time. At an event of unknown key its partition waits. Adds
 * the parked entries that it finds to `found`, or uses those there.
 */
const isApplied = (
  store: ConsumerDriver,
  consumer: Consumer,
  { former = [], generation, partition, partitionedBy, partitions, position }: Progress,
  found: Map<string, Parked | undefined>
) => {
  const entryOf = Effect.fnUntraced(function*(key: string): Effect.fn.Return<Parked | undefined, EventStoreError> {
    if (!found.has(key)) found.set(key, (yield* store.parked(generation, { partition, key, limit: 1 }))[0])
    return found.get(key)
  })
  const of = { index: partition, of: partitions, isRead: !ConsumerKey.isComputed(consumer.partitionBy) }
  return Effect.fnUntraced(function*(event: EncodedEvent): Effect.fn.Return<boolean, EventStoreError> {
    const selected = ConsumerKey.select(event, ConsumerKey.keysOf(consumer, event), of)
    if (selected === undefined) return false
    if ((yield* entryOf(ConsumerKey.unknownKey))?.position === event.position) return false
    for (const key of selected.keys) {
      if (event.position > position && !FormerPartitions.isProcessed(former, partitionedBy, event, key)) continue
      const parked = yield* entryOf(key)
      // A key that is being freed has passed the event at its position, too.
      if (
        parked === undefined || parked.position > event.position
        || (parked.isFreeing && parked.position === event.position)
      ) return true
    }
    return false
  })
}

const pageSize = 500

/** The maximum number of events that are read to find one that only one code reads. */
const maxEvents = 10_000

/** Returns an event in a range that is read by one code and not by another, if there is one. */
const find = Effect.fnUntraced(function*(
  log: Log,
  reads: ConsumerReads.ConsumerReads,
  other: ConsumerReads.ConsumerReads,
  { after, isApplied, partition, upTo }: Range
): Effect.fn.Return<EncodedEvent | "undecided" | undefined, EventStoreError> {
  const beyond = new Set(ConsumerReads.typesBeyond(reads, other))
  const isOnlyByType = ConsumerReads.isWithinFilter(reads, other)
  const wanted = isOnlyByType ? beyond : new Set(reads.types)
  if (upTo <= after || wanted.size === 0) return undefined
  const present = (yield* UnknownTypes.countedUpTo(log, upTo)).filter((one) =>
    wanted.has(one.type) && one.first <= upTo && mayBeIn(one, reads.streamPrefix)
  )
  const [first, ...others] = present.map((one) => one.first)
  if (first === undefined) return undefined
  const filter = {
    types: Array.from(new Set(present.map(({ type }) => type))),
    ...(reads.tags.length === 0 ? {} : { tags: reads.tags }),
    ...(reads.streamPrefix === undefined ? {} : { streamPrefix: reads.streamPrefix }),
    partition
  }
  const isReadByOther = EventFilter.matcher(other)
  let limit = isOnlyByType ? 1 : pageSize
  let from = Position.max(after, Position.make(others.reduce((least, one) => one < least ? one : least, first) - 1n))
  for (let read = 0; read < maxEvents;) {
    const { events, head, reached } = yield* log.readAll({ after: from, limit, ...filter })
    const differing = events.filter((event) =>
      event.position <= upTo && (beyond.has(event.type) || !isReadByOther(event))
    )
    for (const event of differing) {
      if (yield* isApplied(event)) return event
    }
    if (reached.position >= upTo) return undefined
    // The high-water mark may step back for a moment, to before an append in flight.
    if (reached.position >= head) yield* Effect.sleep("10 millis")
    from = reached.position
    read += events.length
    limit = pageSize
  }
  return "undecided"
})

/** Returns whether events of a type may be in streams whose names begin so. The category is empty for many categories that are counted together. */
const mayBeIn = ({ category }: EventType, prefix = ""): boolean =>
  category === "" || `${category}-`.startsWith(prefix) || prefix.startsWith(`${category}-`)
