/**
 * The worker of one consumer in one process: claims partitions, renews its leases, runs a processor for each partition that it owns, and
 * releases what exceeds its assignment.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../../core/errors.ts"
import { IdGenerator } from "../../core/IdGenerator.ts"
import { internals } from "../../core/internals.ts"
import * as Position from "../../core/Position.ts"
import { processName } from "../../core/processName.ts"
import * as Background from "../../core/telemetry/background.ts"
import * as LimitedLog from "../../core/telemetry/LimitedLog.ts"
import { logEvent } from "../../core/telemetry/logEvent.ts"
import * as OutageLog from "../../core/telemetry/OutageLog.ts"
import * as EventStore from "../../eventStore/EventStore.ts"
import type { BatchProcessor } from "../batch/BatchProcessor.ts"
import { isOthersWait } from "../batch/Failure.ts"
import type { ConsumerDriver, Progress } from "../CheckpointDriver.ts"
import type { Consumer } from "../Consumer.ts"
import { type ConsumerStatus, continuedDetail, drainDetail } from "../ConsumerStatus.ts"
import * as HandOver from "../HandOver.ts"
import type { Assignment, Claim } from "../LeaseDriver.ts"
import * as ParkingRequestWakeups from "../parking/ParkingRequestWakeups.ts"
import * as PartitionProcessor from "../PartitionProcessor.ts"
import type * as PartitionReport from "../PartitionReport.ts"
import * as ClaimSettlement from "./ClaimSettlement.ts"
import * as EventInHand from "./EventInHand.ts"
import * as Heartbeat from "./Heartbeat.ts"
import * as IdleWait from "./IdleWait.ts"
import type { PartitionLease } from "./PartitionLease.ts"
import { reconcile } from "./Reconciliation.ts"
import { attributesOf, type Running, statusOf, type Worker } from "./Worker.ts"
import * as WorkerFailure from "./WorkerFailure.ts"
import {
  isLong,
  logFailure,
  logHandOver,
  logHeldBack,
  logInHand,
  logReport,
  logTakenOver,
  publish
} from "./WorkerLog.ts"
import * as WorkerOptions from "./WorkerOptions.ts"
import * as WorkerState from "./WorkerState.ts"
import * as WorkerStop from "./WorkerStop.ts"

/**
 * The worker of a consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerWorker {
  readonly consumer: Consumer
  /** Works until it is interrupted. */
  readonly run: Effect.Effect<never>
  readonly status: () => ConsumerStatus
  /** Makes the worker claim, and look for requests, at once. */
  readonly wake: Effect.Effect<void>
}

/**
 * Returns a worker. Dies when an option is invalid.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  store: ConsumerDriver,
  processor: BatchProcessor,
  options: WorkerOptions.WorkerOptions & { readonly generation?: string | undefined }
): Effect.fn.Return<ConsumerWorker, never, EventStore.EventStore | Scope.Scope> {
  const { consumer } = processor
  const settings = yield* WorkerOptions.settingsOf(processor, options)
  const clock = yield* Clock.Clock
  const worker: Worker = {
    events: yield* EventStore.EventStore,
    store,
    processor,
    settings,
    owner: ownerOf((yield* IdGenerator)()),
    wakeUp: Latch.makeUnsafe(false),
    activity: Latch.makeUnsafe(false),
    running: new Map(),
    outages: OutageLog.make(settings.generation ?? consumer.id),
    logs: {
      parked: LimitedLog.make((keys) =>
        `${consumer.id} has parked ${keys} more keys within a minute; Parking.list returns them, with their errors`
      ),
      attempts: LimitedLog.make((attempts) =>
        `${consumer.id}: ${attempts} more attempts at events failed within a minute; each is logged at the level Debug`
      )
    },
    batchSizes: new Map(),
    hasStarted: false,
    state: WorkerState.initial(clock.currentTimeMillisUnsafe(), settings),
    leasedUntil: -Infinity,
    kept: undefined
  }
  const wake = Effect.asVoid(worker.wakeUp.open)
  const listening = [
    yield* ParkingRequestWakeups.listen(store, consumer.id, wake),
    yield* store.inProcess?.listen(consumer.id, worker.owner, () => worker.wakeUp.openUnsafe()) ??
      Effect.succeed(Effect.void)
  ]
  yield* Effect.addFinalizer(() => Effect.all(listening))
  return { consumer, run: run(worker), status: () => statusOf(worker, clock.currentTimeMillisUnsafe()), wake }
})

/** The id alone makes it unique; the name lets an operator find the process. */
const ownerOf = (id: string): string => {
  const name = processName()
  return name === undefined ? id : `${name}:${id}`
}

