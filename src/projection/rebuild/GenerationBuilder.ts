/**
 * Builds a generation of a projection beside the active one.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import * as ConsumerWorker from "../../consumer/ConsumerWorker.ts"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import { Limits } from "../../eventStore/Limits.ts"
import * as LogIdentity from "../../eventStore/LogIdentity.ts"
import * as DocumentProcessor from "../DocumentProcessor.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import { ProjectionStore } from "../ProjectionStore.ts"
import type { Generation, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as Discard from "./Discard.ts"
import { RebuildRejected } from "./RebuildError.ts"
import * as RebuildProgress from "./RebuildProgress.ts"

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions extends ConsumerWorker.WorkerOptions {
  /** The number of events that one transaction applies; 2,000 by default. */
  readonly batchSize?: number | undefined
  /** The interval at which the rebuild reports its progress; half a second by default. */
  readonly interval?: Duration.Input | undefined
}

/** More than that of a projector: no reader waits for it, and fewer statements are faster. */
const defaultBatchSize = 2000

/**
 * Keeps a generation up to date for as long as the scope lives.
 *
 * @since 0.1.0
 * @category running
 */
export const keepUpToDate = Effect.fnUntraced(function*(
  projection: Projection.Any<"async">,
  generation: string,
  options: ConsumerWorker.WorkerOptions
): Effect.fn.Return<ConsumerWorker.ConsumerWorker, never, EventStore | ProjectionStore | Scope.Scope> {
  const { driver } = (yield* ProjectionStore)[internals]
  const { pageSize } = yield* Limits
  const batchSize = options.batchSize ?? Math.min(defaultBatchSize, pageSize)
  const worker = yield* ConsumerWorker.make(driver, DocumentProcessor.make(projection, driver), {
    ...options,
    batchSize,
    generation
  })
  yield* Effect.forkScoped(worker.run)
  return worker
})

/**
 * A generation that is being built.
 *
 * @since 0.1.0
 * @category models
 */
export interface Building {
  /** The active generation. */
  readonly active: string
  /** The generation that is being built. */
  readonly generation: string
  readonly readProgress: Effect.Effect<RebuildProgress.Progress, EventStoreError>
  /** The progress at each interval, without end. */
  readonly progress: Stream.Stream<RebuildProgress.Progress, EventStoreError>
}

/**
 * Begins a generation, or resumes the one that a rebuild has begun, and keeps it up to date for as long as the scope lives.
 *
 * @since 0.1.0
 * @category running
 */
export const begin = Effect.fnUntraced(function*(
  projection: Projection.Any<"async">,
  options: RunOptions
): Effect.fn.Return<Building, RebuildRejected | EventStoreError, EventStore | ProjectionStore | Scope.Scope> {
  const { driver: events } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const active = yield* store.activeGeneration(projection.id)
  const beginOne = Effect.flatMap(events.head, (head) => store.beginGeneration(projection.id, head))
  let generation = yield* beginOne
  if (generation !== active && (yield* LogIdentity.hasDiverged(events, yield* store.progress(generation)))) {
    yield* Effect.logWarning(`${generation} was built on events that the log does not have any more; it is begun again`)
    yield* Discard.discard(store, projection.id, generation)
    generation = yield* beginOne
  }
  const generations = yield* store.generations(projection.id)
  yield* checkPartitions(projection, generations.find((one) => one.generation === generation))
  const worker = yield* keepUpToDate(projection, generation, options)
  const { read: readProgress } = yield* RebuildProgress.make({ projection, generation, events, store, worker })
  const interval = options.interval ?? "500 millis"
  const progress = Stream.paginate(false, (isLater: boolean) =>
    Effect.map(
      isLater ? Effect.andThen(Effect.sleep(interval), readProgress) : readProgress,
      (now) => [[now], Option.some(true)] as const
    ))
  return { active, generation, readProgress, progress }
})

/**
 * Returns the generation that a rebuild has begun and that is not active yet.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unfinished = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any
): Effect.fn.Return<Pick<Building, "active" | "generation">, RebuildRejected | EventStoreError> {
  const active = yield* store.activeGeneration(projection.id)
  const generations = yield* store.generations(projection.id)
  const building = generations.find((one) => one.status === "building" && one.generation !== active)
  if (building === undefined) {
    return yield* noGeneration(projection, "no rebuild is in progress; begin one with Rebuild.run or Rebuild.rebuild")
  }
  yield* checkPartitions(projection, building)
  return { active, generation: building.generation }
})

/**
 * Fails when the partitions of a generation have another key than the projection has in this program. Their number may be another.
 *
 * @since 0.1.0
 * @category guards
 */
export const checkPartitions = (
  projection: Projection.Any,
  generation: Generation | undefined
): Effect.Effect<void, RebuildRejected> =>
  generation === undefined || generation.partitions === 0
    || generation.partitionedBy === ConsumerKey.format(projection.partitionBy)
    ? Effect.void
    : Effect.fail(
      new RebuildRejected({
        projection: projection.id,
        reason: "PartitionMismatch",
        detail:
          `generation "${generation.generation}" has partitions by ${generation.partitionedBy}, but the projection by ${
            ConsumerKey.format(projection.partitionBy)
          } in this program, which could not keep the generation up to date; change \`partitionBy\`, or discard the generation`
      })
    )

/**
 * Fails because the projection has no such generation.
 *
 * @since 0.1.0
 * @category errors
 */
export const noGeneration = (projection: Projection.Any, detail: string): Effect.Effect<never, RebuildRejected> =>
  Effect.fail(new RebuildRejected({ projection: projection.id, reason: "NoGeneration", detail }))
