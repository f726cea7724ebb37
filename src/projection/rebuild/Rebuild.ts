/**
 * Rebuilds the documents of an asynchronous projection online: it builds a new generation from the first event while the active one serves
 * reads, and then cuts over.
 *
 * What a projection writes belongs to a generation: the first one, named like the projection's id `<name>@<version>`, or a rebuilt one,
 * `<name>@<version>~<number>`. One generation is active: readers read it, and `Projector.layer` keeps it up to date. `run` builds a generation
 * beside it. `cutOver` makes that generation active in one transaction: a reader sees the old documents or the new ones, and never older ones
 * than it has seen before. The old generation stays as it is for `rollback`, until `discard`.
 *
 * **When to use**
 *
 * - After you fixed a mistake in `evolve`, or when documents were damaged: deploy the program, then rebuild the same version. Until the cut-over
 *   readers see the old documents, to which the projectors of the fixed program continue to apply new events.
 * - Before a new version goes live: a raised `version` is a consumer of its own, `<name>@2`. It never touches the documents of `<name>@1`, which
 *   the old program continues to read. Its first generation is `<name>@2` itself: `run` builds it without any projector or reader of that
 *   version. When it has caught up there is nothing to cut over; deploy the readers.
 * - To change the number of partitions. After the cut-over only programs with the new number keep the projection up to date. Projectors with the
 *   old number are stuck (`StoreMisconfigured`) until you replace them; reads continue.
 *
 * **Details**
 *
 * A run begins with the first event. It discards a generation that an earlier run has begun and not finished, because other code may have built
 * it; the code itself cannot be compared. Give each run the name of its code as `build`, such as the commit: runs with one `build` share the
 * partitions of a generation, and a run resumes the generation of an interrupted one. `resume: true` continues a generation whatever its `build`.
 * While another run is building a generation, a run that cannot share it fails with `Running`.
 *
 * A cut-over fails with `Parked` when keys are parked in the new generation at events that the active one has applied.
 *
 * After the log was set back, by a restore or a failover, a rebuild replaces the documents of lost events: the active generation is `stuck` then,
 * and a new one that has caught up with the log takes its place. A generation that was being built on lost events is discarded, and begun again.
 *
 * **Gotchas**
 *
 * A projector continues the documents of its version with the code that it has, also those of a first generation that `run` has not finished. To
 * correct the code of a version whose documents exist, rebuild it or raise the version.
 *
 * A rebuild only folds documents. Subscriptions, projections with handlers, inline projections and the event bus take no part in it, so no
 * effect is repeated.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { WorkerOptions } from "../../consumer/worker/WorkerOptions.ts"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import { ProjectionStore } from "../ProjectionStore.ts"
import type { Generation, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as CutOverLoop from "./CutOver.ts"
import * as Discard from "./Discard.ts"
import * as DocumentComparison from "./DocumentComparison.ts"
import * as GenerationBuilder from "./GenerationBuilder.ts"
import { RebuildRejected } from "./RebuildError.ts"
import * as RebuildLog from "./RebuildLog.ts"
import type * as RebuildProgress from "./RebuildProgress.ts"

export type { CompareOptions, Difference } from "./DocumentComparison.ts"
export type { BuildOptions, RunOptions } from "./GenerationBuilder.ts"
export { type Compared, formatProgress, type Progress } from "./RebuildProgress.ts"

/**
 * @since 0.1.0
 * @category options
 */
