/**
 * Leases, checkpoints and the delivery log of consumers in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Advance, CheckpointDriver, Claim, ClaimRequest } from "../../consumer/CheckpointDriver.ts"
import { type DeliverySegment, segmentSize } from "../../consumer/DeliveryLog.ts"
import { type EventStoreError, storeError, StoreMisconfigured } from "../../core/errors.ts"
import * as MemoryTransaction from "../../eventStore/MemoryTransaction.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): CheckpointDriver => ({
  claim: (request) => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fromResult(claim(state, request, now))),
  release: (name, owner, only) =>
    Effect.sync(() => {
      const { partitions, workers } = MemoryState.generationOf(state, name)
      for (const partition of partitions) {
        const isReleased = partition.owner === owner && (only === undefined || partition.partition === only)
        if (isReleased) MemoryState.vacate(partition)
      }
      if (only === undefined) workers.delete(owner)
    }),
  advance: (request) => advance(state, request),
  progress: (generation) =>
    Effect.map(
      DateTime.now,
      (readAt) =>
        MemoryState.generationOf(state, generation).partitions.map(({ segments: _, ...progress }) => ({
          ...progress,
          readAt
        }))
    ),
  activeGeneration: (consumer) => Effect.sync(() => MemoryState.activeOf(state, consumer)),
  checkpoint: (consumer) =>
    Effect.sync(() =>
      MemoryState.reachedBy(MemoryState.generationOf(state, MemoryState.activeOf(state, consumer)).partitions)
    ),
  applied: (generation, partition) =>
    Effect.sync(() => Array.from(MemoryState.generationOf(state, generation).partitions[partition]?.segments ?? [])),
  deliveryState: (name, index, withSegments) =>
    Effect.sync(() => {
      const { log, parked, partitions } = MemoryState.generationOf(state, name)
      return Option.map(Option.fromUndefinedOr(partitions[index]), (partition) => ({
        position: partition.position,
        applied: partition.applied,
        digest: partition.digest,
        parked: Array.from(parked.values()).filter((stream) => stream.partition === index),
        skipped: log.filter(({ action }) => action === "skipped").map(({ position }) => position),
        segments: withSegments ? Array.from(partition.segments) : []
      }))
    }),
  recordLateDelivery: (generation, index, events) =>
    MemoryTransaction.write((now) => {
      const partition = MemoryState.generationOf(state, generation).partitions[index]!
      for (const event of events) {
        partition.applied += BigInt(event.events)
        partition.digest ^= event.digest
        partition.appliedAt = now
        const place = partition.segments.findLastIndex((segment) => segment.first <= event.first)
        if (place < 0) partition.segments.unshift(event)
        else partition.segments[place] = merged(partition.segments[place]!, event)
      }
    })
})

const misconfigured = (message: string): EventStoreError =>
  storeError(new StoreMisconfigured({ message, cause: undefined }))

const claim = (
  state: MemoryState.MemoryState,
  request: ClaimRequest,
  now: number
): Result.Result<Claim, EventStoreError> => {
  const { consumer, lease, owner, partitions: wanted, renewOnly = false } = request
  const name = request.generation ?? MemoryState.activeOf(state, consumer)
  if (state.discarded.has(name)) {
    return Result.fail(misconfigured(`Generation "${name}" was discarded; begin another rebuild`))
  }
  const { parked, partitions, workers } = MemoryState.generationOf(state, name)
  const until = now + Duration.toMillis(lease)
  for (const [worker, end] of workers) if (end < now) workers.delete(worker)
  if (renewOnly) workers.delete(owner)
  else workers.set(owner, until)
  if (partitions.length === 0) {
    for (let index = 0; index < wanted; index++) {
      partitions.push(MemoryState.emptyPartition(name, index, wanted, now))
    }
  } else if (partitions.length !== wanted) {
    return Result.fail(misconfigured(
      `Generation "${name}" has ${partitions.length} partitions, not ${wanted}; rebuild it, or raise the consumer's version`
    ))
  }
  const assignmentSize = Math.ceil(wanted / Math.max(1, workers.size))
  assign(partitions, { owner, now, until, size: renewOnly ? 0 : assignmentSize })
  const requested = (partition: number) =>
    Array.from(parked.values()).some((stream) => stream.partition === partition && stream.request !== undefined)
  return Result.succeed({
    generation: name,
    assignmentSize,
    nextLeaseEndsIn: partitions.filter((partition) => partition.owner !== owner)
      .flatMap(({ heldUntil, leasedUntil }) => leasedUntil ?? heldUntil ?? [])
      .map((end) => DateTime.toEpochMillis(end) - now)
      .reduce<number | undefined>((least, time) => Math.min(least ?? time, time), undefined),
    assigned: partitions.filter((partition) => partition.owner === owner).map(({ epoch, partition, position }) => ({
      partition,
      epoch,
      position,
      requested: requested(partition)
    }))
  })
}

/** Renews the leases of a worker, and gives it free partitions until it has `size`. */
const assign = (
  partitions: ReadonlyArray<MemoryState.Partition>,
  { now, owner, size, until }: {
    readonly owner: string
    readonly now: number
    readonly until: number
    readonly size: number
  }
): void => {
  let assigned = partitions.filter((partition) => partition.owner === owner).length
  for (const partition of partitions) {
    if (partition.owner !== owner) {
      const takenUntil = partition.leasedUntil ?? partition.heldUntil
      const isFree = takenUntil === undefined || DateTime.toEpochMillis(takenUntil) < now
      if (!isFree || assigned >= size) continue
      assigned++
      partition.owner = owner
      partition.heldUntil = undefined
      partition.epoch++
    }
    partition.leasedUntil = DateTime.makeUnsafe(until)
    partition.heartbeatAt = DateTime.makeUnsafe(now)
  }
}

const advance = (
  state: MemoryState.MemoryState,
  { applied, changes, epoch, from, generation: name, partition: index, reads, to }: Advance
) =>
  Effect.suspend(() => {
    const { documents, partitions } = MemoryState.generationOf(state, name)
    const partition = partitions[index]
    const isChanged = () =>
      reads?.some(({ key, revision }) => (documents.get(key)?.revision ?? 0n) !== revision) === true
    const isOurs = () => partition !== undefined && partition.epoch === epoch && partition.position === from
    if (isChanged()) return Effect.succeed("changed" as const)
    if (partition === undefined || !isOurs()) return Effect.succeed("lost" as const)
    const write = MemoryTransaction.write((now) => {
      partition.position = to
      partition.heartbeatAt = now
      if (applied.length > 0) partition.appliedAt = now
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
