/**
 * The generations of consumers in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FormerPartitions from "../../consumer/FormerPartitions.ts"
import * as GenerationId from "../../consumer/GenerationId.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as KeyOrder from "../KeyOrder.ts"
import type {
  AgainstDiscard,
  BeginRequest,
  BegunGeneration,
  CutOverOutcome,
  CutOverRequest,
  Generation,
  GenerationsDriver,
  RowCount,
  StoredGeneration
} from "../ProjectionStoreDriver.ts"
import * as MemoryState from "./MemoryState.ts"
import * as MemoryWakeups from "./MemoryWakeups.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): Omit<GenerationsDriver, "generationPage" | "views"> => ({
  beginGeneration: (request) =>
    Effect.andThen(
      MemoryState.requireNotInline(state, request.consumer),
      Effect.andThen(
        MemoryState.requireActive(state, request.consumer),
        Effect.andThen(
          Effect.suspend(() => Effect.fromResult(MemoryState.requireNoDocuments(state, request.consumer))),
          Effect.map(DateTime.now, (now) => begin(state, request, now))
        )
      )
    ),
  generations: (id) =>
    Effect.sync(() => {
      const consumer = consumerOf(state, id)
      return consumer.entries.map((entry): Generation => {
        const { partitions } = MemoryState.generationOf(state, entry.generation)
        return {
          generation: entry.generation,
          status: statusOf(state, consumer, entry),
          startedAt: entry.startedAt,
          activatedAt: entry.activatedAt,
          partitions: partitions.length,
          partitionedBy: partitions[0]?.partitionedBy,
          position: MemoryState.reachedBy(partitions),
          build: entry.build
        }
      })
    }),
  cutOver: (request) =>
    Effect.andThen(
      MemoryState.requireActive(state, request.consumer),
      Effect.map(Clock.currentTimeMillis, (now) => cutOver(state, request, now))
    ),
  discard: (consumer, generation, evenIf) =>
    Effect.gen(function*() {
      const isInline = (yield* inlineIds(state)).includes(generation)
      const now = yield* Clock.currentTimeMillis
      return discard(state, consumer, generation, { evenIf, isInline, now })
    }),
  removeDiscarded: (generation, { parkingLog }) => Effect.sync(() => removeDiscarded(state, generation, parkingLog)),
  allGenerations: ({ after = "", limit, maxCount }) =>
    Effect.gen(function*() {
      const inline = yield* inlineIds(state)
      const now = yield* Clock.currentTimeMillis
      const hasRows = (name: string) => {
        const { documents, log, partitions } = MemoryState.generationOf(state, name)
        return partitions.length + documents.size + log.length > 0
      }
      const names = new Set([
        ...Array.from(state.generations.keys()).filter(hasRows),
        ...Array.from(state.consumers.values()).flatMap(({ entries }) => entries.map(({ generation }) => generation)),
        ...state.discarded,
        ...inline
      ])
      return Array.from(names)
        .filter((name) => name > after)
        .toSorted((a, b) => a < b ? -1 : 1)
        .slice(0, limit)
        .map((name) => storedOf(state, name, { isInline: inline.includes(name), maxCount, now }))
    })
})

const inlineIds = (state: MemoryState.MemoryState): Effect.Effect<ReadonlyArray<string>, EventStoreError> =>
  state.inlineProjections === undefined
    ? Effect.succeed([])
    : Effect.map(state.inlineProjections.registered, (all) => all.map(({ projection }) => projection))

/** Returns a consumer's generations. One that ran without a rebuild has its first generation. */
const consumerOf = (state: MemoryState.MemoryState, id: string): MemoryState.ConsumerState => {
  let consumer = state.consumers.get(id)
  if (consumer === undefined) {
    consumer = { entries: [], active: id, previous: undefined }
    state.consumers.set(id, consumer)
  }
  if (consumer.entries.length === 0 && MemoryState.generationOf(state, id).partitions.length > 0) {
    consumer.entries.push(entryOf({ consumer: id, number: 0 }))
  }
  return consumer
}

const entryOf = (
  { build, consumer, goal = Position.start, number, startedAt }:
    & { readonly consumer: string }
    & Pick<MemoryState.GenerationEntry, "number">
    & Partial<Pick<MemoryState.GenerationEntry, "build" | "goal" | "startedAt">>
): MemoryState.GenerationEntry => ({
  generation: GenerationId.format({ consumer, number }),
  number,
  startedAt,
  build,
  goal,
  activatedAt: undefined,
  isDiscarded: false
})

