/**
 * Makes the documents of an asynchronous projection again, from the first event on, while the old ones are read and kept up to date; and puts
 * the new ones in their place.
 *
 * What a projection writes belongs to a target: its id, `<name>@<version>`, or a build of it, `<name>@<version>~<number>`. One target is
 * active: it is what readers find, and what `Projector.layer` keeps up to date. `run` makes a build beside it. `swap` makes the build the
 * active one, in one transaction: a reader finds the old documents or the new ones, never none, and never older ones than it has found before.
 * The old ones stay as they are, for `rollback`, until `discard`.
 *
 * **When to use**
 *
 * - After a mistake in `evolve` was fixed, or when documents were damaged: deploy the program, then rebuild the same version. Until the swap
 *   readers find the old documents, to which the projectors of the program, fixed, go on to apply new events.
 * - Before a new version goes live: a raised `version` is a consumer of its own, `<name>@2`, and never touches the documents of `<name>@1`,
 *   which the old program goes on to read. Its first build is `<name>@2` itself: `run` makes it without any projector or reader of that
 *   version, and when it has caught up there is nothing to swap; deploy the readers.
 * - To change the number of partitions. After the swap only programs with the new number keep the projection up to date; those with the old
 *   one are stuck (`StoreMisconfigured`) until they are replaced, and their reads go on.
 *
 * **Details**
 *
 * A build is made by this process, and by every other that runs it too: they share out its partitions. It is kept in the database, with its
 * checkpoints, so that whoever runs it after an interruption goes on where it stopped.
 *
 * A rebuild folds documents and does nothing else: subscriptions, projections with handlers, inline projections and the event bus take no
 * part in it, so no effect is done again.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ConsumerWorker from "../../consumer/ConsumerWorker.ts"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import { Limits } from "../../eventStore/Limits.ts"
import * as DocumentProcessor from "../DocumentProcessor.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import { ProjectionStore } from "../ProjectionStore.ts"
import type { CutOverRequest, Generation, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as DocumentComparison from "./DocumentComparison.ts"
import { RebuildRejected } from "./RebuildError.ts"
import * as RebuildProgress from "./RebuildProgress.ts"

export type { CompareOptions, Difference } from "./DocumentComparison.ts"
export { bar, type Compared, type Progress } from "./RebuildProgress.ts"

/**
 * `batchSize` is 2,000 by default.
 *
 * - `interval`: the time between two looks at how far the build has come; half a second by default
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions extends ConsumerWorker.WorkerOptions {
  readonly interval?: Duration.Input | undefined
}

/**
 * - `within`: how long to wait for the build to come as far as the active one; 30 seconds by default. With 0 it must be so far already
 *
 * @since 0.1.0
 * @category options
 */
export interface CutOverOptions extends ConsumerWorker.WorkerOptions {
  readonly timeout?: Duration.Input | undefined
}

/**
 * - `compare`: whether to compare the documents before the swap; false by default. What differs is told, and does not keep it from the swap
 * - `swap`: whether to put the build in place; true by default
 *
 * @since 0.1.0
 * @category options
 */
export interface RebuildOptions extends RunOptions {
  readonly compare?: boolean | DocumentComparison.CompareOptions | undefined
  readonly cutOver?: boolean | { readonly timeout?: Duration.Input | undefined } | undefined
}

/**
 * Which target is active now, and which was before.
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
 * Begins a build, or goes on with the one that was begun, and tells how far it has come. Ends when it has caught up.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  projection: Projection.Any<"async">,
  options: RunOptions = {}
): Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError, Stores> =>
  Stream.takeUntil(follow(projection, options), ({ phase }) => phase === "caught-up")

/**
 * Like `run`, and then keeps the build up to date without end.
 *
 * @since 0.1.0
 * @category running
 */
export const follow = (
  projection: Projection.Any<"async">,
  options: RunOptions = {}
): Stream.Stream<RebuildProgress.Progress, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.map(begin(projection, options), ({ progress }) => progress))

