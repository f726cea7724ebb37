/**
 * The read model of a process manager's instances: where each stands, and when its next deadline is due. An append brings it up to date in its own
 * transaction, so a deadline is in it as soon as it is in the log. It can be made again from the log.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as ProjectionDefinition from "../projection/ProjectionDefinition.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type { ProcessEvent } from "./ProcessEvents.ts"
import * as ProcessState from "./ProcessState.ts"

/**
 * An instance of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export const Instance = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["running", "completed", "abandoned"]),
  /** When its first input was recorded. */
  startedAt: Schema.DateTimeUtc,
  /** When its last input was recorded, its last deadline fired, or an operator or another release last changed it: the latest of these. */
  updatedAt: Schema.DateTimeUtc,
  /** When the next deadline is due; `null` without one. */
  nextDueAt: Schema.NullOr(Schema.DateTimeUtc),
  /** The pending deadlines, by their names, each with the id of the event that set it, the id of its correlation, and its trace context. */
  deadlines: Schema.Record(
    Schema.String,
    Schema.Struct({
      id: Schema.String,
      dueAt: Schema.DateTimeUtc,
      setBy: Schema.String,
      correlationId: Schema.String,
      traceparent: Schema.optionalKey(Schema.String)
    })
  ),
  /** Why an operator has abandoned it; `null` otherwise. */
  reason: Schema.NullOr(Schema.String),
  /** How many commands of a schedule were skipped because they were due again. */
  skipped: Schema.Int,
  /** Whether a schedule was cancelled, which completes it. */
  isCancelled: Schema.Boolean,
  /** How many inputs, commands and deadlines a release that does not understand the instance has deferred to a newer one. */
  deferred: Schema.Int,
  /** Since when it waits for the newer release; `null` if it does not. */
  deferredSince: Schema.NullOr(Schema.DateTimeUtc),
  /** What the release did not understand; `null` if it waits for none. */
  deferredReason: Schema.NullOr(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Instance = typeof Instance.Type

/**
 * The read model of instances. Its documents have the ids of the instances as their keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface Instances extends
  ProjectionDefinition.Projection<
    string,
    Event.Any,
    typeof Instance,
    "status" | "startedAt" | "updatedAt" | "nextDueAt" | "deferredSince",
    "inline"
  >
{}

/**
 * Returns the prefix of the streams of a process manager's instances.
 *
 * @since 0.1.0
 * @category accessors
 */
export const streamPrefix = (name: string): string => `${name}-`

const made = new WeakMap<object, Instances>()

/**
 * Returns the read model of a process manager's instances: for the same definition, always the same.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (definition: Pick<ProcessContract.Any, "name" | "processEvents">): Instances => {
  let instances = made.get(definition)
  if (instances === undefined) made.set(definition, instances = make(definition))
  return instances
}

const make = (
  { name, processEvents: { all, fromEvent, types } }: Pick<ProcessContract.Any, "name" | "processEvents">
): Instances => {
  const prefix = streamPrefix(name)
  const evolve = (
    document: Instance | undefined,
    event: Event.Tagged,
    recorded: RecordedEvent<Event.Tagged>,
    key: string
  ): Instance => {
    // Only events of the runtime are handled.
    const process = fromEvent(event)!
    const at = timeOf(process, recorded)
    const before = document ?? unstarted(key, at ?? recorded.recordedAt)
    const { id, metadata } = recorded
    const { deadlines, deferred, status } = ProcessState.evolve(stateOf(before), process)
    const pending = Object.fromEntries(
      Object.entries(deadlines).map(([name, { dueAt, id: number }]) => {
        const known = before.deadlines[name]
        const isKnown = known !== undefined && known.id === number
        const { correlationId = id, traceparent } = metadata
        return [
          name,
          isKnown
            ? known
            : { id: number, dueAt, setBy: id, correlationId, ...(traceparent === undefined ? {} : { traceparent }) }
        ]
      })
    )
    return {
      ...before,
      status: status === "unstarted" ? "running" : status,
      updatedAt: at === undefined ? before.updatedAt : DateTime.max(before.updatedAt, at),
      nextDueAt: ProcessState.nextDueAt({ deadlines }) ?? null,
      deadlines: pending,
      reason: process.kind === "abandoned" ? process.reason : before.reason,
      skipped: before.skipped + (process.kind === "skipped" ? process.count : 0),
      isCancelled: before.isCancelled || (process.kind === "completed" && process.isCancelled === true),
      deferred,
      deferredSince: deferred === 0 ? null : before.deferredSince ?? at ?? before.updatedAt,
      deferredReason: deferred === 0 ? null : process.kind === "deferred" ? process.reason : before.deferredReason
    }
  }
  return ProjectionDefinition.make(`${name}.instances`, {
    events: all,
    lifecycle: "inline",
    where: { streamPrefix: prefix },
    document: Instance,
    index: ["status", "startedAt", "updatedAt", "nextDueAt", "deferredSince"],
    key: (_, { stream }) => stream.slice(prefix.length),
    // The types of the runtime are those of every release. If it read own events, a release with one more would have another read model.
    evolve: Object.fromEntries(
      Object.keys(all.cases).map((type) => [type, types.has(type) ? evolve : ProjectionDefinition.ignore])
    )
  })
}

/**
 * Returns when something happened to an instance; `undefined` for what follows from another event of the same append. Frequent events have the time in their
 * payload, because a projection that reads `recordedAt` cannot be computed before the append, which then takes more round trips.
 */
const timeOf = (event: ProcessEvent, recorded: RecordedEvent<Event.Tagged>): DateTime.Utc | undefined => {
  switch (event.kind) {
    case "received":
      return event.recordedAt
    case "rejected":
      return event.sentAt
    case "fired":
      return event.firedAt
    case "send":
    case "deadline":
    case "cancelled":
    case "completed":
      return undefined
    case "skipped":
    case "deferred":
    case "resumed":
    case "abandoned":
      return recorded.recordedAt
  }
}

const unstarted = (id: string, at: DateTime.Utc): Instance => ({
  id,
  status: "running",
  startedAt: at,
  updatedAt: at,
  nextDueAt: null,
  deadlines: {},
  reason: null,
  skipped: 0,
  isCancelled: false,
  deferred: 0,
  deferredSince: null,
  deferredReason: null
})

/** Returns the part of an instance's state that the read model has. */
const stateOf = ({ deadlines, deferred, status }: Instance): ProcessState.ProcessState<undefined> => ({
  ...ProcessState.initial(undefined),
  status,
  deferred,
  deadlines: Object.fromEntries(
    Object.entries(deadlines).map(([name, { dueAt, id }]) => [name, { id, dueAt, payload: undefined }])
  )
})
