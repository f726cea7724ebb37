/**
 * The states of a consumer's worker, and the transitions between them.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as ConsumerStatus from "../ConsumerStatus.ts"
import type { Assignment, Claim } from "../LeaseDriver.ts"

/**
 * The times that a worker keeps to.
 *
 * @since 0.1.0
 * @category options
 */
export interface Timing {
  readonly lease: Duration.Duration
  readonly retryDelay: { readonly first: Duration.Duration; readonly max: Duration.Duration }
}

/** What every state holds. */
interface Shared {
  /** The generation of the last claim. */
  readonly generation: string | undefined
  readonly partitions: ReadonlyMap<number, ConsumerStatus.PartitionStatus>
  /** The pause after the last failure of a partition that has not advanced since. */
  readonly retryDelays: ReadonlyMap<number, Duration.Duration>
  readonly applied: number
  /** When the worker last did anything, in milliseconds of the epoch. */
  readonly heartbeat: number
  /** The slowest checkpoint and the high-water mark, as read in the last standby. */
  readonly seen: { readonly position: Position.Position; readonly head: Position.Position }
  /** The position of the last committed event, as of the last claim that could read it. */
  readonly last: Position.Position
  /** Whether readers, at the last claim, could not reach the event that was the last committed one at the claim before. */
  readonly isHeldBack: boolean
  /** For how long the next yield lasts. It only grows: a process that met one event of newer code will meet others. */
  readonly yieldFor: Duration.Duration
}

/**
 * A worker claims no partitions until a time, because it met an event that newer code wrote. Another process can then take the partition over.
 *
 * @since 0.1.0
 * @category models
 */
export interface Yield {
  readonly until: number
  readonly detail: string
  readonly error?: EventStoreError | undefined
}

/**
 * The state of a worker.
 *
 * - `Claiming`: the store has not returned the first claim yet
 * - `Working`: the worker owns partitions
 * - `Standby`: other workers own all partitions
 * - `Yielding`: the worker renews its leases and claims no further partition
 * - `Failing`: the last claim failed; the worker tries again after `delay`
 *
 * @since 0.1.0
 * @category models
 */
export type WorkerState =
  & Shared
  & (
    | { readonly _tag: "Claiming" | "Working" }
    | { readonly _tag: "Standby"; readonly detail?: string | undefined }
    | { readonly _tag: "Yielding"; readonly yielding: Yield }
    | {
      readonly _tag: "Failing"
      readonly failure: Failure
      readonly delay: Duration.Duration
      readonly yielding: Yield | undefined
    }
  )

/**
 * Why a claim or a partition failed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  /** `retrying` when the same request may succeed later, `stuck` when an operator must act. */
  readonly state: "retrying" | "stuck"
  readonly detail: string
}

/**
 * What happened to a worker.
 *
 * @since 0.1.0
 * @category models
 */
export type WorkerEvent =
  & { readonly now: number }
  & (
    | {
      readonly _tag: "Claimed"
      readonly generation: string
      /** The partitions that the worker does not own any more. */
      readonly lost: ReadonlyArray<number>
    }
    | {
      readonly _tag: "Reconciled"
      /** When the claim began: a yield that ended later still applied to it. */
      readonly claimedAt: number
      /** What a claim returns to a worker without partitions; undefined for a worker that owns some. */
      readonly standby: Shared["seen"] | undefined
      /** The position of the last committed event, unless it could not be read. */
      readonly last: Position.Position | undefined
      /** The high-water mark, if it was read. */
      readonly head?: Position.Position | undefined
      /** Why the worker owns nothing, if its consumer changes or another version has continued. */
      readonly detail?: string | undefined
    }
    | ({ readonly _tag: "ClaimFailed" } & Failure)
    | { readonly _tag: "NewerEventMet"; readonly detail: string; readonly error?: EventStoreError | undefined }
    | { readonly _tag: "PartitionStarted"; readonly assignment: Assignment }
    | {
      readonly _tag: "PartitionReported"
      readonly partition: number
      readonly status: ConsumerStatus.PartitionStatus
      readonly applied: number
    }
    | ({ readonly _tag: "PartitionFailed"; readonly assignment: Assignment } & Failure)
  )

/**
 * Returns the state of a worker that has not claimed yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial = (now: number, { lease, retryDelay }: Timing): WorkerState => ({
  _tag: "Claiming",
  generation: undefined,
  partitions: new Map(),
  retryDelays: new Map(),
  applied: 0,
  heartbeat: now,
  seen: { position: Position.start, head: Position.start },
  last: Position.start,
  isHeldBack: false,
  yieldFor: Duration.max(retryDelay.first, lease)
})

/**
 * Returns the state after an event.
 *
 * @since 0.1.0
 * @category combinators
 */
