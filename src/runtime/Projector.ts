/**
 * Brings asynchronous projections up to date: reads the log in batches, folds each into documents in memory, and writes
 * documents and checkpoint in one transaction.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { EventStoreError } from "../domain/errors.ts"
import * as Position from "../domain/Position.ts"
import type * as Projection from "../domain/Projection.ts"
import * as EventStore from "../store/EventStore.ts"
import { Limits } from "../store/Limits.ts"
import { withinLog } from "../store/LogReading.ts"
import { NewId } from "../store/NewId.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { Lease } from "../store/ProjectionStoreDriver.ts"
import * as Telemetry from "../store/Telemetry.ts"
import * as ProjectionFold from "./ProjectionFold.ts"
import * as TraceContext from "./TraceContext.ts"

export { layerInline } from "./InlineProjection.ts"

/**
 * - `batchSize`: events per transaction at most; 500 by default
 * - `lease`: for how long a worker owns a projection without giving a sign of life; 10 seconds by default. Another process takes over
 *   after it
 * - `retryDelay`: the pause before an event that failed is tried again, or the database; from 200 milliseconds, doubled up to
 *   30 seconds, by default
 *
 * @since 0.1.0
 * @category options
 */
export interface ProjectorOptions {
  readonly batchSize?: number | undefined
  readonly lease?: Duration.Input | undefined
  readonly retryDelay?: { readonly first: Duration.Input; readonly most: Duration.Input } | undefined
}

/**
 * - `starting`: not yet seen the store
 * - `standby`: another worker owns the projection
 * - `catching-up`: events are waiting
 * - `live`: everything up to the head is applied
 * - `retrying`: the store cannot be reached; it is tried again
 * - `stuck`: an event or a document cannot be processed, or the store refuses; nothing more is applied until somebody mends it. It is tried
 *   again
 *
 * @since 0.1.0
 * @category models
 */
export type ProjectionState = "starting" | "standby" | "catching-up" | "live" | "retrying" | "stuck"

/**
 * What a worker says of a projection.
 *
 * - `position`: its checkpoint, `head` the safe head of the log and `lag` the positions between, when it last looked
 * - `heartbeat`: when it last did anything, in milliseconds of the epoch
 * - `detail`: why it is stuck or retrying
 *
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStatus {
  readonly projection: string
  readonly state: ProjectionState
  readonly position: Position.Position
  readonly head: Position.Position
  readonly lag: bigint
  readonly heartbeat: number
  readonly detail: string | undefined
}

/**
 * The projections that this process works on.
 *
 * @since 0.1.0
 * @category services
 */
export class Projector extends Context.Service<Projector, {
  readonly status: Effect.Effect<ReadonlyArray<ProjectionStatus>>
}>()("evsrc/runtime/Projector") {}

/**
 * Runs projections in the background for as long as the layer lives. Several processes may run the same projection: one works, the
 * others stand by.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  projections: ReadonlyArray<Projection.Any<"async">>,
  options: ProjectorOptions = {}
): Layer.Layer<Projector, never, EventStore.EventStore | ProjectionStore.ProjectionStore> =>
  Layer.effect(
    Projector,
    Effect.gen(function*() {
      const workers = yield* Effect.forEach(projections, (projection) => makeWorker(projection, options))
      for (const worker of workers) yield* Effect.forkScoped(worker.run)
      return Projector.of({ status: Effect.sync(() => workers.map((worker) => worker.status())) })
    })
  )

/** Why a worker lets go of its projection: another owns it now. */
const lost = "lost"

