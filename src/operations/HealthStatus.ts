/**
 * Judges the health of a consumer's partition.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventType } from "../eventStore/EventStoreDriver.ts"

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
  /** The number of events that wait. */
  readonly waiting: number
  /** How long the oldest of them has waited. */
  readonly waited: number
  /** For how long events have waited and none was applied. */
  readonly idleFor: number
  /** The number of parked keys. */
  readonly parked: number
  /** Why this process cannot decode the next event: newer code wrote it, and no worker owns the partition. */
  readonly newer: string | undefined
  /** Whether the checkpoint is behind the last event of the log. */
  readonly isBeyond: boolean
  /** The message that the log does not have the event at the checkpoint. */
  readonly diverged?: string | undefined
  /** The stored number of partitions and what they are divided by, where the consumer's definition has another. */
  readonly stored: { readonly partitions: number; readonly partitionedBy: string } | undefined
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
  const { diverged, heartbeatAge, idleFor, isBeyond, newer, owner, parked, stored, waited, waiting, waitsAt } = signals
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
  if (waitsAt !== undefined) red.push(`it ${ConsumerKey.waitsAt(waitsAt)}`)
  if (heartbeatAge > signals.heartbeatTimeout) {
    const age = seconds(heartbeatAge)
    red.push(
      owner === undefined ? `no worker has owned it for ${age}` : `its worker ${owner} sent no heartbeat for ${age}`
    )
  } else if (owner === undefined) yellow.push("no worker owns it at the moment")
  if (idleFor > signals.stallTimeout) {
    red.push(`no event was applied for ${seconds(idleFor)}, while ${eventsWait(waiting)}`)
  } else if (waited > signals.maxWait) {
    yellow.push(`it is behind: ${eventsWait(waiting)}, the oldest for ${seconds(waited)}`)
  }
  if (newer !== undefined) yellow.push(`it waits for a process with newer code: ${newer}`)
  if (parked > 0) yellow.push(parked === 1 ? "1 key is parked" : `${parked} keys are parked`)
  return { status: red.length > 0 ? "red" : yellow.length > 0 ? "yellow" : "green", reasons: [...red, ...yellow] }
}

/**
 * Returns the assessment of a consumer by the types of events that its code does not know.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofUnknownTypes = (unknown: ReadonlyArray<EventType>, policy: "pass" | "stop"): Assessment => ({
  status: unknown.length === 0 ? "green" : "yellow",
  reasons: unknown.map(({ category, events, first, type }) =>
    `its code does not know the event type "${type}" and ${policy === "stop" ? "stops before it" : "passes it by"}: `
    + `${events === 1 ? "1 event" : `${events} events`} in streams of "${category}", the first at position ${first}; `
    + "deploy code whose set has it, or name it in ignoreTypes"
  )
})

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

/**
 * Returns the text "1 event waits", with any number.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventsWait = (count: number): string => count === 1 ? "1 event waits" : `${count} events wait`
