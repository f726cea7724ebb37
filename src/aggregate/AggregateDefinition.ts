/**
 * Aggregates: a consistency boundary with one stream an instance, in two steps. `Aggregate.make` is the contract, which a
 * client may share; `.decider` adds the behaviour.
 *
 * @since 0.1.0
 */
import * as RpcGroup from "effect/rpc/RpcGroup"
import type * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import * as StreamId from "../core/StreamId.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import * as Decider from "./Decider.ts"

/**
 * The contract of an aggregate: its name, which field of its commands is its id, the Schemas of its state and events, and
 * its commands. `group` is the RpcGroup of its commands.
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
  readonly id: string
  readonly state: State
  readonly events: Events
  readonly group: RpcGroup.RpcGroup<C>
  /** The name of the stream of one instance: `<name>-<id>`. */
  readonly streamOf: (id: string) => string
  /** Gives the aggregate its behaviour: every event an `evolve`, every command a `decide`. */
  readonly decider: (behaviour: Behaviour<State, Events, C>) => AggregateDecider<State["Type"], Events, C>
}

/**
 * The behaviour of an aggregate.
 *
 * - `snapshots`: when its states are kept beside their streams: `SnapshotPolicy.every(…)`, `SnapshotPolicy.afterCost(…)`, or `SnapshotPolicy.never`, the
 *   default
 * - `evolveVersion`: a whole number, 1 by default. Raise it with every change of `evolve`, of a function that it calls, or of an upcaster that
 *   makes another state of the same events: then no snapshot of before is used any more
 *
 * @since 0.1.0
 * @category models
 */
export interface Behaviour<State extends Schema.Top, Events extends Event.Any, C extends Command.Any> {
  readonly initial: State["Type"]
  readonly evolve: Decider.Evolve<State["Type"], Event.Of<Events>>
  readonly decide: Decider.Decide<State["Type"], Event.Of<Events>, C>
  readonly snapshots?:
    | ([State["DecodingServices"] | State["EncodingServices"]] extends [never] ? SnapshotPolicy.Policy
      : "a state whose Schema needs services cannot be kept in snapshots")
    | undefined
  readonly evolveVersion?: number | undefined
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
    readonly streamOf: (id: string) => string
  }
  /** None where its policy is `never`. */
  readonly stateSnapshots: SnapshotPolicy.StateSnapshots<State> | undefined
}

/** Refuses, by a type nothing has, what is no command of `Command.make`, or lacks the aggregate's id in its payload. */
type HasId<Commands extends ReadonlyArray<Command.Any>, Id extends string> = {
  readonly [K in keyof Commands]: [Command.BusError] extends [Command.Error<Commands[K]>] ?
    Command.Payload<Commands[K]> extends { readonly [P in Id]: string } ? Commands[K]
    : `the payload of "${Commands[K]["_tag"]}" lacks the aggregate's id "${Id}", a string`
    : `"${Commands[K]["_tag"]}" is not a command: define it with Command.make`
}

/**
 * Defines an aggregate's contract.
 *
 * **Gotchas**
 *
 * Throws when the name is empty or contains `-`, which ends the category in a stream's name, when two commands share a name, or when events
 * or state have personal data where it could not be encrypted.
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
  /** The field, present in the payload of every command, that names the instance. */
  readonly id: Id
  readonly state: State
  readonly events: Events
  readonly commands: Commands & HasId<Commands, Id>
}): Aggregate<Name, State, Events, Commands[number]> => {
  if (name.length === 0 || name.includes("-")) {
    throw new Error(`Aggregate.make: the name "${name}" must not be empty or contain "-"`)
  }
  // What cannot be encrypted is refused now.
  EventPersonalData.fieldLocators(options.events)
  PersonalFields.locateFields(`the state of "${name}"`, options.state)
  const commands: Commands = options.commands
  const group = RpcGroup.make(...commands)
  if (group.requests.size !== options.commands.length) {
    throw new Error(`Aggregate.make: two commands of "${name}" share a name`)
  }
  const aggregate = {
    name,
    id: options.id,
    state: options.state,
    events: options.events,
    group,
    streamOf: (id: string) => StreamId.nameOf(name, id)
  }
  return {
    ...aggregate,
    decider: ({ decide, evolve, evolveVersion = 1, initial, snapshots = SnapshotPolicy.never }) => ({
      aggregate,
      initial,
      evolve: Decider.evolveWith(evolve),
      decide,
      stateSnapshots: typeof snapshots === "string" || snapshots._tag === "Never"
        ? undefined
        : SnapshotPolicy.make<State["Type"]>({
          policy: snapshots,
          // `Behaviour` takes a policy only where the Schema needs no services; the compiler cannot see that from here.
          state: options.state as State & Schema.Codec<State["Type"], unknown>,
          initial,
          events: options.events,
          evolveVersion
        })
    })
  }
}
