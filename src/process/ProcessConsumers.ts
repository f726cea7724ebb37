/**
 * The two subscriptions of a process manager. One takes the inputs; the other follows the streams of the instances, dispatches their commands, and tries
 * reactions to deadlines again that threw.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import * as CommandBus from "../command/CommandBus.ts"
import { CommandContext } from "../command/CommandContext.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import { tagOf } from "../consumer/EventHandlers.ts"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as Subscription from "../subscription/Subscription.ts"
import { actorOf, type AppendError, type InstanceAppends } from "./InstanceAppends.ts"
import * as InstanceKeys from "./InstanceKeys.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { declaredErrorSchema, type ProcessEvent } from "./ProcessEvents.ts"
import { streamPrefix } from "./ProcessInstances.ts"
import * as ProcessState from "./ProcessState.ts"
import * as Starts from "./Starts.ts"

/** The attribute of the metadata that counts how many reactions of process managers led to an event. */
const depthAttribute = "evsrc.processDepth"

/** How many reactions with commands may lead to one another, without a deadline in between. */
const maxDepth = 100

/**
 * The subscriptions of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessConsumers {
  readonly inputs: Subscription.Subscription<string, Event.Any, never>
  readonly outputs: Subscription.Subscription<string, Event.Any, never>
}

/**
 * What they run with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runtime {
  readonly instances: InstanceAppends
  /** The handlers of the commands. */
  readonly handlers: Context.Context<Command.HandlerOf<Command.Any>>
}

type Recorded = RecordedEvent<Event.Tagged>
type Handle = (event: Event.Tagged, recorded: Recorded) => Effect.Effect<unknown, AppendError>

/**
 * Returns the subscriptions of a process manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (definition: ProcessContract.Any, runtime: Effect.Effect<Runtime>): ProcessConsumers => {
  const { from, handles, inputs, name, partitionBy, partitions, processEvents, version, where } = definition
  const receive: Handle = (_, recorded) =>
    Effect.flatMap(runtime, ({ instances }) => take(definition, instances, recorded))
  const follow: Handle = (event, recorded) =>
    Effect.flatMap(runtime, ({ handlers, instances }) => {
      const one = processEvents.fromEvent(event)
      return one?.kind === "send"
        ? Effect.provideContext(dispatch(definition, instances, recorded, one), handlers)
        : one?.kind === "fired" && !one.isHandled
        ? reactAgain(definition, instances, recorded, one)
        : Effect.void
    })
  const isOutput = (type: string): boolean => {
    const kind = processEvents.types.get(type)?.kind
    return kind === "send" || kind === "fired"
  }
  const handlers = (events: Event.Any, isHandled: (type: string) => boolean, handle: Handle) =>
    Object.fromEntries(
      Object.keys(events.cases).map((
        type
      ): [string, Handle | typeof ignore] => [type, isHandled(type) ? handle : ignore])
    )
  return {
    inputs: InstanceKeys.keyed(
      definition,
      Subscription.make(name, {
        events: inputs,
        where,
        from,
        partitionBy: partitionBy === "instance" ? "stream" : partitionBy,
        partitions,
        version,
        handle: handlers(inputs, (type) => handles.includes(type), receive)
      })
    ),
    outputs: Subscription.make(`${name}.outputs`, {
      events: processEvents.all,
      where: { streamPrefix: streamPrefix(name) },
      partitions,
      // A release before stops at a command that it does not know. So what a release after finds below the checkpoint was dispatched by such a release.
      unknownTypes: "stop",
      earlierEvents: "pass",
      handle: handlers(processEvents.all, isOutput, follow)
    })
  }
}

/** Returns how many reactions led to an event. */
const depthOf = ({ metadata }: Recorded): number => {
  const found = metadata.attributes?.[depthAttribute]
  return typeof found === "number" ? found : 0
}

/** Runs an append or a dispatch of a process manager, to whose events so many reactions led. */
const by =
  (definition: ProcessContract.Any, depth: number) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.updateService(self, CommandContext, (context) => ({
      ...context,
      actor: actorOf(definition),
      attributes: { ...context.attributes, [depthAttribute]: depth }
    }))