/**
 * Runs workers in the background for as long as the scope lives, and logs which consumers they are, and that they have stopped. `layer` names the layer
 * that the user called.
 *
 * @since 0.1.0
 * @category combinators
 */
export const runAll = Effect.fnUntraced(function*(
  layer: string,
  workers: ReadonlyArray<ConsumerWorker>
): Effect.fn.Return<void, never, Scope.Scope> {
  if (workers.length === 0) return
  const described = workers.map(({ consumer: { id, partitions } }) =>
    partitions === 1 ? id : `${id} (${partitions} partitions)`
  )
  const consumers = workers.map(({ consumer: { id } }) => id)
  yield* logEvent("consumers.started", `${layer} runs ${described.join(", ")}`, { consumers })
  // It runs after the workers have stopped.
  yield* Effect.addFinalizer(() =>
    logEvent("consumers.stopped", `${layer} has stopped ${consumers.join(", ")}`, { consumers })
  )
  for (const worker of workers) yield* Effect.forkScoped(worker.run)
})

type WithoutTime<Event> = Event extends unknown ? Omit<Event, "now"> : never

/** Applies an event to the worker's state, and returns the state after it. */
const dispatch = (
  worker: Worker,
  event: WithoutTime<WorkerState.WorkerEvent>
): Effect.Effect<WorkerState.WorkerState> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    worker.state = WorkerState.transition(worker.state, { ...event, now }, worker.settings)
    return worker.state
  })

/** Claims in a loop until the fiber is interrupted, then gives the leases back. */
const run = (worker: Worker): Effect.Effect<never> =>
  Effect.gen(function*() {
    while (true) {
      yield* worker.wakeUp.close
      const exit = yield* Effect.exit(claim(worker))
      if (Exit.isSuccess(exit)) {
        yield* IdleWait.until(worker, exit.value)
        continue
      }
      yield* IdleWait.stopKeeping(worker)
      const failure = WorkerFailure.make(exit.cause, worker.state.generation !== undefined)
      const state = yield* dispatch(worker, { _tag: "ClaimFailed", ...failure })
      yield* publish(worker)
      yield* logFailure(worker, "claim", failure, exit.cause)
      if (state._tag === "Failing") yield* Effect.sleep(state.delay)
    }
  }).pipe(
    Effect.onExit(() => WorkerStop.run(worker)),
    Effect.annotateLogs(attributesOf(worker)),
    Background.withoutSpans
  )

