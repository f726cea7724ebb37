/**
 * What a process does for one follower of the log: gives signs of life, takes its share of the partitions, works on them, and hands over what
 * is more than its share.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../domain/errors.ts"
import * as Position from "../domain/Position.ts"
import * as EventStore from "../store/EventStore.ts"
import { Limits } from "../store/Limits.ts"
import { NewId } from "../store/NewId.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { Held } from "../store/ProjectionStoreDriver.ts"
import * as Telemetry from "../store/Telemetry.ts"
import * as FollowerStatus from "./FollowerStatus.ts"
import * as Nudges from "./Nudges.ts"
import * as PartitionWorker from "./PartitionWorker.ts"
import type { Work } from "./Work.ts"

/**
 * - `batchSize`: events per transaction at most; 500 by default, and up to 5,000 for documents while they catch up on small events
 * - `lease`: for how long a worker owns a partition without giving a sign of life; 10 seconds by default. Another process takes over
 *   after it
 * - `retryDelay`: the pause before the database is tried again, or an event at which a follower has stopped; from 200 milliseconds, doubled
 *   up to 30 seconds, by default
 *
 * @since 0.1.0
 * @category options
 */
export interface GroupOptions {
  readonly batchSize?: number | undefined
  readonly lease?: Duration.Input | undefined
  readonly retryDelay?: { readonly first: Duration.Input; readonly most: Duration.Input } | undefined
}

export type { FollowerState, FollowerStatus } from "./FollowerStatus.ts"

/**
 * - `run`: works until it is interrupted
 * - `nudge`: somebody has asked for something; look at once
 *
 * @since 0.1.0
 * @category models
 */
export interface FollowerGroup {
  readonly run: Effect.Effect<never>
  readonly status: () => FollowerStatus.FollowerStatus
  readonly nudge: Effect.Effect<void>
}

