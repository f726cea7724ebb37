/**
 * The retries of the events of a batch. When the events before a failed one are committed first, its retries go on in the next batch.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import type { Position } from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as Retries from "../Retries.ts"
import type { LeasedPartition } from "./BatchProcessor.ts"

/**
 * The retries of the events of one batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchRetries {
  /** Counts a failed attempt at an event, and returns the number of its attempts and whether another follows. */
  readonly failed: (
    event: EncodedEvent,
    error: EventStoreError
  ) => Effect.Effect<{ readonly attempts: number; readonly mayRetry: boolean }>
  /** Reports the failed attempt at the event at a position, if there was one, and waits until the next is due. */
  readonly awaitNext: (position: Position | undefined) => Effect.Effect<void>
  /** Lets the retries of the events from this position on go on in the next batch. */
  readonly carry: (from: Position | undefined) => void
}

interface EventAttempts {
  readonly retries: Retries.EventRetries
  /** The last attempt, if it failed and another follows. */
  last: (Retries.FailedAttempt & { readonly dueAt: number }) | undefined
}

interface Carried {
  readonly epoch: bigint
  readonly attempts: ReadonlyMap<Position, EventAttempts>
}

/**
 * Returns the retries of each batch of a processor.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  policy: Retries.RetryPolicy
): (leased: LeasedPartition) => BatchRetries => {
  const carriedBy = new Map<string, Carried>()
  return ({ epoch, generation, onRetry, parksAll = false, partition }) => {
    const batches = `${generation}/${partition}/${parksAll}`
    const carried = carriedBy.get(batches)
    carriedBy.delete(batches)
    const attempts = new Map(carried?.epoch === epoch ? carried.attempts : [])
    return {
      failed: Effect.fnUntraced(function*(event, error) {
        let ofEvent = attempts.get(event.position)
        if (ofEvent === undefined) {
          attempts.set(event.position, ofEvent = { retries: yield* Retries.make(policy), last: undefined })
        }
        const { attempts: count, delay } = yield* ofEvent.retries.failed(error)
        const now = yield* monotonicMillis
        ofEvent.last = delay && { event, error, attempts: count, delay, dueAt: now + Duration.toMillis(delay) }
        return { attempts: count, mayRetry: delay !== undefined }
      }),
      awaitNext: Effect.fnUntraced(function*(position) {
        const last = position === undefined ? undefined : attempts.get(position)?.last
        if (last === undefined) return
        const delay = Duration.millis(Math.max(0, last.dueAt - (yield* monotonicMillis)))
        if (onRetry !== undefined) yield* onRetry({ ...last, delay })
        yield* Effect.sleep(delay)
      }),
      carry: (from) => {
        const later = from === undefined ? [] : [...attempts].filter(([position]) => position >= from)
        if (later.length > 0) carriedBy.set(batches, { epoch, attempts: new Map(later) })
      }
    }
  }
}
