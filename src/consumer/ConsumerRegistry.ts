/**
 * The consumers that run in this program. Every `Projector.layer` and `Subscription.layer` registers its consumers here, so that several layers
 * report together.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { ConsumerDriver } from "./CheckpointDriver.ts"
import type { Consumer, Kind } from "./Consumer.ts"
import type { ConsumerStatus } from "./ConsumerStatus.ts"

/**
 * A consumer that runs against a store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registration {
  readonly consumer: Pick<Consumer, "id" | "kind">
  readonly store: ConsumerDriver
  readonly status: () => ConsumerStatus
}

/**
 * The registry of a program.
 *
 * @since 0.1.0
 * @category services
 */
export class ConsumerRegistry extends Context.Service<ConsumerRegistry, {
  /**
   * Registers a consumer for as long as the scope lives. Dies when the consumer is already registered for the store: two workers of one process
   * would only take partitions from each other. `maker` names the layer that the user called.
   */
  readonly register: (maker: string, registration: Registration) => Effect.Effect<void, never, Scope.Scope>

  /** Returns the status of every consumer of a kind that runs against a store, in the order of their registration. */
  readonly status: (store: ConsumerDriver, kind: Kind) => Effect.Effect<ReadonlyArray<ConsumerStatus>>
}>()("evsrc/consumer/ConsumerRegistry") {}

/**
 * The one layer of the registry. Layers that are built with one memo map share it: the layers of one `Effect.provide`, and those provided within
 * it. Layers that are built apart (`Layer.fresh`, sibling fibers that each provide their own) have a registry of their own, as processes have:
 * then leases keep the partitions apart.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ConsumerRegistry> = Layer.sync(ConsumerRegistry, () => {
  const registrations = new Set<Registration>()
  const add = (maker: string, registration: Registration): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { consumer, store } = registration
      for (const other of registrations) {
        if (other.store === store && other.consumer.id === consumer.id) {
          return Effect.die(
            new Error(
              `${maker}: the consumer "${consumer.id}" already runs in this program; give it to one layer, once`
            )
          )
        }
      }
      registrations.add(registration)
      return Effect.void
    })
  return ConsumerRegistry.of({
    register: (maker, registration) =>
      Effect.asVoid(
        Effect.acquireRelease(add(maker, registration), () => Effect.sync(() => registrations.delete(registration)))
      ),
    status: (store, kind) =>
      Effect.sync(() =>
        Array.from(registrations)
          .filter((registration) => registration.store === store && registration.consumer.kind === kind)
          .map(({ status }) => status())
      )
  })
})
