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
import * as Position from "../domain/Position.ts"
import * as EventStore from "../store/EventStore.ts"
import { Limits } from "../store/Limits.ts"
import { NewId } from "../store/NewId.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { Held } from "../store/ProjectionStoreDriver.ts"
import * as Telemetry from "../store/Telemetry.ts"
import * as PartitionWorker from "./PartitionWorker.ts"
import type { Work } from "./Work.ts"

/**
 * - `batchSize`: events per transaction at most; 500 by default
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

/**
 * - `starting`: not yet seen the store
 * - `standby`: others own all partitions
 * - `catching-up`: events are waiting
 * - `live`: everything up to the head is applied, or parked
 * - `retrying`: the store cannot be reached; it is tried again
 * - `stuck`: an event cannot be processed and the follower is to stop there, or the store refuses; nothing more is applied until somebody
 *   mends it. It is tried again
 *
 * @since 0.1.0
 * @category models
 */
export type FollowerState = "starting" | "standby" | "catching-up" | "live" | "retrying" | "stuck"

/**
 * What this process says of a follower, of the partitions that it works on.
 *
 * - `position`: the checkpoint furthest behind, `head` the safe head of the log and `lag` the positions between, when it last looked
 * - `partitions`: how many it works on; `parked`: how many streams are set aside in them
 * - `applied`: how many events it has applied
 * - `heartbeat`: when it last did anything, in milliseconds of the epoch
 * - `detail`: why it is stuck or retrying
 *
 * @since 0.1.0
 * @category models
 */
export interface FollowerStatus {
  readonly projection: string
  readonly state: FollowerState
  readonly position: Position.Position
  readonly head: Position.Position
  readonly lag: bigint
  readonly partitions: number
  readonly parked: number
  readonly applied: number
  readonly heartbeat: number
  readonly detail: string | undefined
}

/**
 * - `run`: works until it is interrupted
 * - `nudge`: somebody has asked for something; look at once
 *
 * @since 0.1.0
 * @category models
 */
export interface FollowerGroup {
  readonly run: Effect.Effect<never>
  readonly status: () => FollowerStatus
  readonly nudge: Effect.Effect<void>
}

interface Partition {
  readonly fiber: Fiber.Fiber<void>
  readonly epoch: bigint
  readonly target: string
  readonly requests: Latch.Latch
}

interface PartitionStatus extends Omit<PartitionWorker.Report, "state"> {
  readonly state: FollowerState
}

