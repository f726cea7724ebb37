/**
 * Checks of health at intervals, with log lines about what is not green.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Consumer from "../consumer/Consumer.ts"
import * as Background from "../core/telemetry/background.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import type { Health } from "./Health.ts"
import * as HealthLog from "./HealthLog.ts"
import * as HealthStatus from "./HealthStatus.ts"

/**
 * Options of checks at intervals.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The time between two checks; 10 seconds by default. */
  readonly interval?: Duration.Input | undefined
  /** The time for which a part must not be green before it is logged; 10 seconds by default. */
  readonly maxWait?: Duration.Input | undefined
  /** Runs when a check has failed. */
  readonly whenFailed: Effect.Effect<unknown>
}

/**
 * Starts checks at intervals, as long as the scope is open. A check returns the parts that the log lines name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = <E, R>(
  check: Effect.Effect<ReadonlyArray<HealthLog.Part>, E, R>,
  { interval = "10 seconds", maxWait = "10 seconds", whenFailed }: Options
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.suspend(() => {
    const outages = OutageLog.make("The health check")
    const logged = HealthLog.make(Duration.toSeconds(Duration.fromInputUnsafe(maxWait)))
    const checkOnce = OutageLog.watch(
      outages,
      "The health of consumers could not be checked",
      Effect.tap(Effect.tapCause(check, () => whenFailed), (parts) => logged.report(parts))
    )
    return Effect.asVoid(Effect.forkScoped(Background.withoutSpans(
      Effect.repeat(checkOnce, Schedule.spaced(interval))
    )))
  })

/**
 * Returns the log and the consumers of a report, with the names for log lines.
 *
 * @since 0.1.0
 * @category combinators
 */
export const partsOf = ({ consumers, log }: Health): ReadonlyArray<HealthLog.Part> => [
  { name: "the log", ...log },
  ...consumers.map((one) => ({ name: one.consumer, ...one }))
]

/**
 * Sets the gauges of health to red, because the result of the last successful check may be out of date.
 *
 * @since 0.1.0
 * @category combinators
 */
export const publishUnknown = (consumers: ReadonlyArray<Consumer.Consumer>): Effect.Effect<void> => {
  const red = HealthStatus.rank("red")
  return Effect.andThen(
    Metric.update(Metrics.logHealth, red),
    Effect.forEach(
      consumers,
      ({ id }) => Metric.update(Metric.withAttributes(Metrics.consumerHealth, { consumer: id }), red),
      { discard: true }
    )
  )
}
