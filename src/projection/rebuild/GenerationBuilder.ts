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
import * as FormerPartitions from "../../consumer/FormerPartitions.ts"
import * as ConsumerWorker from "../../consumer/worker/ConsumerWorker.ts"
import type { WorkerOptions } from "../../consumer/worker/WorkerOptions.ts"
import { type EventStoreError, invalidRequest } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import * as nameRules from "../../core/nameRules.ts"
import * as Position from "../../core/Position.ts"
import type { EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import { Limits } from "../../eventStore/Limits.ts"
import * as LogIdentity from "../../eventStore/LogIdentity.ts"
import * as DocumentProcessor from "../DocumentProcessor.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import { ProjectionStore } from "../ProjectionStore.ts"
import type { BegunGeneration, Generation, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as Discard from "./Discard.ts"
import { RebuildRejected } from "./RebuildError.ts"
import * as RebuildProgress from "./RebuildProgress.ts"

/**
 * @since 0.1.0
 * @category options
 */
export interface BuildOptions {
  /**
   * A name of the code that builds the documents, such as its commit. Runs with one `build` share a generation, and resume it after an
   * interruption. The code itself cannot be compared: give another name when `evolve`, `key`, an upcaster or the Schema of the document changes.
   */
  readonly build?: string | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions extends WorkerOptions, BuildOptions {
  /**
   * Whether to continue a generation that another run has begun and not finished, whatever its `build`; false by default. Give it only to the code
   * that has built the generation so far: other code keeps the documents that the former code has made, also wrong ones.
   */
  readonly resume?: boolean | undefined
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
  options: WorkerOptions
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
  readonly readProgress: Effect.Effect<RebuildProgress.Progress, RebuildRejected | EventStoreError>
  /** The progress at each interval, without end. */
  readonly progress: Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError>
}

/**
 * Begins a generation and keeps it up to date for as long as the scope lives. It resumes the one that another run has begun only with `resume`, or
 * with the same `build`. Otherwise it discards that one, or fails with `Running` when a worker has leases on it.
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
  yield* validateBuild(options)
  const active = yield* store.activeGeneration(projection.id)
  let generation = yield* beginOrResume({ events, store }, projection, options)
  const checkpoints = (yield* store.progress(generation)).flatMap(FormerPartitions.checkpointsOf)
  if (generation !== active && (yield* LogIdentity.hasDiverged(events, checkpoints))) {
    yield* Effect.logWarning(`${generation} was built on events that the log does not have any more; it is begun again`)
    yield* Discard.discard(store, projection.id, generation)
    generation = yield* beginOrResume({ events, store }, projection, options)
  }
  const generations = yield* store.generations(projection.id)
  yield* checkPartitions(projection, generations.find((one) => one.generation === generation))
  const worker = yield* keepUpToDate(projection, generation, options)
  const { read } = yield* RebuildProgress.make({ projection, generation, events, store, worker })
  // Without a checkpoint the worker may wait for ever.
  const readProgress = Effect.tap(
    read,
    ({ position }) => position === Position.start ? requireNotDiscarded(store, projection, generation) : Effect.void
  )
  const interval = options.interval ?? "500 millis"
  const progress = Stream.paginate(false, (isLater: boolean) =>
    Effect.map(
      isLater ? Effect.andThen(Effect.sleep(interval), readProgress) : readProgress,
      (now) => [[now], Option.some(true)] as const
    ))
  return { active, generation, readProgress, progress }
})

interface Drivers {
  readonly events: EventStoreDriver
  readonly store: ProjectionStoreDriver
}

/** The maximum number of generations of other runs that a run discards before it fails. */
const maxDiscards = 5

const beginOrResume = Effect.fnUntraced(function*(
  { events, store }: Drivers,
  projection: Projection.Any,
  { build, resume = false }: RunOptions
): Effect.fn.Return<string, RebuildRejected | EventStoreError> {
  const begin = (isBeside: boolean) =>
    Effect.flatMap(events.head, (head) => store.beginGeneration({ consumer: projection.id, head, build, isBeside }))
  const resumes = (begun: BegunGeneration) => begun.isNew || resume || (build !== undefined && build === begun.build)
  for (let discards = 0; true; discards++) {
    let begun = yield* begin(false)
    if (resumes(begun)) return begun.generation
    // Readers may read the first generation already, so it stays until the cut-over.
    if (begun.generation === projection.id) begun = yield* begin(true)
    if (resumes(begun)) return begun.generation
    const outcome = discards < maxDiscards
      ? yield* Discard.discard(store, projection.id, begun.generation, ["previous"])
      : "leased"
    if (outcome === "leased") return yield* running(projection, begun)
    if (outcome === "discarded") {
      yield* Effect.logWarning(
        `${begun.generation} was not finished, and this run may have other code: it was discarded, and the rebuild begins again. `
          + "Give all runs of the same code one `build` to share and resume a generation."
      )
    }
  }
})

const running = (projection: Projection.Any, { build, generation }: BegunGeneration): RebuildRejected =>
  new RebuildRejected({
    projection: projection.id,
    reason: "Running",
    detail:
      `another run is building generation "${generation}", which was begun ${
        named(build)
      }; end that run, whose leases end `
      + `some seconds after a crash, and begin again. If this program has the same code, give \`resume: true\`, or give all runs one \`build\`, `
      + "to share the generation"
  })

const named = (build: string | undefined): string =>
  build === undefined ? "without a `build`" : `with the build "${build}"`

/** The maximum length of the name of a build, in UTF-16 code units. */
const maxBuildLength = 200

const validateBuild = ({ build }: BuildOptions): Effect.Effect<void, EventStoreError> => {
  const wrong = build === undefined ? undefined : nameRules.validateName("`build`", build, maxBuildLength)
  return wrong === undefined ? Effect.void : Effect.fail(invalidRequest(wrong))
}

const requireNotDiscarded = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  generation: string
): Effect.fn.Return<void, RebuildRejected | EventStoreError> {
  const generations = yield* store.generations(projection.id)
  if (generations.some((one) => one.generation === generation && one.status === "discarded")) {
    return yield* noGeneration(
      projection,
      `generation "${generation}" was discarded while this run was building it, by Rebuild.discard or by another run; begin again`
    )
  }
})

/**
 * Returns the generation that a rebuild has begun with the same `build` and that is not active yet.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unfinished = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  { build }: BuildOptions
): Effect.fn.Return<Pick<Building, "active" | "generation">, RebuildRejected | EventStoreError> {
  const active = yield* store.activeGeneration(projection.id)
  const generations = yield* store.generations(projection.id)
  const building = generations.find((one) => one.status === "building" && one.generation !== active)
  if (building === undefined) {
    return yield* noGeneration(projection, "no rebuild is in progress; begin one with Rebuild.run or Rebuild.rebuild")
  }
  yield* checkPartitions(projection, building)
  if (building.build !== build) {
    const detail =
      `generation "${building.generation}" was begun ${named(building.build)}, but this call is ${named(build)}; `
      + "give the `build` of the generation, if this program has the same code, or begin a rebuild"
    return yield* new RebuildRejected({ projection: projection.id, reason: "OtherBuild", detail })
  }
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
