/**
 * Writes lines to the program's log about consumers, or an event log, that have not been green for a time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HealthStatus from "./HealthStatus.ts"

/**
 * A consumer, or the event log, with its health.
 *
 * @since 0.1.0
 * @category models
 */
export interface Part extends HealthStatus.Assessment {
  readonly name: string
}

/**
 * A writer of lines about changes of health.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthLog {
  /** Logs what has changed since earlier reports. */
  readonly report: (parts: ReadonlyArray<Part>) => Effect.Effect<void>
}

/** The maximum number of reasons in a line. */
const maxReasons = 3

/**
 * Returns a `HealthLog`. It writes a line when a part has not been green for `delay` seconds, when yellow turns red, and when it is green again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (delay: number): HealthLog => {
  const since = new Map<string, number>()
  const logged = new Map<string, HealthStatus.Status>()
  const reportOne = (part: Part, now: number): Effect.Effect<void> => {
    const { name, status } = part
    if (status === "green") {
      const began = since.get(name) ?? now
      since.delete(name)
      return logged.delete(name)
        ? Effect.logInfo(`Health: ${name} is green again after ${Duration.format(Duration.millis(now - began))}`)
        : Effect.void
    }
    const began = since.get(name) ?? now
    since.set(name, began)
    const before = logged.get(name) ?? "green"
    if (before !== "green" || now - began >= delay * 1000) logged.set(name, status)
    if (!logged.has(name) || HealthStatus.rank(status) <= HealthStatus.rank(before)) return Effect.void
    return (status === "red" ? Effect.logError : Effect.logWarning)(textOf(part))
  }
  return {
    report: (parts) =>
      Effect.flatMap(
        Clock.currentTimeMillis,
        (now) => Effect.forEach(parts, (part) => reportOne(part, now), { discard: true })
      )
  }
}

const textOf = ({ name, reasons, status }: Part): string => {
  const more = reasons.length - maxReasons
  return `Health: ${name} is ${status}: ${reasons.slice(0, maxReasons).join("; ")}${
    more > 0 ? `; and ${more} more` : ""
  }`
}
