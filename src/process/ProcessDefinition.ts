/**
 * Defines process managers: data and pure functions.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Command from "../command/Command.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import { requireExactly } from "../core/definitionRules.ts"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import * as ProcessBehaviour from "./ProcessBehaviour.ts"
import type {
  CheckedCommands,
  Contract,
  Correlate,
  Handled,
  ProcessDefinition,
  ProcessManager,
  UnknownInputs
} from "./ProcessContract.ts"
import type * as Reaction from "./Reaction.ts"

/**
 * Defines the contract of a process manager; `.behaviour` adds its functions.
 *
 * **Example** (an order that is paid in time, or cancelled)
 *
 * ```ts
 * const Fulfilment = ProcessManager.make("fulfilment", {
 *   inputs: Event.merge(OrderEvent, PaymentEvent),
 *   correlate: {
 *     OrderPlaced: ({ orderId }) => ProcessManager.start(orderId),
 *     PaymentReceived: ({ orderId }) => ProcessManager.continue(orderId),
 *     PaymentRefunded: ProcessManager.ignore
 *   },
 *   state: FulfilmentState,
 *   events: FulfilmentEvent,
 *   commands: [Ship, Cancel],
 *   deadlines: { PaymentDue: { orderId: OrderId } }
 * }).behaviour({
 *   initial: "new",
 *   evolve: { … },
 *   react: {
 *     OrderPlaced: (_, { orderId }) => [ProcessManager.deadline("PaymentDue", { orderId }, { after: "15 minutes" })],
 *     PaymentReceived: (_, { orderId }) => [ProcessManager.cancelDeadline("PaymentDue"), ProcessManager.send(Ship, { orderId })],
 *     PaymentDue: (_, { orderId }) => [ProcessManager.send(Cancel, { orderId }), ProcessManager.complete]
 *   },
 *   refused: { Ship: (_, error, { orderId }) => [ProcessManager.send(Cancel, { orderId })] }
 * })
 * ```
 *
 * **Details**
 *
 * The events of an instance are in the stream `<name>-<id>`: own events, the inputs that it took, the commands that it sends and its deadlines. Their types
 * begin with the name of the process manager.
 *
 * **Gotchas**
 *
 * An instance takes its inputs in the order of the log, and an input that fails parks the instance. With another `partitionBy`, order holds within a stream
 * or a tag only: inputs of one instance from several of them may be taken in another order, and one that is taken before the start is ignored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Inputs extends Event.Any,
  const K extends Correlate<Event.Of<Inputs>>,
  State extends DecisionDefinition.StateSchema,
  Events extends Event.Any,
  const Commands extends ReadonlyArray<Command.Any> = readonly [],
  const D extends Reaction.DeadlineFields = {}
>(name: Name, options: {
  /** The events that the process takes, best by `Event.merge` of several sets. */
  readonly inputs: Inputs
  /** For each input, a function that returns its instance, or `ProcessManager.ignore`. */
  readonly correlate: K & UnknownInputs<K, Event.Tag<Inputs>>
  /** The Schema of the state of an instance. */
  readonly state: State
  /** Its own events. */
  readonly events: Events
  /** The commands that it may send; none by default. */
  readonly commands?: Commands & CheckedCommands<Commands>
  /** The fields of its deadlines, by their names; none by default. */
  readonly deadlines?: D
  /** Selects inputs of the set by tags or by stream. By default the process takes all of them. */
  readonly where?: EventFilter<NoInfer<Event.TagText<Inputs>>> | undefined
  /**
   * Where it starts if it has never run; `"start"` by default, with the first event of the log. With `{ since }`, inputs that were recorded before that time
   * start no instance, also where they come after the first one that was recorded later.
   */
  readonly from?: Consumer.From | undefined
  /** The number of partitions of its inputs, from 1 to 256; 1 by default. */
  readonly partitions?: number | undefined
  /**
   * The key within which inputs are taken in order, which divides the partitions, and which is parked when an input fails. `"instance"`, the default, is what
   * `correlate` returns; where that is unknown, because an input cannot be decoded or `correlate` throws, all later inputs wait. Each partition reads all
   * inputs. `"stream"` and a tag let the database divide the inputs.
   */
  readonly partitionBy?: "instance" | Consumer.PartitionBy<NoInfer<Event.DeclaredTag<Inputs>>>
  /**
   * 1 by default. A raised version is another consumer of the inputs, so it needs a `from`, such as `{ version: 1 }`. The instances continue with the new
   * code.
   */
  readonly version?: number | undefined
  /**
   * Inputs that were recorded at this time or later start no instance, so the process manager only finishes those that run. Another one, of another name, can
   * start the later ones: `from: { since }` with the same time.
   */
  readonly startsUntil?: DateTime.Utc | undefined
}): ProcessManager<Inputs, Handled<K>, State, Events, Commands[number], D> => {
  const correlate: Readonly<Record<string, unknown>> = options.correlate
  requireExactly(`correlate of "${name}"`, "event", correlate, Object.keys(options.inputs.cases))
  // `Commands` is empty, and `D` without fields, when the option is left out.
  const commands: ReadonlyArray<Commands[number]> = options.commands ?? []
  const deadlines = options.deadlines ?? ({} as D)
  const contract = {
    name,
    version: options.version ?? 1,
    inputs: options.inputs,
    handles: Object.keys(correlate).filter((input) => correlate[input] !== ignore),
    state: options.state,
    events: options.events,
    commands,
    deadlines,
    where: options.where ?? {},
    from: options.from ?? "start",
    startsUntil: options.startsUntil,
    partitions: options.partitions ?? 1,
    partitionBy: options.partitionBy ?? ("instance" as const)
  }
  validate(contract)
  return {
    ...contract,
    behaviour: (behaviour) => {
      const { refused = {}, ...functions } = behaviour
      const erased = ProcessBehaviour.make(contract, { ...functions, correlate, refused })
      // `Behaviour` has typed each function by its input and its state, which the erased functions are called with.
      return { ...contract, ...erased } as ProcessDefinition<State["Type"], Inputs, Event.Of<Events>, Commands[number]>
    }
  }
}

const validate = ({ commands, deadlines, handles, name }: Contract): void => {
  if (!/^[A-Za-z0-9_.:/]{1,100}$/.test(name)) {
    throw new Error(
      `ProcessManager.make: the name "${name}" is invalid; use 1 to 100 of the characters A-Z a-z 0-9 _ . : /`
    )
  }
  const tags = commands.map(({ _tag }) => _tag)
  const twice = tags.find((tag, index) => tags.indexOf(tag) !== index)
  if (twice !== undefined) throw new Error(`ProcessManager.make: "${name}" names the command "${twice}" twice`)
  const both = Object.keys(deadlines).find((deadline) => handles.includes(deadline))
  if (both !== undefined) {
    throw new Error(
      `ProcessManager.make: "${name}" has an input and a deadline of the name "${both}"; rename the deadline`
    )
  }
}
