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
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import * as FormerPartitions from "../../consumer/FormerPartitions.ts"
import type {
  Claim,
  ClaimRequest,
  Continuation,
  Continued,
  HeldInHand,
  LeaseDriver,
  LiveWorker,
  ReadsChange,
  ReadsChanged,
  Repartition
} from "../../consumer/LeaseDriver.ts"
import type { RepartitionObstacle } from "../../consumer/RepartitionObstacle.ts"
import { type EventStoreError, GenerationDiscarded, storeError, StoreMisconfigured } from "../../core/errors.ts"
import { partitionOf } from "../../core/partitionHash.ts"
import * as Position from "../../core/Position.ts"
import * as MemoryParking from "./MemoryParking.ts"
import * as MemoryState from "./MemoryState.ts"
import * as MemoryWakeups from "./MemoryWakeups.ts"

/**
 * Makes the lease driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): LeaseDriver => ({
  inProcess: MemoryWakeups.make(state),
  claim: (request) =>
    Effect.andThen(
      MemoryState.requireNotInline(state, request.consumer),
      Effect.suspend(() => {
        const name = request.generation ?? MemoryState.activeOf(state, request.consumer)
        const claimOf = (now: number) => Effect.fromResult(claim(state, request, name, now))
        return MemoryWakeups.change(state, name, claimOf, request.owner)
      })
    ),
  changeReads: (change) =>
    MemoryWakeups.change(state, change.generation, (now) => Effect.sync(() => changeReads(state, change, now))),
  repartition: (change) =>
    MemoryWakeups.change(state, change.generation, (now) => Effect.sync(() => repartition(state, change, now))),
  continueVersion: (continuation) =>
    Effect.andThen(
      MemoryState.requireActive(state, continuation.consumer),
      Effect.flatMap(MemoryState.requireActive(state, continuation.from), (from) =>
        MemoryWakeups.change(state, from, (now) =>
          Effect.sync(() => continueVersion(state, continuation, from, now))))
    ),
  repartitionObstacle: (name) => Effect.sync(() => obstacleOf(MemoryState.generationOf(state, name))),
  drain: (name, owner, duration) =>
    MemoryWakeups.change(state, name, (now) =>
      Effect.sync(() => {
        const { partitions, workers } = MemoryState.generationOf(state, name)
        workers.set(owner, { reads: undefined, partitions: 0, resets: true, until: now + Duration.toMillis(duration) })
        return !partitions.some((partition) => MemoryState.isTaken(partition, now))
      })),
  workers: (name) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const generation = MemoryState.generationOf(state, name)
      MemoryWakeups.renewKept(generation, now)
      return workersOf(generation, now)
    }),
  release: (name, owner, only) =>
    MemoryWakeups.change(state, name, () =>
      Effect.sync(() => {
        const { kept, partitions, workers } = MemoryState.generationOf(state, name)
        for (const partition of partitions) {
          const isReleased = partition.owner === owner && (only === undefined || partition.partition === only)
          if (isReleased) MemoryState.vacate(partition)
        }
        if (only !== undefined) return
        workers.delete(owner)
        kept.delete(owner)
      }), owner)
})

const workersOf = ({ workers }: MemoryState.GenerationState, now: number): ReadonlyArray<LiveWorker> =>
  Array.from(workers)
    .flatMap(([owner, { partitions, reads, resets = false, successor, until }]) =>
      until < now ? [] : [{ owner, reads, partitions, successor, resets }]
    )
    .toSorted((a, b) => a.owner < b.owner ? -1 : 1)

const misconfigured = (message: string): EventStoreError =>
  storeError(new StoreMisconfigured({ message, cause: undefined }))

const claim = (
  state: MemoryState.MemoryState,
  request: ClaimRequest,
  name: string,
  now: number
): Result.Result<Claim, EventStoreError> => {
  const { inHand = [], lease, owner, partitionedBy, partitions: wanted, reads, stops = false } = request
  const renewOnly = request.renewOnly === true || stops
  if (state.discarded.has(name)) {
    return Result.fail(storeError(new GenerationDiscarded({ generation: name })))
  }
  const noDocuments = MemoryState.requireNoDocuments(state, name)
  if (Result.isFailure(noDocuments)) return Result.fail(noDocuments.failure)
  const generation = MemoryState.generationOf(state, name)
  const { parked, partitions, workers } = generation
  const until = now + Duration.toMillis(lease)
  for (const [worker, { until }] of workers) if (until < now) workers.delete(worker)
  if (renewOnly && !stops) workers.delete(owner)
  else workers.set(owner, { reads: stops ? undefined : reads, partitions: wanted, until })
  if (partitions.length === 0) {
    for (let index = 0; index < wanted; index++) {
      partitions.push(MemoryState.emptyPartition(name, index, { partitions: wanted, partitionedBy, reads }, now))
    }
  } else if (partitions[0]?.partitionedBy !== partitionedBy) {
    return Result.fail(misconfigured(
      `Generation "${name}" was started with ${partitions.length} partitions by ${
        partitions[0]?.partitionedBy
      }, not by ${partitionedBy}; rebuild it, or raise the consumer's version`
    ))
  }
  // Code that no longer runs must not keep a partition from others.
  const isAlive = (takenBy: string) => Array.from(workers.values()).some((one) => one.reads === takenBy)
  for (const partition of partitions) {
    if (partition.takenBy !== undefined && !isAlive(partition.takenBy)) partition.takenBy = undefined
  }
  const change = changeOf(generation, { reads, renewOnly, now })
  const sharing = Array.from(workers.values()).filter((one) => one.successor === undefined && one.reads === reads)
  const assignmentSize = change === undefined ? Math.ceil(partitions.length / Math.max(1, sharing.length)) : 0
  const size = renewOnly ? 0 : assignmentSize
  const takenFrom = assign(partitions, { owner, reads, inHand, now, until, size })
  const requested = (partition: number) =>
    Array.from(parked.values()).some((stream) => stream.partition === partition && stream.request !== undefined)
  return Result.succeed({
    generation: name,
    partitions: partitions.length,
    change,
    continuedBy: partitions[0]?.continuedBy,
    assignmentSize,
    nextLeaseEndsIn: partitions.filter((partition) => partition.owner !== owner)
      .flatMap(({ heldUntil, leasedUntil }) => leasedUntil ?? heldUntil ?? [])
      .map((end) => DateTime.toEpochMillis(end) - now)
      .reduce<number | undefined>((least, time) => Math.min(least ?? time, time), undefined),
    nextEndIn: nextEndIn(generation, owner, now),
    otherReadsAlive: otherReadsAlive(partitions, workers, reads),
    isTakingOver: partitions.some(({ takenBy }) => takenBy === reads),
    assigned: partitions.filter((partition) => partition.owner === owner).map((
      { count, epoch, eventId, former = [], partition, position }
    ) => ({
      partition,
      epoch,
      position,
      eventId,
      count,
      // Of the events that were waiting before the change, those that were processed under other keys are left out. Those that would change a
      // document out of the order of its streams fail.
      former: former.length > 0 && leastOf(generation, partition, position) < FormerPartitions.reached(former)
        ? former
        : undefined,
      requested: requested(partition),
      takenFrom: takenFrom.get(partition)
    }))
  })
}

/** Returns the number of milliseconds until the first lease, hold or heartbeat of another worker ends that the store does not renew. */
const nextEndIn = (
  { kept, partitions, workers }: MemoryState.GenerationState,
  owner: string,
  now: number
): number | undefined => {
  const isTimed = (one: string | undefined) => one === undefined || (one !== owner && !kept.has(one))
  const ends = [
    ...partitions.flatMap((partition) => isTimed(partition.owner) ? MemoryState.takenUntil(partition) ?? [] : []),
    ...Array.from(workers).flatMap(([worker, { until }]) => isTimed(worker) ? until : [])
  ]
  return ends.length === 0 ? undefined : Math.max(0, Math.min(...ends) - now)
}

