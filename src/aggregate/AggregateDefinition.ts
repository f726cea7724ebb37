/**
 * Aggregates: consistency boundaries with one stream for each instance. `Aggregate.make` defines the contract, which a client may share;
 * `.decider` adds the behaviour.
 *
 * @since 0.1.0
 */
import * as RpcGroup from "effect/rpc/RpcGroup"
import type * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import { deepFreeze } from "../core/deepFreeze.ts"
import { requireExactly, requireOnly } from "../core/definitionRules.ts"
import * as SchemaIssues from "../core/schemaIssues.ts"
import * as StreamId from "../core/StreamId.ts"
import * as userCode from "../core/userCode.ts"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventMerge from "../event/EventMerge.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import type * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import * as StateSnapshots from "../snapshot/StateSnapshots.ts"
import * as Decider from "./Decider.ts"

/**
 * The contract of an aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface Aggregate<
  Name extends string,
  State extends Schema.Top,
  Events extends Event.Any,
  C extends Command.Any
> {
  readonly name: Name
  /** The field of its commands that holds the id of the instance. */
  readonly id: string
  /** The Schema of its state. */
  readonly state: State
  readonly events: Events
  /** Its commands as an RpcGroup. */
  readonly group: RpcGroup.RpcGroup<C>
  /** Returns the name of the stream of an instance: `<name>-<id>`. */
  readonly streamOf: (id: string) => StreamId.Of<Event.Of<Events>>
  /** Adds the behaviour: an `evolve` for each event, a `decide` for each command. */
  readonly decider: (behaviour: Behaviour<State, Events, C>) => AggregateDecider<State["Type"], Events, C>
  /**
   * Gives some commands decision models beyond the aggregate's own stream; `decide` receives their states as its third argument. The append then
   * requires both: that the stream is at the decided version, and that no other event has matched the models since.
   */
  readonly withModels: <M extends Decider.ModelsByCommand<C>>(
    models: M & Decider.ModelsByCommand<C> & UnknownCommands<M, C>
  ) => {
    // A function of its own, because a generic `decider` would cost the compiler a third more for every aggregate.
    readonly decider: (behaviour: Behaviour<State, Events, C, M>) => AggregateDecider<State["Type"], Events, C>
  }
}

/**
 * The behaviour of an aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface Behaviour<State extends Schema.Top, Events extends Event.Any, C extends Command.Any, M = {}> {
  /** The state before the first event. */
  readonly initial: State["Type"]
  /** For each event type, the state after the event. */
  readonly evolve: Decider.Evolve<State["Type"], Event.Of<Events>>
  /** For each command, the events it leads to or the error with which it is rejected. */
  readonly decide: Decider.Decide<State["Type"], Event.Of<Events>, C, M>
  /**
   * When snapshots of its states are written: `SnapshotPolicy.every(…)`, `SnapshotPolicy.afterCost(…)`, or `SnapshotPolicy.never`, the default.
   */
  readonly snapshots?:
    | ([State["DecodingServices"] | State["EncodingServices"]] extends [never] ? SnapshotPolicy.Policy
      : "a state whose Schema needs services cannot have snapshots")
    | undefined
  /**
   * A whole number, 1 by default. Raise it when `evolve`, a function that it calls, an upcaster, or a function in the Schema of the state or of an
   * event makes another state of the same events, or another text of the same state. Older snapshots are then not used any more.
   */
  readonly evolveVersion?: number | undefined
}

/** Rejects names that are not those of commands: the type of their functions becomes the message, which no value has. */
type UnknownCommands<M, C extends Command.Any> = {
  readonly [K in Exclude<keyof M, C["_tag"]>]: `the aggregate has no command "${K & string}"`
}

/**
 * An aggregate with its behaviour.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateDecider<State, Events extends Event.Any, C extends Command.Any>
  extends Decider.Decider<State, Event.Of<Events>, C>
{
  readonly aggregate: {
    readonly name: string
    readonly id: string
    readonly state: Schema.Top & { readonly Type: State }
    readonly events: Events
    readonly group: RpcGroup.RpcGroup<C>
    readonly streamOf: (id: string) => StreamId.Of<Event.Of<Events>>
  }
  /** Returns the decision models of a command; `undefined` for one that is decided on the state alone. */
  readonly modelsOf: (command: C["_tag"], payload: unknown) => DecisionDefinition.Models | undefined
  /** The names of the fields of its events and its state that are, or contain, personal data. */
  readonly personalFields: ReadonlySet<string>
  /** Encodes and decodes its snapshots; `undefined` when the policy is `never`. */
  readonly stateSnapshots: StateSnapshots.StateSnapshots<State> | undefined
}

type ModelsOf = (payload: unknown) => DecisionDefinition.Models

/** Rejects an Rpc that is not a command, and a command without the aggregate's id: its type becomes the message, which no value has. */
type HasId<Commands extends ReadonlyArray<Command.Any>, Id extends string> = {
  readonly [K in keyof Commands]: Commands[K] extends Command.WithBusErrors ?
    Command.Payload<Commands[K]> extends { readonly [P in Id]: string } ? Commands[K]
    : `the payload of "${Commands[K]["_tag"]}" lacks the aggregate's id "${Id}", a string`
    : `"${Commands[K]["_tag"]}" is not a command: define it with Command.make`
}

