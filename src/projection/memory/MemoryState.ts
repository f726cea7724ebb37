/**
 * The state of a projection store in memory, shared by the modules that implement its driver.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { EarlierReads, EncodedDocument, Progress } from "../../consumer/CheckpointDriver.ts"
import type { DeliverySegment } from "../../consumer/DeliveryLog.ts"
import type { Parked, ParkingEntry } from "../../consumer/parking/ParkingDriver.ts"
import { type EventStoreError, GenerationDiscarded, storeError, StoreMisconfigured } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import type { InlineProjectionsDriver } from "../../eventStore/driver/InlineProjectionsDriver.ts"

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

/**
 * A partition of a generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Partition extends Mutable<Omit<Progress, "readAt">> {
  readonly segments: Array<DeliverySegment>
  readonly earlierReads: Array<EarlierReads>
  /** The number of entries that the parking log had at the last reset. */
  entriesBefore: number
}

/**
 * A document and its revision.
 *
 * @since 0.1.0
 * @category models
 */
export interface RevisedDocument extends EncodedDocument {
  readonly revision: bigint
}

/**
 * What a generation has written.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationState {
  readonly partitions: Array<Partition>
  /**
   * The workers that share the partitions, what they read, the number of partitions in their definitions, and when their heartbeats expire, in
   * milliseconds. One that stops reads nothing.
   */
  readonly workers: Map<
    string,
    {
      readonly reads: string | undefined
      readonly partitions: number
      readonly until: number
      readonly successor?: string
      /** Whether it waits to reset the checkpoints. */
      readonly resets?: boolean
    }
  >
  /** The workers whose leases are kept while they wait, and how long these last after that, in milliseconds. */
  readonly kept: Map<string, number>
  readonly documents: Map<string, RevisedDocument>
  /** The parked keys, by partition and key. */
  readonly parked: Map<string, Parked>
  readonly log: Array<ParkingEntry>
}

/**
 * A generation as its consumer lists it.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationEntry {
  readonly generation: string
  readonly number: number
  readonly startedAt: DateTime.Utc | undefined
  /** The code that builds it, as the caller of the rebuild named it. */
  readonly build: string | undefined
  /** The position that a first generation must reach before its rebuild is complete. */
  readonly goal: Position.Position
  activatedAt: DateTime.Utc | undefined
  isDiscarded: boolean
}

/**
 * A consumer's generations, oldest first.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerState {
  readonly entries: Array<GenerationEntry>
  active: string
  previous: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface MemoryState {
  readonly generations: Map<string, GenerationState>
  readonly consumers: Map<string, ConsumerState>
  readonly discarded: Set<string>
  /** By consumer and owner, what wakes the workers of this process. */
  readonly listeners: Map<string, Map<string, () => void>>
  /** The last revision that a document got. */
  revision: bigint
  /** The inline projections of the log, once a program runs some. */
  inlineProjections: InlineProjectionsDriver | undefined
}

/**
 * Returns an empty state.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): MemoryState => ({
  generations: new Map(),
  consumers: new Map(),
  discarded: new Set(),
  listeners: new Map(),
  revision: 0n,
  inlineProjections: undefined
})

/**
 * Fails when a consumer is an inline projection of the log: with checkpoints, its documents would have some events twice.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireNotInline = Effect.fnUntraced(function*(
  state: MemoryState,
  consumer: string
): Effect.fn.Return<void, EventStoreError> {
  if ((yield* state.inlineProjections?.find(consumer) ?? Effect.undefined) === undefined) return
  return yield* storeError(
    new StoreMisconfigured({
      message:
        `${consumer} is an inline projection in this log, so it cannot run in the background. Raise its version, or call `
        + "Projector.retireInline when no program runs it inline any more.",
      cause: undefined
    })
  )
})

/**
 * Fails when a generation that has never run has documents, which are of a retired inline projection: a worker would fold their events a second time.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireNoDocuments = (state: MemoryState, generation: string): Result.Result<void, EventStoreError> => {
  const { documents, partitions } = generationOf(state, generation)
  if (documents.size === 0 || partitions.length > 0 || state.discarded.has(generation)) return Result.void
  return Result.fail(storeError(
    new StoreMisconfigured({
      message:
        `${generation} has documents but no checkpoints, so it cannot run in the background: the documents are of a retired inline projection. `
        + "Call Projector.retireInline, also a second time, to remove them, or raise its version.",
      cause: undefined
    })
  ))
}

/**
 * Returns what a generation has written; an empty one if it has not run.
 *
 * @since 0.1.0
 * @category accessors
 */
