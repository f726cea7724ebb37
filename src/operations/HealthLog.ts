/**
 * Writes lines to the program's log about consumers, or an event log, that have not been green for a time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { logEvent } from "../core/telemetry/logEvent.ts"
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

/** Numbers change from check to check, but for the session that stays the cause. */
const causeOf = (reason: string): string => reason.replaceAll(/(?<!session )\b\d+\b/g, "#")

/** What is known about a part that was not green at its last checks. */
interface Episode {
  readonly began: number
  /** The time of the first check at which it was green again. */
  greenAt: number | undefined
  /** The status at the last check after the delay; green before. */
  logged: HealthStatus.Status
  /** The causes that were seen lately. */
  readonly causes: Map<string, Cause>
}

interface Cause {
  readonly first: number
  last: number
  /** Whether a line has named it. */
  isLogged: boolean
}

/** The number of delays after which a part counts as recovered, and a cause as gone. A stall may show in every second check only. */
const delaysUntilForgotten = 3

/**
 * Returns a `HealthLog`. It writes a line when a part is not green and has not been for `delay` seconds, when yellow turns red, when another cause has
 * lasted for `delay` seconds, and when it is green again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (delay: number): HealthLog => {
  const episodes = new Map<string, Episode>()
  const millis = delay * 1000
  const isForgotten = ({ greenAt }: Episode, now: number): boolean =>
    greenAt !== undefined && now - greenAt >= delaysUntilForgotten * millis
  /** Notes the causes, and forgets old ones, because a part may not be green for weeks while its causes change. */
  const seen = (causes: Episode["causes"], shown: ReadonlyArray<string>, now: number): void => {
    for (const cause of shown) {
      const known = causes.get(cause)
      if (known === undefined) causes.set(cause, { first: now, last: now, isLogged: false })
      else known.last = now
    }
    for (const [cause, { last }] of causes) {
      if (now - last >= delaysUntilForgotten * millis) causes.delete(cause)
    }
  }
  const ofGreen = (name: string, now: number): Effect.Effect<void> => {
    const episode = episodes.get(name)
    if (episode === undefined) return Effect.void
    episode.greenAt ??= now
    if (episode.logged === "green" && !isForgotten(episode, now)) return Effect.void
    episodes.delete(name)
    return episode.logged === "green"
      ? Effect.void
      : logRestored(name, Duration.millis(now - episode.began))
  }
  const reportOne = (part: Part, now: number): Effect.Effect<void> => {
    const { name, reasons, status } = part
    if (status === "green") return ofGreen(name, now)
    let episode = episodes.get(name)
    if (episode === undefined || isForgotten(episode, now)) {
      episode = { began: now, greenAt: undefined, logged: "green", causes: new Map() }
      episodes.set(name, episode)
    }
    episode.greenAt = undefined
    const { began, causes, logged } = episode
    const shown = reasons.slice(0, maxReasons).map(causeOf)
    seen(causes, shown, now)
    if (logged === "green" && now - began < millis) return Effect.void
    const isWorse = HealthStatus.rank(status) > HealthStatus.rank(logged)
    const isOther = shown.some((cause) => {
      const { first, isLogged } = causes.get(cause)!
      return !isLogged && now - first >= millis
    })
    episode.logged = status
    if (!isWorse && !isOther) return Effect.void
    for (const cause of shown) causes.get(cause)!.isLogged = true
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

const logRestored = (name: string, duration: Duration.Duration): Effect.Effect<void> =>
  logEvent("health.restored", `Health: ${name} is green again after ${Duration.format(duration)}`, {
    subject: name,
    seconds: Duration.toSeconds(duration)
  })

const textOf = ({ name, reasons, status }: Part): string => {
  const more = reasons.length - maxReasons
  return `Health: ${name} is ${status}: ${reasons.slice(0, maxReasons).join("; ")}${
    more > 0 ? `; and ${more} more` : ""
  }`
}
