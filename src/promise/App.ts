/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The app: commands, queries and streams as promises and async iterators, for code that does not use Effect.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import type { CommandContext } from "../command/CommandContext.ts"
import type { InvalidCommand, InvalidQuery } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as Event from "../event/Event.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type * as Projection from "../projection/ProjectionDefinition.ts"
import type { DocumentOf, ListOptions, Watches } from "../projection/ProjectionReader.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import type * as Query from "../query/Query.ts"
import type { After } from "./After.ts"
import type { AppClosed } from "./AppError.ts"
import type { Subscription } from "./Subscription.ts"

/**
 * The result of a call that has failed with a typed error.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failed<out E> {
  readonly ok: false
  readonly error: E
}

/**
 * The result of a command that was accepted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Accepted {
  readonly ok: true
  readonly receipt: Receipt
  /** The position of the receipt as text. A later query of the same client passes it as `after`, to read its own write. */
  readonly cursor: string
}

/**
 * The result of a query that was answered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answered<out A> {
  readonly ok: true
  readonly value: A
}

/**
 * The errors of a command: those it declares, those of the bus, and `AppClosed`.
 *
 * @since 0.1.0
 * @category errors
 */
export type CommandError<C extends Query.Any> = Query.Error<C> | InvalidCommand | AppClosed

/**
 * The errors of a query: those it declares, those of the bus, and `AppClosed`.
 *
 * @since 0.1.0
 * @category errors
 */
export type QueryError<Q extends Query.Any> = Query.Error<Q> | InvalidQuery | AppClosed

/**
 * The result of a command.
 *
 * @since 0.1.0
 * @category models
 */
export type CommandResult<C extends Query.Any> = Accepted | Failed<CommandError<C>>

/**
 * The result of a query.
 *
 * @since 0.1.0
 * @category models
 */
export type QueryResult<Q extends Query.Any> = Answered<Query.Success<Q>> | Failed<QueryError<Q>>

/**
 * How to run a call.
 *
 * @since 0.1.0
 * @category options
 */
export interface CallOptions {
  /** Interrupts the call. The promise rejects at once with the reason of the signal; `close` waits for the end of the interrupted code. */
  readonly signal?: AbortSignal | undefined
}

/**
 * The context of a command, such as its id and actor. When `signal` interrupts a command, it may or may not have been carried out; a second dispatch
 * under the same `commandId` returns the first receipt.
 *
 * @since 0.1.0
 * @category options
 */
export interface DispatchOptions extends CommandContext, CallOptions {}

/**
 * What the read of a document waits for.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadOptions extends CallOptions {
  /** The position that the read models must have reached before they are read, so that the caller reads its own writes. */
  readonly after?: After | undefined
  /** The longest wait for `after`, 5 seconds by default; then the read fails with `ProjectionBehind`. A number is milliseconds. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Which events to read.
 *
 * @since 0.1.0
 * @category options
 */
export interface EventsOptions<out Tag extends string = never> {
  /** Only events after this position; all by default. */
  readonly after?: After | undefined
  /** Only events of this stream, such as `Order-o1`. It replaces `streamPrefix` of `where`. */
  readonly stream?: string | undefined
  /** Only events that have these tags, or belong to these streams. */
  readonly where?: EventFilter<Tag> | undefined
  /** Whether to go on with the events to come; `true` by default. With `false` the subscription ends at the last event of now. */
  readonly follow?: boolean | undefined
  /** How many events to fetch at a time. By default 500, and 1,000 after the first page. */
  readonly pageSize?: number | undefined
  /** Ends the subscription, as `return()` does. */
  readonly signal?: AbortSignal | undefined
}

/**
 * A page of documents. `next` is the cursor of the next page; the last page has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<out Document> {
  readonly items: ReadonlyArray<Document>
  readonly next: string | undefined
}

/**
 * How to start an app.
 *
 * @since 0.1.0
 * @category options
 */
export interface StartOptions {
  /** Stops the build of the layer. The promise then rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
  /**
   * The longest wait for the layer, 15 minutes by default: more than the bounds of the stores, of which a migration has the longest, 10 minutes. A number
   * is milliseconds.
   */
  readonly timeout?: Duration.Input | undefined
}

