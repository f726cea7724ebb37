/**
 * Projections: those that keep documents, and those whose handlers write the user's own tables.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { HandlingConsumer } from "../consumer/batch/EventHandling.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import * as HandlerTimeout from "../consumer/HandlerTimeout.ts"
import { policyOf, type RetryPolicy } from "../consumer/Retries.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"

export * from "./ProjectionDefinition.ts"

/**
 * A projection whose handlers are effects. They run in the transaction that moves its checkpoint (`async`) or that appends the events (`inline`).
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler<
  out Name extends string,
  out Events extends Event.Any,
  out L extends "async" | "inline",
  out R
> extends HandlingConsumer<Name, Events>, RetryPolicy {
  readonly _tag: "HandlerProjection"
  readonly lifecycle: L
  readonly handlerTimeout: Duration.Duration
  readonly handle: (record: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * Any projection with handlers.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyHandler<L extends "async" | "inline" = "async" | "inline"> = Handler<string, Event.Any, L, unknown>

/**
 * The services that the handlers of projections require; `never` for projections that keep documents.
 *
 * @since 0.1.0
 * @category models
 */
export type Services<P> = P extends { readonly handle: (...args: never) => Effect.Effect<unknown, unknown, infer R> } ?
  R
  : never

/**
 * Returns a projection whose handlers write the user's own tables with the `SqlClient` of the projection store.
 *
 * **Details**
 *
 * The transaction that moves the checkpoint includes the statements of the handlers, so each event is applied once: when anything fails, the
 * transaction rolls both back. When an `async` handler fails, the projector retries it as `retry` says, and then follows `onFailure`. When the
 * database fails (a lost connection, a deadlock, a shutdown), the projector parks nothing and tries the batch again. When an `inline` handler
 * fails, the append fails.
 *
 * **Gotchas**
 *
 * Only what a transaction can roll back happens once. A failure rolls back the events of the batch before it too, and the projector handles them
 * again. Use `Subscription.make` for effects that cannot be rolled back, such as sending mail. PostgreSQL accepts no further statement in a
 * transaction after one has failed: to continue after a failure, wrap the statement in `sql.withTransaction`. The store in memory has no
 * transactions, and rolls nothing back.
 *
 * **Example** (orders by day, in a table of the program)
 *
 * ```ts
 * const OrdersByDay = Projection.handler("orders-by-day", {
 *   events: OrderEvent,
 *   handle: {
 *     OrderPlaced: (event, { recordedAt }) =>
 *       Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *         sql`insert into orders_by_day (day, orders) values (${DateTime.formatIsoDate(recordedAt)}, 1)
 *           on conflict (day) do update set orders = orders_by_day.orders + 1`),
 *     OrderShipped: Projection.ignore
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const handler = <
  const Name extends string,
  Events extends Event.Any,
  const H extends EventHandlers.Handlers<Event.Of<Events>>,
  const L extends "async" | "inline" = "async",
  const Parks extends string = never
>(
  name: Name,
  options: Consumer.Options<Events> & {
    readonly events: Events
    /** The key within which order holds, which divides the partitions, and which is parked when a handler fails; `"stream"` by default. */
    readonly partitionBy?: Consumer.PartitionBy<NoInfer<Event.DeclaredTag<Events>>>
    /** For each event, an effect that handles it, or `Projection.ignore`. */
    readonly handle: EventHandlers.Checked<H, Event.Tag<Events>, Parks> & H
    /**
     * The tags of the errors that handlers fail with and do not handle, such as `["WrongStatus"]`. An event that fails with one of them is
     * retried as `retry` says, and then parks its key, or what `onFailure` says; an inline handler that fails
     * fails the append. The errors of the stores, of dispatching a command, of
     * sending a query and of the database need no name.
     */
    readonly parks?: ReadonlyArray<Parks & EventHandlers.CheckedParks<H, Parks>> | undefined
    /** Whether a projector runs the handlers, or the append; `"async"` by default. */
    readonly lifecycle?: L
    /**
     * When a projector retries a failed handler: by default four times, after 100 to 800 milliseconds. An append does not retry its inline
     * handlers.
     */
    readonly retry?: Schedule.Schedule<unknown, unknown>
    /**
     * How long the retries of an event may hold up its partition, from its first failure; 30 seconds by default. When the next retry is due later,
     * `onFailure` applies, although `retry` has not ended.
     */
    readonly retryTimeout?: Duration.Input | undefined
    /**
     * How long a handler may take for an event; 1 minute by default. Then it is interrupted, its transaction is rolled back, and the event has failed.
     * A handler that does not end within 3 seconds after that goes on by itself, and its further statements fail.
     */
    readonly handlerTimeout?: Duration.Input | undefined
  }
): Handler<Name, Events, L, EventHandlers.ServicesOf<H>> => {
  const { handle, handles } = EventHandlers.erase<H>(options.events, options.handle)
  return {
    ...ConsumerDefinition.make(
      "Projection.handler",
      {
        kind: "projection",
        name,
        events: options.events,
        handles,
        from: "start",
        partitionBy: options.partitionBy ?? "stream"
      },
      options
    ),
    _tag: "HandlerProjection",
    lifecycle: options.lifecycle ?? ("async" as L),
    ...policyOf("Projection.handler", name, options),
    handlerTimeout: HandlerTimeout.of("Projection.handler", name, options.handlerTimeout),
    parks: options.parks ?? [],
    handle
  }
}