const makeWorker = Effect.fnUntraced(function*(projection: Projection.Any, options: ProjectorOptions) {
  const events = (yield* EventStore.EventStore).driver
  const documents = (yield* ProjectionStore.ProjectionStore).driver
  const clock = yield* Clock.Clock
  const owner = (yield* NewId)()
  const limits = yield* Limits
  const batchSize = options.batchSize ?? Math.min(500, limits.pageSize)
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > limits.pageSize) {
    return yield* Effect.die(
      new Error(`Projector.layer: batchSize must be a whole number from 1 to ${limits.pageSize}`)
    )
  }
  const lease = Duration.fromInputUnsafe(options.lease ?? "10 seconds")
  if (!Duration.isFinite(lease) || Duration.toMillis(lease) < 100) {
    return yield* Effect.die(new Error("Projector.layer: lease must be at least 100 milliseconds, and not infinite"))
  }
  const renewal = Duration.times(lease, 1 / 3)
  const firstDelay = Duration.fromInputUnsafe(options.retryDelay?.first ?? "200 millis")
  const mostDelay = Duration.fromInputUnsafe(options.retryDelay?.most ?? "30 seconds")
  const attributes = { projection: projection.id }
  const lagMetric = Metric.withAttributes(Telemetry.projectionLag, attributes)
  const stuckMetric = Metric.withAttributes(Telemetry.projectionStuck, attributes)
  const eventsMetric = Metric.withAttributes(Telemetry.projectedEvents, attributes)

  let status: ProjectionStatus = {
    projection: projection.id,
    state: "starting",
    position: Position.start,
    head: Position.start,
    lag: 0n,
    heartbeat: clock.currentTimeMillisUnsafe(),
    detail: undefined
  }
  const report = (change: Partial<ProjectionStatus>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const next = { ...status, detail: undefined, ...change, heartbeat: clock.currentTimeMillisUnsafe() }
      const lag = next.head > next.position ? next.head - next.position : 0n
      status = { ...next, lag }
      return Effect.andThen(
        Metric.update(lagMetric, lag),
        Metric.update(stuckMetric, status.state === "stuck" ? 1 : 0)
      )
    })

  /** Applies one batch. Answers the new checkpoint, or that the projection is no longer ours. */
  const step = Effect.fnUntraced(function*({ epoch, position }: Lease) {
    const page = yield* events.readAll({ after: position, limit: batchSize, types: projection.handles })
    yield* withinLog(events, position, page.events, page.head)
    yield* TraceContext.linkEvents(page.events)
    const { applied, changes, failure } = yield* ProjectionFold.fold(
      projection,
      page.events,
      (keys) => documents.load(projection.id, keys)
    )
    const full = page.events.length >= batchSize
    const to = failure !== undefined
      ? page.events[applied - 1]?.position ?? position
      : full
      ? page.events[applied - 1]!.position
      : Position.max(position, page.head)
    const owned = yield* documents.advance({ projection: projection.id, epoch, from: position, to, lease, changes })
    if (!owned) return lost
    if (applied > 0) yield* Metric.update(eventsMetric, applied)
    yield* report({ state: full ? "catching-up" : "live", position: to, head: page.head })
    if (failure !== undefined) {
      yield* report({ state: "stuck", detail: failure.error.message })
      yield* Effect.logError("A projection is stuck", failure.error)
    }
    return { position: to, full, failed: failure !== undefined, applied }
  }, Effect.withSpan("Projector.step", { attributes: { "evsrc.projection": projection.id } }))

  const renew = ({ epoch, position }: Lease) =>
    documents.advance({ projection: projection.id, epoch, from: position, to: position, lease, changes: [] })

  /** Waits, renewing the lease, until the log has grown or the time is up. Answers whether the projection is still ours. */
  const wait = Effect.fnUntraced(function*(held: Lease, until: Effect.Effect<void, EventStoreError>) {
    while (true) {
      const ended = yield* Effect.timeoutOption(until, renewal)
      if (Option.isSome(ended)) return true
      if (!(yield* renew(held))) return false
      yield* report({ state: status.state, detail: status.detail })
    }
  })

  /** A sleep that ends at the same moment however often it is begun. */
  const sleepUntil = (delay: Duration.Duration) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const end = now + Duration.toMillis(delay)
      return Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, end - now)))
    })

  /** Works for as long as the lease is ours. */
  const work = Effect.fnUntraced(function*(first: Lease) {
    let held = first
    let delay = firstDelay
    while (true) {
      const done = yield* step(held)
      if (done === lost) return
      held = { epoch: held.epoch, position: done.position }
      if (done.full && !done.failed) continue
      if (!done.failed || done.applied > 0) delay = firstDelay
      const ours = yield* wait(held, done.failed ? yield* sleepUntil(delay) : events.changed(held.position))
      if (done.failed) delay = Duration.min(Duration.times(delay, 2), mostDelay)
      if (!ours) return
    }
  })

  const once = Effect.gen(function*() {
    const acquired = yield* documents.acquire(projection.id, owner, lease)
    if (Option.isNone(acquired)) {
      yield* report({ state: "standby", position: yield* documents.checkpoint(projection.id) })
      yield* Effect.sleep(renewal)
      return
    }
    const { epoch } = acquired.value
    yield* report({ state: "catching-up", position: acquired.value.position })
    // The lease ends by itself when it cannot be given back.
    yield* Effect.ensuring(work(acquired.value), Effect.ignore(documents.release(projection.id, epoch)))
  })

  const run = Effect.gen(function*() {
    let delay = firstDelay
    while (true) {
      // A defect must not end the worker either: nobody would notice but for the lag.
      const exit = yield* Effect.exit(once)
      if (Exit.isSuccess(exit)) {
        delay = firstDelay
        continue
      }
      if (Exit.hasInterrupts(exit)) return yield* Effect.interrupt
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      // What trying again does not cure needs somebody to look.
      const state = error?.isRetryable === true ? "retrying" : "stuck"
      yield* report({ state, detail: Cause.prettyErrors(exit.cause).map((error) => error.message).join("; ") })
      yield* Effect.logWarning(`A projection is ${state}`, exit.cause)
      yield* Effect.sleep(delay)
      delay = Duration.min(Duration.times(delay, 2), mostDelay)
    }
  }).pipe(Effect.annotateLogs({ projection: projection.id }))

  return { run, status: () => status }
})
