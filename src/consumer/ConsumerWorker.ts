/**
 * What a process does for one consumer of the log: gives heartbeats, takes its share of the partitions, works on them, and hands over what
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
import type { EventStoreError } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import * as Metrics from "../core/Metrics.ts"
import * as Position from "../core/Position.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import type { BatchProcessor } from "./BatchProcessor.ts"
import type { Assignment, ConsumerDriver } from "./CheckpointDriver.ts"
import type { Consumer } from "./Consumer.ts"
import * as ConsumerStatus from "./ConsumerStatus.ts"
import * as ConsumerWakeups from "./ConsumerWakeups.ts"
import * as PartitionProcessor from "./PartitionProcessor.ts"

/**
 * - `batchSize`: events per transaction at most; 500 by default, and up to 5,000 for documents while they catch up on small events
 * - `lease`: for how long a worker owns a partition without giving a heartbeat; 10 seconds by default. Another process takes over
 *   after it
 * - `retryDelay`: the pause before the database is tried again, or an event at which a consumer has stopped; from 200 milliseconds, doubled
 *   up to 30 seconds, by default
 *
 * @since 0.1.0
 * @category options
 */
export interface WorkerOptions {
  readonly batchSize?: number | undefined
  readonly lease?: Duration.Input | undefined
  readonly retryDelay?: { readonly first: Duration.Input; readonly max: Duration.Input } | undefined
}