/** From the worst to the best. */
const states: ReadonlyArray<FollowerState> = ["stuck", "retrying", "catching-up", "starting", "live", "standby"]

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
  const lease = Duration.fromInputUnsafe(options.lease ?? "10 seconds")
  if (!Duration.isFinite(lease) || Duration.toMillis(lease) < 100) {
    return yield* Effect.die(new Error(`${follower.id}: lease must be at least 100 milliseconds, and not infinite`))
  }
  const renewal = Duration.toMillis(lease) / 3
  const retryDelay = {
    first: Duration.fromInputUnsafe(options.retryDelay?.first ?? "200 millis"),
    most: Duration.fromInputUnsafe(options.retryDelay?.most ?? "30 seconds")
  }
  const attributes = { projection: follower.id }
  const lagMetric = Metric.withAttributes(Telemetry.projectionLag, attributes)
  const stuckMetric = Metric.withAttributes(Telemetry.projectionStuck, attributes)
  const parkedMetric = Metric.withAttributes(Telemetry.projectionParked, attributes)

  const partitions = new Map<number, Partition>()
  const statuses = new Map<number, PartitionStatus>()
  const delays = new Map<number, Duration.Duration>()
  const wake = Latch.makeUnsafe(false)
  let applied = 0
  let heartbeat = clock.currentTimeMillisUnsafe()
  let others: Omit<PartitionStatus, "applied" | "parked"> = {
    state: "starting",
    position: Position.start,
    head: Position.start,
    detail: undefined
  }

  const status = (): FollowerStatus => {
    const mine = Array.from(statuses.values())
    const worst = mine.reduce<Omit<PartitionStatus, "applied" | "parked">>(
      (worst, one) => states.indexOf(one.state) < states.indexOf(worst.state) ? one : worst,
      mine[0] ?? others
    )
    const { detail, state } = states.indexOf(others.state) < 2 ? others : worst
    const position = mine.reduce(
      (least, one) => one.position < least ? one.position : least,
      mine[0]?.position ?? others.position
    )
    const head = mine.reduce((most, one) => Position.max(most, one.head), others.head)
    return {
      projection: follower.id,
      state,
      position,
      head,
      lag: mine.reduce((most, { head, position }) => {
        const lag = head > position ? head - position : 0n
        return lag > most ? lag : most
      }, 0n),
      partitions: partitions.size,
      parked: mine.reduce((sum, one) => sum + one.parked, 0),
      applied,
      heartbeat,
      detail
    }
  }

  const publish = Effect.suspend(() => {
    heartbeat = clock.currentTimeMillisUnsafe()
    const { lag, parked, state } = status()
    return Effect.all([
      Metric.update(lagMetric, lag),
      Metric.update(stuckMetric, state === "stuck" ? 1 : 0),
      Metric.update(parkedMetric, parked)
    ], { discard: true })
  })

  const report = (partition: number) => (report: PartitionWorker.Report) =>
    Effect.suspend(() => {
      statuses.set(partition, report)
      applied += report.applied
      if (report.state !== "stuck") delays.delete(partition)
      return publish
    })

  /** What went wrong is tried again, after a pause that grows. */
  const pause = (cause: Cause.Cause<unknown>, delay: Duration.Duration) => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    const isRetryable = error instanceof Object && Reflect.get(error, "isRetryable") === true
    // What trying again does not cure needs somebody to look.
    const state: FollowerState = isRetryable ? "retrying" : "stuck"
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
      // A defect must not end the worker either: nobody would notice but for the lag.
      const exit = yield* Effect.exit(PartitionWorker.run({
        events,
        store,
        work,
        target,
        batchSize,
        retryDelay,
        requests,
        report: report(partition)
      }, held))
      if (Exit.isFailure(exit)) {
        if (Cause.hasInterrupts(exit.cause)) return yield* Effect.interrupt
        const { detail, next, sleep, state } = pause(exit.cause, delays.get(partition) ?? retryDelay.first)
        delays.set(partition, next)
        const last = statuses.get(partition)
        statuses.set(partition, {
          position: last?.position ?? held.position,
          head: last?.head ?? held.position,
          applied: 0,
          parked: last?.parked ?? 0,
          state,
          detail
        })
        yield* publish
        yield* sleep
      }
      yield* wake.open
    }).pipe(Effect.annotateLogs({ projection: follower.id, partition: held.partition }))

  const stop = (partition: number) =>
    Effect.suspend(() => {
      const running = partitions.get(partition)
      partitions.delete(partition)
      statuses.delete(partition)
      return running === undefined ? Effect.void : Fiber.interrupt(running.fiber)
    })

  const tick = Effect.gen(function*() {
    const { freeIn, held, share, target } = yield* store.claim({
      follower: follower.id,
      target: options.target,
      owner,
      partitions: follower.partitions,
      lease
    })
    // What is more than the share goes to those who have less; they take it at their next sign of life.
    const kept = held.slice(0, share)
    for (const partition of partitions.keys()) {
      const still = kept.find((one) => one.partition === partition)
      const running = partitions.get(partition)!
      // It has lost the partition, or has come to its own end and is to begin anew.
      if (still?.epoch === running.epoch && target === running.target && running.fiber.pollUnsafe() === undefined) {
        continue
      }
      yield* stop(partition)
    }
    for (const { partition } of held.slice(share)) {
      yield* stop(partition)
      yield* store.release(target, owner, partition)
    }
    for (const one of kept) {
      const running = partitions.get(one.partition)
      if (running !== undefined) {
        if (one.requested) yield* running.requests.open
        continue
      }
      const requests = Latch.makeUnsafe(one.requested)
      const known = { position: one.position, head: one.position, applied: 0, parked: 0, detail: undefined }
      statuses.set(one.partition, { ...known, state: "catching-up" })
      partitions.set(one.partition, {
        fiber: yield* Effect.forkChild(workOn(target, one, requests)),
        epoch: one.epoch,
        target,
        requests
      })
    }
    others = kept.length > 0
      ? { ...others, state: "live", detail: undefined }
      : { ...others, state: "standby", detail: undefined, position: yield* store.checkpoint(follower.id) }
    yield* publish
    return freeIn !== undefined && held.length < share ? Math.min(renewal, Math.max(freeIn + 1, 10)) : renewal
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
      if (Cause.hasInterrupts(exit.cause)) return yield* Effect.interrupt
      const { detail, next, sleep, state } = pause(exit.cause, delay)
      others = { ...others, state, detail }
      delay = next
      yield* publish
      yield* sleep
    }
  }).pipe(
    Effect.onExit(() =>
      Effect.gen(function*() {
        for (const partition of Array.from(partitions.keys())) yield* stop(partition)
        // The leases end by themselves when they cannot be given back.
        const target = options.target ?? (yield* store.activeTarget(follower.id))
        yield* store.release(target, owner)
      }).pipe(Effect.timeoutOption("5 seconds"), Effect.ignore)
    ),
    Effect.annotateLogs(attributes)
  )

  return { run, status, nudge: Effect.asVoid(wake.open) }
})
