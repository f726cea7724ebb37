/**
 * The state of an instance of a process manager, and what the instance does in answer to an input, as pure functions. The runtime, the specifications and
 * the simulation use the same.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { invalidRequest } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as DueTime from "./DueTime.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type { Deferred, ProcessEvent, ProcessEvents } from "./ProcessEvents.ts"
import * as Reaction from "./Reaction.ts"
import * as StoredContent from "./StoredContent.ts"

/**
 * A deadline that has not fired.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending {
  /** Identifies the deadline; another one of the same name has another id. */
  readonly id: string
  readonly dueAt: DateTime.Utc
  readonly payload: unknown
}

/**
 * Whether an instance takes inputs.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "unstarted" | "running" | "completed" | "abandoned"

/**
 * The state of an instance.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessState<out State> {
  readonly status: Status
  /** The state that `evolve` makes of the own events. */
  readonly state: State
  /** The pending deadlines, by their names. */
  readonly deadlines: Readonly<Record<string, Pending>>
  /** The position of the input that started the instance. An input before it came too early. */
  readonly startedBy: Position | undefined
  /** How many deadlines were set. The next one has this number as its id. */
  readonly deadlinesSet: number
  /** How many commands the instance has sent. */
  readonly sends: number
  /** How many of them were rejected. The log has which ones. */
  readonly rejections: number
  /** How many inputs, commands and deadlines a release that did not understand the instance has deferred to a newer one. */
  readonly deferred: number
  /** The first command or deadline that this release does not declare, or cannot decode; `null` if it understands them all. */
  readonly undeclared: string | null
}

/**
 * Returns the state before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial = <State>(state: State): ProcessState<State> => ({
  status: "unstarted",
  state,
  deadlines: {},
  startedBy: undefined,
  deadlinesSet: 0,
  sends: 0,
  rejections: 0,
  deferred: 0,
  undeclared: null
})

const without = (deadlines: ProcessState<unknown>["deadlines"], name: string, id: string) =>
  deadlines[name]?.id === id
    ? Object.fromEntries(Object.entries(deadlines).filter(([other]) => other !== name))
    : deadlines

/**
 * Returns the state after an event of the runtime.
 *
 * @since 0.1.0
 * @category combinators
 */
export const evolve = <State>(state: ProcessState<State>, event: ProcessEvent): ProcessState<State> => {
  const before = withUndeclared(state, event)
  switch (event.kind) {
    case "received":
      return before.status === "unstarted" ? { ...before, status: "running", startedBy: event.position } : before
    case "send":
      return { ...before, sends: before.sends + 1 }
    case "rejected":
      return { ...before, rejections: before.rejections + 1 }
    case "skipped":
      return before
    case "deadline": {
      const { dueAt, id, name, payload } = event
      return {
        ...before,
        deadlinesSet: before.deadlinesSet + 1,
        deadlines: before.status === "running"
          ? { ...before.deadlines, [name]: { id, dueAt, payload } }
          : before.deadlines
      }
    }
    case "cancelled":
    case "fired":
      return { ...before, deadlines: without(before.deadlines, event.name, event.id) }
    case "deferred":
      return isOutstanding(before, event) ? { ...before, deferred: before.deferred + 1 } : before
    case "resumed":
      return { ...before, deferred: Math.max(0, before.deferred - 1) }
    case "completed":
      return { ...before, status: event.kind, deadlines: {} }
    case "abandoned":
      return { ...before, status: event.kind, deadlines: {}, deferred: 0 }
  }
}

/**
 * Returns whether an instance has ended, so that it ignores its inputs and deadlines.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasEnded = ({ status }: Pick<ProcessState<unknown>, "status">): boolean =>
  status === "completed" || status === "abandoned"

/**
 * Returns whether a deferred step has to be carried out: an instance that has ended needs no input and no deadline, and an abandoned one sends nothing either.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOutstanding = (
  before: Pick<ProcessState<unknown>, "status">,
  { what }: Pick<Deferred, "what">
): boolean => !hasEnded(before) || (before.status === "completed" && what === "output")

/** A command or a deadline that has ended is named, too: reactions of another release follow from it. */
const withUndeclared = <State>(before: ProcessState<State>, event: ProcessEvent): ProcessState<State> => {
  const isUndeclared = (event.kind === "send" || event.kind === "deadline" || event.kind === "fired")
    && StoredContent.isUndeclared(event.payload)
  return isUndeclared && before.undeclared === null
    ? { ...before, undeclared: `the ${event.kind === "send" ? "command" : "deadline"} "${event.name}"` }
    : before
}

