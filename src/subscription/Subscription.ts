/**
 * Durable subscriptions: effects outside the store, such as mail or messages to other programs, at least once for every event.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as EffectsProcessor from "../consumer/batch/EffectsProcessor.ts"
import type { Handler } from "../consumer/batch/EventHandling.ts"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import * as ConsumerRegistry from "../consumer/ConsumerRegistry.ts"
import type { ConsumerStatus } from "../consumer/ConsumerStatus.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import * as GenerationId from "../consumer/GenerationId.ts"
import * as Retries from "../consumer/Retries.ts"
import * as StartPosition from "../consumer/StartPosition.ts"
import * as StoreSchemas from "../consumer/StoreSchemas.ts"
import * as ConsumerWorker from "../consumer/worker/ConsumerWorker.ts"
import type { WorkerOptions } from "../consumer/worker/WorkerOptions.ts"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type * as Projection from "../projection/Projection.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"

export type { From } from "../consumer/Consumer.ts"
export { ignore } from "../consumer/ConsumerDefinition.ts"
export type { ConsumerState, ConsumerStatus } from "../consumer/ConsumerStatus.ts"
export type { WorkerOptions } from "../consumer/worker/WorkerOptions.ts"

/**
 * A subscription: a consumer with a handler outside any transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out Name extends string, out Events extends Event.Any, out R>
  extends EffectsProcessor.EffectsConsumer<Name, Events>, Retries.RetryPolicy
{
  readonly handle: (recorded: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * Any subscription.
 *
 * @since 0.1.0
 * @category models
 */
export type Any = Subscription<string, Event.Any, unknown>

/**
 * Returns a subscription: a handler for every event of a set, as a function for each type or one for all types.
 *
 * **Details**
 *
 * A subscription has a checkpoint, and resumes there after a restart. The events of a stream are handled in order, one after the other. An event
 * is handled again when the process dies between the effect and the checkpoint; the event's `id` identifies the repetition. When the database
 * is unavailable, nothing is parked, and the event is retried until it succeeds.
 *
 * **Gotchas**
 *
 * A raised `version` is another subscription: it starts at its `from`. `from: { version: 1 }` continues where version 1 stands.
 *
 * **Example** (mail to new users)
 *
 * ```ts
 * const Welcome = Subscription.make("welcome-mail", {
 *   events: UserEvent,
 *   from: "now",
 *   handle: {
 *     UserRegistered: ({ email }, { id }) => Effect.flatMap(Mailer, (mailer) => mailer.send(email, "Welcome", { messageId: id })),
 *     UserRenamed: Subscription.ignore
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Events extends Event.Any,
  const H extends EventHandlers.Handlers<Event.Of<Events>> | EventHandlers.Handle<Event.Of<Events>>,
  const Parks extends string = never
>(
  name: Name,
  options: Consumer.Options<Events> & {
    readonly events: Events
    /** The key within which order holds, which divides the partitions, and which is parked when a handler fails; `"stream"` by default. */
    readonly partitionBy?: Consumer.PartitionBy<NoInfer<Event.DeclaredTag<Events>>>
    readonly handle: EventHandlers.Checked<H, Event.Tag<Events>, Parks> & H
    /**
     * The tags of the errors that handlers fail with and do not handle, such as `["WrongStatus"]`. An event that fails with one of them is
     * retried as `retry` says, and then parks its key, or what `onFailure` says. The errors of the stores, of dispatching a command, of
     * sending a query and of the database need no name.
     */
    readonly parks?: ReadonlyArray<Parks & EventHandlers.CheckedParks<H, Parks>> | undefined
    /** Where it starts if it has never run; `"start"` by default, with the first event of the log. */
    readonly from?: Consumer.From | undefined
    /** When to retry an event whose handler failed; four times by default, after 100 to 800 milliseconds. Then `onFailure` applies. */
    readonly retry?: Schedule.Schedule<unknown, unknown>
    /**
     * How long the retries of an event may hold up its partition, from its first failure; 30 seconds by default. When the next retry is due later,
     * `onFailure` applies, although `retry` has not ended.
     */
    readonly retryTimeout?: Duration.Input | undefined
    /**
     * The maximum number of keys whose events a partition handles at a time, from 1 to 1000; 1 by default, so that a partition handles its events in the
     * order of the log. With more, only the events of one key are handled in order. Events that were handled since the last checkpoint, up to a batch, may
     * be handled again after a crash.
     */
    readonly concurrency?: number | undefined
  }
): Subscription<Name, Events, EventHandlers.ServicesOf<H>> => {
  const { handle, handles } = EventHandlers.erase<H>(options.events, options.handle)
  const { concurrency = 1 } = options
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > maxConcurrency) {
    throw new Error(
      `Subscription.make: the concurrency of "${name}" is ${concurrency}; use a whole number from 1 to ${maxConcurrency}`
    )
  }
  return {
    ...ConsumerDefinition.make(
      "Subscription.make",
      {
        kind: "subscription",
        name,
        events: options.events,
        handles,
        from: options.from ?? "start",
        partitionBy: options.partitionBy ?? "stream"
      },
      options
    ),
    ...Retries.policyOf("Subscription.make", name, options),
    parks: options.parks ?? [],
    concurrency,
    handle
  }
}

const maxConcurrency = 1_000

/**
 * The subscriptions that this program runs.
 *
 * @since 0.1.0
 * @category services
 */
