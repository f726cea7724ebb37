/**
 * The progress of a rebuild, as a value and as a line for a terminal.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Progress as Partition } from "../../consumer/CheckpointDriver.ts"
import { filterOf } from "../../consumer/PartitionProcessor.ts"
import type { ConsumerWorker } from "../../consumer/worker/ConsumerWorker.ts"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import * as Position from "../../core/Position.ts"
import type { EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import type { Difference } from "./DocumentComparison.ts"

/**
 * The progress of a rebuild.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /**
   * - `building`: the generation is behind the log
   * - `caught-up`: it lacks at most the events of the last interval, and the rebuild keeps it up to date
   * - `comparing`: its documents are compared with those of the active generation
   * - `cut-over`: it is the active generation now
   */
  readonly phase: "building" | "caught-up" | "comparing" | "cut-over"
  readonly projection: string
  readonly generation: string
  /** The position that all of its partitions have reached. */
  readonly position: Position.Position
  /** The high-water mark of the log. */
  readonly head: Position.Position
  /** The number of events that all processes have applied to it. */
  readonly applied: number
  /**
   * The number of events that it has to apply, as counted when this run began; undefined until they are counted. It includes the events of
   * parked keys.
   */
  readonly total: number | undefined
  /** The number of events applied per second, in the last few intervals. */
  readonly perSecond: number
  /** The time since this run began. */
  readonly elapsed: Duration.Duration
  /** The number of keys parked in it, of the partitions of this process. */
  readonly parked: number
  /** Why it does not progress. */
  readonly detail: string | undefined
  /** The sums of the comparison so far, in the phase `comparing`. */
  readonly compared: Compared | undefined
}

/**
 * The sums of a comparison.
 *
 * @since 0.1.0
 * @category models
 */
export interface Compared {
  readonly documents: number
  readonly different: number
  readonly unsettled: number
  /** The differences that were found since the progress before. */
  readonly differences: ReadonlyArray<Difference>
}

/** The number of samples from which the rate is computed. */
const rateSamples = 10

interface Sample {
  readonly at: number
  readonly applied: number
}

/**
 * Returns `read`, the effect that reads the progress of a generation, and counts the events that are left, in the background.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly projection: Projection.Any
  readonly generation: string
  readonly events: EventStoreDriver
  readonly store: ProjectionStoreDriver
  readonly worker: ConsumerWorker
}): Effect.fn.Return<{ readonly read: Effect.Effect<Progress, EventStoreError> }, EventStoreError, Scope.Scope> {
  const { events, generation, projection, store, worker } = options
  const began = yield* monotonicMillis
  const samples: Array<Sample> = []
  let lastHead: Position.Position | undefined
  let total: number | undefined

  const start = yield* store.progress(generation)
  yield* Effect.forkScoped(Effect.ignore(
    Effect.map(countBehind(events, projection, start), (count) => {
      total = appliedBy(start) + count
    })
  ))

  const read = Effect.gen(function*(): Effect.fn.Return<Progress, EventStoreError> {
    const head = yield* events.head
    const partitions = yield* store.progress(generation)
    const now = yield* monotonicMillis
    const position = reachedBy(partitions)
    const applied = appliedBy(partitions)
    const isCaughtUp = partitions.length > 0 && position >= (lastHead ?? head)
    lastHead = head
    samples.push({ at: now, applied })
    if (samples.length > rateSamples) samples.shift()
    const { detail, parked } = worker.status()
    return {
      phase: isCaughtUp ? "caught-up" : "building",
      projection: projection.id,
      generation,
      position,
      head,
      applied,
      total: total === undefined ? undefined : Math.max(total, applied),
      perSecond: rateOf(samples),
      elapsed: Duration.millis(now - began),
      parked,
      detail,
      compared: undefined
    }
  })
  return { read }
})

/** Returns the position that all partitions have reached; 0 without partitions. */
const reachedBy = ([first, ...others]: ReadonlyArray<Partition>): Position.Position =>
  others.reduce((least, { position }) => position < least ? position : least, first?.position ?? Position.start)

const appliedBy = (partitions: ReadonlyArray<Partition>): number =>
  partitions.reduce((sum, { applied }) => sum + Number(applied), 0)

const rateOf = (samples: ReadonlyArray<Sample>): number => {
  const [first, last] = [samples[0]!, samples.at(-1)!]
  return last.at === first.at ? 0 : Math.round((1000 * (last.applied - first.applied)) / (last.at - first.at))
}

/** The maximum number of events that one statement counts. */
const maxCount = 100_000

/** Counts the events of the log that partitions have not reached yet. */
const countBehind = Effect.fnUntraced(
  function*(events: EventStoreDriver, projection: Projection.Any, partitions: ReadonlyArray<Partition>) {
    const head = yield* events.head
    const isEven = partitions.every(({ position }) => position === partitions[0]!.position)
    // Every partition by document reads all events.
    const parts = isEven || projection.partitionBy === "document"
      ? [{ after: reachedBy(partitions), filter: filterOf({ ...projection, partitions: 1 }, 0) }]
      : partitions.map(({ partition, position }) => ({ after: position, filter: filterOf(projection, partition) }))
    let count = 0
    for (const { after, filter } of parts) {
      for (let from = after; from < head;) {
        const counted = yield* events.lag({ ...filter, after: from, to: head, limit: maxCount })
        count += counted.events
        from = counted.reached
      }
    }
    return count
  }
)

/**
 * Returns one line for a terminal: the generation, a bar, the number of applied events, the rate, and the estimated time left.
 *
 * @since 0.1.0
 * @category formatting
 */
export const formatProgress = (
  progress: Progress,
  options: {
    /** The width of the bar, in characters; 30 by default. */
    readonly width?: number | undefined
  } = {}
): string => {
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

/** Computed from events once they are counted, before that from positions. */
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