/** Returns a position, or the last one before a parked key. */
const leastOf = (
  { parked }: MemoryState.GenerationState,
  partition: number | undefined,
  position: Position.Position
): Position.Position =>
  Array.from(parked.values()).reduce(
    (least, one) =>
      (partition ?? one.partition) === one.partition && one.position <= least
        ? Position.make(one.position - 1n)
        : least,
    position
  )

/** Returns what is to change, so that nothing is assigned. */
const changeOf = (
  generation: MemoryState.GenerationState,
  { now, reads, renewOnly }: { readonly reads: string; readonly renewOnly: boolean; readonly now: number }
): Claim["change"] => {
  const { partitions, workers } = generation
  if (partitions[0]?.continuedBy !== undefined) return "continued"
  const alive = Array.from(workers.values())
  if (alive.some(({ resets, successor }) => successor !== undefined || resets === true)) return "drain"
  if (partitions.some((partition) => partition.reads === reads && partition.takenBy !== undefined)) return "drain"
  const isPending = alive.length > 0 && alive.every((one) => one.partitions !== partitions.length)
    && partitions.every((partition) => partition.reads === reads)
    && obstacleOf(generation) === undefined
  if (!isPending) return undefined
  return renewOnly || partitions.some((partition) => MemoryState.isTaken(partition, now)) ? "drain" : "repartition"
}

