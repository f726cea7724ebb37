/**
 * The two subscriptions of a process manager. One takes the inputs; the other follows the streams of the instances, dispatches their commands, and tries
 * reactions to deadlines again that threw.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as Subscription from "../subscription/Subscription.ts"
import type { AppendError } from "./InstanceAppends.ts"
import * as InstanceKeys from "./InstanceKeys.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { streamPrefix } from "./ProcessInstances.ts"
import * as ProcessReactions from "./ProcessReactions.ts"

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

/** How many instances a partition works on at a time: their reads share statements, as their appends do. */
const concurrency = 32

type Handle = (event: Event.Tagged, recorded: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, AppendError>

/**
 * Returns the subscriptions of a process manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  definition: ProcessContract.Any,
  runtime: Effect.Effect<ProcessReactions.Runtime>
): ProcessConsumers => {
  const { from, handles, inputs, name, partitionBy, partitions, processEvents, version, where } = definition
  const receive: Handle = (_, recorded) =>
    Effect.flatMap(runtime, (runtime) => ProcessReactions.take(definition, runtime, recorded))
  const follow: Handle = (_, recorded) =>
    Effect.flatMap(runtime, (runtime) => ProcessReactions.follow(definition, runtime, recorded))
  const isOutput = (type: string): boolean => {
    const kind = processEvents.types.get(type)
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
        concurrency,
        handle: handlers(inputs, (type) => handles.includes(type), receive)
      })
    ),
    // It handles the same types in every release, so it continues whatever commands a release adds, and passes its own events.
    outputs: Subscription.make(`${name}.outputs`, {
      events: processEvents.all,
      where: { streamPrefix: streamPrefix(name) },
      partitions,
      concurrency,
      handle: handlers(processEvents.all, isOutput, follow)
    })
  }
}

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

/**
 * Returns the consumer of the inputs, if a worker runs it and its keys are the instances.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keyedInputs = (process: ProcessContract.Any): ProcessConsumers["inputs"] | undefined =>
  process.partitionBy === "instance" && process.handles.length > 0 ? of(process).inputs : undefined