interface Partition {
  readonly fiber: Fiber.Fiber<void>
  readonly epoch: bigint
  readonly target: string
  readonly requests: Latch.Latch
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  work: Work,
  options: GroupOptions & { readonly target?: string | undefined }
): Effect.fn.Return<FollowerGroup, never, EventStore.EventStore | ProjectionStore.ProjectionStore | Scope.Scope> {
  const events = yield* EventStore.EventStore
  const store = (yield* ProjectionStore.ProjectionStore).driver
  const clock = yield* Clock.Clock
  const owner = (yield* NewId)()
  const limits = yield* Limits
  const { follower } = work
  const batchSize = options.batchSize ?? Math.min(500, limits.pageSize)
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > limits.pageSize) {
    return yield* Effect.die(new Error(`${follower.id}: batchSize must be a whole number from 1 to ${limits.pageSize}`))
  }
  const growTo = options.batchSize === undefined && work.grows ? Math.min(5000, limits.pageSize) : batchSize
  const lease = Duration.fromInputUnsafe(options.lease ?? "10 seconds")
  if (!Duration.isFinite(lease) || Duration.toMillis(lease) < 100) {
    return yield* Effect.die(new Error(`${follower.id}: lease must be at least 100 milliseconds, and not infinite`))
  }
  const renewal = Duration.toMillis(lease) / 3
  const retryDelay = {
    first: Duration.fromInputUnsafe(options.retryDelay?.first ?? "200 millis"),
    most: Duration.fromInputUnsafe(options.retryDelay?.most ?? "30 seconds")
  }
  const attributes = { projection: options.target ?? follower.id }
  const lagMetric = Metric.withAttributes(Telemetry.projectionLag, attributes)
  const stuckMetric = Metric.withAttributes(Telemetry.projectionStuck, attributes)
  const parkedMetric = Metric.withAttributes(Telemetry.projectionParked, attributes)

  const partitions = new Map<number, Partition>()
  const statuses = new Map<number, FollowerStatus.PartitionStatus>()
  const delays = new Map<number, Duration.Duration>()
  const wake = Latch.makeUnsafe(false)
  let applied = 0
  let heartbeat = clock.currentTimeMillisUnsafe()
  let claimed: string | undefined
  /** Until when this process takes no partitions, as it has met an event that newer code has written. */
  let standingBack: { readonly until: number; readonly detail: string } | undefined
  // It grows for good: a process that has met one such event will meet others, and is as old as before.
  let standBackFor = Duration.max(retryDelay.first, lease)
  let others: FollowerStatus.PartitionStatus = {
    state: "starting",
    position: Position.start,
    head: Position.start,
    parked: 0,
    detail: undefined
  }

  const status = (): FollowerStatus.FollowerStatus => ({
    projection: follower.id,
    ...FollowerStatus.combine(others, Array.from(statuses.values())),
    partitions: partitions.size,
    applied,
    heartbeat
  })

  const publish = Effect.suspend(() => {
    heartbeat = clock.currentTimeMillisUnsafe()
    const { lag, parked, state } = status()
    return Effect.all([
      Metric.update(lagMetric, lag),
      Metric.update(stuckMetric, state === "stuck" ? 1 : 0),
      Metric.update(parkedMetric, parked)
    ], { discard: true })
  })

  const report = (partition: number) => (report: PartitionWorker.Report): Effect.Effect<unknown> =>
    Effect.suspend(() => {
      const isFirstParked = report.parked > 0 && statuses.get(partition)?.parked === 0
      statuses.set(partition, report)
      applied += report.applied
      if (report.state !== "stuck") delays.delete(partition)
      // From now on requests are looked for more often.
      return isFirstParked ? Effect.andThen(publish, wake.open) : publish
    })

  /** What went wrong is tried again, after a pause that grows. */
  const pause = (cause: Cause.Cause<unknown>, delay: Duration.Duration) => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    const isRetryable = error instanceof Object && Reflect.get(error, "isRetryable") === true
    // What trying again does not cure needs somebody to look.
    const state: FollowerStatus.FollowerState = isRetryable ? "retrying" : "stuck"
    const detail = Cause.prettyErrors(cause).map((error) => error.message).join("; ")
    return {
      state,
      detail,
      sleep: Effect.andThen(Effect.logWarning(`${follower.id} is ${state}`, cause), Effect.sleep(delay)),
      next: Duration.min(Duration.times(delay, 2), retryDelay.most)
    }
  }

  const workOn = (target: string, held: Held, requests: Latch.Latch) =>
    Effect.gen(function*() {
      const { partition } = held
      // Whatever it fails with, a defect or an interruption that is not ours: nobody would notice but for the lag.
      const exit = yield* Effect.exit(PartitionWorker.run({
        events,
        store,
        work,
        target,
        batchSize,
        growTo,
        retryDelay,
        requests,
        report: report(partition)
      }, held))
      if (Exit.isSuccess(exit)) {
        if (exit.value !== undefined) yield* standBack(target, partition, exit.value)
        return
      }
      const { detail, next, sleep, state } = pause(exit.cause, delays.get(partition) ?? retryDelay.first)
      delays.set(partition, next)
      const { head, parked, position } = statuses.get(partition) ?? startingAt(held)
      statuses.set(partition, { position, head, parked, state, detail })
      yield* publish
      yield* sleep
    }).pipe(Effect.annotateLogs({ projection: follower.id, partition: held.partition }))

  /**
   * Leaves a partition to a process that runs newer code, if there is one: gives it back, and for a while asks for none and does not count, so
   * that it becomes part of another's share. What this process works on besides it keeps.
   */
  const standBack = Effect.fnUntraced(function*(target: string, partition: number, error: EventStoreError) {
    const detail = `${error.message}. This process stands back, so that another can go on`
    yield* Effect.logWarning(`${follower.id}: ${detail}`)
    standingBack = { until: clock.currentTimeMillisUnsafe() + Duration.toMillis(standBackFor), detail }
    standBackFor = Duration.max(lease, Duration.min(Duration.times(standBackFor, 2), retryDelay.most))
    yield* store.release(target, owner, partition)
  }, Effect.catchCause((cause) => Effect.logWarning(`${follower.id}: a partition could not be given back`, cause)))

  const tick = Effect.gen(function*() {
    if (standingBack !== undefined && standingBack.until <= clock.currentTimeMillisUnsafe()) standingBack = undefined
    const isStandingBack = standingBack !== undefined
    const { freeIn, held, share, target } = yield* store.claim({
      follower: follower.id,
      target: options.target,
      owner,
      partitions: follower.partitions,
      lease,
      standBack: isStandingBack
    })
    claimed = target
    // What is more than the share goes to those who have less; they take it at their next sign of life.
    const kept = isStandingBack ? held : held.slice(0, share)
    for (const [partition, { epoch, fiber, target: of }] of partitions) {
      const isOurs = target === of && kept.some((one) => one.partition === partition && one.epoch === epoch)
      if (!isOurs) statuses.delete(partition)
      // Its end is not waited for, as the follower's own code may take its time; it wakes us.
      if (fiber.pollUnsafe() !== undefined) partitions.delete(partition)
      else if (!isOurs) fiber.interruptUnsafe()
    }
    for (const { partition } of held.slice(kept.length)) {
      if (!partitions.has(partition)) yield* store.release(target, owner, partition)
    }
    for (const one of kept) {
      const running = partitions.get(one.partition)
      if (running !== undefined) {
        if (one.requested) yield* running.requests.open
        continue
      }
      // One that begins anew is what it was until it has something to tell.
      if (!statuses.has(one.partition)) statuses.set(one.partition, startingAt(one))
      const requests = Latch.makeUnsafe(one.requested)
      const fiber = yield* Effect.forkChild(workOn(target, one, requests))
      partitions.set(one.partition, { fiber, epoch: one.epoch, target, requests })
      fiber.addObserver(() => wake.openUnsafe())
    }
    others = kept.length > 0
      ? { ...others, state: "live", detail: undefined }
      : yield* standby(target)
    if (standingBack !== undefined) others = { ...others, state: "stuck", detail: standingBack.detail }
    yield* publish
    const pause = status().parked > 0 ? Math.min(renewal, requestInterval) : renewal
    if (standingBack !== undefined) {
      return Math.min(pause, Math.max(standingBack.until - clock.currentTimeMillisUnsafe(), 1))
    }
    return freeIn !== undefined && held.length < share ? Math.min(pause, Math.max(freeIn + 1, 10)) : pause
  })

  const standby = (target: string) =>
    Effect.gen(function*() {
      const positions = (yield* store.progress(target)).map(({ position }) => position)
      const position = positions.reduce((least, one) => one < least ? one : least, positions[0] ?? Position.start)
      return { state: "standby" as const, detail: undefined, parked: 0, position, head: yield* events.driver.head }
    })

  const run = Effect.gen(function*() {
    let delay = retryDelay.first
    while (true) {
      yield* wake.close
      const exit = yield* Effect.exit(tick)
      if (Exit.isSuccess(exit)) {
        delay = retryDelay.first
        yield* Effect.timeoutOption(wake.await, exit.value)
        continue
      }
      const { detail, next, sleep, state } = pause(exit.cause, delay)
      others = { ...others, state, detail }
      delay = next
      yield* publish
      yield* sleep
    }
  }).pipe(
    Effect.onExit(() =>
      Effect.gen(function*() {
        yield* Fiber.interruptAll(Array.from(partitions.values(), ({ fiber }) => fiber))
        // The leases end by themselves when they cannot be given back.
        const target = claimed ?? options.target ?? (yield* store.activeTarget(follower.id))
        yield* store.release(target, owner)
      }).pipe(Effect.timeoutOption("5 seconds"), Effect.ignore)
    ),
    Effect.annotateLogs(attributes)
  )

  const nudge = Effect.asVoid(wake.open)
  const deaf = yield* Nudges.listen(store, follower.id, nudge)
  yield* Effect.addFinalizer(() => deaf)
  return { run, status, nudge }
})

/** Requests of other processes are noticed after so many milliseconds at most, while something is parked. */
const requestInterval = 1_000

const startingAt = ({ position }: Held): FollowerStatus.PartitionStatus => ({
  state: "catching-up",
  position,
  head: position,
  parked: 0,
  detail: undefined
})
