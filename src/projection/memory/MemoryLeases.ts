/**
 * Leases of partitions in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Claim, ClaimRequest, LeaseDriver, ReadsChange } from "../../consumer/LeaseDriver.ts"
import { type EventStoreError, GenerationDiscarded, storeError, StoreMisconfigured } from "../../core/errors.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * Makes the lease driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): LeaseDriver => ({
  claim: (request) =>
    Effect.andThen(
      MemoryState.requireNotInline(state, request.consumer),
      Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fromResult(claim(state, request, now)))
    ),
  changeReads: (change) => Effect.map(Clock.currentTimeMillis, (now) => changeReads(state, change, now)),
  release: (name, owner, only) =>
    Effect.sync(() => {
      const { partitions, workers } = MemoryState.generationOf(state, name)
      for (const partition of partitions) {
        const isReleased = partition.owner === owner && (only === undefined || partition.partition === only)
        if (isReleased) MemoryState.vacate(partition)
      }
      if (only === undefined) workers.delete(owner)
    })
})

const misconfigured = (message: string): EventStoreError =>
  storeError(new StoreMisconfigured({ message, cause: undefined }))

const claim = (
  state: MemoryState.MemoryState,
  request: ClaimRequest,
  now: number
): Result.Result<Claim, EventStoreError> => {
  const { consumer, lease, owner, partitionedBy, partitions: wanted, reads, renewOnly = false } = request
  const name = request.generation ?? MemoryState.activeOf(state, consumer)
  if (state.discarded.has(name)) {
    return Result.fail(storeError(new GenerationDiscarded({ generation: name })))
  }
  const { parked, partitions, workers } = MemoryState.generationOf(state, name)
  const until = now + Duration.toMillis(lease)
  for (const [worker, { until }] of workers) if (until < now) workers.delete(worker)
  if (renewOnly) workers.delete(owner)
  else workers.set(owner, { reads, until })
  if (partitions.length === 0) {
    for (let index = 0; index < wanted; index++) {
      partitions.push(MemoryState.emptyPartition(name, index, { partitions: wanted, partitionedBy, reads }, now))
    }
  } else if (partitions.length !== wanted || partitions[0]?.partitionedBy !== partitionedBy) {
    return Result.fail(misconfigured(
      `Generation "${name}" has ${partitions.length} partitions by ${
        partitions[0]?.partitionedBy
      }, not ${wanted} by ${partitionedBy}; rebuild it, or `
        + "raise the consumer's version"
    ))
  }
  const sharing = Array.from(workers.values()).filter((one) => one.reads === reads)
  const assignmentSize = Math.ceil(wanted / Math.max(1, sharing.length))
  assign(partitions, { owner, reads, now, until, size: renewOnly ? 0 : assignmentSize })
  const requested = (partition: number) =>
    Array.from(parked.values()).some((stream) => stream.partition === partition && stream.request !== undefined)
  return Result.succeed({
    generation: name,
    assignmentSize,
    nextLeaseEndsIn: partitions.filter((partition) => partition.owner !== owner)
      .flatMap(({ heldUntil, leasedUntil }) => leasedUntil ?? heldUntil ?? [])
      .map((end) => DateTime.toEpochMillis(end) - now)
      .reduce<number | undefined>((least, time) => Math.min(least ?? time, time), undefined),
    otherReadsAlive: otherReadsAlive(partitions, workers, reads),
    assigned: partitions.filter((partition) => partition.owner === owner).map((
      { count, epoch, eventId, partition, position }
    ) => ({
      partition,
      epoch,
      position,
      eventId,
      count,
      requested: requested(partition)
    }))
  })
}

const takenUntil = ({ heldUntil, leasedUntil }: MemoryState.Partition): number | undefined => {
  const end = leasedUntil ?? heldUntil
  return end && DateTime.toEpochMillis(end)
}

/** Returns whether a worker with other reads claims partitions; undefined if no partition has other reads. */
const otherReadsAlive = (
  partitions: ReadonlyArray<MemoryState.Partition>,
  workers: MemoryState.GenerationState["workers"],
  reads: string
): boolean | undefined => {
  const others = partitions.filter((partition) => partition.reads !== reads)
  // A worker that renews only has met an event of newer code, and leaves what it releases to others.
  return others.length === 0 ?
    undefined :
    others.some((partition) => Array.from(workers.values()).some((worker) => worker.reads === partition.reads))
}

const changeReads = (
  state: MemoryState.MemoryState,
  { from, generation, partition: index, position, takesOver, to }: ReadsChange,
  now: number
): boolean => {
  const partition = MemoryState.generationOf(state, generation).partitions[index]
  if (partition === undefined || partition.position !== position || partition.reads !== from) return false
  const end = takenUntil(partition)
  if (!takesOver && end !== undefined && end >= now) return false
  MemoryState.vacate(partition, end === undefined ? undefined : DateTime.makeUnsafe(end))
  partition.reads = to
  return true
}

/** Renews the leases of a worker, and gives it free partitions that have its reads until it has `size`. */
const assign = (
  partitions: ReadonlyArray<MemoryState.Partition>,
  { now, owner, reads, size, until }: {
    readonly owner: string
    readonly reads: string
    readonly now: number
    readonly until: number
    readonly size: number
  }
): void => {
  let assigned = partitions.filter((partition) => partition.owner === owner).length
  for (const partition of partitions) {
    if (partition.owner !== owner) {
      const end = takenUntil(partition)
      const isFree = partition.reads === reads && (end === undefined || end < now)
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