const obstacleOf = (generation: MemoryState.GenerationState): RepartitionObstacle | undefined => {
  const { documents, log, parked, partitions } = generation
  const keys = Array.from(parked.values())
  if (keys.some(({ key }) => key === ConsumerKey.unknownKey)) return "waiting"
  const isSkipped = keys.some((one) =>
    log.slice(partitions[one.partition]?.entriesBefore ?? 0).some((entry) =>
      entry.action === "skipped" && entry.key === ConsumerKey.unknownKey && entry.partition === one.partition
      && entry.position >= one.position
    )
  )
  if (isSkipped) return "skipped"
  const [first] = partitions
  if (first === undefined) return undefined
  if (partitions.length === 1 && first.partitionedBy === "stream" && documents.size > 0) return "documents"
  return FormerPartitions.areMany(formerOf(generation, first).former) ? "former" : undefined
}

const repartition = (
  state: MemoryState.MemoryState,
  { from, generation: name, reads, to }: Repartition,
  now: number
): boolean => {
  const generation = MemoryState.generationOf(state, name)
  const { log, partitions } = generation
  const [first] = partitions
  if (first === undefined || first.continuedBy !== undefined || partitions.length !== from) return false
  if (obstacleOf(generation) !== undefined) return false
  if (partitions.some((partition) => partition.reads !== reads || MemoryState.isTaken(partition, now))) return false
  const { former, lowest } = formerOf(generation, first)
  // No write of a former owner has this epoch.
  const epoch = partitions.reduce((max, one) => one.epoch > max ? one.epoch : max, 0n) + 1n
  for (const partition of partitions) MemoryState.vacate(partition)
  const entriesBefore = log.length
  partitions.splice(
    0,
    from,
    ...Array.from({ length: to }, (_, index) => ({
      ...MemoryState.emptyPartition(name, index, { ...lowest, partitions: to }, now),
      position: lowest.position,
      eventId: lowest.eventId,
      count: lowest.count,
      advancedAt: lowest.advancedAt,
      deliveryFrom: lowest.deliveryFrom,
      startsAfter: lowest.startsAfter,
      epoch,
      former,
      entriesBefore
    }))
  )
  MemoryParking.move(
    generation,
    (key) => partitionOf(key, to),
    `${from} partitions became ${to}`,
    DateTime.makeUnsafe(now)
  )
  return true
}

/** Returns the partition with the lowest checkpoint, and all of them as the former ones of those that follow. */
const formerOf = (generation: MemoryState.GenerationState, first: MemoryState.Partition) => {
  const { partitions } = generation
  const lowest = partitions.reduce((lowest, one) => one.position < lowest.position ? one : lowest, first)
  const least = leastOf(generation, undefined, lowest.position)
  const former = [
    ...(first.former ?? []).filter((one) => FormerPartitions.reached([one]) > least),
    {
      partitionedBy: first.partitionedBy,
      positions: partitions.map(({ position }) => position),
      eventIds: partitions.map(({ eventId }) => eventId)
    }
  ]
  return { lowest, former }
}

