/**
 * Limits the lines of a log of which very many may come at a time: the first of each minute are written, the others are counted.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * A log with a limit.
 *
 * @since 0.1.0
 * @category models
 */
export interface LimitedLog {
  /** Writes a line with its error. Beyond the limit, it is counted and written at the level Debug. */
  readonly log: (level: "Error" | "Warn", message: string, error: unknown) => Effect.Effect<void>
  /** Writes the number of further lines, if there were some and their minute is over, or with `isEnd`. To be called at intervals. */
  readonly summarize: (options?: { readonly isEnd?: boolean | undefined }) => Effect.Effect<void>
  /** Returns whether there are further lines that `summarize` has not counted in the log yet. */
  readonly hasMore: () => boolean
}

/** The lines of one minute. */
const maxLines = 10

const period = 60_000

/**
 * Returns a log. `summary` returns the line that says how many lines more there were.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (summary: (lines: number) => string): LimitedLog => {
  let since = -Infinity
  let lines = 0
  let level: "Error" | "Warn" = "Warn"
  const at = (level: "Error" | "Warn") => level === "Error" ? Effect.logError : Effect.logWarning
  const summarize: LimitedLog["summarize"] = ({ isEnd = false } = {}) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (!isEnd && now < since + period) return Effect.void
      const more = lines - maxLines
      since = now
      lines = 0
      return more > 0 ? at(level)(summary(more)) : Effect.void
    })
  return {
    summarize,
    hasMore: () => lines > maxLines,
    log: (of, message, error) =>
      Effect.andThen(
        summarize(),
        Effect.suspend(() => {
          level = of
          return ++lines > maxLines ? Effect.logDebug(message, error) : at(of)(message, error)
        })
      )
  }
}
