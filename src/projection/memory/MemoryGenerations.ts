/**
 * Builds of a consumer's target beside the active one, in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as GenerationId from "../../consumer/GenerationId.ts"
import * as Position from "../../core/Position.ts"
import type { CutOverOutcome, Generation, GenerationsDriver } from "../ProjectionStoreDriver.ts"

/**
 * What a switch has to know of a target, and what it changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationState {
  readonly partitions: Array<{
    readonly partitions: number
    readonly position: Position.Position
    epoch: bigint
    owner: string | undefined
    leasedUntil: DateTime.Utc | undefined
    heldUntil: DateTime.Utc | undefined
  }>
  readonly workers: { readonly clear: () => void }
  readonly documents: { readonly clear: () => void }
  readonly parked: { readonly clear: () => void }
}

/**
 * - `active`: which target of a consumer is
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryGenerations extends Omit<GenerationsDriver, "generationPage" | "views"> {
  readonly active: (consumer: string) => string
  readonly isDiscarded: (generation: string) => boolean
}

interface Entry {
  readonly generation: string
  readonly number: number
  readonly startedAt: DateTime.Utc | undefined
  readonly goal: Position.Position
  activatedAt: DateTime.Utc | undefined
  isDiscarded: boolean
}

interface Consumer {
  readonly entries: Array<Entry>
  active: string
  previous: string | undefined
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (stateOf: (generation: string) => GenerationState): MemoryGenerations => {
  const consumers = new Map<string, Consumer>()
  const discarded = new Set<string>()

  const followerOf = (id: string): Consumer => {
    let consumer = consumers.get(id)
    if (consumer === undefined) {
      consumer = { entries: [], active: id, previous: undefined }
      consumers.set(id, consumer)
    }
    if (consumer.entries.length === 0 && stateOf(id).partitions.length > 0) {
      consumer.entries.push(entryOf(id, 0, undefined, Position.start))
    }
    return consumer
  }

  const statusOf = (consumer: Consumer, entry: Entry): Generation["status"] =>
    entry.isDiscarded
      ? "discarded"
      : entry.generation === consumer.active
      ? positionOf(stateOf(entry.generation)) < entry.goal ? "building" : "active"
      : entry.generation === consumer.previous
      ? "previous"
      : entry.number > 0 && entry.activatedAt === undefined
      ? "building"
      : "retired"

  const known = (consumer: Consumer, generation: string): Entry | undefined =>
    consumer.entries.find((entry) => entry.generation === generation)

  const switchNow = (
    id: string,
    to: string,
    evenIfBehind: boolean,
    holdUntil: DateTime.Utc | undefined,
    now: DateTime.Utc
  ): CutOverOutcome => {
    const consumer = followerOf(id)
    const entry = known(consumer, to)
    const [was, next] = [stateOf(consumer.active), stateOf(to)]
    if (entry === undefined || entry.isDiscarded || next.partitions.length === 0) return { _tag: "Unknown" }
    if (consumer.active === to) return { _tag: "CutOver" }
    const missing = evenIfBehind ? 0n : missingOf(was, next)
    if (missing > 0n) {
      if (holdUntil !== undefined) {
        for (const partition of was.partitions) {
          partition.epoch++
          partition.owner = undefined
          partition.leasedUntil = undefined
          partition.heldUntil = holdUntil
        }
      }
      return { _tag: "Behind", missing }
    }
    consumer.previous = consumer.active
    consumer.active = to
    entry.activatedAt = now
    for (const generation of [was, next]) {
      for (const partition of generation.partitions) {
        partition.epoch++
        partition.owner = undefined
        partition.leasedUntil = undefined
        partition.heldUntil = undefined
      }
      generation.workers.clear()
    }
    return { _tag: "CutOver" }
  }

  return {
    active: (consumer) => consumers.get(consumer)?.active ?? consumer,
    isDiscarded: (generation) => discarded.has(generation),
    beginGeneration: (id, head) =>
      Effect.map(DateTime.now, (now) => {
        const consumer = followerOf(id)
        const unfinished = consumer.entries.find((entry) => statusOf(consumer, entry) === "building")
        if (unfinished !== undefined) return unfinished.generation
        const number = (consumer.entries.at(-1)?.number ?? -1) + 1
        const entry = number === 0
          ? entryOf(id, 0, now, head)
          : entryOf(GenerationId.format({ consumer: id, number }), number, now, Position.start)
        consumer.entries.push(entry)
        return entry.generation
      }),
    generations: (id) =>
      Effect.sync(() => {
        const consumer = followerOf(id)
        return consumer.entries.map((entry) => ({
          generation: entry.generation,
          status: statusOf(consumer, entry),
          startedAt: entry.startedAt,
          activatedAt: entry.activatedAt,
          partitions: stateOf(entry.generation).partitions.length,
          position: positionOf(stateOf(entry.generation))
        }))
      }),
    cutOver: ({ consumer, to, ifBehind }) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        switchNow(
          consumer,
          to,
          ifBehind === "cutOver",
          typeof ifBehind === "string" ? undefined : DateTime.makeUnsafe(now + Duration.toMillis(ifBehind.hold)),
          DateTime.makeUnsafe(now)
        )),
    discard: (id, generation) =>
      Effect.sync(() => {
        const consumer = followerOf(id)
        const entry = known(consumer, generation)
        if (consumer.active === generation) return "active"
        if (entry === undefined) return "unknown"
        entry.isDiscarded = true
        discarded.add(generation)
        if (consumer.previous === generation) consumer.previous = undefined
        const { documents, parked, partitions, workers } = stateOf(generation)
        // Whoever holds one has lost it.
        for (const partition of partitions) partition.epoch++
        partitions.length = 0
        for (const kept of [documents, parked, workers]) kept.clear()
        return "discarded"
      })
  }
}

const entryOf = (
  generation: string,
  number: number,
  startedAt: DateTime.Utc | undefined,
  goal: Position.Position
): Entry => ({ generation, number, startedAt, goal, activatedAt: undefined, isDiscarded: false })

const positionOf = ({ partitions: [first, ...others] }: GenerationState): Position.Position =>
  others.reduce(
    (least, { position }) => position < least ? position : least,
    first?.position ?? Position.start
  )

/** How many positions the second target lacks for its readers to see nothing older than those of the first. */
const missingOf = (was: GenerationState, next: GenerationState): bigint => {
  const furthest = was.partitions.reduce((most, { position }) => Position.max(most, position), Position.start)
  return next.partitions.reduce((most, { partitions, position }, index) => {
    const wanted = partitions === was.partitions.length ? was.partitions[index]!.position : furthest
    return wanted - position > most ? wanted - position : most
  }, 0n)
}
