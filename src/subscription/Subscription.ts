/**
 * Durable subscriptions: effects outside of the store, such as mail or messages to other programs, each done at least once for every event.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as BatchProcessor from "../consumer/BatchProcessor.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as ConsumerRegistry from "../consumer/ConsumerRegistry.ts"
import type { ConsumerStatus } from "../consumer/ConsumerStatus.ts"
import * as ConsumerWorker from "../consumer/ConsumerWorker.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import type { EventStoreError } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type * as Projection from "../projection/Projection.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"

export { ignore } from "../consumer/ConsumerDefinition.ts"
export type { ConsumerState, ConsumerStatus } from "../consumer/ConsumerStatus.ts"
export type { WorkerOptions } from "../consumer/ConsumerWorker.ts"

/**
 * - `from`: where it begins when it has never run
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out Name extends string, out Events extends Event.Any, out R>
  extends Consumer.Consumer<Name, Events>
{
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly handle: (record: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * Any subscription.
 *
 * @since 0.1.0
 * @category models
 */
export type Any = Subscription<string, Event.Any, unknown>

/**
 * Defines a subscription: what to do with every event of a set, by a function for each type, or one for all.
 *
 * **Details**
 *
 * It has a checkpoint of its own, and goes on from there after a restart. The events of a stream are handled in their order, one after the
 * other. An event is handled again when the process dies between the effect and the checkpoint; the `id` of its record tells that it is the
 * same. When the handler fails it is tried again as `retry` says, by default four times, after 100 to 800 milliseconds; then `onFailure` says
 * what becomes of the event. Where a database is to blame, nothing is parked and the event is tried until it succeeds.
 *
 * - `from`: `"start"`, the default, begins with the first event of the log, `"now"` with those appended after its layer was first built
 *
 * **Gotchas**
 *
 * A raised `version` is another subscription: it begins again, from `from`.
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
  const H extends EventHandlers.Handlers<Event.Of<Events>> | EventHandlers.Handle<Event.Of<Events>>
>(
  name: Name,
  options: Consumer.Options & {
    readonly events: Events
    readonly handle: H & EventHandlers.Known<H, Event.Tag<Events>>
    readonly from?: "start" | "now"
    /** When to try an event again on which the handler has failed, and after that `onFailure`. */
    readonly retry?: Schedule.Schedule<unknown, unknown>
  }
): Subscription<Name, Events, EventHandlers.ServicesOf<H>> => {
  const { handle, handles } = EventHandlers.erase<H>(options.events, options.handle)
  return {
    ...ConsumerDefinition.make(
      "Subscription.make",
      { kind: "subscription", name, events: options.events, handles, from: options.from ?? "start" },
      options
    ),
    retry: options.retry ?? BatchProcessor.defaultRetry,
    handle
  }
}

/**
 * The subscriptions that this process works on.
 *
 * @since 0.1.0
 * @category services
 */
export class Subscriptions extends Context.Service<Subscriptions, {
  readonly status: Effect.Effect<ReadonlyArray<ConsumerStatus>>
}>()("evsrc/subscription/Subscription/Subscriptions") {}

/** At most so many events are handled again after a crash. */
const defaultBatchSize = 10

/**
 * Runs subscriptions in the background for as long as the layer lives; what their handlers need, the layer needs. Several processes may run
 * the same subscriptions: they share out the partitions of each, and take over those of one that has died.
 *
 * - `batchSize`: how many events are handled at most before the checkpoint is moved, and so how many may be handled again after a crash; 10 by
 *   default
 *
 * The layer fails only when a subscription `from` `"now"` has never run and the store cannot be reached, as it could not tell from when.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const S extends Any>(
  subscriptions: ReadonlyArray<S>,
  options: ConsumerWorker.WorkerOptions = {}
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
      const context = yield* EventHandlers.services<Projection.Services<S>>()
      const workers = yield* Effect.forEach(subscriptions, (subscription: Any) => {
        // The type of the layer requires the services of every handler.
        const handle: BatchProcessor.Handler = (recorded) =>
          Effect.provideContext(subscription.handle(recorded), context as Context.Context<unknown>)
        return ConsumerWorker.make(driver, BatchProcessor.effects(subscription, handle, subscription.retry), {
          ...options,
          batchSize: options.batchSize ?? defaultBatchSize
        })
      })
      for (const { consumer, status } of workers) {
        yield* registry.register("Subscription.layer", { consumer, store: driver, status })
      }
      for (const subscription of subscriptions) {
        if (subscription.from === "now") yield* startAtHead(subscription)
      }
      for (const worker of workers) yield* Effect.forkScoped(worker.run)
      return Subscriptions.of({ status: registry.status("subscription") })
    })
  ).pipe(Layer.provide(ConsumerRegistry.layer))

/**
 * Moves the checkpoints of a subscription that has never run to the present head, in one transaction with their making, so that whoever comes
 * later finds them there.
 */
const startAtHead = Effect.fnUntraced(function*({ id, partitions }: Any) {
  const store = (yield* ProjectionStore.ProjectionStore)[internals].driver
  const generation = yield* store.activeGeneration(id)
  if ((yield* store.progress(generation)).length > 0) return
  const to = yield* (yield* EventStore.EventStore).head
  const owner = (yield* IdGenerator)()
  yield* store.transaction(Effect.gen(function*() {
    const { assigned } = yield* store.claim({ consumer: id, owner, partitions, lease: Duration.seconds(10) })
    for (const { epoch, partition, position: from } of assigned) {
      // The first owner ever has the first epoch; another process may have been quicker.
      if (epoch > 1n || to === Position.start) continue
      yield* store.advance({ generation, partition, epoch, from, to, changes: [], applied: [] })
    }
  }))
  yield* store.release(generation, owner)
})