export const transition = (before: WorkerState, event: WorkerEvent, timing: Timing): WorkerState => {
  const state: WorkerState = { ...before, heartbeat: event.now }
  const { max } = timing.retryDelay
  switch (event._tag) {
    case "Claimed":
      return { ...state, generation: event.generation, partitions: without(state.partitions, event.lost) }
    case "Reconciled": {
      const yielding = yieldAt(state, event.claimedAt)
      const shared: Shared = {
        ...sharedOf(state),
        seen: event.standby ?? { ...state.seen, head: event.head ?? state.seen.head },
        last: event.last ?? state.last,
        // Unknown if the mark could not be read in time.
        isHeldBack: seemsHeldBack(state) && (event.head === undefined ? state.isHeldBack : event.head < state.last)
      }
      if (yielding !== undefined) return { ...shared, _tag: "Yielding", yielding }
      return event.standby === undefined
        ? { ...shared, _tag: "Working" }
        : { ...shared, _tag: "Standby", detail: event.detail }
    }
    case "ClaimFailed": {
      const { detail, state: kind } = event
      const delay = nextDelay(state._tag === "Failing" ? state.delay : undefined, kind, timing)
      return { ...sharedOf(state), _tag: "Failing", failure: { state: kind, detail }, delay, yielding: yieldOf(state) }
    }
    case "NewerEventMet": {
      const yielding = {
        until: event.now + Duration.toMillis(state.yieldFor),
        detail: event.detail,
        error: event.error
      }
      const yieldFor = Duration.max(timing.lease, Duration.min(Duration.times(state.yieldFor, 2), max))
      return state._tag === "Failing"
        ? { ...state, yieldFor, yielding }
        : { ...sharedOf(state), yieldFor, _tag: "Yielding", yielding }
    }
    case "PartitionStarted": {
      const { assignment } = event
      // A partition that starts again shows its last status until it reports.
      return state.partitions.has(assignment.partition)
        ? state
        : withPartition(state, assignment.partition, startingAt(assignment))
    }
    case "PartitionReported": {
      const { partition, status } = event
      const reported = withPartition(state, partition, status)
      const retryDelays = status.state === "stuck" || status.state === "retrying"
        ? state.retryDelays
        : without(state.retryDelays, [partition])
      return { ...reported, retryDelays, applied: state.applied + event.applied }
    }
    case "PartitionFailed": {
      const { assignment, detail, state: kind } = event
      const { partition } = assignment
      const last = state.partitions.get(partition) ?? startingAt(assignment)
      const retryDelays = new Map(state.retryDelays).set(
        partition,
        nextDelay(state.retryDelays.get(partition), kind, timing)
      )
      return { ...withPartition(state, partition, { ...last, state: kind, detail }), retryDelays }
    }
  }
}

/**
 * Returns the yield that a claim at a time must respect.
 *
 * @since 0.1.0
 * @category accessors
 */
export const yieldAt = (state: WorkerState, time: number): Yield | undefined => {
  const yielding = yieldOf(state)
  return yielding !== undefined && yielding.until > time ? yielding : undefined
}

/**
 * Returns in how many milliseconds a worker must claim again, after a claim that succeeded.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nextClaimIn = (
  state: WorkerState,
  { assigned, assignmentSize, change, isTakingOver, nextLeaseEndsIn }: Claim,
  now: number,
  { lease }: Timing
): number => {
  if (change === "drain" || change === "repartition" || isTakingOver === true) return changeInterval({ lease })
  const hasParked = Array.from(state.partitions.values()).some(({ parked }) => parked > 0)
  const renewal = Duration.toMillis(lease) / 3
  const pause = hasParked ? Math.min(renewal, requestInterval) : renewal
  if (state._tag === "Yielding") return Math.min(pause, Math.max(state.yielding.until - now, 1))
  return nextLeaseEndsIn !== undefined && assigned.length < assignmentSize
    ? Math.min(pause, Math.max(nextLeaseEndsIn + 1, 10))
    : pause
}

/**
 * Returns whether a partition has not seen the event that was the last committed one at the last claim. Either readers are held back, or the partition
 * has not read since, because it has an event in hand.
 *
 * @since 0.1.0
 * @category guards
 */
