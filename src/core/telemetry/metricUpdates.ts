/**
 * The updates of the counters in `Metrics` that several folders share.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import { ConcurrencyConflict, EventStoreError, InvalidCommand, InvalidQuery, ProjectionBehind } from "../errors.ts"
import * as Metrics from "./Metrics.ts"

/** Returns the series of a metric by its labels. It makes each series once, because a new series computes its key at the first update. */
const seriesBy = <M>(make: (...labels: ReadonlyArray<string>) => M) => {
  const series = new Map<string, M>()
  return (...labels: ReadonlyArray<string>): M => {
    const key = labels.join("\0")
    let found = series.get(key)
    if (found === undefined) series.set(key, found = make(...labels))
    return found
  }
}

const counter = ({ description, id }: Metric.Counter<number>, attributes: Metric.Metric.AttributeSet) =>
  Metric.counter(id, { description, incremental: true, attributes })

const histogram = ({ description, id }: Metric.Histogram<number>, attributes: Metric.Metric.AttributeSet) =>
  Metric.histogram(id, { description, attributes, boundaries: Metrics.seconds })

const commandsBy = seriesBy((command = "", outcome = "") => counter(Metrics.commands, { command, outcome }))
const commandDurationBy = seriesBy((command = "") => histogram(Metrics.commandDuration, { command }))
const queriesBy = seriesBy((query = "", outcome = "") => counter(Metrics.queries, { query, outcome }))
const queryDurationBy = seriesBy((query = "") => histogram(Metrics.queryDuration, { query }))
const storeErrorsBy = seriesBy((reason = "") => counter(Metrics.storeErrors, { reason }))

/** Counts an error of the store by its reason. */
export const countStoreError = ({ reason }: EventStoreError, context: Context.Context<never>): void =>
  storeErrorsBy(reason._tag).updateUnsafe(1, context)

/** Returns the outcome of a command or a query, and counts an error of the store. */
const outcomeOf = (exit: Exit.Exit<unknown, unknown>, context: Context.Context<never>): string => {
  if (Exit.isSuccess(exit)) return "ok"
  const failed = exit.cause.reasons.find(Cause.isFailReason)
  if (failed === undefined) return exit.cause.reasons.some(Cause.isDieReason) ? "defect" : "interrupted"
  const { error } = failed
  if (error instanceof EventStoreError) {
    countStoreError(error, context)
    return error.reason._tag === "AppendConditionFailed" ? "conflict" : "failed"
  }
  return error instanceof InvalidCommand || error instanceof InvalidQuery
    ? "invalid"
    : error instanceof ConcurrencyConflict
    ? "conflict"
    : error instanceof ProjectionBehind
    ? "behind"
    : "rejected"
}

const secondsBetween = (began: bigint, ended: bigint): number => Number(ended - began) / 1_000_000_000

const counted = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  context: Context.Context<never>,
  by: typeof commandsBy,
  durationBy: typeof commandDurationBy
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const clock = Context.get(context, Clock.Clock)
    const began = clock.monotonicTimeNanosUnsafe()
    return Effect.onExit(self, (exit) => {
      by(name, outcomeOf(exit, context)).updateUnsafe(1, context)
      durationBy(name).updateUnsafe(secondsBetween(began, clock.monotonicTimeNanosUnsafe()), context)
      return Effect.void
    })
  })

/** Counts a command by its outcome, and its duration. */
export const countCommand = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  command: string,
  context: Context.Context<never>
): Effect.Effect<A, E, R> => counted(self, command, context, commandsBy, commandDurationBy)

/** Counts a query by its outcome, and its duration. */
export const countQuery = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  query: string,
  context: Context.Context<never>
): Effect.Effect<A, E, R> => counted(self, query, context, queriesBy, queryDurationBy)

/** Measures how long an append takes until the store has answered, and passes the answer on. */
export const timeAppend = <A, E, R, B, E2, R2>(
  send: Effect.Effect<A, E, R>,
  then: (answer: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const clock = Context.get(context, Clock.Clock)
    const began = clock.monotonicTimeNanosUnsafe()
    return Effect.flatMap(send, (answer) => {
      Metrics.appendDuration.updateUnsafe(secondsBetween(began, clock.monotonicTimeNanosUnsafe()), context)
      return then(answer)
    })
  })

/** Begins the counters without labels at 0: Prometheus does not see the first increase of a counter that was not there before. */
export const startCounters: Effect.Effect<void> = Effect.contextWith((context: Context.Context<never>) =>
  Effect.sync(() => {
    for (
      const counter of [
        Metrics.appends,
        Metrics.appendedEvents,
        Metrics.conflicts,
        Metrics.duplicates,
        Metrics.stateHits,
        Metrics.stateMisses
      ]
    ) counter.updateUnsafe(0, context)
  })
)

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
