/**
 * The two subscriptions of a process manager. One takes the inputs; the other follows the streams of the instances, dispatches their commands, and tries
 * reactions to deadlines again that threw.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
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
import type { AppendError, InstanceAppends } from "./InstanceAppends.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { declaredErrorSchema, type ProcessEvent } from "./ProcessEvents.ts"
import { streamPrefix } from "./ProcessInstances.ts"
import * as ProcessState from "./ProcessState.ts"

/** The attribute of the metadata that counts how many reactions of process managers led to an event. */
const depthAttribute = "evsrc.processDepth"

/** How many reactions of process managers may lead to one another, without a deadline in between. */
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
    inputs: Subscription.make(name, {
      events: inputs,
      where,
      from,
      partitionBy,
      partitions,
      version,
      handle: handlers(inputs, (type) => handles.includes(type), receive)
    }),
    outputs: Subscription.make(`${name}.outputs`, {
      events: processEvents.all,
      where: { streamPrefix: streamPrefix(name) },
      partitions,
      handle: handlers(processEvents.all, isOutput, follow)
    })
  }
}

/** Runs an append or a dispatch one reaction deeper than the event that causes it. */
const deeper =
  (name: string, { metadata }: Recorded) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | EventStoreError, R> => {
    const found = metadata.attributes?.[depthAttribute]
    const depth = (typeof found === "number" ? found : 0) + 1
    return depth > maxDepth
      ? invalidRequest(
        `the process manager "${name}" and others react to one another: ${maxDepth} reactions led to this event, without a deadline in between; end the loop in `
          + `a reaction, then retry or skip the event by Parking`
      )
      : Effect.updateService(self, CommandContext, (context) => ({
        ...context,
        attributes: { ...context.attributes, [depthAttribute]: depth }
      }))
  }

/** Takes an input. */
const take = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  recorded: Recorded
): Effect.Effect<unknown, AppendError> =>
  Effect.suspend(() => {
    const found = definition.correlate(recorded)
    if (found === undefined) return Effect.void
    const { startsUntil } = definition
    const starts = found.starts && (startsUntil === undefined || DateTime.isLessThan(recorded.recordedAt, startsUntil))
    const input: ProcessState.Input = { _tag: "Event", recorded, starts }
    const part = recorded.part === 0 ? "" : `:${recorded.part}`
    return reactTo(definition, instances, found.id, `${definition.name}:${recorded.id}${part}`, input).pipe(
      deeper(definition.name, recorded)
    )
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
    const handled = CommandBus.dispatch(command, payload, { commandId: recorded.id })
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
      return reactTo(definition, instances, id, `${definition.name}:rejected:${recorded.id}`, input)
    })
  }).pipe(deeper(definition.name, recorded))

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
  reactTo(definition, instances, idOf(definition, recorded), `${definition.name}:fired:${recorded.id}`, {
    _tag: "Deadline",
    name,
    id,
    firedAt,
    fired: { id, dueAt, payload }
  })

/** Appends the reaction of an instance to an input, once under the command id. */
const reactTo = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  id: string,
  commandId: string,
  input: ProcessState.Input
) =>
  instances.append(id, commandId, (state) => {
    const ignored = ProcessState.ignores(state, input)
    return ignored === undefined
      ? { events: ProcessState.react(definition, definition.processEvents, state, input) }
      : { ignored }
  })

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