export class Subscriptions extends Context.Service<Subscriptions, {
  /** Returns the status of every subscription, of all `Subscription.layer`s. */
  readonly status: Effect.Effect<ReadonlyArray<ConsumerStatus>>
}>()("evsrc/subscription/Subscription/Subscriptions") {}

/** The maximum number of events that are handled again after a crash. */
const defaultBatchSize = 10

/**
 * Runs subscriptions in the background while the layer lives. The layer requires the services of their handlers. Several processes may run the
 * same subscriptions: they share the partitions, and take over those of a process that died.
 *
 * **Details**
 *
 * `batchSize` is 10 by default: the checkpoint moves after so many events, and so many may be handled again after a crash. Several layers run
 * side by side, and report together. The layer dies when it, or another layer that is built with it, already runs one of the subscriptions. It
 * fails only for a subscription that has never run: when the store is unavailable, unless it starts with the first event, and with `InvalidRequest`
 * when it cannot start where its `from` says.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const S extends Any>(
  subscriptions: ReadonlyArray<S>,
  options: WorkerOptions = {}
): Layer.Layer<
  Subscriptions,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<S>
> =>
  Layer.effect(
    Subscriptions,
    Effect.gen(function*() {
      const registry = yield* ConsumerRegistry.ConsumerRegistry
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* StoreSchemas.requireSame("Subscription.layer", (yield* EventStore.EventStore)[internals].driver, driver)
      const context = yield* EventHandlers.services<Projection.Services<S>>()
      const workers = yield* Effect.forEach(subscriptions, (subscription: Any) => {
        // The type of the layer requires the services of every handler.
        const handle: Handler = (recorded) =>
          Effect.provideContext(subscription.handle(recorded), context as Context.Context<unknown>)
        return ConsumerWorker.make(driver, EffectsProcessor.make(subscription, handle, subscription), {
          ...options,
          batchSize: options.batchSize ?? defaultBatchSize
        })
      })
      for (const { consumer, status } of workers) {
        yield* registry.register("Subscription.layer", { consumer, store: driver, status })
      }
      for (const subscription of subscriptions) {
        yield* prepare(subscription)
      }
      yield* ConsumerWorker.runAll("Subscription.layer", workers)
      return Subscriptions.of({ status: registry.status(driver, "subscription") })
    })
  ).pipe(Layer.provide(ConsumerRegistry.layer))

/** Moves the checkpoints of a subscription that has never run to where its `from` says. */
const prepare = Effect.fnUntraced(function*(
  subscription: Any
): Effect.fn.Return<void, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore> {
  const { from, id } = subscription
  if (from === "start") return
  const { driver: store } = (yield* ProjectionStore.ProjectionStore)[internals]
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  // A subscription that was discarded must not stop the others: its worker is stuck, and says so.
  const generation = yield* Effect.catchReason(
    store.activeGeneration(id),
    "EventStoreError",
    "GenerationDiscarded",
    () => Effect.undefined
  )
  if (generation === undefined || (yield* store.progress(generation)).length > 0) return
  if (from === "now") return yield* startAt(subscription, yield* LogIdentity.headPosition(log))
  if ("after" in from) return yield* startAt(subscription, yield* StartPosition.at(log, subscription, from.after))
  if ("since" in from) return yield* startAt(subscription, yield* StartPosition.since(log, subscription, from.since))
  // The worker continues from there, once the workers of the earlier version have given back their partitions.
  const earlier = GenerationId.otherVersion(id, from.version)
  const [checkpoint] = yield* store.progress(yield* activeOf(store, subscription, earlier))
  yield* StartPosition.requireContinued(
    subscription,
    earlier,
    checkpoint === undefined ? "unstarted" : checkpoint.continuedBy === undefined ? "continued" : "elsewhere"
  )
  if (checkpoint === undefined && from.otherwise === "now") {
    yield* startAt(subscription, yield* LogIdentity.headPosition(log))
  }
})

const activeOf = (
  store: ConsumerDriver,
  { id }: Any,
  earlier: string
): Effect.Effect<string, EventStoreError> =>
  Effect.catchReason(
    store.activeGeneration(earlier),
    "EventStoreError",
    "GenerationDiscarded",
    () =>
      invalidRequest(
        `"${id}" is to continue from "${earlier}", but that was discarded with its checkpoints; give "start", "now", or a position as \`{ after }\``
      )
  )

/** Moves the checkpoints of a subscription that has never run, in the transaction that creates them. Another process then finds them there. */
const startAt = Effect.fnUntraced(function*(subscription: Any, to: LogPosition.LogPosition) {
  const { id: consumer, partitionBy, partitions } = subscription
  const { driver: store } = (yield* ProjectionStore.ProjectionStore)[internals]
  const owner = (yield* IdGenerator)()
  const generation = yield* store.transaction(Effect.gen(function*() {
    const { assigned, generation } = yield* store.claim({
      consumer,
      owner,
      partitions,
      partitionedBy: ConsumerKey.format(partitionBy),
      reads: ConsumerReads.format(ConsumerReads.of(subscription)),
      lease: Duration.seconds(10)
    })
    for (const { epoch, partition } of assigned) {
      // The very first owner has epoch 1. With a higher one, another process was quicker.
      if (epoch > 1n || to.position === Position.start) continue
      yield* store.startAfter({ generation, partition, epoch, to: to.position, toEventId: to.eventId })
    }
    return generation
  }))
  yield* store.release(generation, owner)
})
