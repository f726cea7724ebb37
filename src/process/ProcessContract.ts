/**
 * The types of process managers' definitions.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import type * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import type { ignore } from "../consumer/ConsumerDefinition.ts"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import type { ProcessEvents } from "./ProcessEvents.ts"
import type { ProcessState } from "./ProcessState.ts"
import type * as Reaction from "./Reaction.ts"

/**
 * For each input, a function that returns its instance, or `ignore`.
 *
 * @since 0.1.0
 * @category models
 */
export type Correlate<E extends Event.Tagged> = {
  readonly [K in E["_tag"]]:
    | ((
      event: Extract<E, { readonly _tag: K }>,
      recorded: RecordedEvent<Extract<E, { readonly _tag: K }>>
    ) => Reaction.Correlation)
    | typeof ignore
}

/**
 * Rejects an input that is not in the set.
 *
 * @since 0.1.0
 * @category models
 */
export type UnknownInputs<K, Tag extends string> = {
  readonly [Name in Exclude<keyof K, Tag>]: UnknownInput<Name>
}

/**
 * What the compiler reports for an input that is not in the set.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnknownInput<out Name> {
  readonly "the set of inputs has no event of this name": Name
}

/**
 * The inputs that are not ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Handled<K> = { readonly [Name in keyof K]: K[Name] extends typeof ignore ? never : Name }[keyof K] & string

/**
 * The commands that declare errors.
 *
 * @since 0.1.0
 * @category models
 */
export type Refusable<C extends Command.Any> = C extends Command.Any ?
  [Command.DeclaredError<C>] extends [never] ? never : C
  : never

/**
 * The reaction of a process manager to an input: own events and actions, in order.
 *
 * @since 0.1.0
 * @category models
 */
export type Reactions<Events extends Event.Any, C extends Command.Any, D extends Reaction.DeadlineFields> =
  ReadonlyArray<
    | Event.Of<Events>
    | Reaction.Send<C["_tag"]>
    | SetDeadlines<D>
    | Reaction.CancelDeadline<DeadlineName<D>>
    | Reaction.Complete
  >

/** The names of the deadlines, where one of them is required: without deadlines, the compiler's message says so. */
type DeadlineName<D extends Reaction.DeadlineFields> = [keyof D & string] extends [never] ? NoDeadlinesDeclared & string
  : keyof D & string

type SetDeadlines<D extends Reaction.DeadlineFields> = [keyof D & string] extends [never]
  ? Reaction.SetDeadline<NoDeadlinesDeclared & string, unknown>
  : { readonly [N in keyof D & string]: Reaction.SetDeadline<N, Reaction.DeadlinePayload<D[N]>> }[keyof D & string]

// An interface, so that the compiler's message shows its name.
interface NoDeadlinesDeclared {
  readonly "this process manager has no deadlines; declare them as `deadlines` of ProcessManager.make": never
}

/**
 * When a deadline was due, and when it was found to be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fired {
  readonly dueAt: DateTime.Utc
  /** By the clock of the database. */
  readonly firedAt: DateTime.Utc
}

/**
 * The contract of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessManager<
  Inputs extends Event.Any,
  Handles extends string,
  State extends DecisionDefinition.StateSchema,
  Events extends Event.Any,
  C extends Command.Any,
  D extends Reaction.DeadlineFields
> extends Contract {
  readonly inputs: Inputs
  readonly state: State
  readonly events: Events
  readonly commands: ReadonlyArray<C>
  readonly deadlines: D
  /** Adds the behaviour: a reaction to each input and deadline, an `evolve` for each own event. */
  readonly behaviour: (
    behaviour: Behaviour<Inputs, Handles, State, Events, C, D>
  ) => ProcessDefinition<State["Type"], Inputs, Event.Of<Events>, C>
}

/**
 * The contract of a process manager, without the types of its inputs, events, commands and deadlines.
 *
 * @since 0.1.0
 * @category models
 */
export interface Contract {
  readonly name: string
  readonly version: number
  readonly inputs: Event.Any
  /** The names of the inputs that are not ignored. */
  readonly handles: ReadonlyArray<string>
  readonly state: DecisionDefinition.StateSchema
  readonly events: Event.Any
  readonly commands: ReadonlyArray<Command.Any>
  readonly deadlines: Reaction.DeadlineFields
  readonly where: EventFilter
  readonly from: Consumer.From
  /** Inputs that were recorded at this time or later start no instance. */
  readonly startsUntil: DateTime.Utc | undefined
  readonly partitions: number
  readonly partitionBy: "instance" | Consumer.PartitionBy
}