/** Sends a heartbeat, starts and stops partitions, and returns when the next one is due. */
const claim = Effect.fnUntraced(function*(worker: Worker): Effect.fn.Return<IdleWait.NextClaim, EventStoreError> {
  const { events: { [internals]: { driver: log } }, owner, running, settings, store } = worker
  const claimedAt = yield* Clock.currentTimeMillis
  const renewOnly = WorkerState.yieldAt(worker.state, claimedAt) !== undefined
  const handOver = worker.hasStarted ? undefined : yield* ClaimSettlement.start(worker)
  if (handOver !== undefined) {
    yield* logHandOver(worker, handOver)
    const { detail } = handOver
    yield* dispatch(worker, { _tag: "Reconciled", claimedAt, standby: worker.state.seen, last: undefined, detail })
    return { dueIn: WorkerState.changeInterval(settings), isIdle: false }
  }
  worker.hasStarted = true
  // One that ends while the claim is under way may have saved a later position than the claim returns. Its end wakes the worker, which claims again.
  const ended = new Set(
    Array.from(running.values(), ({ fiber }) => fiber).filter((fiber) => fiber.pollUnsafe() !== undefined)
  )
  const first = yield* Heartbeat.send(worker, { renewOnly })
  const claimAgain = Heartbeat.send(worker)
  const settled = renewOnly ? first : yield* ClaimSettlement.settleReads(
    { ...worker, onReleased: Effect.sync(() => Heartbeat.markLost(worker, () => true)) },
    first,
    claimAgain
  )
  const claimed = settled.change === "repartition"
    ? yield* ClaimSettlement.repartition(worker, settled, claimAgain)
    : settled
  const { assigned, generation } = claimed
  // A worker that only renews is not counted in the assignment size, and keeps what it owns.
  const assignmentSize = renewOnly && claimed.change === undefined ? assigned.length : claimed.assignmentSize
  const plan = reconcile(
    claimed,
    new Map(
      Array.from(
        running,
        ([partition, { epoch, fiber, generation }]) =>
          [partition, { epoch, generation, hasEnded: ended.has(fiber) }] as const
      )
    ),
    assignmentSize
  )
  yield* dispatch(worker, { _tag: "Claimed", generation, lost: plan.lost })
  // The interruption is not awaited, because the user's code may take its time. The end of the fiber wakes the worker.
  for (const partition of plan.stop) {
    running.get(partition)?.fiber.interruptUnsafe()
  }
  for (const partition of plan.ended) running.delete(partition)
  for (const partition of plan.release) yield* store.release(generation, owner, partition)
  for (const partition of plan.wake) yield* running.get(partition)?.requests.open ?? Effect.void
  for (const assignment of plan.start) yield* start(worker, claimed, assignment)
  const isOwned = (partition: number) =>
    running.has(partition) && (!plan.lost.includes(partition) || plan.start.some((one) => one.partition === partition))
  const others = Array.from({ length: claimed.partitions }, (_, partition) => partition)
    .filter((partition) => !isOwned(partition))
  yield* worker.outages.succeeded("claim", ...others)
  const isStandby = Math.min(assigned.length, assignmentSize) === 0
  const progress = isStandby || claimed.isTakingOver === true ? yield* store.progress(generation) : []
  const standby = isStandby ? yield* standbyOf(worker, progress) : undefined
  const state = yield* dispatch(worker, {
    _tag: "Reconciled",
    claimedAt,
    standby,
    last: yield* inTime(worker, log.last),
    // One statement less while nothing seems to be wrong.
    head: WorkerState.seemsHeldBack(worker.state) ? yield* inTime(worker, log.head) : undefined,
    detail: claimed.continuedBy === undefined
      ? yield* drainDetailOf(worker, claimed, progress)
      : continuedDetail(claimed.continuedBy)
  })
  yield* publish(worker)
  yield* logTakenOver(worker, claimed)
  yield* logHeldBack(worker)
  yield* logInHand(worker)
  yield* worker.logs.parked.summarize()
  yield* worker.logs.attempts.summarize()
  const dueIn = WorkerState.nextClaimIn(state, claimed, yield* Clock.currentTimeMillis, settings)
  return yield* IdleWait.after(worker, claimed, dueIn)
})

/** Returns the change for which the worker owns no partition at the moment: it gives its own back, or waits until others have. */
const drainDetailOf = Effect.fnUntraced(function*(
  worker: Worker,
  { change, generation, isTakingOver }: Claim,
  progress: ReadonlyArray<Progress>
): Effect.fn.Return<string | undefined, EventStoreError> {
  const { processor: { consumer }, running, store } = worker
  const handOver = change === "drain" && running.size === 0
    ? HandOver.of(consumer.id, yield* store.workers(generation), progress)
    : isTakingOver === true
    ? HandOver.takeover(consumer.id, yield* store.workers(generation), progress)
    : undefined
  yield* handOver !== undefined && isLong(worker, handOver)
    ? logHandOver(worker, handOver)
    : worker.outages.succeeded("handOver")
  return handOver?.detail ?? (change === undefined ? undefined : drainDetail)
})

/** Returns a position, if the log answers in time: the next heartbeat must not be late. */
const inTime = (
  { settings }: Worker,
  position: Effect.Effect<Position.Position, EventStoreError>
): Effect.Effect<Position.Position | undefined> =>
  position.pipe(
    Effect.timeoutOption(Duration.times(settings.lease, 1 / 6)),
    Effect.map(Option.getOrUndefined),
    Effect.catch(() => Effect.undefined)
  )

/** Returns how far the other workers are. */
const standbyOf = Effect.fnUntraced(function*({ events }: Worker, [first, ...others]: ReadonlyArray<Progress>) {
  const position = others.reduce(
    (slowest, { position }) => position < slowest ? position : slowest,
    first?.position ?? Position.start
  )
  return { position, head: yield* events[internals].driver.head }
})