export interface ParkedOptions {
  /**
   * Whether to go on even if keys are parked in the generation at events that the active one has applied; false by default. Readers then see
   * documents of these keys without these events, until the keys are free.
   */
  readonly evenIfParked?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface CutOverOptions extends WorkerOptions, GenerationBuilder.BuildOptions, ParkedOptions {
  /**
   * How long to wait until the generation has caught up with the active one; 30 seconds by default. With 0 the generation must have caught up
   * already.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * Whether to discard the generations that were active before, with all their documents, as after an erasure of personal data from which they
   * were derived; false by default. Then no rollback is possible.
   */
  readonly discardPrevious?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface RebuildOptions extends GenerationBuilder.RunOptions {
  /** Whether to compare the documents before the cut-over; false by default. Differences are reported and do not prevent the cut-over. */
  readonly compare?: boolean | DocumentComparison.CompareOptions | undefined
  /** Whether to cut over at the end; true by default. */
  readonly cutOver?: boolean | Pick<CutOverOptions, "discardPrevious" | "evenIfParked" | "timeout"> | undefined
}

/**
 * The generations after a cut-over or a rollback.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutOver {
  readonly active: string
  readonly previous: string
}

type Stores = EventStore | ProjectionStore

/**
 * Begins a generation, or resumes one of the same `build`, and returns a stream of its progress. The stream ends when the generation has caught
 * up.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  projection: Projection.Any<"async">,
  options: GenerationBuilder.RunOptions = {}
): Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.gen(function*() {
    const { generation, progress } = yield* GenerationBuilder.begin(projection, options)
    return untilCaughtUp(progress, yield* RebuildLog.caughtUp(projection, generation))
  }))

/** Ends with the progress of a generation that has caught up, after an effect. */
const untilCaughtUp = <E>(
  progress: Stream.Stream<RebuildProgress.Progress, E>,
  whenCaughtUp: Effect.Effect<void>
): Stream.Stream<RebuildProgress.Progress, E> =>
  progress.pipe(
    Stream.tap(({ phase }) => phase === "caught-up" ? whenCaughtUp : Effect.void),
    Stream.takeUntil(({ phase }) => phase === "caught-up")
  )

/**
 * Like `run`, and then keeps the generation up to date; the stream does not end.
 *
 * @since 0.1.0
 * @category running
 */
export const runContinuously = (
  projection: Projection.Any<"async">,
  options: GenerationBuilder.RunOptions = {}
): Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.map(GenerationBuilder.begin(projection, options), ({ progress }) => progress))

/**
 * Rebuilds a projection: builds a generation, catches up, compares on request, and cuts over. It keeps the generation up to date until the
 * cut-over. Run it again when it was interrupted: with the same `build` it resumes where it stopped, otherwise it begins again.
 *
 * **Example** (with a progress bar in a terminal)
 *
 * ```ts
 * Rebuild.rebuild(Balances).pipe(
 *   Stream.runForEach((progress) =>
 *     Effect.sync(() => process.stderr.write(`\r${Rebuild.formatProgress(progress)}\x1b[K`))
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const rebuild = (
  projection: Projection.Any<"async">,
  options: RebuildOptions = {}
): Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.gen(function*() {
    const { driver: log } = (yield* EventStore)[internals]
    const { driver: store } = (yield* ProjectionStore)[internals]
    const { active, generation, progress, readProgress } = yield* GenerationBuilder.begin(projection, options)
    const { compare = false, cutOver: cutsOver = true } = options
    // The first generation of a projection is the active one.
    const isFirst = generation === active
    const built = untilCaughtUp(
      progress,
      // The line of a cut-over follows otherwise.
      isFirst || cutsOver === false ? yield* RebuildLog.caughtUp(projection, generation) : Effect.void
    )
    if (isFirst) return built
    const compared = compare === false ? Stream.empty : Stream.mapEffect(
      DocumentComparison.sums(
        DocumentComparison.pages(projection.id, store, [active, generation], compare === true ? {} : compare)
      ),
      (compared) => Effect.map(readProgress, (now) => ({ ...now, phase: "comparing" as const, compared }))
    )
    const cutOptions = typeof cutsOver === "boolean" ? {} : cutsOver
    const cut = cutsOver === false ? Stream.empty : Stream.fromEffect(
      Effect.andThen(
        Effect.andThen(
          CutOverLoop.whenCaughtUp({ log, store }, projection, generation, limitsOf(cutOptions)),
          Effect.andThen(
            RebuildLog.cutOver(projection, generation, active),
            cutOptions.discardPrevious === true ? discardFormer(store, projection) : Effect.void
          )
        ),
        Effect.map(readProgress, (now) => ({ ...now, phase: "cut-over" as const }))
      )
    )
    return built.pipe(Stream.concat(compared), Stream.concat(cut))
  }))

/**
 * Makes the rebuilt generation the active one, in one transaction; the old generation stays. It first catches up: when events arrive without a
 * pause, it may hold the active generation for half a second at a time. After the cut-over no worker can write under an older lease on either
 * generation.
 *
 * @since 0.1.0
 * @category running
 */
export const cutOver = Effect.fn("Rebuild.cutOver")(
  function*(
    projection: Projection.Any<"async">,
    options: CutOverOptions = {}
  ): Effect.fn.Return<CutOver, RebuildRejected | EventStoreError, Stores | Scope.Scope> {
    const { driver: log } = (yield* EventStore)[internals]
    const { driver: store } = (yield* ProjectionStore)[internals]
    const { active, generation } = yield* GenerationBuilder.unfinished(store, projection, options)
    const limits = limitsOf(options)
    if (Duration.toMillis(limits.timeout) > 0) yield* GenerationBuilder.keepUpToDate(projection, generation, options)
    yield* CutOverLoop.whenCaughtUp({ log, store }, projection, generation, limits)
    yield* RebuildLog.cutOver(projection, generation, active)
    if (options.discardPrevious === true) yield* discardFormer(store, projection)
    return { active: generation, previous: active }
  },
  Effect.scoped
)

/**
 * Makes the previous generation the active one again. Its documents are as they were at the cut-over: readers see older documents until the
 * projectors have caught up. A second `rollback` undoes the first. Fails with `Parked` when keys are parked in the previous generation at events that
 * the active one has applied.
 *
 * @since 0.1.0
 * @category running
 */
export const rollback = Effect.fn("Rebuild.rollback")(function*(
  projection: Projection.Any<"async">,
  options: {
    /** A generation that was active before; by default the previous one. */
    readonly to?: string | undefined
  } & ParkedOptions = {}
): Effect.fn.Return<CutOver, RebuildRejected | EventStoreError, ProjectionStore> {
  const { driver: store } = (yield* ProjectionStore)[internals]
  const generations = yield* store.generations(projection.id)
  const wasActive = ({ status }: Generation) => status === "previous" || status === "retired"
  const to = generations.find((generation) =>
    options.to === undefined
      ? generation.status === "previous"
      : generation.generation === options.to && wasActive(generation)
  )
  if (to === undefined) {
    return yield* GenerationBuilder.noGeneration(
      projection,
      options.to === undefined
        ? "there is no previous generation to roll back to"
        : `generation "${options.to}" was never active, or was discarded`
    )
  }
  yield* GenerationBuilder.checkPartitions(projection, to)
  const previous = yield* store.activeGeneration(projection.id)
  const { evenIfParked } = options
  yield* CutOverLoop.once(store, projection, { to: to.generation, evenIfParked, ifBehind: "cutOver" })
  yield* RebuildLog.rolledBack(projection, to.generation, previous)
  return { active: to.generation, previous }
})

/**
 * Removes a generation that is not active, with all its documents; also one that is being built. Repeat it when it was interrupted.
 *
 * @since 0.1.0
 * @category running
 */
export const discard = Effect.fn("Rebuild.discard")(function*(
  projection: Projection.Any<"async">,
  generation: string
): Effect.fn.Return<void, RebuildRejected | EventStoreError, ProjectionStore> {
  const { driver } = (yield* ProjectionStore)[internals]
  const outcome = yield* Discard.discard(driver, projection.id, generation)
  if (outcome === "unknown") {
    return yield* GenerationBuilder.noGeneration(projection, `there is no generation "${generation}"`)
  }
  if (outcome === "active") {
    const detail = `generation "${generation}" is active; cut over or roll back before you discard it`
    return yield* new RebuildRejected({ projection: projection.id, reason: "Active", detail })
  }
})

/**
 * Returns the generations of a projection, oldest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  projection: Projection.Any<"async">
): Effect.Effect<ReadonlyArray<Generation>, EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, ({ [internals]: { driver } }) => driver.generations(projection.id))

/**
 * Returns a stream of the documents that differ between the active generation and the rebuilt one. This function keeps the rebuilt generation up
 * to date, and a projector the active one. A document counts as different only when both generations have applied the same events to it; one
 * that changes between all attempts is reported as unsettled.
 *
 * **Gotchas**
 *
 * A stream that is parked in one of the generations causes differences too.
 *
 * @since 0.1.0
 * @category running
 */
export const compare = (
  projection: Projection.Any<"async">,
  options: DocumentComparison.CompareOptions & WorkerOptions & GenerationBuilder.BuildOptions = {}
): Stream.Stream<DocumentComparison.Difference, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.gen(function*() {
    const { driver: store } = (yield* ProjectionStore)[internals]
    const { active, generation } = yield* GenerationBuilder.unfinished(store, projection, options)
    yield* GenerationBuilder.keepUpToDate(projection, generation, options)
    return Stream.flatMap(
      DocumentComparison.pages(projection.id, store, [active, generation], options),
      ({ differences }) => Stream.fromIterable(differences)
    )
  }))

/** Discards all generations that were active before, also those whose removal was interrupted. */
const discardFormer = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any
): Effect.fn.Return<void, EventStoreError> {
  for (const { generation, status } of yield* store.generations(projection.id)) {
    if (status === "active" || status === "building") continue
    yield* Discard.discard(store, projection.id, generation)
  }
})

const limitsOf = (
  { evenIfParked = false, timeout = "30 seconds" }: Pick<CutOverOptions, "evenIfParked" | "timeout">
) => ({
  evenIfParked,
  timeout: Duration.fromInputUnsafe(timeout)
})