/**
 * The whole way in one: builds, catches up, compares if asked to, and swaps. The build is kept up to date until the swap. When it is
 * interrupted before, run it again: it goes on where it stopped.
 *
 * **Example** (with a bar in a terminal)
 *
 * ```ts
 * Rebuild.rebuild(Balances).pipe(
 *   Stream.runForEach((progress) => Effect.sync(() => process.stderr.write(`\r${Rebuild.bar(progress)}\x1b[K`)))
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
    const { active, generation, look, progress, store } = yield* begin(projection, options)
    const built = Stream.takeUntil(progress, ({ phase }) => phase === "caught-up")
    // A projection's first build is what is read already.
    if (generation === active) return built
    const { compare = false, cutOver: cutsOver = true } = options
    const compared = compare === false
      ? Stream.empty
      : Stream.mapAccum(
        DocumentComparison.pages(projection.id, store, [active, generation], compare === true ? {} : compare),
        () => ({ documents: 0, different: 0, unsettled: 0 }),
        (sum, { differences, documents }) => {
          const unsettled = differences.filter(({ _tag }) => _tag === "Unsettled").length
          const next = {
            documents: sum.documents + documents,
            different: sum.different + differences.length - unsettled,
            unsettled: sum.unsettled + unsettled
          }
          return [next, [{ ...next, differences }]]
        }
      ).pipe(
        Stream.mapEffect((compared) => Effect.map(look, (now) => ({ ...now, phase: "comparing" as const, compared })))
      )
    const switched = cutsOver === false
      ? Stream.empty
      : Stream.fromEffect(Effect.gen(function*() {
        yield* switchTo(
          store,
          projection,
          generation,
          (cutsOver === true ? undefined : cutsOver.timeout) ?? defaultTimeout
        )
        return { ...yield* look, phase: "swapped" as const }
      }))
    return built.pipe(Stream.concat(compared), Stream.concat(switched))
  }))

/**
 * Puts the build in place of the active documents, in one transaction; the old ones stay. What the build lacks is caught up before; where
 * events come without a pause, the active one may be held where it is for a moment. From the swap on, nobody can write under a lease on
 * either target that was taken before.
 *
 * @since 0.1.0
 * @category swapping
 */
export const cutOver = Effect.fn("Rebuild.cutOver")(
  function*(
    projection: Projection.Any<"async">,
    options: CutOverOptions = {}
  ): Effect.fn.Return<CutOver, RebuildRejected | EventStoreError, Stores | Scope.Scope> {
    const { driver: store } = (yield* ProjectionStore)[internals]
    const { active, generation } = yield* unfinished(store, projection)
    const timeout = options.timeout ?? defaultTimeout
    if (Duration.toMillis(timeout) > 0) yield* processor(projection, generation, options)
    yield* switchTo(store, projection, generation, timeout)
    return { active: generation, previous: active }
  },
  Effect.scoped
)

/**
 * Makes the documents of before the last swap the active ones again. They are as they were then: readers find older documents until the
 * projectors have caught up. A second `rollback` undoes the first. `to` names another target that was active before.
 *
 * @since 0.1.0
 * @category swapping
 */
export const rollback = Effect.fn("Rebuild.rollback")(function*(
  projection: Projection.Any<"async">,
  options: { readonly to?: string | undefined } = {}
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
    return yield* noGeneration(projection, `${options.to ?? "nothing"} was active before, or it was discarded`)
  }
  yield* checkPartitions(projection, to)
  const previous = yield* store.activeGeneration(projection.id)
  yield* switchOnce(store, projection, to.generation, "cutOver")
  return { active: to.generation, previous }
})

/**
 * Removes a target that is not active, with all its documents; also one that is being built. What was cut off can be repeated.
 *
 * @since 0.1.0
 * @category discarding
 */
export const discard = Effect.fn("Rebuild.discard")(function*(
  projection: Projection.Any<"async">,
  generation: string
): Effect.fn.Return<void, RebuildRejected | EventStoreError, ProjectionStore> {
  const { driver } = (yield* ProjectionStore)[internals]
  const outcome = yield* driver.discard(projection.id, generation)
  if (outcome === "unknown") return yield* noGeneration(projection, `there is no target ${generation}`)
  if (outcome === "active") {
    const detail = `${generation} is active; swap or roll back before it is discarded`
    return yield* new RebuildRejected({ projection: projection.id, reason: "Active", detail })
  }
})

/**
 * The targets of a projection, in the order in which they came to be.
 *
 * @since 0.1.0
 * @category reading
 */
export const list = (
  projection: Projection.Any<"async">
): Effect.Effect<ReadonlyArray<Generation>, EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, ({ [internals]: { driver } }) => driver.generations(projection.id))

/**
 * What differs between the active documents and those of the build, while both are kept up to date: the build by this, the active ones by
 * whichever process does. No difference comes of one side being ahead of the other: a document is compared when both sides have applied the
 * same events to it. One that changes whenever it is looked at is told to be unsettled.
 *
 * **Gotchas**
 *
 * Streams that are parked on one side make differences too.
 *
 * @since 0.1.0
 * @category reading
 */
export const compare = (
  projection: Projection.Any<"async">,
  options: DocumentComparison.CompareOptions & ConsumerWorker.WorkerOptions = {}
): Stream.Stream<DocumentComparison.Difference, RebuildRejected | EventStoreError, Stores> =>
  Stream.unwrap(Effect.gen(function*() {
    const { driver: store } = (yield* ProjectionStore)[internals]
    const { active, generation } = yield* unfinished(store, projection)
    yield* processor(projection, generation, options)
    return Stream.flatMap(
      DocumentComparison.pages(projection.id, store, [active, generation], options),
      ({ differences }) => Stream.fromIterable(differences)
    )
  }))

const defaultTimeout = Duration.seconds(30)

