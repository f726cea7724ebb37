/**
 * Judges the health of a consumer's partition.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as HandOver from "../consumer/HandOver.ts"
import * as RepartitionObstacle from "../consumer/RepartitionObstacle.ts"
import type { EventsUntagged } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventType } from "../eventStore/driver/EventStoreDriver.ts"

/**
 * The status of a partition or a consumer.
 *
 * - `green`: a worker owns it, and no event waits for long
 * - `yellow`: it is behind, has parked keys or has no worker at the moment
 * - `red`: it does not advance, or has had no worker for a while
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "green" | "yellow" | "red"

/**
 * A status and its reasons.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assessment {
  readonly status: Status
  /** Sentences for the operator; none when the status is green. */
  readonly reasons: ReadonlyArray<string>
}

/**
 * What is measured of a partition, and the limits to judge it by. Times are in seconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signals {
  readonly owner: string | undefined
  readonly heartbeatAge: number
  /** The checkpoint. */
  readonly position: Position
  /** The number of events that wait. */
  readonly waiting: number
  /** Whether there may be more, because they were not counted to the end of the log. */
  readonly isMore: boolean
  /** How long the oldest of them has waited. */
  readonly waited: number
  /** For how long events have waited and the checkpoint has not moved. */
  readonly idleFor: number
  /** What the owner has had in hand for longer than `maxWait`. */
  readonly inHand?: string | undefined
  /** The number of parked keys, and of those with a request that is not carried out yet. */
  readonly parked: number
  readonly requested?: number | undefined
  /** Why this process cannot decode the next event: newer code wrote it, and no worker owns the partition. */
  readonly newer: string | undefined
  /** Whether the checkpoint is behind the last event of the log. */
  readonly isBeyond: boolean
  /** Whether another version, or another number of partitions, waits until all partitions are given back. Those without an owner stand still until then. */
  readonly isHandedOver?: boolean | undefined
  /** The message that the log does not have the event at the checkpoint. */
  readonly diverged?: string | undefined
  /** The stored partitions, where the consumer's definition divides them by something else. */
  readonly stored: { readonly partitions: number; readonly partitionedBy: string } | undefined
  /** Whether the code that has processed the partition reads other events than the consumer's definition. */
  readonly hasOtherReads?: boolean | undefined
  /** The parked event of unknown key at which the partition waits. */
  readonly waitsAt: Pick<EncodedEvent, "stream" | "version" | "position"> | undefined
  readonly heartbeatTimeout: number
  readonly stallTimeout: number
  readonly maxWait: number
}

const statusOrder: ReadonlyArray<Status> = ["green", "yellow", "red"]

/**
 * Returns 0 for green, 1 for yellow and 2 for red.
 *
 * @since 0.1.0
 * @category accessors
 */
export const rank = (status: Status): number => statusOrder.indexOf(status)

/**
 * Returns the assessment of a partition.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (signals: Signals): Assessment => {
  const {
    diverged,
    heartbeatAge,
    idleFor,
    isBeyond,
    newer,
    owner,
    parked,
    requested = 0,
    stored,
    waited,
    waitsAt
  } = signals
  const inHand = signals.inHand === undefined ? "" : `; its worker has ${signals.inHand}`
  const red: Array<string> = []
  const yellow: Array<string> = []
  if (diverged !== undefined) red.push(diverged)
  else if (isBeyond) {
    red.push("its checkpoint is beyond the end of the log; check whether an older backup of the events was restored")
  }
  if (stored !== undefined) {
    const { partitionedBy, partitions } = stored
    red.push(
      `it has ${partitions} partitions by ${partitionedBy}, unlike its definition; rebuild it or raise its version`
    )
  }
  if (signals.hasOtherReads === true) {
    const isAbandoned = owner === undefined && heartbeatAge > signals.heartbeatTimeout
    const reason = "the program that has processed it reads other events than this definition"
    if (isAbandoned) red.push(`${reason}; see why the worker is stuck, rebuild it or raise its version`)
    else yellow.push(reason)
  }
  if (waitsAt !== undefined) red.push(`it ${ConsumerKey.waitsAt(waitsAt)}`)
  if (owner === undefined && signals.isHandedOver === true) yellow.push("its worker has given it back")
  else if (heartbeatAge > signals.heartbeatTimeout) {
    const age = seconds(heartbeatAge)
    red.push(
      owner === undefined ? `no worker has owned it for ${age}` : `its worker ${owner} sent no heartbeat for ${age}`
    )
  } else if (owner === undefined) yellow.push("no worker owns it at the moment")
  if (idleFor > signals.stallTimeout) {
    red.push(`no event was applied for ${seconds(idleFor)}, while ${whatWaits(signals)}${inHand}`)
  } else if (waited > signals.maxWait) {
    yellow.push(`it is behind: ${whatWaits(signals)}, the oldest for ${seconds(waited)}${inHand}`)
  }
  if (newer !== undefined) yellow.push(`it waits for a process with newer code: ${newer}`)
  if (parked > 0) {
    const keys = parked === 1 ? "1 key is parked" : `${parked} keys are parked`
    yellow.push(requested === 0 ? keys : `${keys}, ${requested} of them until its worker has retried or skipped them`)
  }
  return { status: red.length > 0 ? "red" : yellow.length > 0 ? "yellow" : "green", reasons: [...red, ...yellow] }
}

/**
 * Returns the assessment of a consumer whose stored number of partitions is not that of its definition.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofOtherPartitions = (
  { defined, obstacle, stored, workers }: {
    readonly stored: number
    readonly defined: number
    /** Why the number cannot change. */
    readonly obstacle: RepartitionObstacle.RepartitionObstacle | undefined
    /** The workers that have the stored number in their definitions; undefined if the partitions are being given back. */
    readonly workers: string | undefined
  }
): Assessment => {
  const why = obstacle !== undefined
    ? `the number cannot change yet: ${RepartitionObstacle.describe(obstacle)}`
    : workers === undefined
    ? "the number changes when all of them are given back"
    : `the number changes once no program with ${stored} runs any more (${workers})`
  return {
    status: "yellow",
    reasons: [`it works with ${HandOver.partitionsOf(stored)}, while this definition has ${defined}; ${why}`]
  }
}

