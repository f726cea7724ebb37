/**
 * Closes the stream of an instance of an aggregate.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as StreamLifecycle from "../archive/StreamLifecycle.ts"
import type * as Command from "../command/Command.ts"
import type { ConcurrencyConflict, EventStoreError } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as Event from "../event/Event.ts"
import type { AppendOptions, EventStore } from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateStream from "./AggregateStream.ts"

/**
 * Closes the stream of an instance of an aggregate with a last event, as `StreamLifecycle.close` does. The instance keeps the state after
 * that event. Commands that would append to it fail with the reason `StreamClosed`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const close = <State, Events extends Event.Any, C extends Command.Any>(
  { aggregate }: AggregateDecider<State, Events, C>,
  id: string,
  summary: Event.Of<Events>,
  options?: AppendOptions
): Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(
    AggregateStream.of(aggregate, id),
    (stream) => StreamLifecycle.close(aggregate.events, stream, summary, options)
  )