/**
 * How to close an app.
 *
 * @since 0.1.0
 * @category options
 */
export interface CloseOptions {
  /** The longest wait for calls in flight, 10 seconds by default. A number is milliseconds. */
  readonly timeout?: Duration.Input | undefined
  /** The longest wait for the release of the layer, 30 seconds by default. A number is milliseconds. */
  readonly releaseTimeout?: Duration.Input | undefined
}

/**
 * A program over a layer, for code with promises.
 *
 * **Details**
 *
 * A call with a result type resolves to `{ ok: false, error }` on each typed error, and rejects only with a defect, as an `Error`, and with the reason
 * of its `signal`. The services are those that the layer provides. The type of `this` names what a method needs of them: a command without a handler
 * does not compile. An app with more services is assignable to a type with fewer.
 *
 * @since 0.1.0
 * @category models
 */
export interface App<in Services> {
  /** Dispatches a command, and returns its receipt or its error. */
  readonly dispatch: <C extends Query.Any>(
    this: App<Command.HandlerOf<C>>,
    command: C & Command.Any,
    payload: Query.PayloadInput<C>,
    options?: DispatchOptions
  ) => Promise<CommandResult<C>>

  /** Dispatches a command whose payload is JSON of unknown form, such as the body of a request. `InvalidCommand` lists all its problems. */
  readonly dispatchUnknown: <C extends Query.Any>(
    this: App<Command.HandlerOf<C>>,
    command: C & Command.Any,
    json: unknown,
    options?: DispatchOptions
  ) => Promise<CommandResult<C>>

  /** Asks a query, and returns its answer or its error. */
  readonly ask: <Q extends Query.Any>(
    this: App<Command.HandlerOf<Q>>,
    query: Q,
    payload: Query.PayloadInput<Q>,
    options?: ReadOptions
  ) => Promise<QueryResult<Q>>

  /** Asks a query whose payload is JSON of unknown form, such as the parameters of a request. `InvalidQuery` lists all its problems. */
  readonly askUnknown: <Q extends Query.Any>(
    this: App<Command.HandlerOf<Q>>,
    query: Q,
    json: unknown,
    options?: ReadOptions
  ) => Promise<QueryResult<Q>>

  /** Returns the events of a set, past and future, in the order of the log. It skips no event and repeats none. */
  readonly events: <E extends Event.Any>(
    this: App<EventStore>,
    events: E,
    options?: EventsOptions<NoInfer<Event.TagText<E>>>
  ) => Subscription<RecordedEvent<Event.Of<E>>>

  /**
   * Returns the states of a document: the current one, then the one after each change, `undefined` while there is no document. Of several changes in
   * quick succession it may return only the last.
   */
  readonly documents: <P extends Projection.Any>(
    this: App<ProjectionStore | Watches<P>>,
    projection: P,
    key: string,
    options?: ReadOptions
  ) => Subscription<DocumentOf<P> | undefined>

  /** Returns the states of a page of documents: the current one, then the one after each change. */
  readonly pages: <P extends Projection.Any>(
    this: App<ProjectionStore | Watches<P>>,
    projection: P,
    list?: ListOptions<P>,
    options?: ReadOptions
  ) => Subscription<Page<DocumentOf<P>>>

  /** Runs an effect with the services of the layer. The promise rejects with the error of the effect, and with `AppClosed` when the app is closed. */
  readonly run: <A, E>(effect: Effect.Effect<A, E, Services>, options?: CallOptions) => Promise<A>

  /**
   * Closes the app, once: ends subscriptions, waits for calls in flight, for at most `timeout` (10 seconds), interrupts those that are left, waits for
   * their end for as long again, and releases the layer, for at most `releaseTimeout` (30 seconds). Rejects with `LayerTimeout` when the release takes
   * longer. A second call returns the promise of the first. Later calls fail with `AppClosed`.
   */
  readonly close: (options?: CloseOptions) => Promise<void>

  /** Closes the app, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}