/**
 * What a consumer does about an event type that its code does not know.
 *
 * - `passes`: it does not read the events
 * - `stops`: no checkpoint is past the first of them, and the consumer stops before it
 * - `stopsLater`: a checkpoint is past the first of them, and the consumer stops before the next
 * - `passed`: it stops before the next, but has passed the first, because nothing showed then that the type concerns it
 *
 * @since 0.1.0
 * @category models
 */
export type UnknownTypePolicy = "passes" | "stops" | "stopsLater" | "passed"

const policyWords: Readonly<Record<UnknownTypePolicy, string>> = {
  passes: "passes it by",
  stops: "stops before it",
  stopsLater:
    "stops before the next such event. A checkpoint is past the first: newer code handled it, or it was passed by",
  passed:
    "has passed it by, because its streams had no event of its set before; the result lacks it, unless newer code "
    + "handled it. Give where.streamPrefix with the \"-\" to stop before the first one, and rebuild, or raise the version"
}

/**
 * Returns the assessment of a consumer by the types of events that its code does not know. The `undecided` types may concern it or not.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofUnknownTypes = (
  unknown: ReadonlyArray<EventType & { readonly policy: UnknownTypePolicy }>,
  undecided: ReadonlyArray<string>
): Assessment => {
  const names = undecided.slice(0, maxNames).map((type) => `"${type}"`).join(", ")
  const more = undecided.length > maxNames ? ` and ${undecided.length - maxNames} others` : ""
  const ofUndecided = undecided.length === 0 ? [] : [
    `the log has more than 1,000 categories of streams, so the consumer does not stop before events of the types ${names}${more}, `
    + "even if newer code appends them to its streams; give where.streamPrefix with the \"-\", or name them in ignoreTypes"
  ]
  const reasons = unknown.map(({ category, events, first, policy, type }) =>
    `its code does not know the event type "${type}" (${
      events === 1 ? "1 event" : `${events} events`
    } in streams of "${category}", the first at position ${first}) and ${policyWords[policy]}; `
    + "deploy code whose set has the type, or name it in ignoreTypes"
  )
  const isRed = unknown.some(({ policy }) => policy === "passed")
  return {
    status: isRed ? "red" : reasons.length + ofUndecided.length > 0 ? "yellow" : "green",
    reasons: [...reasons, ...ofUndecided]
  }
}

/**
 * Returns the assessment of a consumer by events that it does not read because they were stored without a tag by which it selects.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofUntagged = (
  untagged: ReadonlyArray<EventsUntagged>,
  /** Those of which only some may be in the consumer's streams. */
  undecided: ReadonlyArray<EventsUntagged>
): Assessment => ({
  status: untagged.length > 0 ? "red" : undecided.length > 0 ? "yellow" : "green",
  reasons: [...untagged, ...undecided].map(({ events, tag, type }) =>
    `the log has ${
      events === 1 ? "1 event" : `${events} events`
    } "${type}" without the tag "${tag}" that they would have today: it was declared later, or an `
    + "upcaster adds or changes its value. So the consumer does not read them; leave the tag out of `where` and `partitionBy`, select in `key` or the handler, and raise `version`"
  )
})

/** The maximum number of types that a reason names. */
const maxNames = 5

/**
 * Returns the worst status of several assessments, and all their reasons. `nameOf` names the part that a reason belongs to.
 *
 * @since 0.1.0
 * @category combinators
 */
export const worstOf = <A extends Assessment>(
  all: ReadonlyArray<A>,
  nameOf: (one: A) => string | undefined
): Assessment => ({
  status: statusOrder[Math.max(0, ...all.map(({ status }) => rank(status)))] ?? "red",
  reasons: all.flatMap((one) => {
    const name = nameOf(one)
    return one.reasons.map((reason) => name === undefined ? reason : `${name}: ${reason}`)
  })
})

/**
 * Returns the seconds between two times, 0 when the second is earlier.
 *
 * @since 0.1.0
 * @category accessors
 */
export const secondsBetween = (from: DateTime.Utc, to: DateTime.Utc): number =>
  Math.max(0, DateTime.toEpochMillis(to) - DateTime.toEpochMillis(from)) / 1000

/**
 * Returns the text of a time in seconds.
 *
 * @since 0.1.0
 * @category accessors
 */
export const seconds = (time: number): string => `${Math.round(time)} s`

/** Names the events that wait. If none was found, those that a reader must examine. */
const whatWaits = ({ isMore, position, waiting }: Signals): string =>
  waiting > 0 || !isMore ? eventsWait(waiting) : `events after position ${position} are to be examined`

/**
 * Returns the text "1 event waits", with any number.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventsWait = (count: number): string => count === 1 ? "1 event waits" : `${count} events wait`
