/**
 * The updates of the counters in `Metrics` that several folders share.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Metrics from "./Metrics.ts"

/** Counts an append and the events that it wrote, and returns its outcome, in one step of the run loop. */
export const countAppend = <Outcome>(events: number, outcome: Outcome): Effect.Effect<Outcome> =>
  Effect.contextWith((context: Context.Context<never>) => {
    Metrics.appends.updateUnsafe(1, context)
    Metrics.appendedEvents.updateUnsafe(events, context)
    return Effect.succeed(outcome)
  })

/** Counts an append that was rejected by a conflict. */
export const countConflict: Effect.Effect<void> = Metric.update(Metrics.conflicts, 1)

/** Counts an append whose command id was appended before. */
export const countDuplicate: Effect.Effect<void> = Metric.update(Metrics.duplicates, 1)

/** Counts a lookup in the cache of states. */
export const countStateRead = (caller: Context.Context<never>, isCached: boolean): void => {
  const reads = isCached ? Metrics.stateHits : Metrics.stateMisses
  reads.updateUnsafe(1, caller)
}

/** Counts a read of a snapshot. */
export const countSnapshotRead = (
  outcome: "hit" | "none" | "stale" | "undecodable" | "unsigned" | "failed" | "skipped"
): Effect.Effect<void> => Metric.update(Metric.withAttributes(Metrics.snapshotReads, { outcome }), 1)

/** Counts a snapshot that was due. */
export const countSnapshotWrite = (outcome: "written" | "dropped" | "unencodable" | "failed"): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(Metrics.snapshotWrites, { outcome }), 1)

/** Counts events that an export has written. */
export const countExported = (events: number): Effect.Effect<void> => Metric.update(Metrics.exportedEvents, events)

/** Counts events that an import has written. */
export const countImported = (events: number): Effect.Effect<void> => Metric.update(Metrics.importedEvents, events)