const checkName = (name: string): void => {
  if (name.length === 0 || name.includes("-")) {
    throw new Error(
      `Aggregate.make: the name "${name}" is empty or contains "-"; give the aggregate a name such as "BankAccount"`
    )
  }
}

const requireDistinct = (name: string, names: number, { length }: ReadonlyArray<Command.Any>): void => {
  if (names !== length) {
    throw new Error(`Aggregate.make: two commands of "${name}" have the same name; a command name must be unique`)
  }
}

/** Adds to `personalModels` the commands with models that may hold personal data. */
const modelsReader =
  (name: string, events: Event.Any, models: object, isPersonal: boolean, personalModels: Set<string>) =>
  (command: string, payload: unknown): DecisionDefinition.Models | undefined => {
    if (!Object.hasOwn(models, command)) return undefined
    // `ModelsByCommand` has, under the name of a command, a function that takes its payload.
    const modelsOf = (models as Readonly<Record<string, ModelsOf>>)[command]!
    const isPrivate = isPersonal || personalModels.has(command)
    const found = userCode.run(`models of "${name}" for "${command}"`, isPrivate, () => modelsOf(payload))
    EventMerge.requireSameSets(`models of "${name}" for "${command}"`, events, found)
    if (EventPersonalData.modelsHavePersonalData(found)) personalModels.add(command)
    return found
  }

/** Returns the Schemas of which `decide` and `evolve` make events, errors and states. */
const definitionsOf = ({ commands, events, state }: {
  readonly state: Schema.Top
  readonly events: Event.Any
  readonly commands: ReadonlyArray<Command.Any>
}): SchemaIssues.Definitions =>
  SchemaIssues.definitionsOf([
    state,
    ...Object.values(events.cases),
    ...commands.flatMap(({ errorSchema, payloadSchema }) => [payloadSchema, errorSchema])
  ])

/**
 * Defines an aggregate's contract.
 *
 * **Gotchas**
 *
 * Throws when the name is empty or contains `-`, because `-` ends the category in a stream's name; when two commands have the same name; and
 * when events or state have personal data where it cannot be encrypted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  State extends Schema.Top,
  Events extends Event.Any,
  const Id extends string,
  const Commands extends ReadonlyArray<Command.Any>
>(name: Name, options: {
  /** The field of each command's payload that holds the id of the instance, a string. */
  readonly id: Id
  /** The Schema of the state. */
  readonly state: State
  /** The events of its streams: a `Schema.TaggedUnion`. */
  readonly events: Events
  /** Its commands. */
  readonly commands: Commands & HasId<Commands, Id>
}): Aggregate<Name, State, Events, Commands[number]> => {
  checkName(name)
  // These throw when personal data is where it cannot be encrypted.
  const inState = PersonalFields.locateFields(`the state of "${name}"`, options.state)
  const personalFields = new Set([
    ...EventPersonalData.fieldNamesOf(options.events),
    ...inState === undefined ? [] : PersonalFields.fieldsOf(options.state)
  ])
  const isPersonal = EventPersonalData.hasPersonalData(options.events) || inState !== undefined
  /** The commands with models that may hold personal data. */
  const personalModels = new Set<string>()
  const commands: Commands = options.commands
  const definitions = definitionsOf(options)
  const group = RpcGroup.make(...commands)
  requireDistinct(name, group.requests.size, commands)
  const aggregate = {
    name,
    id: options.id,
    state: options.state,
    events: options.events,
    group,
    // The events of a stream are in the type of its name alone.
    streamOf: (id: string) => StreamId.nameOf(name, id) as StreamId.Of<Event.Of<Events>>
  }
  const deciderWith = <M>(models: object) =>
  (
    { decide, evolve, evolveVersion = 1, initial, snapshots }: Behaviour<
      State,
      Events,
      Commands[number],
      M
    >
  ): AggregateDecider<State["Type"], Events, Commands[number]> => {
    requireExactly(`decide of "${name}"`, "command", decide, [...group.requests.keys()])
    requireExactly(`evolve of "${name}"`, "event", evolve, Object.keys(options.events.cases))
    return {
      aggregate,
      // Every instance begins with it, so it is frozen in production too.
      initial: deepFreeze(initial),
      evolve: Decider.guardEvolve(name, isPersonal, definitions, Decider.evolveWith(evolve)),
      decide: Decider.guardDecide(name, (command) => isPersonal || personalModels.has(command), definitions, decide),
      modelsOf: modelsReader(name, options.events, models, isPersonal, personalModels),
      personalFields,
      stateSnapshots: snapshots === undefined || typeof snapshots === "string" || snapshots._tag === "Never"
        ? undefined
        : StateSnapshots.make<State["Type"]>({
          policy: snapshots,
          // `Behaviour` takes a policy only where the Schema needs no services; the compiler cannot see that from here.
          state: options.state as State & Schema.Codec<State["Type"], unknown>,
          initial,
          events: options.events,
          evolveVersion
        })
    }
  }
  return {
    ...aggregate,
    decider: deciderWith({}),
    withModels: (models) => {
      requireOnly(`models of "${name}"`, "command", models, [...group.requests.keys()])
      return { decider: deciderWith(models) }
    }
  }
}
