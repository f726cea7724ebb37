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
 * The options of a call.
 *
 * @since 0.1.0
 * @category options
 */
export interface CallOptions {
  /** Interrupts the call. The promise rejects at once with the reason of the signal; `close` waits for the end of the interrupted code. */
  readonly signal?: AbortSignal | undefined
}

/**
 * The context of a command, such as its id and actor. A command that `signal` interrupts may or may not have written its events. To find out, dispatch
 * it again under the same `commandId`, which returns the first receipt if there is one.
 *
 * @since 0.1.0
 * @category options
 */
export interface DispatchOptions extends CommandContext, CallOptions {}

/**
 * The options of a query, or of a read of documents.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadOptions extends CallOptions {
  /** The position that the read model must reach before the read, so that the caller reads its own writes. */
  readonly after?: After | undefined
  /** The maximum wait for `after`, 5 seconds by default; after it the read fails with `ProjectionBehind`. A number is milliseconds. */
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
  /** Whether to wait for new events; `true` by default. With `false` the subscription ends at the current end of the log. */
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
 * The options of `start`.
 *
 * @since 0.1.0
 * @category options
 */
export interface StartOptions {
  /** Interrupts the build of the layer. The promise then rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
  /**
   * The maximum duration of the build of the layer, 15 minutes by default. The longest bound of the stores is that of a migration, 10 minutes. A number is
   * milliseconds.
   */
  readonly timeout?: Duration.Input | undefined
}

/**
 * The options of `close`.
 *
 * @since 0.1.0
 * @category options
 */
export interface CloseOptions {
  /** The maximum wait for calls in flight, 10 seconds by default. A number is milliseconds. */
  readonly timeout?: Duration.Input | undefined
  /** The maximum wait for the release of the layer, 30 seconds by default. A number is milliseconds. */
  readonly releaseTimeout?: Duration.Input | undefined
}

/**
 * A program of evsrc, for code with promises.
 *
 * **Details**
 *
 * Commands and queries resolve to `{ ok: false, error }` for each typed error. They reject only with a defect, as an `Error`, and with the reason of
 * their `signal`. `Services` are the services of the layer. The type of `this` names those that a method needs: a command without a handler does not
 * compile. An app with more services is assignable to a type with fewer.
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

  /** Dispatches a command whose payload is JSON of type `unknown`, such as the body of a request. `InvalidCommand` lists all its problems. */
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

  /** Asks a query whose payload is JSON of type `unknown`, such as the parameters of a request. `InvalidQuery` lists all its problems. */
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
   * Returns the states of a document: the current one, then the one after each change; `undefined` while there is no document. If the document changes
   * several times in quick succession, it may return only the last state.
   */
  readonly watch: <P extends Projection.Any>(
    this: App<ProjectionStore | Watches<P>>,
    projection: P,
    key: string,
    options?: ReadOptions
  ) => Subscription<DocumentOf<P> | undefined>

  /** Returns the states of a page of documents: the current one, then the one after each change. */
  readonly watchList: <P extends Projection.Any>(
    this: App<ProjectionStore | Watches<P>>,
    projection: P,
    list?: ListOptions<P>,
    options?: ReadOptions
  ) => Subscription<Page<DocumentOf<P>>>

  /** Runs an effect with the services of the layer. The promise rejects with the error of the effect, and with `AppClosed` when the app is closed. */
  readonly run: <A, E>(effect: Effect.Effect<A, E, Services>, options?: CallOptions) => Promise<A>

  /**
   * Closes the app. It ends subscriptions, and waits for calls in flight, for at most `timeout` (10 seconds). It interrupts the calls that are left, and
   * waits for their end for at most `timeout` again. Then it releases the layer. Rejects with `LayerTimeout` when the release takes longer than
   * `releaseTimeout` (30 seconds). A second `close` returns the promise of the first. Calls after `close` fail with `AppClosed`.
   */
  readonly close: (options?: CloseOptions) => Promise<void>

  /** Closes the app, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}
