/**
 * What is to be thought of a consumer of the log.
 *
 * @since 0.1.0
 */

/**
 * - `green`: somebody works on it, and nothing waits for long
 * - `yellow`: it will need somebody to look, or is catching up
 * - `red`: it does not move, or nobody works on it
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "green" | "yellow" | "red"

/**
 * A status, and for people why; no reasons when it is green.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assessment {
  readonly status: Status
  readonly reasons: ReadonlyArray<string>
}

/**
 * What is known of a partition; times in seconds.
 *
 * - `waiting`: the events that wait, the oldest since `waited`. For `idleFor` events were waiting and none was applied
 * - `newer`: why its next event cannot be decoded here, where nobody works on it and newer code has written that event
 * - `isBeyond`: its checkpoint is of no event that is in the log
 * - `otherPartitions`: the number of partitions it was begun with, where the consumer has another
 *
 * @since 0.1.0
 * @category models
 */
export interface Signals {
  readonly owner: string | undefined
  readonly silentFor: number
  readonly waiting: number
  readonly waited: number
  readonly idleFor: number
  readonly parked: number
  readonly newer: string | undefined
  readonly isBeyond: boolean
  readonly otherPartitions: number | undefined
  readonly silence: number
  readonly stall: number
  readonly late: number
}

const statusOrder: ReadonlyArray<Status> = ["green", "yellow", "red"]

/**
 * From 0 for green to 2 for red.
 *
 * @since 0.1.0
 * @category ordering
 */
export const rank = (status: Status): number => statusOrder.indexOf(status)

/**
 * The judgement of a partition.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (signs: Signals): Assessment => {
  const { idleFor, isBeyond, late, newer, otherPartitions, owner, parked, silence, silentFor, stall, waited, waiting } =
    signs
  const red: Array<string> = []
  const yellow: Array<string> = []
  const nobody = owner === undefined
  if (isBeyond) red.push("its checkpoint lies beyond the end of the log: was an older backup restored?")
  if (otherPartitions !== undefined) red.push(`it was begun with another number of partitions, ${otherPartitions}`)
  if (silentFor > silence) {
    const since = `for ${seconds(silentFor)}`
    red.push(nobody ? `nobody has worked on it ${since}` : `its worker ${owner} has given no heartbeat ${since}`)
  } else if (nobody) yellow.push("nobody works on it at the moment")
  if (idleFor > stall) red.push(`nothing has been applied for ${seconds(idleFor)}, with ${events(waiting)} waiting`)
  else if (waited > late) yellow.push(`it is behind, with ${events(waiting)} waiting, the first for ${seconds(waited)}`)
  if (newer !== undefined) yellow.push(`it is left to processes with newer code: ${newer}`)
  if (parked > 0) yellow.push(parked === 1 ? "1 stream is parked" : `${parked} streams are parked`)
  return { status: red.length > 0 ? "red" : yellow.length > 0 ? "yellow" : "green", reasons: [...red, ...yellow] }
}

/**
 * The worst status of several, and the reasons of all, each with the name of its own.
 *
 * @since 0.1.0
 * @category combining
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

const seconds = (time: number): string => `${Math.round(time)} s`

const events = (count: number): string => count === 1 ? "1 event" : `${count} events`
