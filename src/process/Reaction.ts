/**
 * The reactions of a process manager to its inputs: own events, commands, deadlines, completion. These are data; the runtime carries them out.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"

/** Distinguishes actions from events, which have a `_tag`. */
const action = "~evsrc/process/action"

/**
 * The instance that an input belongs to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Correlation {
  /** Whether the input may be the first one of the instance. */
  readonly starts: boolean
  /** The id of the instance. */
  readonly id: string
}

/**
 * Returns the instance of an input that starts a process. If the instance exists already, it takes the input like any other.
 *
 * @since 0.1.0
 * @category constructors
 */
export const start = (id: string): Correlation => ({ starts: true, id })

/**
 * Returns the instance of an input that continues a process. If the instance does not exist, the input is ignored and counted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const continue_ = (id: string): Correlation => ({ starts: false, id })

/**
 * The action that sends a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Send<out Tag extends string> {
  readonly [action]: "send"
  /** The name of the command. */
  readonly name: Tag
  readonly command: Command.Any
  readonly payload: unknown
  /** Whether it is skipped if the instance has sent another command before it is dispatched. */
  readonly isLatestOnly: boolean
}

/**
 * The action that records that a command was not sent a number of times.
 *
 * @since 0.1.0
 * @category models
 */
export interface Skip {
  readonly [action]: "skip"
  readonly name: string
  readonly count: number
  /** Whether there were more than `count`. */
  readonly isMore: boolean
}

/**
 * When a deadline is due: after a time, counted from when the input was recorded, or at an instant. An instant in the past and a negative time are due at once.
 *
 * @since 0.1.0
 * @category models
 */
export type Due = { readonly after: Duration.Input } | { readonly at: DateTime.DateTime | Date }

/**
 * The action that sets a deadline.
 *
 * @since 0.1.0
 * @category models
 */
export interface SetDeadline<out Name extends string, out Payload> {
  readonly [action]: "deadline"
  readonly name: Name
  readonly payload: Payload
  readonly due: Due
}

/**
 * The action that cancels a deadline.
 *
 * @since 0.1.0
 * @category models
 */
export interface CancelDeadline<out Name extends string> {
  readonly [action]: "cancel"
  readonly name: Name
}

/**
 * The action that ends the process.
 *
 * @since 0.1.0
 * @category models
 */
export interface Complete {
  readonly [action]: "complete"
}

/**
 * Any action.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyAction = Send<string> | Skip | SetDeadline<string, unknown> | CancelDeadline<string> | Complete

/**
 * Returns the action that sends a command. The command is dispatched at least once, under one command id, so its events are written once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const send = <C extends Command.Any>(command: C, payload: Command.PayloadInput<C>): Send<C["_tag"]> => ({
  [action]: "send",
  name: command._tag,
  command,
  payload,
  isLatestOnly: false
})

/**
 * Returns the action that sends a command, unless the instance has sent another one by the time of the dispatch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sendLatest = (command: Command.Any, payload: unknown): Send<string> => ({
  [action]: "send",
  name: command._tag,
  command,
  payload,
  isLatestOnly: true
})

/**
 * Returns the action that records that a command was not sent a number of times.
 *
 * @since 0.1.0
 * @category constructors
 */
export const skip = (name: string, count: number, isMore: boolean): Skip => ({ [action]: "skip", name, count, isMore })

/**
 * Returns the action that sets a deadline. It replaces a pending deadline of the same name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deadline = <const Name extends string, const Payload>(
  name: Name,
  payload: Payload,
  due: Due
): SetDeadline<Name, Payload> => ({ [action]: "deadline", name, payload, due })

/**
 * Returns the action that cancels a deadline. Without a pending deadline of this name it does nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cancelDeadline = <const Name extends string>(name: Name): CancelDeadline<Name> => ({
  [action]: "cancel",
  name
})

/**
 * The action that ends the process. Its pending deadlines are dropped, and inputs that come later are ignored and counted. Commands of the same
 * reaction are still sent.
 *
 * @since 0.1.0
 * @category constants
 */
export const complete: Complete = Object.freeze({ [action]: "complete" })

/**
 * Returns whether a part of a reaction is an action, and not an own event.
 *
 * @since 0.1.0
 * @category guards
 */
export const isAction = (one: unknown): one is AnyAction => Predicate.hasProperty(one, action)

/**
 * Returns the result of the function for the kind of an action.
 *
 * @since 0.1.0
 * @category combinators
 */
export const match = <A>(one: AnyAction, cases: {
  readonly send: (one: Send<string>) => A
  readonly skip: (one: Skip) => A
  readonly deadline: (one: SetDeadline<string, unknown>) => A
  readonly cancel: (one: CancelDeadline<string>) => A
  readonly complete: () => A
}): A => {
  switch (one[action]) {
    case "send":
      return cases.send(one)
    case "skip":
      return cases.skip(one)
    case "deadline":
      return cases.deadline(one)
    case "cancel":
      return cases.cancel(one)
    case "complete":
      return cases.complete()
  }
}

/**
 * The fields of deadlines, by their names.
 *
 * @since 0.1.0
 * @category models
 */
export type DeadlineFields = Readonly<Record<string, Schema.Struct.Fields>>

/**
 * The payload of a deadline.
 *
 * @since 0.1.0
 * @category models
 */
export type DeadlinePayload<Fields extends Schema.Struct.Fields> = Schema.Struct<Fields>["Type"]