const statusOf = (
  state: MemoryState.MemoryState,
  { active, previous }: MemoryState.ConsumerState,
  { activatedAt, generation, goal, isDiscarded, number }: MemoryState.GenerationEntry
): Generation["status"] => {
  if (isDiscarded) return "discarded"
  if (generation === active) {
    return MemoryState.reachedBy(MemoryState.generationOf(state, generation).partitions) < goal ? "building" : "active"
  }
  if (generation === previous) return "previous"
  return number > 0 && activatedAt === undefined ? "building" : "retired"
}

const begin = (
  state: MemoryState.MemoryState,
  { build, consumer: id, head, isBeside = false }: BeginRequest,
  startedAt: DateTime.Utc
): BegunGeneration => {
  const consumer = consumerOf(state, id)
  const unfinished = consumer.entries.findLast((entry) =>
    statusOf(state, consumer, entry) === "building" && !(isBeside && entry.number === 0)
  )
  if (unfinished !== undefined) return { generation: unfinished.generation, build: unfinished.build, isNew: false }
  const number = (consumer.entries.at(-1)?.number ?? -1) + 1
  const entry = entryOf({ consumer: id, number, startedAt, build, goal: number === 0 ? head : Position.start })
  consumer.entries.push(entry)
  return { generation: entry.generation, build, isNew: true }
}

const cutOver = (
  state: MemoryState.MemoryState,
  { consumer: id, evenIfParked = false, ifBehind, to }: CutOverRequest,
  now: number
): CutOverOutcome => {
  const consumer = consumerOf(state, id)
  const entry = consumer.entries.find(({ generation }) => generation === to)
  const [active, next] = [MemoryState.generationOf(state, consumer.active), MemoryState.generationOf(state, to)]
  if (entry === undefined || entry.isDiscarded || next.partitions.length === 0) return { _tag: "Unknown" }
  if (consumer.active === to) return { _tag: "CutOver" }
  const parked = evenIfParked ? [] : newlyParked(active, next)
  if (parked.length > 0) return { _tag: "Parked", count: parked.length, keys: parked.slice(0, 3) }
  const missing = ifBehind === "cutOver" ? 0n : missingOf(active.partitions, next.partitions)
  if (missing > 0n) {
    if (typeof ifBehind === "object") {
      const heldUntil = DateTime.makeUnsafe(now + Duration.toMillis(ifBehind.hold))
      for (const partition of active.partitions) MemoryState.vacate(partition, heldUntil)
      MemoryWakeups.wake(state, id)
    }
    return { _tag: "Behind", missing }
  }
  consumer.previous = consumer.active
  consumer.active = to
  entry.activatedAt = DateTime.makeUnsafe(now)
  for (const { kept, partitions, workers } of [active, next]) {
    for (const partition of partitions) MemoryState.vacate(partition)
    workers.clear()
    kept.clear()
  }
  MemoryWakeups.wake(state, id)
  return { _tag: "CutOver" }
}

/** Returns how many positions the next generation lacks, so that its readers see nothing older than those of the active one. */
const missingOf = (
  active: ReadonlyArray<MemoryState.Partition>,
  next: ReadonlyArray<MemoryState.Partition>
): bigint =>
  next.reduce((most, { position }, index) => {
    const wanted = servedBy(active, next, index)
    return wanted - position > most ? wanted - position : most
  }, 0n)

/** Returns what the same partition of the active generation has reached; any of its partitions, if they are divided differently. */
const servedBy = (
  active: ReadonlyArray<MemoryState.Partition>,
  next: ReadonlyArray<MemoryState.Partition>,
  index: number
): Position.Position => {
  const served = ({ former = [], position }: MemoryState.Partition) =>
    Position.max(position, FormerPartitions.reached(former))
  const isSame = next.length === active.length && next[index]?.partitionedBy === active[index]!.partitionedBy
  return isSame
    ? served(active[index]!)
    : active.reduce((most, one) => Position.max(most, served(one)), Position.start)
}

type Parking = Pick<MemoryState.GenerationState, "parked" | "partitions">

/**
 * Returns the keys that are parked in the next generation at events that the active one has applied, or has parked later, in the order of these
 * events. Keys of partitions that are divided by something else are not the same keys.
 */
const newlyParked = (active: Parking, next: Parking): ReadonlyArray<string> => {
  const isSameKey = active.partitions[0]?.partitionedBy === next.partitions[0]?.partitionedBy
  const also = isSameKey ? Array.from(active.parked.values()) : []
  const found = Array.from(next.parked.values())
    .filter(({ isFreeing, key, partition, position }) =>
      position <= servedBy(active.partitions, next.partitions, partition)
      && !also.some((one) =>
        one.key === key && (one.position < position || (one.position === position && (isFreeing || !one.isFreeing)))
      )
    )
    .toSorted((a, b) => a.position === b.position ? KeyOrder.compare(a.key, b.key) : a.position < b.position ? -1 : 1)
  return Array.from(new Set(found.map(({ key }) => key)))
}

