/**
 * Retries of an event whose handler failed: by a schedule, and no longer than a timeout, because the other keys of the partition wait meanwhile.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type { EventStoreError } from "../core/errors.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * When a consumer retries an event whose handler failed.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryPolicy {
  readonly retry: Schedule.Schedule<unknown, unknown>
  /** No retry begins later than this after the first failure of the event. */
  readonly retryTimeout: Duration.Duration
}

/**
 * The default schedule by which a failed handler is retried: four times, after 100 to 800 milliseconds.
 *
 * @since 0.1.0
 * @category options
 */
export const defaultRetry: Schedule.Schedule<unknown, unknown> = Schedule.exponential("100 millis").pipe(
  Schedule.upTo({ times: 4 })
)

/** Long enough for a short outage of what a handler calls, and as long as the longest pause of a consumer that has stopped. */
const defaultTimeout = Duration.seconds(30)

/**
 * Returns the retry policy of a consumer's options. Throws when the timeout is infinite or negative; `maker` names the constructor that the user
 * called.
 *
 * @since 0.1.0
 * @category constructors
 */
export const policyOf = (
  maker: string,
  name: string,
  options: {
    readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
    readonly retryTimeout?: Duration.Input | undefined
  }
): RetryPolicy => {
  const retryTimeout = Duration.fromInputUnsafe(options.retryTimeout ?? defaultTimeout)
  if (!Duration.isFinite(retryTimeout) || Duration.isNegative(retryTimeout)) {
    throw new Error(
      `${maker}: \`retryTimeout\` of "${name}" is ${
        Duration.format(retryTimeout)
      }; use a finite duration of 0 or more, because the other keys of the `
        + `partition wait for so long`
    )
  }
  return { retry: options.retry ?? defaultRetry, retryTimeout }
}

/**
 * An attempt that failed and is followed by another.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedAttempt {
  readonly event: EncodedEvent
  readonly error: EventStoreError
  /** The number of attempts so far. */
  readonly attempts: number
  /** The pause before the next one. */
  readonly delay: Duration.Duration
}

/**
 * The retries of one event.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventRetries {
  /** Counts a failed attempt, and returns the number of attempts and the pause before the next; no pause when there is to be none. */
  readonly failed: (error: EventStoreError) => Effect.Effect<{
    readonly attempts: number
    readonly delay: Duration.Duration | undefined
  }>
}

/**
 * Returns the retries of an event by a policy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*({ retry, retryTimeout }: RetryPolicy): Effect.fn.Return<EventRetries> {
  const step = yield* Schedule.toStep(retry)
  let attempts = 0
  let firstFailure: number | undefined
  return {
    failed: Effect.fnUntraced(function*(error) {
      const now = yield* monotonicMillis
      attempts++
      firstFailure ??= now
      if (!mayRetry(error)) return { attempts, delay: undefined }
      const next = yield* Effect.result(step(yield* Clock.currentTimeMillis, error))
      if (Result.isFailure(next)) return { attempts, delay: undefined }
      const [, delay] = next.success
      const isDue = now - firstFailure + Duration.toMillis(delay) <= Duration.toMillis(retryTimeout)
      return { attempts, delay: isDue ? delay : undefined }
    })
  }
})

/** Whether the event may succeed when it is tried again. Neither log nor code change, and the worker retries failures of the store. */
const mayRetry = (error: EventStoreError): boolean =>
  !error.isRetryable && error.reason._tag !== "UndecodableEvent" && error.reason._tag !== "CircularWait"
