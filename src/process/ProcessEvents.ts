/**
 * The events that the runtime of a process manager writes to the streams of its instances, beside the instance's own events: inputs, commands,
 * deadlines and the end. Their types begin with the name of the process manager, because their Schemas have those of its commands and deadlines.
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
import * as StoredContent from "./StoredContent.ts"

/**
 * An event of the runtime. `name` is the name of the command or the deadline.
 *
 * - `received`: the instance has taken an input
 * - `send`: a command is to be dispatched. With `isLatestOnly` it is skipped if the instance has sent another one by then
 * - `rejected`: a command was rejected with an error that it declares; `sent` is the id of its `send`
 * - `skipped`: a command was not dispatched `count` times, because it was due again; `sent` is the id of its `send`, if it had one
 * - `deadline`: a deadline was set; it replaces a pending one of the same name
 * - `cancelled`: a deadline was cancelled
 * - `fired`: a deadline was due. Its reaction follows in the same append if `isHandled`; otherwise the reaction threw, and is tried again
 * - `deferred`: a release that does not understand the instance has deferred an input, a command or a deadline to a newer one
 * - `resumed`: a release that understands the instance has carried out a deferred step
 * - `completed`: the process has ended; with `isCancelled`, a schedule was cancelled
 * - `abandoned`: an operator has ended it
 *
 * The types of these events are the same in every release, whichever commands and deadlines it declares. So a release reads, and keeps the read model of,
 * instances that a newer one has changed.
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
    /** When the input was recorded. */
    readonly recordedAt: DateTime.Utc
    readonly starts: boolean
  }
  | {
    readonly kind: "send"
    readonly name: string
    readonly payload: unknown
    /** How many commands the instance has sent before. */
    readonly index: number
    readonly isLatestOnly: boolean
  }
  | {
    readonly kind: "rejected"
    readonly name: string
    readonly sent: string
    /** When the event was recorded that sent the command. */
    readonly sentAt: DateTime.Utc
    readonly error: unknown
  }
  | {
    readonly kind: "skipped"
    readonly name: string
    readonly count: number
    /** Whether there were more than `count`. */
    readonly isMore: boolean
    readonly sent: string | null
  }
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
  | Deferred & { readonly kind: "deferred" }
  | { readonly kind: "resumed"; readonly eventId: string; readonly part: number }
  | { readonly kind: "completed"; readonly isCancelled?: boolean }
  | { readonly kind: "abandoned"; readonly reason: string }

/**
 * A step that a release has deferred to a newer one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deferred {
  /** An input, an event of the instance that sends a command or whose reaction threw, or the event that set a deadline which is due. */
  readonly what: "input" | "output" | "deadline"
  readonly eventId: string
  readonly position: Position.Position
  /** Which of the events that an upcaster has made of the input. */
  readonly part: number
  /** What the release does not understand. */
  readonly reason: string
}

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
  /** The types of the runtime's events, each with its kind. */
  readonly types: ReadonlyMap<string, Kind>
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

type Field = StoredContent.Field

const named = { name: Schema.String }
const id = { id: Schema.String }

/** Returns the fields of the events of each kind. What a command or a deadline adds to them is in one field. */
const fieldsOf = ({ commands, deadlines }: Parts): Readonly<Record<Kind, Readonly<Record<string, Field>>>> => {
  const errors = commands.flatMap((command) => {
    const error = declaredErrorSchema(command)
    return error === undefined ? [] : [{ name: command._tag, schema: withoutServices(error) }]
  })
  const deadline = StoredContent.make(
    "payload",
    Object.entries(deadlines).map(([name, fields]) => ({ name, schema: withoutServices(Schema.Struct(fields)) }))
  )
  return {
    received: {
      input: Schema.String,
      eventId: Schema.String,
      position: Position.Position,
      recordedAt: Schema.DateTimeUtc,
      starts: Schema.Boolean
    },
    send: {
      index: Schema.Int,
      isLatestOnly: Schema.Boolean,
      command: StoredContent.make(
        "payload",
        commands.map((command) => ({ name: command._tag, schema: withoutServices(payloadSchema(command)) }))
      )
    },
    rejected: { sent: Schema.String, sentAt: Schema.DateTimeUtc, command: StoredContent.make("error", errors) },
    skipped: { ...named, count: Schema.Int, isMore: Schema.Boolean, sent: Schema.NullOr(Schema.String) },
    deadline: { ...id, dueAt: Schema.DateTimeUtc, deadline },
    cancelled: { ...named, ...id },
    fired: { ...id, dueAt: Schema.DateTimeUtc, firedAt: Schema.DateTimeUtc, isHandled: Schema.Boolean, deadline },
    deferred: {
      what: Schema.Literals(["input", "output", "deadline"]),
      eventId: Schema.String,
      position: Position.Position,
      part: Schema.Int,
      reason: Schema.String
    },
    resumed: { eventId: Schema.String, part: Schema.Int },
    completed: { isCancelled: Schema.optionalKey(Schema.Boolean) },
    abandoned: { reason: Schema.String }
  }
}

/**
 * Returns the events of a process manager. Throws when an own event has the type of one of the runtime, or when a command or deadline has personal data
 * where it cannot be encrypted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (parts: Parts): ProcessEvents => {
  const { events, name } = parts
  const types = new Map<string, Kind>()
  const cases: Record<string, Readonly<Record<string, Field>>> = {}
  for (const [kind, fields] of Object.entries(fieldsOf(parts))) {
    // The keys of the fields are the kinds.
    types.set(typeOf(name, kind as Kind), kind as Kind)
    cases[typeOf(name, kind as Kind)] = fields
  }
  const merged: Event.Any = EventMerge.merge<ReadonlyArray<Event.Any>>(events, Schema.TaggedUnion(cases))
  return {
    all: merged,
    types,
    toEvent: (event) => ({ _tag: typeOf(name, event.kind), ...storedOf(event) }),
    fromEvent: ({ _tag, ...fields }) => {
      const kind = types.get(_tag)
      // The Schema of the type has the fields of the kind.
      return kind && processEventOf(kind, fields as Readonly<Record<string, unknown>>)
    }
  }
}

/** Returns the fields of an event as the log has them. */
const storedOf = (event: ProcessEvent): object => {
  switch (event.kind) {
    case "send": {
      const { index, isLatestOnly, name, payload } = event
      return { index, isLatestOnly, command: StoredContent.toStored(name, "payload", payload) }
    }
    case "rejected":
      return {
        sent: event.sent,
        sentAt: event.sentAt,
        command: StoredContent.toStored(event.name, "error", event.error)
      }
    case "deadline":
    case "fired": {
      const { kind: _, name, payload, ...fields } = event
      return { ...fields, deadline: StoredContent.toStored(name, "payload", payload) }
    }
    default: {
      const { kind: _, ...fields } = event
      return fields
    }
  }
}

const processEventOf = (kind: Kind, fields: Readonly<Record<string, unknown>>): ProcessEvent => {
  const { command, deadline, ...rest } = fields
  const [content, field] = kind === "rejected" ? [command, "error"] as const : [command ?? deadline, "payload"] as const
  const stored = content === undefined ? {} : StoredContent.fromStored(content, field)
  return { kind, ...rest, ...stored } as ProcessEvent
}

// `Contract` takes only commands and deadlines whose Schemas need no services.
const withoutServices = (schema: Schema.Top): Field => schema as Schema.Top & Field

/**
 * Returns the type of an event of the runtime, such as `fulfilment.send`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const typeOf = (process: string, kind: Kind): string => `${process}.${kind}`

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