/**
 * The behaviour of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export type Behaviour<
  Inputs extends Event.Any,
  Handles extends string,
  State extends DecisionDefinition.StateSchema,
  Events extends Event.Any,
  C extends Command.Any,
  D extends Reaction.DeadlineFields
> =
  & {
    /** The state before the first own event. */
    readonly initial: State["Type"]
    /** For each own event, the state after it. */
    readonly evolve: Decider.Evolve<State["Type"], Event.Of<Events>>
    /** When snapshots of the instances are written, as for an aggregate; `SnapshotPolicy.never` by default. For instances with very many events. */
    readonly snapshots?: SnapshotPolicy.Policy | undefined
    /** 1 by default. Raise it when `evolve` makes another state of the same events, so that older snapshots are not used any more. */
    readonly evolveVersion?: number | undefined
    /**
     * For each input and each deadline, what the process does. Pure: it reads no clock and draws no ids. Each reaction sees the state after all events
     * of the instance.
     */
    readonly react:
      & {
        readonly [K in Handles]: (
          state: State["Type"],
          event: Event.Case<Inputs, K>,
          recorded: RecordedEvent<Event.Case<Inputs, K>>
        ) => Reactions<Events, C, D>
      }
      & {
        readonly [N in keyof D & string]: (
          state: State["Type"],
          payload: Reaction.DeadlinePayload<D[N]>,
          fired: Fired
        ) => Reactions<Events, C, D>
      }
  }
  & ([Refusable<C>] extends [never] ? { readonly refused?: undefined } : {
    /** For each command with declared errors, what the process does when the command is rejected, or `ignore`. */
    readonly refused: {
      readonly [R in Refusable<C> as R["_tag"]]:
        | ((
          state: State["Type"],
          error: Command.DeclaredError<R>,
          command: Command.Payload<R>
        ) => Reactions<Events, C, D>)
        | typeof ignore
    }
  })

/**
 * The command under which the runtime appends to an instance. `cause` identifies what the instance reacts to.
 *
 * @since 0.1.0
 * @category models
 */
export type ReactCommand = Command.Command<
  string,
  Schema.Struct<{ readonly id: typeof Schema.String; readonly cause: typeof Schema.String }>
>

/**
 * A process manager with its behaviour.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessDefinition<State, out Inputs extends Event.Any, out E, out C extends Command.Any>
  extends Contract
{
  readonly inputs: Inputs
  readonly commands: ReadonlyArray<C>
  /** Returns the instance of an input; `undefined` if the input is ignored. */
  readonly correlate: (recorded: RecordedEvent<Event.Tagged>) => Reaction.Correlation | undefined
  /** Returns the reaction to an input or a deadline. */
  readonly react: (
    name: string,
    state: unknown,
    input: unknown,
    details: unknown
  ) => ReadonlyArray<E | Reaction.AnyAction>
  /** Returns the reaction to a rejected command; `undefined` if the rejection is ignored. */
  readonly refused: (
    command: string,
    state: unknown,
    error: unknown,
    payload: unknown
  ) => ReadonlyArray<E | Reaction.AnyAction> | undefined
  /** Whether inputs or events may have personal data, so that the words of its functions are withheld. */
  readonly isPersonal: boolean
  readonly processEvents: ProcessEvents
  /** The decider of the instances. The runtime decides what they append. */
  readonly decider: AggregateDecider<ProcessState<State>, Event.Any, ReactCommand>
}

/**
 * Any process manager with its behaviour.
 *
 * @since 0.1.0
 * @category models
 */
// oxlint-disable-next-line typescript/no-explicit-any -- the decider both takes and returns the state.
export type Any = ProcessDefinition<any, Event.Any, unknown, Command.Any>

/**
 * The commands that a process manager sends.
 *
 * @since 0.1.0
 * @category models
 */
export type Commands<P extends Any> = P["commands"][number]

/**
 * Rejects an Rpc that is not a command: its type becomes the message, which no value has.
 *
 * @since 0.1.0
 * @category models
 */
export type CheckedCommands<Commands extends ReadonlyArray<Command.Any>> = {
  readonly [K in keyof Commands]: Commands[K] extends Command.WithBusErrors ? Commands[K]
    : `"${Commands[K]["_tag"]}" is not a command: define it with Command.make`
}