/** Takes an input. */
const take = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  recorded: Recorded
): Effect.Effect<unknown, AppendError> =>
  Effect.suspend(() => {
    const found = definition.correlate(recorded)
    if (found === undefined) return Effect.void
    const input: ProcessState.Input = { _tag: "Event", recorded, starts: Starts.isStart(definition, found, recorded) }
    const part = recorded.part === 0 ? "" : `:${recorded.part}`
    const commandId = `${definition.name}:${recorded.id}${part}`
    return reactTo(definition, instances, { id: found.id, commandId, input, depth: depthOf(recorded) + 1 })
  })

/** Dispatches a command under the id of the event that sends it. An error that the command declares is an input of the instance. */
const dispatch = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  recorded: Recorded,
  { name, payload }: Extract<ProcessEvent, { readonly kind: "send" }>
): Effect.Effect<unknown, AppendError, Command.HandlerOf<Command.Any>> =>
  Effect.gen(function*() {
    const id = idOf(definition, recorded)
    const { rejected, status } = yield* instances.load(id)
    // A rejected command leaves nothing in the log, so it would be decided again when the event is handled again.
    if (status === "abandoned" || rejected.includes(recorded.id)) return
    const command = definition.commands.find(({ _tag }) => _tag === name)!
    const depth = depthOf(recorded)
    const handled = CommandBus.dispatch(command, payload, { commandId: recorded.id }).pipe(by(definition, depth))
    yield* Effect.catch(handled, (error: unknown): Effect.Effect<unknown, AppendError> => {
      if (isInfrastructure(error) || declaredErrorSchema(command) === undefined) {
        return Effect.fail(error as AppendError)
      }
      const input: ProcessState.Input = {
        _tag: "Rejection",
        command: name,
        sent: recorded.id,
        payload,
        error,
        at: recorded.recordedAt
      }
      const commandId = `${definition.name}:rejected:${recorded.id}`
      return reactTo(definition, instances, { id, commandId, input, depth: depth + 1 })
    })
  })

const isInfrastructure = (error: unknown): error is AppendError => {
  const tag = tagOf(error)
  return tag === "EventStoreError" || tag === "ConcurrencyConflict" || tag === "InvalidCommand"
}

/** Reacts to a deadline whose reaction threw when it fired. */
const reactAgain = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  recorded: Recorded,
  { dueAt, firedAt, id, name, payload }: Extract<ProcessEvent, { readonly kind: "fired" }>
): Effect.Effect<unknown, AppendError> =>
  reactTo(definition, instances, {
    id: idOf(definition, recorded),
    commandId: `${definition.name}:fired:${recorded.id}`,
    input: { _tag: "Deadline", name, id, firedAt, fired: { id, dueAt, payload } },
    depth: 0
  })

/** An input of an instance. */
interface Reacting {
  readonly id: string
  readonly commandId: string
  readonly input: ProcessState.Input
  /** How many reactions led to it, with this one. */
  readonly depth: number
}

/** Appends the reaction of an instance to an input, once under the command id. */
const reactTo = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  { commandId, depth, id, input }: Reacting
) =>
  instances.append(id, commandId, (state) => {
    const ignored = ProcessState.ignores(state, input)
    if (ignored === "completed" && input._tag === "Rejection" && !state.rejected.includes(input.sent)) {
      // Without a reaction; the event says that the command is not to be dispatched again.
      return { events: [ProcessState.taken(definition.processEvents, state, input)] }
    }
    if (ignored !== undefined) return { ignored }
    const events = ProcessState.react(definition, definition.processEvents, state, input)
    // A reaction without a command ends the loop.
    return depth > maxDepth && events.some((event) => definition.processEvents.fromEvent(event)?.kind === "send")
      ? { rejected: loop(definition) }
      : { events }
  }).pipe(by(definition, depth))

const loop = ({ name }: ProcessContract.Any): EventStoreError =>
  invalidRequest(
    `the process manager "${name}" and others react to one another: ${maxDepth} reactions led to this event, without a deadline in between; end the loop in a `
      + `reaction, then retry the event by Parking, or skip it`
  )

const idOf = ({ name }: ProcessContract.Any, { stream }: Recorded): string => stream.slice(streamPrefix(name).length)

/**
 * Returns the subscriptions of a process manager for what needs only their definitions, such as health and parking.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (definition: ProcessContract.Any): ProcessConsumers => {
  let consumers = known.get(definition)
  if (consumers === undefined) {
    const notRun = Effect.die(
      new Error(`evsrc: the consumers of "${definition.name}" run in ProcessManager.layer only`)
    )
    known.set(definition, consumers = make(definition, notRun))
  }
  return consumers
}

const known = new WeakMap<object, ProcessConsumers>()
