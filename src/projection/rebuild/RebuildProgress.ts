/**
 * How far the build of a projection has come, for programs and for people.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Progress as Partition } from "../../consumer/CheckpointDriver.ts"
import type { ConsumerWorker } from "../../consumer/ConsumerWorker.ts"
import { filterOf } from "../../consumer/PartitionProcessor.ts"
import * as Position from "../../core/Position.ts"
import type { EventStoreDriver } from "../../eventStore/EventStoreDriver.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import type { Difference } from "./DocumentComparison.ts"

/**
 * How far a build has come.
 *
 * - `phase`: `building` until it trails the log by no more than the time between two looks; then `caught-up`, while it is kept so. In a
 *   rebuild then `comparing`, and at the end `swapped`
 * - `position`: how far all of its partitions have come; `head`: the high-water mark of the log
 * - `applied`: events that it has applied since it was begun, by whichever process
 * - `total`: events that it is to apply, as counted when this run began; undefined until they are. Those of streams that are parked are
 *   among them, and never applied
 * - `perSecond`: events applied per second of late
 * - `elapsed`: since this run began
 * - `parked`: streams that are parked in it, as this process knows
 * - `detail`: what keeps it from going on
 * - `compared`: so far, in the phase `comparing`
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly phase: "building" | "caught-up" | "comparing" | "swapped"
  readonly projection: string
  readonly generation: string
  readonly position: Position.Position
  readonly head: Position.Position
  readonly applied: number
  readonly total: number | undefined
  readonly perSecond: number
  readonly elapsed: Duration.Duration
  readonly parked: number
  readonly detail: string | undefined
  readonly compared: Compared | undefined
}

/**
 * - `documents`: how many were compared; `different` and `unsettled`: of these
 * - `differences`: those that were found since the progress before
 *
 * @since 0.1.0
 * @category models
 */
export interface Compared {
  readonly documents: number
  readonly different: number
  readonly unsettled: number
  readonly differences: ReadonlyArray<Difference>
}

/** Looks of which the rate is made. */
const rateWindow = 10

/**
 * `look` answers how far a build has come whenever it is run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly projection: Projection.Any
  readonly generation: string
  readonly events: EventStoreDriver
  readonly store: ProjectionStoreDriver
  readonly group: ConsumerWorker
}) {
  const { events, group, projection, store, generation } = options
  const began = yield* Clock.currentTimeMillis
  const looks: Array<{ readonly at: number; readonly applied: number }> = []
  let seen: Position.Position | undefined
  let total: number | undefined

  const start = yield* store.progress(generation)
  yield* Effect.forkScoped(Effect.ignore(
    Effect.map(countBehind(events, projection, start), (count) => {
      total = appliedBy(start) + count
    })
  ))

  const look = Effect.gen(function*() {
    const head = yield* events.head
    const partitions = yield* store.progress(generation)
    const now = yield* Clock.currentTimeMillis
    const position = leastOf(partitions)
    const applied = appliedBy(partitions)
    const isCaughtUp = partitions.length > 0 && position >= (seen ?? head)
    seen = head
    looks.push({ at: now, applied })
    if (looks.length > rateWindow) looks.shift()
    const { detail, parked } = group.status()
    const progress: Progress = {
      phase: isCaughtUp ? "caught-up" : "building",
      projection: projection.id,
      generation,
      position,
      head,
      applied,
      total: total === undefined ? undefined : Math.max(total, applied),
      perSecond: rateOf(looks),
      elapsed: Duration.millis(now - began),
      parked,
      detail,
      compared: undefined
    }
    return progress
  })
  return { look }
})

/**
 * How far all of a target's partitions have come.
 *
 * @since 0.1.0
 * @category getters
 */
export const leastOf = ([first, ...others]: ReadonlyArray<Partition>): Position.Position =>
  others.reduce((least, { position }) => position < least ? position : least, first?.position ?? Position.start)

const appliedBy = (partitions: ReadonlyArray<Partition>): number =>
  partitions.reduce((sum, { applied }) => sum + Number(applied), 0)

const rateOf = (looks: ReadonlyArray<{ readonly at: number; readonly applied: number }>): number => {
  const [first, last] = [looks[0]!, looks.at(-1)!]
  return last.at === first.at ? 0 : Math.round((1000 * (last.applied - first.applied)) / (last.at - first.at))
}

/** Positions that one statement counts, at least; a log of any length is counted in 256 statements at most. */
const countedAtOnce = 100_000n

/** How many events of the log a build has not come to yet. */
const countBehind = Effect.fnUntraced(
  function*(events: EventStoreDriver, projection: Projection.Any, partitions: ReadonlyArray<Partition>) {
    const head = yield* events.head
    const isEven = partitions.every(({ position }) => position === partitions[0]!.position)
    const parts = isEven
      ? [{ after: leastOf(partitions), filter: filterOf({ ...projection, partitions: 1 }, 0) }]
      : partitions.map(({ partition, position }) => ({ after: position, filter: filterOf(projection, partition) }))
    let count = 0
    for (const { after, filter } of parts) {
      const step = (head - after) / 256n + 1n
      const width = step > countedAtOnce ? step : countedAtOnce
      for (let from: bigint = after; from < head; from += width) {
        const to = from + width < head ? from + width : head
        const { events: counted } = yield* events.lag({
          ...filter,
          after: Position.make(from),
          to: Position.make(to),
          limit: 2 ** 31 - 1
        })
        count += counted
      }
    }
    return count
  }
)

/**
 * One line for a terminal: what is built, a bar, how many events of how many, the rate, and the time that is left.
 *
 * @since 0.1.0
 * @category formatting
 */
export const bar = (progress: Progress, options: { readonly width?: number | undefined } = {}): string => {
  const { applied, compared, detail, elapsed, parked, perSecond, phase, generation, total } = progress
  const width = options.width ?? 30
  const fraction = fractionOf(progress)
  const full = Math.floor(fraction * width)
  const parts = [
    `${generation} ${"█".repeat(full)}${"░".repeat(width - full)} ${String(Math.floor(fraction * 100)).padStart(3)} %`,
    `${applied.toLocaleString("en")}${total === undefined ? "" : ` of ${total.toLocaleString("en")}`} events`
  ]
  if (phase === "building") {
    parts.push(`${perSecond.toLocaleString("en")}/s`)
    if (total !== undefined && perSecond > 0) {
      parts.push(`${clockOf(Duration.seconds((total - applied) / perSecond))} left`)
    }
  } else parts.push(phase)
  if (compared !== undefined) {
    const unsettled = compared.unsettled === 0 ? "" : `, ${compared.unsettled} unsettled`
    parts.push(`${compared.documents.toLocaleString("en")} documents, ${compared.different} different${unsettled}`)
  }
  parts.push(clockOf(elapsed))
  if (parked > 0) parts.push(`${parked} parked`)
  if (detail !== undefined) parts.push(detail)
  return parts.join("  ")
}

/** By events where they are counted, else by positions. */
const fractionOf = ({ applied, head, phase, position, total }: Progress): number => {
  if (phase !== "building") return 1
  const fraction = total === undefined ? Number(position) / Math.max(1, Number(head)) : applied / Math.max(1, total)
  return Math.min(1, Math.max(0, fraction))
}

const clockOf = (duration: Duration.Duration): string => {
  const seconds = Math.round(Duration.toSeconds(duration))
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0")
  const minutes = `${two((seconds / 60) % 60)}:${two(seconds % 60)}`
  return seconds < 3600 ? minutes : `${Math.floor(seconds / 3600)}:${minutes}`
}