/**
 * What an instance can react to.
 *
 * @since 0.1.0
 * @category models
 */
export type Input =
  | { readonly _tag: "Event"; readonly recorded: RecordedEvent<Event.Tagged>; readonly starts: boolean }
  | {
    readonly _tag: "Deadline"
    readonly name: string
    readonly id: string
    readonly firedAt: DateTime.Utc
    /** What the log has of it, if it has fired and its reaction threw. */
    readonly fired?: Pending | undefined
  }
  | {
    readonly _tag: "Rejection"
    readonly command: string
    /** The id of the event that sent it. */
    readonly sent: string
    readonly payload: unknown
    readonly error: unknown
    readonly at: DateTime.Utc
  }

/**
 * Why an instance does not take an input.
 *
 * - `unstarted`: the input does not start a process, and the instance does not exist, or was started by a later input
 * - `completed`, `abandoned`: the process has ended
 * - `cancelled`: the deadline is not pending any more
 *
 * @since 0.1.0
 * @category models
 */
export type Ignored = "unstarted" | "completed" | "abandoned" | "cancelled"

/**
 * Returns why an instance does not take an input; `undefined` if it does.
 *
 * @since 0.1.0
 * @category guards
 */
export const ignores = (
  { deadlines, startedBy, status }: ProcessState<unknown>,
  input: Input
): Ignored | undefined => {
  if (status === "completed" || status === "abandoned") return status
  switch (input._tag) {
    case "Event": {
      if (input.starts) return undefined
      // After a crash inputs come again, also those that came before the instance was started.
      const isEarly = startedBy !== undefined && input.recorded.position < startedBy
      return status === "unstarted" || isEarly ? "unstarted" : undefined
    }
    case "Deadline":
      return input.fired !== undefined || deadlines[input.name]?.id === input.id ? undefined : "cancelled"
    case "Rejection":
      return undefined
  }
}

/** What a reaction is made from. */
type Definition = Pick<ProcessContract.Any, "name" | "deadlines" | "isPersonal" | "react" | "refused">

type Deadline = Extract<Input, { readonly _tag: "Deadline" }>

/** Returns the deadline of an input that the instance does not ignore. */
const pendingOf = (deadlines: ProcessState<unknown>["deadlines"], { fired, name }: Deadline): Pending =>
  fired ?? deadlines[name]!

/**
 * Returns the event for a deadline whose reaction threw: it has fired, and its reaction is to be tried again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unhandled = (
  { toEvent }: Pick<ProcessEvents, "toEvent">,
  before: ProcessState<unknown>,
  input: Deadline
): Event.Tagged => {
  const { firedAt, id, name } = input
  const { dueAt, payload } = pendingOf(before.deadlines, input)
  return toEvent({ kind: "fired", name, id, dueAt, firedAt, payload, isHandled: false })
}

/**
 * Returns the events that an instance appends for an input that it takes: the input itself, then its reaction. Throws what the reaction throws, and when the
 * reaction sends a command with an invalid payload or sets an invalid deadline.
 *
 * @since 0.1.0
 * @category combinators
 */
export const react = (
  definition: Definition,
  { toEvent }: Pick<ProcessEvents, "toEvent">,
  before: ProcessState<unknown>,
  input: Input
): ReadonlyArray<Event.Tagged> => {
  const taken = takenAs(before, input)
  const at = timeOf(input)
  let after = evolve(before, taken)
  const events = reactionTo(definition, before, input).flatMap((one): ReadonlyArray<Event.Tagged> => {
    // What is no action is an own event, as the type of a reaction says.
    if (!Reaction.isAction(one)) return [one as Event.Tagged]
    const event = eventOf(definition, after, one, at)
    if (event === undefined) return []
    after = evolve(after, event)
    return [toEvent(event)]
  })
  return [toEvent(taken), ...events]
}

/** Returns the time from which a relative deadline counts. It is of the database's clock, also in a process whose own clock is wrong. */
const timeOf = (input: Input): DateTime.Utc =>
  input._tag === "Event" ? input.recorded.recordedAt : input._tag === "Deadline" ? input.firedAt : input.at

/**
 * Returns the event that an instance has taken an input, without its reaction.
 *
 * @since 0.1.0
 * @category constructors
 */
export const taken = (
  { toEvent }: Pick<ProcessEvents, "toEvent">,
  before: ProcessState<unknown>,
  input: Input
): Event.Tagged => toEvent(takenAs(before, input))

