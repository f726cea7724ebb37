/**
 * Finds deadlines that should have fired. A deadline may be set to an instant in the past. So it is overdue from the later of two times: when it was due, and
 * when it was set.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { EventStoreError, ProjectionBehind } from "../../core/errors.ts"
import * as EventStore from "../../eventStore/EventStore.ts"
import * as ProjectionStore from "../../projection/ProjectionStore.ts"
import type * as ProcessContract from "../ProcessContract.ts"
import * as ProcessInstances from "../ProcessInstances.ts"

/**
 * An instance with a deadline that is overdue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Overdue {
  readonly instance: ProcessInstances.Instance
  readonly since: DateTime.Utc
  /** How many other instances have a deadline that was due before the time checked. Some deadlines may have been set after it. */
  readonly others: number
  /** Whether there may be more of them than were read. */
  readonly isMore: boolean
}

/**
 * The deadlines of a process manager that are due.
 *
 * @since 0.1.0
 * @category models
 */
export interface DueDeadlines {
  /** The instance with the earliest deadline, among the instances with a deadline that has been overdue for longer than the timeout. */
  readonly overdue: Overdue | undefined
  /** The time from which the earliest deadline, or that of `overdue`, could fire. */
  readonly since: DateTime.Utc | undefined
}

/** The maximum number of instances whose streams a check reads. The timer fires the earliest first, so while so many have just been set, it works. */
const maxRead = 100

/** A page of a stream. The events that have set pending deadlines are mostly among the last. */
const pageSize = 100

/**
 * Returns the deadlines that are due, and which of them have been overdue for longer than `timeout`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = Effect.fnUntraced(function*(
  process: ProcessContract.Any,
  now: DateTime.Utc,
  timeout: Duration.Duration
): Effect.fn.Return<
  DueDeadlines,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const before = DateTime.subtractDuration(now, timeout)
  const { items, next } = yield* ProjectionStore.list(ProcessInstances.of(process), {
    where: { nextDueAt: { lt: now } },
    orderBy: { field: "nextDueAt" },
    limit: maxRead
  })
  const isBefore = ({ nextDueAt }: ProcessInstances.Instance) =>
    nextDueAt !== null && DateTime.isLessThan(nextDueAt, before)
  const late = items.filter(isBefore)
  for (const [index, instance] of late.entries()) {
    const since = yield* overdueSince(process, instance, before)
    if (since !== undefined && DateTime.isLessThan(since, before)) {
      const isMore = late.length === items.length && Option.isSome(next)
      return { overdue: { instance, since, others: late.length - index - 1, isMore }, since }
    }
  }
  const [first] = items
  return { overdue: undefined, since: first && (yield* overdueSince(process, first, now)) }
})

/** Returns when the first deadline of an instance that was due before a time could have fired. The read model does not store when a deadline was set. */
const overdueSince = Effect.fnUntraced(function*(
  { decider }: ProcessContract.Any,
  { deadlines, id }: ProcessInstances.Instance,
  before: DateTime.Utc
): Effect.fn.Return<DateTime.Utc | undefined, EventStoreError, EventStore.EventStore> {
  const due = new Map(
    Object.values(deadlines)
      .filter(({ dueAt }) => DateTime.isLessThan(dueAt, before))
      .map(({ dueAt, setBy }) => [setBy, dueAt])
  )
  const stream = EventStore.readStreamEncoded(decider.aggregate.streamOf(id), { direction: "backward", pageSize })
  const found = yield* stream.pipe(
    Stream.filter((event) => due.has(event.id)),
    Stream.take(due.size),
    Stream.runCollect
  )
  const setAt = new Map(found.map(({ id, recordedAt }) => [id, recordedAt]))
  let first: DateTime.Utc | undefined
  for (const [setBy, dueAt] of due) {
    const since = DateTime.max(dueAt, setAt.get(setBy) ?? dueAt)
    first = first === undefined ? since : DateTime.min(first, since)
  }
  return first
})