const continueVersion = (
  state: MemoryState.MemoryState,
  { consumer, lease, owner, partitionedBy, partitions: count, reads }: Continuation,
  from: string,
  now: number
): Continued => {
  const next = MemoryState.generationOf(state, consumer)
  if (next.partitions.length > 0) return "continued"
  const earlier = MemoryState.generationOf(state, from)
  const { parked, partitions, workers } = earlier
  const [first] = partitions
  if (first === undefined) return "unstarted"
  if (first.continuedBy !== undefined) return "elsewhere"
  if (first.partitionedBy !== partitionedBy && parked.size > 0) return "parked"
  const { former, lowest } = formerOf(earlier, first)
  if (FormerPartitions.areMany(former)) return "former"
  if (partitions.some((partition) => MemoryState.isTaken(partition, now))) {
    workers.set(owner, { reads, partitions: count, successor: consumer, until: now + Duration.toMillis(lease) })
    return "draining"
  }
  for (let index = 0; index < count; index++) {
    next.partitions.push({
      ...MemoryState.emptyPartition(consumer, index, { partitions: count, partitionedBy, reads }, now),
      position: lowest.position,
      eventId: lowest.eventId,
      count: lowest.count,
      deliveryFrom: lowest.deliveryFrom,
      startsAfter: lowest.startsAfter,
      former
    })
  }
  for (const [place, one] of parked) next.parked.set(place, { ...one, generation: consumer })
  MemoryParking.move(next, (key) => partitionOf(key, count), `from ${from}`, DateTime.makeUnsafe(now))
  // No write of a former owner succeeds.
  for (const partition of partitions) {
    MemoryState.vacate(partition)
    partition.continuedBy = consumer
  }
  for (const [worker, { successor }] of workers) if (successor !== undefined) workers.delete(worker)
  return "continued"
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
  { drains = false, epoch, from, generation, partition: index, position, takesOver, to, waiting }: ReadsChange,
  now: number
): ReadsChanged => {
  const { parked, partitions, workers } = MemoryState.generationOf(state, generation)
  const partition = partitions[index]
  if (partition?.epoch !== epoch || partition.position !== position || partition.reads !== from) return "unchanged"
  const end = MemoryState.takenUntil(partition)
  const isLeased = end !== undefined && end >= now
  if (!takesOver && isLeased) return "unchanged"
  if (drains && isLeased && partition.owner !== undefined) {
    const { takenBy } = partition
    const isAnother = takenBy !== undefined && takenBy !== to
    if (isAnother && Array.from(workers.values()).some((one) => one.reads === takenBy && one.until >= now)) {
      return "unchanged"
    }
    partition.takenBy = to
    return "draining"
  }
  const keys = Array.from(parked.values()).filter((one) => one.partition === index)
  const isUnchanged = waiting.every((one) =>
    keys.some(({ isFreeing, key, position }) =>
      key === one.key && position === one.position && isFreeing === one.isFreeing
    )
  )
  if (!isUnchanged) return "freed"
  MemoryState.vacate(partition, end === undefined ? undefined : DateTime.makeUnsafe(end))
  partition.earlierReads.push({ reads: from, position, parked: MemoryState.waitingFrom(keys) })
  partition.reads = to
  partition.takenBy = undefined
  return "changed"
}

/**
 * Renews the leases of a worker, and gives it free partitions that have its reads until it has `size`. Returns the former owners of those whose lease has
 * ended.
 */
const assign = (
  partitions: ReadonlyArray<MemoryState.Partition>,
  { inHand, now, owner, reads, size, until }: {
    readonly owner: string
    readonly reads: string
    readonly inHand: ReadonlyArray<HeldInHand>
    readonly now: number
    readonly until: number
    readonly size: number
  }
): ReadonlyMap<number, string> => {
  const takenFrom = new Map<number, string>()
  let assigned = partitions.filter((partition) => partition.owner === owner).length
  for (const partition of partitions) {
    if (partition.owner !== owner) {
      const end = MemoryState.takenUntil(partition)
      const isFree = partition.reads === reads && (end === undefined || end < now)
      if (!isFree || assigned >= size) continue
      assigned++
      if (partition.owner !== undefined) takenFrom.set(partition.partition, partition.owner)
      partition.owner = owner
      partition.heldUntil = undefined
      partition.epoch++
    }
    const held = inHand.find((one) => one.partition === partition.partition)
    partition.inHand = held && { event: held.event, since: DateTime.makeUnsafe(now - held.millis) }
    partition.leasedUntil = DateTime.makeUnsafe(until)
    partition.heartbeatAt = DateTime.makeUnsafe(now)
  }
  return takenFrom
}