const takenAs = ({ deadlines }: ProcessState<unknown>, input: Input): ProcessEvent => {
  switch (input._tag) {
    case "Event": {
      const { event, id, position, recordedAt } = input.recorded
      return { kind: "received", input: event._tag, eventId: id, position, recordedAt, starts: input.starts }
    }
    case "Deadline": {
      const { firedAt, id, name } = input
      const { dueAt, payload } = pendingOf(deadlines, input)
      return { kind: "fired", name, id, dueAt, firedAt, payload, isHandled: true }
    }
    case "Rejection":
      return { kind: "rejected", name: input.command, sent: input.sent, sentAt: input.at, error: input.error }
  }
}

const reactionTo = (
  { react, refused }: Definition,
  { deadlines, state }: ProcessState<unknown>,
  input: Input
): ReadonlyArray<unknown> => {
  switch (input._tag) {
    case "Event":
      return react(input.recorded.event._tag, state, input.recorded.event, input.recorded)
    case "Deadline": {
      const { dueAt, payload } = pendingOf(deadlines, input)
      return react(input.name, state, payload, { dueAt, firedAt: input.firedAt })
    }
    case "Rejection":
      return refused(input.command, state, input.error, input.payload) ?? []
  }
}

/** Returns the event of an action; `undefined` if it changes nothing. */
const eventOf = (
  { deadlines, isPersonal, name: process }: Definition,
  { deadlines: pending, deadlinesSet, sends }: ProcessState<unknown>,
  one: Reaction.AnyAction,
  at: DateTime.Utc
): ProcessEvent | undefined => {
  const rejects = (message: string) => invalidRequest(`a reaction of the process manager "${process}" ${message}`)
  const valid = (action: string, schema: Schema.Top, payload: unknown): unknown => {
    const made = validPayload(schema, payload, isPersonal)
    if (Result.isFailure(made)) throw rejects(`${action} with an invalid payload: ${made.failure}`)
    return made.success
  }
  return Reaction.match<ProcessEvent | undefined>(one, {
    send: ({ command, isLatestOnly, name, payload }) => ({
      kind: "send",
      name,
      payload: valid(`sends the command "${name}"`, InProcessRpc.payloadSchema(command), payload),
      index: sends,
      isLatestOnly
    }),
    skip: ({ count, isMore, name }) => ({ kind: "skipped", name, count, isMore, sent: null }),
    deadline: ({ due, name, payload }) => {
      const fields = deadlines[name]
      if (fields === undefined) {
        throw rejects(`sets the deadline "${name}", which it does not declare`)
      }
      const made = valid(`sets the deadline "${name}"`, Schema.Struct(fields), payload)
      const dueAt = DueTime.of(due, at)
      if (Result.isFailure(dueAt)) throw rejects(`sets the deadline "${name}" ${dueAt.failure}`)
      return { kind: "deadline", name, id: String(deadlinesSet), dueAt: dueAt.success, payload: made }
    },
    cancel: ({ name }) => pending[name] && { kind: "cancelled", name, id: pending[name].id },
    complete: () => ({ kind: "completed" })
  })
}

const strict = { parseOptions: { onExcessProperty: "error", errors: "all" } } as const

/** Returns a payload that its Schema has made, or what is wrong with it; without its words if it may have personal data. */
const validPayload = (
  schema: Schema.Top,
  payload: unknown,
  isPersonal: boolean
): Result.Result<unknown, string> => {
  // An asynchronous check is a defect: a reaction is pure.
  const exit = Effect.runSyncExit(Effect.suspend(() => schema.makeEffect(payload, strict)))
  if (Exit.isSuccess(exit)) return Result.succeed(exit.value)
  const issue = Cause.findErrorOption(exit.cause)
  if (Option.isSome(issue)) {
    return Result.fail(
      isPersonal
        ? SchemaFailure.safeMessageOf(schema, issue.value)
        : SchemaFailure.messageWithout(schema, issue.value, new Set())
    )
  }
  const thrown = SchemaFailure.ofThrown("a function of its Schema", Cause.squash(exit.cause))
  return Result.fail(SchemaFailure.messageOf(thrown, isPersonal))
}

/**
 * Returns the earliest instant at which a deadline is due; `undefined` without a pending deadline.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nextDueAt = ({ deadlines }: Pick<ProcessState<unknown>, "deadlines">): DateTime.Utc | undefined =>
  Object.values(deadlines).reduce<DateTime.Utc | undefined>(
    (next, { dueAt }) => next === undefined || DateTime.isLessThan(dueAt, next) ? dueAt : next,
    undefined
  )
