/**
 * The events that the runtime of a process manager writes to the streams of its instances, beside the instance's own events: inputs, commands,
 * deadlines and the end. Their types begin with the name of the process manager, so that each has the Schemas of its own commands and deadlines.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import { payloadSchema } from "../command/InProcessRpc.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventMerge from "../event/EventMerge.ts"
import type * as Reaction from "./Reaction.ts"

/**
 * An event of the runtime. `name` is the name of the command or the deadline.
 *
 * - `received`: the instance has taken an input
 * - `send`: a command is to be dispatched
 * - `rejected`: a command was rejected with an error that it declares; `sent` is the id of its `send`
 * - `deadline`: a deadline was set; it replaces a pending one of the same name
 * - `cancelled`: a deadline was cancelled
 * - `fired`: a deadline was due. Its reaction follows in the same append if `isHandled`; otherwise the reaction threw, and is tried again
 * - `completed`: the process has ended
 * - `abandoned`: an operator has ended it
 *
 * @since 0.1.0
 * @category models
 */
export type ProcessEvent =
  | {
    readonly kind: "received"
    readonly input: string
    readonly eventId: string
    readonly position: Position.Position
    readonly starts: boolean
  }
  | { readonly kind: "send"; readonly name: string; readonly payload: unknown }
  | { readonly kind: "rejected"; readonly name: string; readonly sent: string; readonly error: unknown }
  | {
    readonly kind: "deadline"
    readonly name: string
    readonly id: string
    readonly dueAt: DateTime.Utc
    readonly payload: unknown
  }
  | { readonly kind: "cancelled"; readonly name: string; readonly id: string }
  | {
    readonly kind: "fired"
    readonly name: string
    readonly id: string
    readonly dueAt: DateTime.Utc
    readonly firedAt: DateTime.Utc
    readonly payload: unknown
    readonly isHandled: boolean
  }
  | { readonly kind: "completed" }
  | { readonly kind: "abandoned"; readonly reason: string }

/**
 * The kinds of these events.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = ProcessEvent["kind"]

/**
 * The events of the instances of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessEvents {
  /** The own events and those of the runtime. */
  readonly all: Event.Any
  /** The types of the runtime's events, each with its kind and the name of its command or deadline. */
  readonly types: ReadonlyMap<string, { readonly kind: Kind; readonly name: string | undefined }>
  /** Returns an event as the log has it. */
  readonly toEvent: (event: ProcessEvent) => Event.Tagged
  /** Returns an event of the runtime; `undefined` for an own event. */
  readonly fromEvent: (event: Event.Tagged) => ProcessEvent | undefined
}

/** What the events of a process manager are made of. */
interface Parts {
  readonly name: string
  readonly events: Event.Any
  readonly commands: ReadonlyArray<Command.Any>
  readonly deadlines: Reaction.DeadlineFields
}

/** A Schema that encodes and decodes without services, as that of an event must. */
type Field = Schema.Codec<unknown, unknown>

const fieldsOf = (kind: Kind, payload: Field, error: Field): Readonly<Record<string, Field>> => {
  switch (kind) {
    case "received":
      return { input: Schema.String, eventId: Schema.String, position: Position.Position, starts: Schema.Boolean }
    case "send":
      return { payload }
    case "rejected":
      return { sent: Schema.String, error }
    case "deadline":
      return { id: Schema.String, dueAt: Schema.DateTimeUtc, payload }
    case "cancelled":
      return { id: Schema.String }
    case "fired":
      return {
        id: Schema.String,
        dueAt: Schema.DateTimeUtc,
        firedAt: Schema.DateTimeUtc,
        payload,
        isHandled: Schema.Boolean
      }
    case "completed":
      return {}
    case "abandoned":
      return { reason: Schema.String }
  }
}

/**
 * Returns the events of a process manager. Throws when an own event has the type of one of the runtime, or when a command or deadline has personal data
 * where it cannot be encrypted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ commands, deadlines, events, name }: Parts): ProcessEvents => {
  const types = new Map<string, { readonly kind: Kind; readonly name: string | undefined }>()
  const cases: Record<string, Readonly<Record<string, Field>>> = {}
  const add = (kind: Kind, part?: string, payload: Field = Schema.Never, error: Field = Schema.Never) => {
    const type = typeOf(name, kind, part)
    types.set(type, { kind, name: part })
    cases[type] = fieldsOf(kind, payload, error)
  }
  add("received")
  for (const command of commands) {
    const error = declaredErrorSchema(command)
    add("send", command._tag, withoutServices(payloadSchema(command)))
    if (error !== undefined) add("rejected", command._tag, Schema.Never, withoutServices(error))
  }
  for (const [deadline, fields] of Object.entries(deadlines)) {
    const payload = withoutServices(Schema.Struct(fields))
    add("deadline", deadline, payload)
    add("cancelled", deadline)
    add("fired", deadline, payload)
  }
  add("completed")
  add("abandoned")
  const merged: Event.Any = EventMerge.merge<ReadonlyArray<Event.Any>>(events, Schema.TaggedUnion(cases))
  return {
    all: merged,
    types,
    toEvent: ({ kind, ...fields }) => {
      const { name: part, ...rest } = { name: undefined, ...fields }
      return { _tag: typeOf(name, kind, part), ...rest }
    },
    fromEvent: ({ _tag, ...fields }) => {
      const type = types.get(_tag)
      // The Schema of the type has the fields of the kind.
      return type && ({ ...fields, ...type } as ProcessEvent)
    }
  }
}

// `Contract` takes only commands and deadlines whose Schemas need no services.
const withoutServices = (schema: Schema.Top): Field => schema as Schema.Top & Field

/**
 * Returns the type of an event of the runtime, such as `fulfilment.send.Ship`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const typeOf = (process: string, kind: Kind, name: string | undefined): string =>
  name === undefined ? `${process}.${kind}` : `${process}.${kind}.${name}`

/**
 * Returns the Schema of the errors that a command declares; `undefined` if it declares none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const declaredErrorSchema = (command: Command.Any): Schema.Top | undefined => {
  // `Command.make` puts the declared errors before those of the bus.
  const members: unknown = Reflect.get(command.errorSchema, "members")
  const declared: unknown = Array.isArray(members) ? members[0] : undefined
  return Schema.isSchema(declared) && declared !== Schema.Never ? declared : undefined
}
