/**
 * The log lines at the level Info: one for each event in the life of a program that an operator may look for.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"

/**
 * The values of the annotation `event`, by which log lines are found. docs/observability.md lists them.
 *
 * @since 0.1.0
 * @category models
 */
export type LogEvent =
  | "consumers.started"
  | "consumers.stopped"
  | "outage.ended"
  | "health.restored"
  | "partitions.takenOver"
  | "partitions.changed"
  | "parked.released"
  | "rebuild.caughtUp"
  | "rebuild.cutOver"
  | "rebuild.rolledBack"
  | "inline.waiting"

/**
 * Writes a log line at the level Info with the name of the event and its data as annotations.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logEvent = (
  event: LogEvent,
  message: string,
  annotations: Readonly<Record<string, unknown>> = {}
): Effect.Effect<void> => Effect.annotateLogs(Effect.logInfo(message), { event, ...annotations })