const start = Effect.fnUntraced(function*(worker: Worker, claimed: Claim, assignment: Assignment) {
  const { generation } = claimed
  yield* dispatch(worker, { _tag: "PartitionStarted", assignment })
  const requests = Latch.makeUnsafe(assignment.requested)
  const inHand = EventInHand.makeTracker()
  const clock = yield* Clock.Clock
  const lease: PartitionLease = {
    status: () =>
      running.isLost
        ? "lost"
        : Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000 > worker.leasedUntil
        ? "expired"
        : "held"
  }
  const whileIdle = IdleWait.during(worker, () => running)
  // Not a child, for whose end the worker would wait without a bound. Its end interrupts all that run.
  const running = yield* Effect.uninterruptible(Effect.map(
    Effect.forkDetach(runPartition(worker, claimed, assignment, { requests, inHand, lease, whileIdle })),
    (fiber): Running => {
      const { epoch } = assignment
      const started: Running = { fiber, epoch, generation, requests, inHand, isLost: false, isIdle: false }
      worker.running.set(assignment.partition, started)
      return started
    }
  ))
  const { fiber } = running
  fiber.addObserver(() => worker.wakeUp.openUnsafe())
})

/** Runs the processor of a partition until it is lost or fails. After a failure it pauses, and ends; the next claim starts it again. */
const runPartition = (
  worker: Worker,
  { generation, partitions }: Pick<Claim, "generation" | "partitions">,
  assignment: Assignment,
  { inHand, lease, requests, whileIdle }: Pick<
    PartitionProcessor.PartitionOptions,
    "inHand" | "lease" | "requests" | "whileIdle"
  >
) =>
  Effect.gen(function*() {
    const { events, processor, settings, store } = worker
    const { partition } = assignment
    // Defects count as failures too, and so does an interruption from within: only the lag would show them otherwise.
    const exit = yield* Effect.exit(PartitionProcessor.run({
      events,
      store,
      processor,
      generation,
      partitions,
      batchSize: settings.batchSize,
      maxBatchSize: settings.maxBatchSize,
      firstBatchSize: worker.batchSizes.get(partition),
      retryDelay: settings.retryDelay,
      requests,
      stopTimeout: settings.stopTimeout,
      inHand,
      lease,
      whileIdle,
      maxDuration: Duration.times(settings.lease, 1 / 3),
      logs: worker.logs,
      report: (report) => reported(worker, partition, report)
    }, assignment))
    if (Exit.isSuccess(exit)) {
      if (exit.value !== undefined) yield* yieldToNewerCode(worker, generation, partition, exit.value)
      return
    }
    widenBatch(worker, partition, exit.cause)
    const failure = WorkerFailure.make(exit.cause, true)
    const { retryDelays } = yield* dispatch(worker, { _tag: "PartitionFailed", assignment, ...failure })
    yield* publish(worker)
    yield* logFailure(worker, partition, failure, exit.cause)
    yield* Effect.sleep(retryDelays.get(partition) ?? settings.retryDelay.first)
  }).pipe(
    Effect.annotateLogs({ consumer: worker.processor.consumer.id, partition: assignment.partition })
  )

/** Behind events that wait for locks, a larger batch may have an event of another key. */
const widenBatch = (
  { batchSizes, settings: { batchSize, pageSize } }: Worker,
  partition: number,
  cause: Cause.Cause<unknown>
) => {
  if (Option.exists(Cause.findErrorOption(cause), isOthersWait)) {
    batchSizes.set(
      partition,
      Math.min(8 * (batchSizes.get(partition) ?? batchSize), Math.max(batchSize, maxWidened), pageSize)
    )
  } else {
    batchSizes.delete(partition)
  }
}

/** The maximum number of events in such a batch: all of them may wait for a lock. */
const maxWidened = 500

const reported = Effect.fnUntraced(function*(worker: Worker, partition: number, report: PartitionReport.Report) {
  const { applied, ...status } = report
  const isFirstParked = status.parked > 0 && worker.state.partitions.get(partition)?.parked === 0
  yield* dispatch(worker, { _tag: "PartitionReported", partition, status, applied })
  yield* publish(worker)
  yield* logReport(worker, partition, status)
  // The next claim is due earlier from now on, because requests may come.
  if (isFirstParked) yield* worker.wakeUp.open
})

/** Releases a partition to a process that runs newer code, and claims none for a while. The worker keeps its other partitions. */
const yieldToNewerCode = Effect.fnUntraced(
  function*(worker: Worker, generation: string, partition: number, error: EventStoreError) {
    const detail = `${error.message}. This process stops claiming, so that another can go on`
    yield* Effect.logWarning(`${worker.processor.consumer.id}: ${detail}`)
    yield* dispatch(worker, { _tag: "NewerEventMet", detail, error })
    yield* worker.store.release(generation, worker.owner, partition)
  },
  Effect.catchCause((cause) => Effect.logWarning("A partition could not be released; its lease will end", cause))
)