export const seemsHeldBack = ({ last, partitions }: WorkerState): boolean =>
  Array.from(partitions.values()).some(({ head, state }) => state === "live" && head < last)

/**
 * Returns whether a partition waits for another attempt, or is in one, because the last failed.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetrying = ({ partitions }: WorkerState): boolean =>
  Array.from(partitions.values()).some(({ state }) => state === "retrying")

/**
 * Returns the status of a consumer in this process.
 *
 * @since 0.1.0
 * @category accessors
 */
export const statusOf = (
  consumer: string,
  state: WorkerState,
  partitions: number,
  /** The text that names what has been in hand for long, if there is any. */
  inHand?: string
): ConsumerStatus.ConsumerStatus => {
  const combined = ConsumerStatus.combine(
    { ...state.seen, parked: 0, ...workerStatusOf(state) },
    Array.from(state.partitions.values()),
    state.last
  )
  return {
    consumer,
    ...combined,
    ...withDetail(combined, [inHand, state.isHeldBack ? heldBack(combined) : undefined]),
    partitions,
    applied: state.applied,
    heartbeat: state.heartbeat
  }
}

/** Adds why events wait to the status of a consumer that says nothing else. */
const withDetail = (
  { detail, state }: Pick<ConsumerStatus.PartitionStatus, "detail" | "state">,
  [inHand, heldBack]: readonly [inHand: string | undefined, heldBack: string | undefined]
): Pick<ConsumerStatus.PartitionStatus, "detail" | "state"> =>
  inHand !== undefined && (state === "live" || state === "catching-up")
    ? { state: "catching-up", detail: heldBack === undefined ? inHand : `${inHand}; ${heldBack}` }
    : inHand !== undefined && state === "standby"
    ? { state, detail: detail === undefined ? inHand : `${detail}: ${inHand}` }
    : { state, detail: state === "live" ? heldBack ?? detail : detail }

/**
 * Returns the `detail` of the status of a consumer whose readers a transaction holds back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const heldBack = ({ head, last }: Pick<ConsumerStatus.ConsumerStatus, "head" | "last">): string =>
  `a transaction holds back all readers at position ${head}, while events up to position ${last} are committed`

/** Requests of other processes are noticed within so many milliseconds while a stream is parked. */
const requestInterval = 1_000

/**
 * Returns in how many milliseconds a worker looks again whether the other workers have given their partitions back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const changeInterval = ({ lease }: Pick<Timing, "lease">): number => Math.min(100, Duration.toMillis(lease) / 3)

const workerStatusOf = (state: WorkerState): Pick<ConsumerStatus.PartitionStatus, "state" | "detail" | "error"> => {
  switch (state._tag) {
    case "Claiming":
      return { state: "starting", detail: undefined }
    case "Working":
      return { state: "live", detail: undefined }
    case "Standby":
      return { state: "standby", detail: state.detail }
    case "Yielding":
      return { state: "stuck", detail: state.yielding.detail, error: state.yielding.error }
    case "Failing":
      return state.failure
  }
}

const yieldOf = (state: WorkerState): Yield | undefined =>
  state._tag === "Yielding" || state._tag === "Failing" ? state.yielding : undefined

const sharedOf = (
  { applied, generation, heartbeat, isHeldBack, last, partitions, retryDelays, seen, yieldFor }: WorkerState
): Shared => ({ applied, generation, heartbeat, isHeldBack, last, partitions, retryDelays, seen, yieldFor })

/** After a failure that passes by itself, work must go on soon after it has passed. */
const nextDelay = (
  last: Duration.Duration | undefined,
  kind: Failure["state"],
  { lease, retryDelay: { first, max } }: Timing
): Duration.Duration => {
  const longest = kind === "retrying" ? Duration.min(max, Duration.times(lease, 1 / 3)) : max
  return last === undefined ? first : Duration.max(first, Duration.min(Duration.times(last, 2), longest))
}

const withPartition = (
  state: WorkerState,
  partition: number,
  status: ConsumerStatus.PartitionStatus
): WorkerState => ({ ...state, partitions: new Map(state.partitions).set(partition, status) })

const without = <A>(map: ReadonlyMap<number, A>, keys: ReadonlyArray<number>): ReadonlyMap<number, A> =>
  new Map(Array.from(map).filter(([key]) => !keys.includes(key)))

const startingAt = ({ position }: Assignment): ConsumerStatus.PartitionStatus => ({
  state: "catching-up",
  position,
  head: position,
  parked: 0,
  detail: undefined
})
