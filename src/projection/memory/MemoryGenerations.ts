/**
 * The generations of consumers in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as GenerationId from "../../consumer/GenerationId.ts"
import * as Position from "../../core/Position.ts"
import type { CutOverOutcome, CutOverRequest, Generation, GenerationsDriver } from "../ProjectionStoreDriver.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): Omit<GenerationsDriver, "generationPage" | "views"> => ({
  beginGeneration: (consumer, head) =>
    Effect.andThen(
      MemoryState.requireNotInline(state, consumer),
      Effect.map(DateTime.now, (now) => begin(state, consumer, head, now))
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
          position: MemoryState.reachedBy(partitions)
        }
      })
    }),
  cutOver: (request) => Effect.map(Clock.currentTimeMillis, (now) => cutOver(state, request, now)),
  discard: (consumer, generation) => Effect.sync(() => discard(state, consumer, generation))
})

/** Returns a consumer's generations. One that ran without a rebuild has its first generation. */
const consumerOf = (state: MemoryState.MemoryState, id: string): MemoryState.ConsumerState => {
  let consumer = state.consumers.get(id)
  if (consumer === undefined) {
    consumer = { entries: [], active: id, previous: undefined }
    state.consumers.set(id, consumer)
  }
  if (consumer.entries.length === 0 && MemoryState.generationOf(state, id).partitions.length > 0) {
    consumer.entries.push(entryOf(id, 0, undefined, Position.start))
  }
  return consumer
}

const entryOf = (
  consumer: string,
  number: number,
  startedAt: DateTime.Utc | undefined,
  goal: Position.Position
): MemoryState.GenerationEntry => ({
  generation: GenerationId.format({ consumer, number }),
  number,
  startedAt,
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

const begin = (state: MemoryState.MemoryState, id: string, head: Position.Position, now: DateTime.Utc): string => {
  const consumer = consumerOf(state, id)
  const unfinished = consumer.entries.find((entry) => statusOf(state, consumer, entry) === "building")
  if (unfinished !== undefined) return unfinished.generation
  const number = (consumer.entries.at(-1)?.number ?? -1) + 1
  const entry = entryOf(id, number, now, number === 0 ? head : Position.start)
  consumer.entries.push(entry)
  return entry.generation
}

const cutOver = (
  state: MemoryState.MemoryState,
  { consumer: id, ifBehind, to }: CutOverRequest,
  now: number
): CutOverOutcome => {
  const consumer = consumerOf(state, id)
  const entry = consumer.entries.find(({ generation }) => generation === to)
  const [active, next] = [MemoryState.generationOf(state, consumer.active), MemoryState.generationOf(state, to)]
  if (entry === undefined || entry.isDiscarded || next.partitions.length === 0) return { _tag: "Unknown" }
  if (consumer.active === to) return { _tag: "CutOver" }
  const missing = ifBehind === "cutOver" ? 0n : missingOf(active.partitions, next.partitions)
  if (missing > 0n) {
    if (typeof ifBehind === "object") {
      const heldUntil = DateTime.makeUnsafe(now + Duration.toMillis(ifBehind.hold))
      for (const partition of active.partitions) MemoryState.vacate(partition, heldUntil)
    }
    return { _tag: "Behind", missing }
  }
  consumer.previous = consumer.active
  consumer.active = to
  entry.activatedAt = DateTime.makeUnsafe(now)
  for (const { partitions, workers } of [active, next]) {
    for (const partition of partitions) MemoryState.vacate(partition)
    workers.clear()
  }
  return { _tag: "CutOver" }
}

/** Returns how many positions the next generation lacks, so that its readers see nothing older than those of the active one. */
const missingOf = (
  active: ReadonlyArray<MemoryState.Partition>,
  next: ReadonlyArray<MemoryState.Partition>
): bigint => {
  const furthest = active.reduce((most, { position }) => Position.max(most, position), Position.start)
  return next.reduce((most, { position }, index) => {
    const isSame = next.length === active.length && next[index]!.partitionedBy === active[index]!.partitionedBy
    const wanted = isSame ? active[index]!.position : furthest
    return wanted - position > most ? wanted - position : most
  }, 0n)
}

const discard = (
  state: MemoryState.MemoryState,
  id: string,
  generation: string
): "discarded" | "active" | "unknown" => {
  const consumer = consumerOf(state, id)
  const entry = consumer.entries.find((entry) => entry.generation === generation)
  if (consumer.active === generation) return "active"
  if (entry === undefined) return "unknown"
  entry.isDiscarded = true
  state.discarded.add(generation)
  if (consumer.previous === generation) consumer.previous = undefined
  const { documents, parked, partitions, workers } = MemoryState.generationOf(state, generation)
  // A worker that still owns a partition must not write to it.
  for (const partition of partitions) partition.epoch++
  partitions.length = 0
  for (const removed of [documents, parked, workers]) removed.clear()
  return "discarded"
}