export const generationOf = (state: MemoryState, name: string): GenerationState => {
  const found = state.generations.get(name)
  if (found !== undefined) return found
  const empty = {
    partitions: [],
    workers: new Map(),
    kept: new Map(),
    documents: new Map(),
    parked: new Map(),
    log: []
  }
  state.generations.set(name, empty)
  return empty
}

/**
 * Returns the name of a consumer's active generation, or fails if it was discarded.
 *
 * @since 0.1.0
 * @category accessors
 */
export const requireActive = (state: MemoryState, consumer: string): Effect.Effect<string, EventStoreError> =>
  Effect.suspend(() => {
    const generation = activeOf(state, consumer)
    return state.discarded.has(generation)
      ? Effect.fail(storeError(new GenerationDiscarded({ generation })))
      : Effect.succeed(generation)
  })

/**
 * Returns the name of a consumer's active generation, which may have been discarded.
 *
 * @since 0.1.0
 * @category accessors
 */
export const activeOf = (state: MemoryState, consumer: string): string =>
  state.consumers.get(consumer)?.active ?? consumer

/**
 * Returns parked keys, each with the position from which on its events wait.
 *
 * @since 0.1.0
 * @category accessors
 */
export const waitingFrom = (
  parked: ReadonlyArray<Pick<Parked, "key" | "position" | "isFreeing">>
): EarlierReads["parked"] =>
  parked.map(({ isFreeing, key, position }) => ({ key, position: Position.make(isFreeing ? position + 1n : position) }))

/**
 * Returns the position that all partitions have reached; 0 without partitions.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reachedBy = ([first, ...others]: ReadonlyArray<Partition>): Position.Position =>
  others.reduce((least, { position }) => position < least ? position : least, first?.position ?? Position.start)

/**
 * Writes or removes documents of a generation.
 *
 * @since 0.1.0
 * @category writing
 */
export const writeDocuments = (state: MemoryState, name: string, changes: ReadonlyArray<EncodedDocument>): void => {
  const { documents } = generationOf(state, name)
  for (const change of changes) {
    if (change.document === undefined) documents.delete(change.key)
    else documents.set(change.key, { ...change, revision: ++state.revision })
  }
}

/**
 * Takes a partition from its owner, who can write nothing more. With `heldUntil` no worker can claim it before that time.
 *
 * @since 0.1.0
 * @category writing
 */
export const vacate = (partition: Partition, heldUntil?: DateTime.Utc): void => {
  partition.epoch++
  partition.owner = undefined
  partition.leasedUntil = undefined
  partition.heldUntil = heldUntil
}

/**
 * Returns until when a partition is leased or held, in milliseconds of the epoch; undefined if it is free.
 *
 * @since 0.1.0
 * @category accessors
 */
export const takenUntil = ({ heldUntil, leasedUntil }: Partition): number | undefined => {
  const end = leasedUntil ?? heldUntil
  return end && DateTime.toEpochMillis(end)
}

/**
 * Returns whether a partition is leased or held at a time.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTaken = (partition: Partition, now: number): boolean => {
  const end = takenUntil(partition)
  return end !== undefined && end >= now
}

/**
 * Returns a partition that has processed nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyPartition = (
  generation: string,
  partition: number,
  { partitionedBy, partitions, reads }: Pick<Progress, "partitions" | "partitionedBy" | "reads">,
  now: number
): Partition => ({
  generation,
  partition,
  partitions,
  partitionedBy,
  reads,
  position: Position.start,
  eventId: undefined,
  applied: 0n,
  digest: 0n,
  epoch: 0n,
  owner: undefined,
  leasedUntil: undefined,
  heldUntil: undefined,
  heartbeatAt: DateTime.makeUnsafe(now),
  advancedAt: undefined,
  segments: [],
  earlierReads: [],
  deliveryFrom: Position.start,
  startsAfter: Position.start,
  entriesBefore: 0
})
