/**
 * Logs an outage once, and its end once, however many retries of however many fibers fail meanwhile.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { logEvent } from "./logEvent.ts"

/**
 * A failure of one of the fibers that share a log of outages.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  /** Which fiber failed. The outage ends when each fiber that failed has succeeded. */
  readonly source: number | string
  /** Failures of one kind are logged once, until each fiber that had one of them has succeeded. */
  readonly kind: string
  readonly message: string
  readonly cause: Cause.Cause<unknown>
  /** Whether an operator must act. Then the cause is logged too, as an error. `false` by default. */
  readonly isStuck?: boolean | undefined
}

/**
 * The log of the outages of one consumer or background loop.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutageLog {
  /** Logs the first failure of its kind. The others are logged at the level Debug. */
  readonly failed: (failure: Failure) => Effect.Effect<void>
  /** Logs the end of the outage when none of the sources that failed is left. */
  readonly succeeded: (...sources: ReadonlyArray<number | string>) => Effect.Effect<void>
}

/** The maximum number of kinds that are logged at a time. There are few, unless their texts vary. Further ones are logged at the level Debug. */
const maxKinds = 20

/**
 * Returns a log of outages. `subject` is what fails and recovers, such as the id of a consumer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (subject: string): OutageLog => {
  const failing = new Set<number | string>()
  // An outage lasts as long as one source is stuck. Later failures of other sources are logged all the same.
  const kinds = new Map<string, Set<number | string>>()
  let since = 0
  return {
    failed: ({ cause, isStuck = false, kind, message, source }) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (failing.size === 0) since = now
        failing.add(source)
        const known = kinds.get(kind)
        known?.add(source)
        if (known !== undefined || kinds.size === maxKinds) return Effect.logDebug(message, cause)
        kinds.set(kind, new Set([source]))
        return isStuck
          ? Effect.logError(message, cause)
          : Effect.andThen(Effect.logWarning(message), Effect.logDebug(message, cause))
      }),
    succeeded: (...sources) =>
      Effect.suspend(() => {
        const before = failing.size
        for (const source of sources) {
          if (!failing.delete(source)) continue
          for (const [kind, of] of kinds) if (of.delete(source) && of.size === 0) kinds.delete(kind)
        }
        if (before === 0 || failing.size > 0) return Effect.void
        return Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const duration = Duration.millis(now - since)
          return logEvent("outage.ended", `${subject} has recovered after ${Duration.format(duration)}`, {
            subject,
            seconds: Duration.toSeconds(duration)
          })
        })
      })
  }
}

/**
 * Returns a message with that of the first error of a cause.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withReason = (message: string, cause: Cause.Cause<unknown>): string =>
  [message, ...Cause.prettyErrors(cause).slice(0, 1).map((error) => error.message)].join(": ")

/**
 * Logs the outages of a background loop, or of one of several with a `source` of its own, each with the message of its first error. Returns the effect
 * without its failures.
 *
 * @since 0.1.0
 * @category combinators
 */
export const watch = <A, E, R>(
  outages: OutageLog,
  message: string,
  effect: Effect.Effect<A, E, R>,
  source = "loop"
): Effect.Effect<void, never, R> =>
  Effect.matchCauseEffect(effect, {
    onFailure: (cause) => outages.failed({ source, kind: source, message: withReason(message, cause), cause }),
    onSuccess: () => outages.succeeded(source)
  })
