/**
 * Runs process managers: the subscriptions of their inputs and outputs, the read models of their instances, and their timers.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Command from "../command/Command.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import type { EventStoreError } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import type * as Event from "../event/Event.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as Projector from "../projection/Projector.ts"
import * as Subscription from "../subscription/Subscription.ts"
import * as InstanceAppends from "./InstanceAppends.ts"
import { commandOf } from "./ProcessBehaviour.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessInstances from "./ProcessInstances.ts"
import * as ProcessTimer from "./ProcessTimer.ts"

/**
 * Options of the layer.
 *
 * @since 0.1.0
 * @category options
 */
export interface ProcessOptions extends Subscription.WorkerOptions {
  /**
   * How often a program looks for deadlines that other programs have set, and for steps that another release has deferred; 5 seconds by default. A program
   * fires the deadlines that it has set itself when they are due. On a store in memory, it looks
   * when the log has grown instead.
   */
  readonly deadlineInterval?: Duration.Input | undefined
}

/**
 * The process managers that this program runs.
 *
 * @since 0.1.0
 * @category services
 */
export class ProcessManagers extends Context.Service<ProcessManagers, {
  /** What the operations build on. */
  readonly [internals]: {
    /** The appends of each process manager, by its name. */
    readonly appends: ReadonlyMap<string, InstanceAppends.InstanceAppends>
  }
}>()("evsrc/process/ProcessLayer/ProcessManagers") {}

/** How long a program's claim of an instance lasts. A program that dies delays the deadlines of the instance by as long. */
const claim = Duration.seconds(30)

/** How many instances a timer works on at a time. */
const concurrency = 32

/** The number of events in a page. After a crash, some are handled again, without an effect, because each step has its own command id. */
const batchSize = 100

/**
 * Runs process managers in the background while the layer lives. The layer requires the handlers of the commands that they send. Several processes may run the
 * same process managers: they share the partitions of inputs and outputs, and each deadline fires once.
 *
 * **Details**
 *
 * An input leads to one append to the stream of its instance: the input, own events, commands and deadlines. The commands are then dispatched under the ids of
 * these events, so each takes effect once, even if a program dies between two steps. A reaction that throws, or a command that fails with an error that it does
 * not declare, is retried, and then parks its instance; see `ProcessManager.retry`, `Parking` and `ProcessManager.consumers`. `Subscription.Subscriptions` returns the status of its
 * consumers in this process.
 *
 * `batchSize` is 100 by default. A partition works on up to 32 instances at a time.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const P extends ProcessContract.Any>(
  processes: ReadonlyArray<P>,
  options: ProcessOptions = {}
): Layer.Layer<
  ProcessManagers | Subscription.Subscriptions,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Command.HandlerOf<ProcessContract.Commands<P>>
> => {
  const definitions: ReadonlyArray<ProcessContract.Any> = processes
  const projections = definitions.map((definition) => ProcessInstances.of(definition))
  const names = definitions.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) {
    return Layer.unwrap(Effect.die(
      new Error(
        `ProcessManager.layer: two process managers have the name "${twice}"; give each one once, or rename one`
      )
    ))
  }
  const running = Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const projectionStore = yield* ProjectionStore.ProjectionStore
    // They are those of all the commands that the subscriptions dispatch.
    const handlers =
      (yield* EventHandlers.services<Command.HandlerOf<ProcessContract.Commands<P>>>()) as Context.Context<
        Command.HandlerOf<Command.Any>
      >
    const owner = (yield* IdGenerator)()
    const appends = new Map<string, InstanceAppends.InstanceAppends>()
    const subscriptions: Array<Subscription.Subscription<string, Event.Any, never>> = []
    const timers: Array<ProcessTimer.Timer> = []
    for (const definition of definitions) {
      yield* HandlerRegistry.register(ownerOf(definition, store), [commandOf(definition.name)])
      const alarm = ProcessTimer.makeAlarm()
      const instances = yield* InstanceAppends.make(store, definition, alarm.set)
      appends.set(definition.name, instances)
      const runtime = { instances, store, handlers, latest: new Map<string, number>() }
      const { inputs, outputs } = ProcessConsumers.make(definition, Effect.succeed(runtime))
      subscriptions.push(...definition.handles.length === 0 ? [] : [inputs], outputs)
      timers.push({
        definition,
        projection: ProcessInstances.of(definition),
        runtime,
        store: projectionStore,
        driver: projectionStore[internals].driver,
        log: store[internals].driver,
        owner,
        alarm,
        settings: {
          pollInterval: Duration.fromInputUnsafe(options.deadlineInterval ?? "5 seconds"),
          claim,
          concurrency
        }
      })
    }
    const services = Layer.effect(
      ProcessManagers,
      Effect.gen(function*() {
        for (const timer of timers) yield* Effect.forkScoped(ProcessTimer.run(timer))
        return ProcessManagers.of({ [internals]: { appends } })
      })
    )
    return Layer.provideMerge(
      services,
      Subscription.layer(subscriptions, { ...options, batchSize: options.batchSize ?? batchSize })
    )
  })
  return Layer.unwrap(running).pipe(
    Layer.provide(HandlerRegistry.layer),
    Layer.provide(Projector.layerInline(projections))
  )
}

const ownerOf = (
  definition: ProcessContract.Any,
  store: EventStore.EventStore["Service"]
): HandlerRegistry.Owner => ({
  definition,
  name: `the process manager "${definition.name}"`,
  writes: { events: definition.processEvents.all, store: store[internals].driver, aggregate: definition.name }
})
