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
import type { Claim, ClaimRequest, LeaseDriver } from "../../consumer/LeaseDriver.ts"
import { type EventStoreError, storeError, StoreMisconfigured } from "../../core/errors.ts"
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
  const { consumer, lease, owner, partitionedBy, partitions: wanted, renewOnly = false } = request
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
      partitions.push(MemoryState.emptyPartition(name, index, { partitions: wanted, partitionedBy }, now))
    }
  } else if (partitions.length !== wanted || partitions[0]?.partitionedBy !== partitionedBy) {
    return Result.fail(misconfigured(
      `Generation "${name}" has ${partitions.length} partitions by ${
        partitions[0]?.partitionedBy
      }, not ${wanted} by ${partitionedBy}; rebuild it, or `
        + "raise the consumer's version"
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
