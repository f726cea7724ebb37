/**
 * An append of group commit, from its arrival until its caller has a result. Internal: group commit alone uses it.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type * as Tracer from "effect/Tracer"
import { type EventStoreError, OutcomeUnknown, storeError, StoreUnavailable } from "../../core/errors.ts"
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PreparedAppend } from "./AppendParameters.ts"
import type { WaitingPending } from "./LockReports.ts"
import type { AppendRow } from "./PgAppend.ts"

/**
 * An append that has not ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending extends WaitingPending {
  readonly request: PreparedAppend
  /** The span of the caller, to which the statement belongs. */
  readonly span: Tracer.AnySpan | undefined
  readonly done: Deferred.Deferred<AppendRow, EventStoreError>
  isInterrupted: boolean
}

/**
 * Returns an append that has just arrived.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (request: PreparedAppend, span: Tracer.AnySpan | undefined, since: number): Pending => ({
  request,
  since,
  stream: request.stream,
  commandId: request.commandId,
  eventId: request.events.at(-1)?.id,
  lastEventId: request.lastEventId,
  bytes: bytesOf(request),
  documents: request.documents?.length ?? 0,
  ...namesOf(request),
  restsOnOthers: request.condition?.known?.some(({ sent }) => sent.length > 0) ?? false,
  span,
  done: Deferred.makeUnsafe(),
  isInterrupted: false,
  lock: undefined,
  waitsSince: undefined
})

const noNames: ReadonlyArray<string> = []

/**
 * Returns the names by which appends on conditions exclude each other, and appends without a condition but with tags. A condition on a type alone is
 * rare: an append that it excludes finds out in the database.
 */
const namesOf = (
  { condition, events }: AppendRequest
): { readonly conditionNames: ReadonlyArray<string>; readonly names: ReadonlyArray<string> } => ({
  conditionNames: condition === undefined ?
    noNames :
    condition.query.flatMap(({ tags = [], types = [] }) =>
      tags[0] === undefined ? types.map((type) => `y${type}`) : [`t${tags[0]}`]
    ),
  names: events.some(({ tags }) => tags !== undefined && tags.length > 0)
    ? events.flatMap(({ tags = [] }) => tags.map((tag) => `t${tag}`))
    : noNames
})

/**
 * Returns the size of an append's payload, with the documents that it writes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const bytesOf = ({ documents = [], events }: PreparedAppend): number => {
  let bytes = 0
  for (const { data, metadata } of events) bytes += data.length + metadata.length
  for (const { document = "", key } of documents) bytes += key.length + document.length
  return bytes
}

/**
 * Gives a caller its result, unless it has one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const finish = (pending: Pending, exit: Exit.Exit<AppendRow, EventStoreError>): void => {
  Deferred.doneUnsafe(pending.done, exit)
}

/**
 * Fails the callers of a batch whose statement was abandoned with `OutcomeUnknown`, unless they have a result.
 *
 * @since 0.1.0
 * @category combinators
 */
export const abandon = (batch: ReadonlyArray<Pending>): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const pending of batch) finish(pending, Exit.fail(abandonedError(pending)))
  })

/**
 * Returns the row of an append that was not sent, because it is behind another one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notSent = ({ stream }: Pending): AppendRow => ({
  outcome: "busy",
  stream,
  version: 0n,
  positions: null,
  recorded_at: null
})

/**
 * Returns whether another transaction holds a lock that an append needs.
 *
 * @since 0.1.0
 * @category guards
 */
export const isBusy = (exit: Exit.Exit<AppendRow, SqlError>): exit is Exit.Success<AppendRow> =>
  Exit.isSuccess(exit) && exit.value.outcome === "busy"

/**
 * Returns whether the appends behind one have to be sent: when it was written or may have been. They are sent behind a repeated one too, because a
 * statement finds all repeated ones among them.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayBeFollowed = (exit: Exit.Exit<AppendRow, unknown>): boolean =>
  Exit.isFailure(exit) || exit.value.outcome === "appended" || exit.value.outcome === "duplicate"

/**
 * Makes the span of a caller the parent of an effect's spans.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withParentSpan = (span: Tracer.AnySpan | undefined, effect: Effect.Effect<void>): Effect.Effect<void> =>
  span === undefined ? effect : Effect.withParentSpan(effect, span, { captureStackTrace: false })

/**
 * The error of an append that was not sent before the store was closed.
 *
 * @since 0.1.0
 * @category errors
 */
export const closedError: EventStoreError = storeError(
  new StoreUnavailable({ message: "The event store is closed; the append was not written", cause: undefined })
)

/** For a caller whose statement was abandoned at shutdown. */
const abandonedError = ({ request }: Pending): EventStoreError =>
  storeError(
    new OutcomeUnknown({
      stream: request.stream,
      message: "The event store was closed before the database responded; the append may or may not have been written",
      cause: undefined
    })
  )