type Leases = Pick<MemoryState.GenerationState, "partitions" | "workers">

/** Returns the workers that have sent a heartbeat within their leases. */
const ownersOf = ({ partitions, workers }: Leases, now: number): ReadonlyArray<string> => {
  const leased = partitions.flatMap(({ leasedUntil, owner }) =>
    owner !== undefined && leasedUntil !== undefined && DateTime.toEpochMillis(leasedUntil) >= now ? [owner] : []
  )
  const waiting = Array.from(workers).flatMap(([owner, { until }]) => until >= now ? [owner] : [])
  return Array.from(new Set([...leased, ...waiting])).toSorted()
}

/** Returns whether a worker has a lease, or waits for one, or may still handle the events of a lease that was taken from it. */
const isLeased = (leases: Leases, now: number): boolean =>
  ownersOf(leases, now).length > 0
  || leases.partitions.some(({ heldUntil }) => heldUntil !== undefined && DateTime.toEpochMillis(heldUntil) >= now)

const discard = (
  state: MemoryState.MemoryState,
  id: string,
  generation: string,
  { evenIf, isInline, now }: {
    readonly evenIf: ReadonlyArray<AgainstDiscard>
    readonly isInline: boolean
    readonly now: number
  }
): "discarded" | "unknown" | AgainstDiscard => {
  if (state.discarded.has(generation)) return "discarded"
  const consumer = consumerOf(state, id)
  const found = state.generations.get(generation)
  const entry = consumer.entries.find((entry) => entry.generation === generation)
  const isKnown = entry !== undefined || isInline
  if (!isKnown && (generation !== id || found === undefined || found.documents.size === 0)) return "unknown"
  if (isKnown && consumer.active === generation && !evenIf.includes("active")) return "active"
  if (consumer.previous === generation && !evenIf.includes("previous")) return "previous"
  const leases = MemoryState.generationOf(state, generation)
  const { kept, partitions, workers } = leases
  MemoryWakeups.renewKept(leases, now)
  if (!evenIf.includes("leased") && isLeased(leases, now)) return "leased"
  if (entry !== undefined) entry.isDiscarded = true
  state.discarded.add(generation)
  if (consumer.previous === generation || consumer.active === generation) consumer.previous = undefined
  // A worker that still owns a partition must not write to it.
  for (const partition of partitions) partition.epoch++
  partitions.length = 0
  workers.clear()
  kept.clear()
  MemoryWakeups.wake(state, id)
  return "discarded"
}

const removeDiscarded = (state: MemoryState.MemoryState, generation: string, parkingLog: boolean): boolean => {
  if (!state.discarded.has(generation)) return false
  const { documents, log, parked } = MemoryState.generationOf(state, generation)
  documents.clear()
  parked.clear()
  if (parkingLog) log.length = 0
  return false
}

const countOf = (count: number, max: number): RowCount => ({ count: Math.min(count, max), isMore: count > max })

const storedOf = (
  state: MemoryState.MemoryState,
  generation: string,
  { isInline, maxCount, now }: { readonly isInline: boolean; readonly maxCount: number; readonly now: number }
): StoredGeneration => {
  const { consumer: id } = GenerationId.parse(generation)
  const consumer = consumerOf(state, id)
  const entry = consumer.entries.find((one) => one.generation === generation)
  const found = MemoryState.generationOf(state, generation)
  MemoryWakeups.renewKept(found, now)
  const { documents, log, parked, partitions } = found
  const status = state.discarded.has(generation)
    ? "discarded"
    : entry !== undefined
    ? statusOf(state, consumer, entry)
    : isInline
    ? "active"
    : "retired"
  return {
    generation,
    consumer: id,
    kind: GenerationId.kindOf(id, isInline),
    status,
    isActive: consumer.active === generation && (status === "active" || status === "building"),
    isRollbackTarget: consumer.previous === generation && !state.discarded.has(consumer.active),
    owners: ownersOf(found, now),
    checkpoints: partitions.length,
    position: partitions.length === 0 ? undefined : MemoryState.reachedBy(partitions),
    documents: countOf(documents.size, maxCount),
    parked: countOf(parked.size, maxCount),
    parkingLog: countOf(log.length, maxCount),
    lastActivity: partitions.flatMap(({ advancedAt, heartbeatAt }) => [heartbeatAt, ...advancedAt ? [advancedAt] : []])
      .reduce<DateTime.Utc | undefined>((last, at) => last === undefined ? at : DateTime.max(last, at), undefined)
  }
}