/** More than a projector's: it is not waited for, and fewer statements are faster. */
const defaultBatchSize = 2000

/** Works on a build for as long as the scope lives. */
const processor = Effect.fnUntraced(function*(
  projection: Projection.Any<"async">,
  generation: string,
  options: ConsumerWorker.WorkerOptions
): Effect.fn.Return<ConsumerWorker.ConsumerWorker, never, Stores | Scope.Scope> {
  const { driver } = (yield* ProjectionStore)[internals]
  const { pageSize } = yield* Limits
  const batchSize = options.batchSize ?? Math.min(defaultBatchSize, pageSize)
  const group = yield* ConsumerWorker.make(driver, DocumentProcessor.make(projection, driver), {
    ...options,
    batchSize,
    generation
  })
  yield* Effect.forkScoped(group.run)
  return group
})

/** Begins a build, or goes on with one, and works on it for as long as the scope lives. */
const begin = Effect.fnUntraced(function*(projection: Projection.Any<"async">, options: RunOptions) {
  const { driver: events } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const generation = yield* store.beginGeneration(projection.id, yield* events.head)
  const active = yield* store.activeGeneration(projection.id)
  const generations = yield* store.generations(projection.id)
  yield* checkPartitions(projection, generations.find((one) => one.generation === generation))
  const group = yield* processor(projection, generation, options)
  const { look } = yield* RebuildProgress.make({ projection, generation, events, store, group })
  const interval = options.interval ?? "500 millis"
  const progress = Stream.paginate(false, (isLater: boolean) =>
    Effect.map(
      isLater ? Effect.andThen(Effect.sleep(interval), look) : look,
      (now) => [[now], Option.some(true)] as const
    ))
  return { active, generation, store, look, progress }
})

/** The build that can be compared, and swapped in. */
const unfinished = Effect.fnUntraced(function*(store: ProjectionStoreDriver, projection: Projection.Any) {
  const active = yield* store.activeGeneration(projection.id)
  const generations = yield* store.generations(projection.id)
  const building = generations.find((one) => one.status === "building" && one.generation !== active)
  if (building === undefined) return yield* noGeneration(projection, "no build was begun")
  yield* checkPartitions(projection, building)
  return { active, generation: building.generation }
})

const checkPartitions = (
  projection: Projection.Any,
  generation: Generation | undefined
): Effect.Effect<void, RebuildRejected> =>
  generation === undefined || generation.partitions === 0 || generation.partitions === projection.partitions
    ? Effect.void
    : Effect.fail(
      new RebuildRejected({
        projection: projection.id,
        reason: "OtherPartitions",
        detail:
          `${generation.generation} has ${generation.partitions} partitions, not ${projection.partitions}, and this program could not keep `
          + "it up to date; change the definition, or discard the build"
      })
    )

/** For how long the active generation is kept from moving on, so that a build that is close can reach it. */
const hold = Duration.millis(500)

/** How many positions a build may lack for that; so many it makes up for in the time. */
const close = 5_000n

/** Switches as soon as the build has come as far as the active generation. */
const switchTo = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  to: string,
  timeout: Duration.Input
): Effect.fn.Return<void, RebuildRejected | EventStoreError> {
  const deadline = (yield* Clock.currentTimeMillis) + Duration.toMillis(timeout)
  let heldUntil = 0
  let isClose = false
  while (true) {
    const now = yield* Clock.currentTimeMillis
    const mayHold: boolean = isClose && now >= heldUntil && now < deadline
    if (mayHold) heldUntil = now + Duration.toMillis(hold)
    const missing: bigint = yield* switchOnce(store, projection, to, mayHold ? { hold } : "reject")
    if (missing === 0n) return
    if ((yield* Clock.currentTimeMillis) >= deadline) {
      const detail = `${to} is ${missing} positions behind the active documents; run it until it has caught up`
      return yield* new RebuildRejected({ projection: projection.id, reason: "Behind", detail })
    }
    isClose = missing <= close
    yield* Effect.sleep("10 millis")
  }
})

/** Answers how many positions are missing for it. A lost answer does no harm: to switch to what is active changes nothing. */
const switchOnce = (
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  to: string,
  ifBehind: CutOverRequest["ifBehind"]
): Effect.Effect<bigint, RebuildRejected | EventStoreError> =>
  store.cutOver({ consumer: projection.id, to, ifBehind }).pipe(
    Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced("100 millis"), times: 10 }),
    Effect.flatMap((switched) => {
      switch (switched._tag) {
        case "CutOver":
          return Effect.succeed(0n)
        case "Behind":
          return Effect.succeed(switched.missing)
        case "Unknown":
          return noGeneration(projection, `${to} has not run yet, or was discarded`)
      }
    })
  )

const noGeneration = (projection: Projection.Any, detail: string): Effect.Effect<never, RebuildRejected> =>
  Effect.fail(new RebuildRejected({ projection: projection.id, reason: "NoBuild", detail }))
