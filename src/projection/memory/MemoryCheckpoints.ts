/**
 * Checkpoints and the delivery log of consumers in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Advance, CheckpointDriver, GenerationPosition } from "../../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import { type DeliverySegment, segmentSize } from "../../consumer/DeliveryLog.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as MemoryTransaction from "../../eventStore/memory/MemoryTransaction.ts"
import * as MemoryState from "./MemoryState.ts"
import * as MemoryWakeups from "./MemoryWakeups.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): CheckpointDriver => ({
  advance: (request) => advance(state, request),
  progress: (generation) =>
    Effect.map(DateTime.now, (readAt) => {
      const found = MemoryState.generationOf(state, generation)
      MemoryWakeups.renewKept(found, DateTime.toEpochMillis(readAt))
      return found.partitions.map(({ earlierReads: _, entriesBefore: __, inHand, segments: ___, ...progress }) => ({
        ...progress,
        inHand: progress.owner === undefined || hasEnded(inHand, progress.advancedAt) ? undefined : inHand,
        readAt
      }))
    }),
  activeGeneration: (consumer) => MemoryState.requireActive(state, consumer),
  checkpoint: (consumer) =>
    Effect.map(
      MemoryState.requireActive(state, consumer),
      (generation) => reachedBy(state, generation)
    ),
  applied: (generation, partition) =>
    Effect.sync(() => Array.from(MemoryState.generationOf(state, generation).partitions[partition]?.segments ?? [])),
  deliveryState: (name, index, withSegments) =>
    Effect.sync(() => {
      const { log, parked, partitions } = MemoryState.generationOf(state, name)
      return Option.map(Option.fromUndefinedOr(partitions[index]), (partition) => ({
        position: partition.position,
        deliveryFrom: partition.deliveryFrom,
        applied: partition.applied,
        digest: partition.digest,
        reads: partition.reads,
        earlierReads: Array.from(partition.earlierReads),
        parked: MemoryState.waitingFrom(Array.from(parked.values()).filter((one) => one.partition === index)),
        former: partition.former,
        moved: log.slice(partition.entriesBefore).filter((entry) =>
          entry.partition === index && entry.action === "moved"
        ).map(({ key, position }) => ({ key, position })),
        skipped: log.slice(partition.entriesBefore).filter((entry) =>
          entry.partition === index && entry.action === "skipped"
        ).map(({ key, position }) => ({ key, position })),
        segments: withSegments ? Array.from(partition.segments) : []
      }))
    }),
  ...moves(state),
  recordLateDelivery: (generation, index, events) =>
    MemoryTransaction.write((now) => {
      const partition = MemoryState.generationOf(state, generation).partitions[index]!
      for (const event of events) {
        if (event.first <= partition.deliveryFrom) continue
        partition.applied += BigInt(event.events)
        partition.digest ^= event.digest
        partition.advancedAt = now
        const place = partition.segments.findLastIndex((segment) => segment.first <= event.first)
        if (place < 0) partition.segments.unshift(event)
        else partition.segments[place] = merged(partition.segments[place]!, event)
      }
    })
})

/**
 * Returns the position up to which all partitions of a generation have processed the log.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reachedBy = (state: MemoryState.MemoryState, generation: string): GenerationPosition => {
  const { parked, partitions } = MemoryState.generationOf(state, generation)
  // A partition that waits at an event of unknown key has not applied it.
  const position = Array.from(parked.values()).reduce(
    (least, { key, position }) =>
      key === ConsumerKey.unknownKey && position <= least ? Position.make(position - 1n) : least,
    MemoryState.reachedBy(partitions)
  )
  return { generation, position }
}

/** An event that began before the checkpoint moved has ended. */
const hasEnded = (inHand: MemoryState.Partition["inHand"], advancedAt: DateTime.Utc | undefined): boolean =>
  inHand === undefined || (advancedAt !== undefined && DateTime.isGreaterThan(advancedAt, inHand.since))

const moves = (state: MemoryState.MemoryState): Pick<CheckpointDriver, "startAfter" | "resetCheckpoints"> => ({
  startAfter: ({ epoch, generation, partition: index, to, toEventId }) =>
    MemoryTransaction.write((now) => {
      const partition = MemoryState.generationOf(state, generation).partitions[index]
      if (partition?.epoch !== epoch || partition.position !== Position.start) return
      partition.position = to
      partition.eventId = toEventId
      partition.deliveryFrom = to
      partition.startsAfter = to
      partition.advancedAt = now
    }),
  resetCheckpoints: ({ evenIfLeased = false, generation, lost, reads, to: { eventId, position } }) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const found = MemoryState.generationOf(state, generation)
      const { log, parked, partitions } = found
      MemoryWakeups.renewKept(found, now)
      const isKept = (one: MemoryState.Partition) =>
        one.continuedBy !== undefined || (!evenIfLeased && MemoryState.isTaken(one, now))
      if (partitions.length === 0 || partitions.some(isKept)) return Effect.undefined
      const former = partitions.map((one) => LogPosition.make(one.position, one.eventId))
      const move = () => {
        for (const partition of partitions) {
          MemoryState.vacate(partition)
          partition.position = position
          partition.eventId = eventId
          partition.count = undefined
          partition.applied = 0n
          partition.digest = 0n
          partition.segments.length = 0
          partition.earlierReads.length = 0
          partition.reads = reads
          partition.takenBy = undefined
          partition.deliveryFrom = position
          if (position < partition.startsAfter) partition.startsAfter = position
          partition.former = undefined
          partition.entriesBefore = log.length
        }
        MemoryWakeups.wake(state, generation)
        for (const [key, entry] of parked) {
          if (entry.position > position || lost.includes(entry.eventId)) parked.delete(key)
        }
      }
      return Effect.as(MemoryTransaction.write(move), former)
    })
})

const advance = (
  state: MemoryState.MemoryState,
  { applied, changes, epoch, from, generation: name, partition: index, reads, takenBy, to, toCount, toEventId }: Advance
) =>
  Effect.suspend(() => {
    const { documents, partitions } = MemoryState.generationOf(state, name)
    const partition = partitions[index]
    const isChanged = () =>
      reads?.some(({ key, revision }) => (documents.get(key)?.revision ?? 0n) !== revision) === true
    const isOurs = () =>
      partition !== undefined && partition.epoch === epoch && partition.position === from
      && (partition.takenBy === undefined || partition.takenBy === takenBy)
    if (isChanged()) return Effect.succeed("changed" as const)
    if (partition === undefined || !isOurs()) return Effect.succeed("lost" as const)
    const write = MemoryTransaction.write((now) => {
      partition.position = to
      partition.eventId = toEventId
      partition.count = toCount
      partition.heartbeatAt = now
      if (to !== from || applied.length > 0) partition.advancedAt = now
      for (const segment of applied) addSegment(partition, segment)
      MemoryState.writeDocuments(state, name, changes)
    }, () => isOurs() && !isChanged())
    return Effect.as(write, "advanced" as const)
  })

const addSegment = (partition: MemoryState.Partition, segment: DeliverySegment): void => {
  partition.applied += BigInt(segment.events)
  partition.digest ^= segment.digest
  const last = partition.segments.at(-1)
  if (last !== undefined && last.events + segment.events <= segmentSize) {
    partition.segments[partition.segments.length - 1] = merged(last, segment)
  } else partition.segments.push(segment)
}

const merged = (a: DeliverySegment, b: DeliverySegment): DeliverySegment => ({
  first: a.first,
  events: a.events + b.events,
  digest: a.digest ^ b.digest
})