/**
 * - `run`: works until it is interrupted
 * - `wake`: somebody has asked for something; look at once
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerWorker {
  readonly consumer: Consumer
  readonly run: Effect.Effect<never>
  readonly status: () => ConsumerStatus.ConsumerStatus
  readonly wake: Effect.Effect<void>
}

interface Partition {
  readonly fiber: Fiber.Fiber<void>
  readonly epoch: bigint
  readonly generation: string
  readonly requests: Latch.Latch
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  store: ConsumerDriver,
  processor: BatchProcessor,
  options: WorkerOptions & { readonly generation?: string | undefined }
): Effect.fn.Return<ConsumerWorker, never, EventStore.EventStore | Scope.Scope> {
  const events = yield* EventStore.EventStore
  const clock = yield* Clock.Clock
  const owner = (yield* IdGenerator)()
  const limits = yield* Limits
  const { consumer } = processor
  const batchSize = options.batchSize ?? Math.min(500, limits.pageSize)
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > limits.pageSize) {
    return yield* Effect.die(new Error(`${consumer.id}: batchSize must be a whole number from 1 to ${limits.pageSize}`))
  }
  const growTo = options.batchSize === undefined && processor.grows ? Math.min(5000, limits.pageSize) : batchSize
  const lease = Duration.fromInputUnsafe(options.lease ?? "10 seconds")
  if (!Duration.isFinite(lease) || Duration.toMillis(lease) < 100) {
    return yield* Effect.die(new Error(`${consumer.id}: lease must be at least 100 milliseconds, and not infinite`))
  }
  const renewal = Duration.toMillis(lease) / 3
  const retryDelay = {
    first: Duration.fromInputUnsafe(options.retryDelay?.first ?? "200 millis"),
    max: Duration.fromInputUnsafe(options.retryDelay?.max ?? "30 seconds")
  }
  const attributes = { consumer: options.generation ?? consumer.id }
  const lagMetric = Metric.withAttributes(Metrics.consumerLag, attributes)
  const stuckMetric = Metric.withAttributes(Metrics.consumerStuck, attributes)
  const parkedMetric = Metric.withAttributes(Metrics.consumerParkedStreams, attributes)

  const partitions = new Map<number, Partition>()
  const statuses = new Map<number, ConsumerStatus.PartitionStatus>()
  const delays = new Map<number, Duration.Duration>()
  const wakeUp = Latch.makeUnsafe(false)
  let applied = 0
  let heartbeat = clock.currentTimeMillisUnsafe()
  let claimed: string | undefined
  /** Until when this process takes no partitions, as it has met an event that newer code has written. */
  let renewOnlyUntil: { readonly until: number; readonly detail: string } | undefined
  // It grows for good: a process that has met one such event will meet others, and is as old as before.
  let renewOnlyFor = Duration.max(retryDelay.first, lease)
  let others: ConsumerStatus.PartitionStatus = {
    state: "starting",
    position: Position.start,
    head: Position.start,
    parked: 0,
    detail: undefined
  }

  const status = (): ConsumerStatus.ConsumerStatus => ({
    consumer: consumer.id,
    ...ConsumerStatus.combine(others, Array.from(statuses.values())),
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

  const report = (partition: number) => (report: PartitionProcessor.Report): Effect.Effect<unknown> =>
    Effect.suspend(() => {
      const isFirstParked = report.parked > 0 && statuses.get(partition)?.parked === 0
      statuses.set(partition, report)
      applied += report.applied
      if (report.state !== "stuck") delays.delete(partition)
      // From now on requests are looked for more often.
      return isFirstParked ? Effect.andThen(publish, wakeUp.open) : publish
    })

  /** What went wrong is tried again, after a pause that grows. */
  const pause = (cause: Cause.Cause<unknown>, delay: Duration.Duration) => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    const isRetryable = error instanceof Object && Reflect.get(error, "isRetryable") === true
    // What trying again does not cure needs somebody to look.
    const state: ConsumerStatus.ConsumerState = isRetryable ? "retrying" : "stuck"
    const detail = Cause.prettyErrors(cause).map((error) => error.message).join("; ")
    return {
      state,
      detail,
      sleep: Effect.andThen(Effect.logWarning(`${consumer.id} is ${state}`, cause), Effect.sleep(delay)),
      next: Duration.min(Duration.times(delay, 2), retryDelay.max)
    }
  }

  const workOn = (generation: string, assigned: Assignment, requests: Latch.Latch) =>
    Effect.gen(function*() {
      const { partition } = assigned
      // Whatever it fails with, a defect or an interruption that is not ours: nobody would notice but for the lag.
      const exit = yield* Effect.exit(PartitionProcessor.run({
        events,
        store,
        processor,
        generation,
        batchSize,
        growTo,
        retryDelay,
        requests,
        report: report(partition)
      }, assigned))
      if (Exit.isSuccess(exit)) {
        if (exit.value !== undefined) yield* renewOnly(generation, partition, exit.value)
        return
      }
      const { detail, next, sleep, state } = pause(exit.cause, delays.get(partition) ?? retryDelay.first)
      delays.set(partition, next)
      const { head, parked, position } = statuses.get(partition) ?? startingAt(assigned)
      statuses.set(partition, { position, head, parked, state, detail })
      yield* publish
      yield* sleep
    }).pipe(Effect.annotateLogs({ consumer: consumer.id, partition: assigned.partition }))

  /**
   * Leaves a partition to a process that runs newer code, if there is one: gives it back, and for a while asks for none and does not count, so
   * that it becomes part of another's share. What this process works on besides it keeps.
   */
  const renewOnly = Effect.fnUntraced(function*(generation: string, partition: number, error: EventStoreError) {
    const detail = `${error.message}. This process stops claiming, so that another can go on`
    yield* Effect.logWarning(`${consumer.id}: ${detail}`)
    renewOnlyUntil = { until: clock.currentTimeMillisUnsafe() + Duration.toMillis(renewOnlyFor), detail }
    renewOnlyFor = Duration.max(lease, Duration.min(Duration.times(renewOnlyFor, 2), retryDelay.max))
    yield* store.release(generation, owner, partition)
  }, Effect.catchCause((cause) => Effect.logWarning(`${consumer.id}: a partition could not be given back`, cause)))

  const tick = Effect.gen(function*() {
    if (renewOnlyUntil !== undefined && renewOnlyUntil.until <= clock.currentTimeMillisUnsafe()) {
      renewOnlyUntil = undefined
    }
    const isRenewOnly = renewOnlyUntil !== undefined
    const { nextLeaseEndsIn, assigned, assignmentSize, generation } = yield* store.claim({
      consumer: consumer.id,
      generation: options.generation,
      owner,
      partitions: consumer.partitions,
      lease,
      renewOnly: isRenewOnly
    })
    claimed = generation
    // What is more than the share goes to those who have less; they take it at their next heartbeat.
    const kept = isRenewOnly ? assigned : assigned.slice(0, assignmentSize)
    for (const [partition, { epoch, fiber, generation: of }] of partitions) {
      const isOurs = generation === of && kept.some((one) => one.partition === partition && one.epoch === epoch)
      if (!isOurs) statuses.delete(partition)
      // Its end is not waited for, as the consumer's own code may take its time; it wakes us.
      if (fiber.pollUnsafe() !== undefined) partitions.delete(partition)
      else if (!isOurs) fiber.interruptUnsafe()
    }
    for (const { partition } of assigned.slice(kept.length)) {
      if (!partitions.has(partition)) yield* store.release(generation, owner, partition)
    }
    for (const one of kept) {
      const running = partitions.get(one.partition)
      if (running !== undefined) {
        if (one.requested) yield* running.requests.open
        continue
      }
      // One that begins again is what it was until it has something to tell.
      if (!statuses.has(one.partition)) statuses.set(one.partition, startingAt(one))
      const requests = Latch.makeUnsafe(one.requested)
      const fiber = yield* Effect.forkChild(workOn(generation, one, requests))
      partitions.set(one.partition, { fiber, epoch: one.epoch, generation, requests })
      fiber.addObserver(() => wakeUp.openUnsafe())
    }
    others = kept.length > 0
      ? { ...others, state: "live", detail: undefined }
      : yield* standby(generation)
    if (renewOnlyUntil !== undefined) others = { ...others, state: "stuck", detail: renewOnlyUntil.detail }
    yield* publish
    const pause = status().parked > 0 ? Math.min(renewal, requestInterval) : renewal
    if (renewOnlyUntil !== undefined) {
      return Math.min(pause, Math.max(renewOnlyUntil.until - clock.currentTimeMillisUnsafe(), 1))
    }
    return nextLeaseEndsIn !== undefined && assigned.length < assignmentSize
      ? Math.min(pause, Math.max(nextLeaseEndsIn + 1, 10))
      : pause
  })

  const standby = (generation: string) =>
    Effect.gen(function*() {
      const positions = (yield* store.progress(generation)).map(({ position }) => position)
      const position = positions.reduce((least, one) => one < least ? one : least, positions[0] ?? Position.start)
      return {
        state: "standby" as const,
        detail: undefined,
        parked: 0,
        position,
        head: yield* events[internals].driver.head
      }
    })

  const run = Effect.gen(function*() {
    let delay = retryDelay.first
    while (true) {
      yield* wakeUp.close
      const exit = yield* Effect.exit(tick)
      if (Exit.isSuccess(exit)) {
        delay = retryDelay.first
        yield* Effect.timeoutOption(wakeUp.await, exit.value)
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
        const generation = claimed ?? options.generation ?? (yield* store.activeGeneration(consumer.id))
        yield* store.release(generation, owner)
      }).pipe(Effect.timeoutOption("5 seconds"), Effect.ignore)
    ),
    Effect.annotateLogs(attributes)
  )

  const wake = Effect.asVoid(wakeUp.open)
  const deaf = yield* ConsumerWakeups.listen(store, consumer.id, wake)
  yield* Effect.addFinalizer(() => deaf)
  return { consumer, run, status, wake }
})

/** Requests of other processes are noticed after so many milliseconds at most, while something is parked. */
const requestInterval = 1_000

const startingAt = ({ position }: Assignment): ConsumerStatus.PartitionStatus => ({
  state: "catching-up",
  position,
  head: position,
  parked: 0,
  detail: undefined
})
