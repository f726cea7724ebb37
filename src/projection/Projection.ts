/**
 * Projections as users import them: the definitions of the domain, and those that write tables of the user's own.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import { defaultRetry } from "../consumer/BatchProcessor.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"

export * from "./ProjectionDefinition.ts"

/**
 * A projection that is brought up to date by effects, within the transaction that moves its checkpoint (`async`) or that appends the events
 * (`inline`).
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler<
  out Name extends string,
  out Events extends Event.Any,
  out L extends "async" | "inline",
  out R
> extends Consumer.Consumer<Name, Events> {
  readonly _tag: "HandlerProjection"
  readonly lifecycle: L
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly handle: (record: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * Any projection by effects.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyHandler<L extends "async" | "inline" = "async" | "inline"> = Handler<string, Event.Any, L, unknown>

/**
 * The services that projections need to be run; those that keep documents need none.
 *
 * @since 0.1.0
 * @category models
 */
export type Services<P> = P extends { readonly handle: (...args: never) => Effect.Effect<unknown, unknown, infer R> } ?
  R
  : never

/**
 * Defines a projection that writes tables of one's own, with the `SqlClient` of the projection store.
 *
 * **Details**
 *
 * The statements of a handler are part of the transaction that moves the checkpoint, so each event is applied once: when anything fails, both
 * are as they were. An `async` handler that fails on an event is tried again as `retry` says, by default four times, after 100 to 800
 * milliseconds; then `onFailure` says what becomes of the event. Where the database is to blame (a lost connection, a deadlock, a
 * shutdown), nothing is parked and all is tried again. An `inline` handler that fails makes the append fail.
 *
 * **Gotchas**
 *
 * Only what the transaction undoes is done once. A failure undoes the events of the batch before it too, which are then handled again; so a
 * handler must not do what cannot be undone, as sending mail, for which there is `Subscription.make`. Postgres takes no further statement in a
 * transaction in which one has failed: to go on after a failure, wrap what may fail in `sql.withTransaction`. The store in memory has no
 * transactions, and undoes nothing.
 *
 * **Example** (orders by day, in a table of one's own)
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
  const L extends "async" | "inline" = "async"
>(
  name: Name,
  options: Consumer.Options & {
    readonly events: Events
    readonly handle: H & EventHandlers.Known<H, Event.Tag<Events>>
    readonly lifecycle?: L
    /** When to try an event again on which the handler has failed, and after that `onFailure`; not of inline projections. */
    readonly retry?: Schedule.Schedule<unknown, unknown>
  }
): Handler<Name, Events, L, EventHandlers.ServicesOf<H>> => {
  const { handle, handles } = EventHandlers.erase<H>(options.events, options.handle)
  return {
    ...ConsumerDefinition.make(
      "Projection.handler",
      { kind: "projection", name, events: options.events, handles, from: "start" },
      options
    ),
    _tag: "HandlerProjection",
    lifecycle: options.lifecycle ?? ("async" as L),
    retry: options.retry ?? defaultRetry,
    handle
  }
}
