/**
 * Handlers of endpoints that stream server-sent events.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { EventStoreError, ProjectionBehind } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as ErrorMapping from "./ErrorMapping.ts"
import * as HttpErrors from "./HttpErrors.ts"
import { ReadTimeout } from "./HttpHandlers.ts"
import * as HttpStream from "./HttpStream.ts"

/**
 * The time between two heartbeats, without which proxies may close an idle connection: 15 seconds.
 *
 * @since 0.1.0
 * @category references
 */
export const HeartbeatInterval = Context.Reference<Duration.Input>("evsrc/http/HttpSource/HeartbeatInterval", {
  defaultValue: () => "15 seconds"
})

/**
 * Ends all streams when it succeeds, so that they do not delay the shutdown of the server. By default it never succeeds. Clients then reconnect to
 * another server and resume.
 *
 * @since 0.1.0
 * @category references
 */
export const Shutdown = Context.Reference<Effect.Effect<void>>("evsrc/http/HttpSource/Shutdown", {
  defaultValue: () => Effect.never
})

/**
 * A change, and the cursor after which the stream continues. Without data it only advances the cursor.
 *
 * @since 0.1.0
 * @category models
 */
export interface Item<A> {
  readonly cursor: LogPosition.LogPosition
  readonly data: A | undefined
}

/**
 * Returns the events of a set after a position, past and future, as changes. `map` returns the data of a change, or `undefined` to send nothing for this
 * event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofEvents = <E extends Event.Any, A>(
  events: E,
  map: (recorded: RecordedEvent<Event.Of<E>>) => A | undefined,
  options: { readonly where?: EventStore.ReadLogOptions<Event.TagText<E>>["where"] } = {}
) =>
(after: LogPosition.LogPosition): Stream.Stream<Item<A>, EventStoreError, EventStore.EventStore> =>
  Stream.map(
    EventStore.subscribe(events, { ...options, after }),
    (recorded) => ({ cursor: LogPosition.ofEvent(recorded), data: map(recorded) })
  )

/** Proxies neither cache nor buffer the stream. */
const unbuffered = HttpEffect.appendPreResponseHandler((_, response) =>
  Effect.succeed(
    HttpServerResponse.setHeaders(response, { "cache-control": "no-cache, no-transform", "x-accel-buffering": "no" })
  )
)

/** Adds heartbeats, and ends the stream without an error: the server logs the cause, and the client reconnects. */
const kept = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  heartbeat: Effect.Effect<A>
): Effect.Effect<Stream.Stream<A, never, R>> =>
  Effect.gen(function*() {
    const interval = yield* HeartbeatInterval
    const shutdown = yield* Shutdown
    const heartbeats = Stream.fromEffectSchedule(Effect.delay(heartbeat, interval), Schedule.forever)
    const logged = Stream.catchCause(
      stream,
      (cause) => Stream.fromEffectDrain(Effect.logWarning("A stream of server-sent events failed", cause))
    )
    return Stream.merge(logged, heartbeats, { haltStrategy: "left" }).pipe(Stream.interruptWhen(shutdown))
  })

/** The parts of a request for changes. */
interface ChangesRequest<Params> {
  readonly params?: Params
  readonly headers: HttpStream.LastEventId
  readonly query: { readonly after?: LogPosition.LogPosition }
}

/**
 * Returns the handler of an endpoint of changes. It fails with `LogDiverged` before the response begins if the log does not have the event of the
 * cursor, or ends before it. While a client reads slowly, at most one page of events waits in memory.
 *
 * **Example** (the changes of orders)
 *
 * ```ts
 * handlers.handle("orderChanges", HttpSource.changes(orderChanges, HttpSource.ofEvents(OrderEvent, changeOf)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const changes = <
  Name extends string,
  Path extends string,
  Params,
  A,
  R,
  Changed extends string,
  Reached extends string
>(
  endpoint: HttpStream.Changes<Name, Path, Params, A, Changed, Reached>,
  source: (after: LogPosition.LogPosition, params: Params) => Stream.Stream<Item<A>, EventStoreError, R>
) => {
  const names = HttpStream.namesOf(endpoint)
  return Effect.fnUntraced(
    function*({ headers, params, query }: ChangesRequest<Params>) {
      const store = yield* EventStore.EventStore
      const services = yield* Effect.context<R>()
      const after = headers["last-event-id"] ?? query.after
      let reached = after ?? (yield* store.headPosition)
      if (after !== undefined) yield* check(after)
      // A path without parameters has no `params`.
      const changes = Stream.map(
        source(reached, (params ?? {}) as Params),
        ({ cursor, data }): ReadonlyArray<HttpStream.Change<A, Changed, Reached>> => {
          reached = cursor
          return data === undefined ? [] : [{ event: names.change, id: cursor, data }]
        }
      )
      const position = Effect.sync((): HttpStream.Change<A, Changed, Reached> => ({
        event: names.reached,
        id: reached,
        data: ""
      }))
      yield* unbuffered
      const live = yield* kept(Stream.flattenIterable(changes), position)
      return Stream.concat(Stream.fromEffect(position), live).pipe(Stream.provideContext(services))
    },
    ErrorMapping.mapStoreErrors(ErrorMapping.ofRead)
  )
}

/** Fails when the log does not have the event of a cursor, or ends before it. A cursor may be above the high-water mark, such as that of a recent write. */
const check = Effect.fnUntraced(function*(after: LogPosition.LogPosition) {
  const store = yield* EventStore.EventStore
  const last = yield* Effect.flatMap(EventStore.driver, ({ last }) => last)
  if (after.position > last) {
    return yield* new HttpErrors.LogDiverged({
      message: "The log ends before this cursor, so the log was set back; start again without the cursor"
    })
  }
  yield* Stream.runDrain(Stream.take(store.readAllEncoded({ after }), 1))
})

/** Waits for the first state, so that the response is an error if the wait fails. A source may have no state yet, so the wait is bounded. */
const awaitFirst = <A, E, R>(states: Stream.Stream<A, E, R>, timeout: Duration.Input) =>
  // Longer than the wait of the read itself, whose error says more.
  Effect.timeoutOption(Stream.runHead(states), Duration.sum(Duration.fromInputUnsafe(timeout), Duration.seconds(5)))

/** The parts of a request for documents. */
interface DocumentsRequest<Params> {
  readonly params?: Params
  readonly query: { readonly after?: LogPosition.LogPosition }
}

/**
 * Returns the handler of an endpoint of documents. With `after` it may fail before the response begins: with `ProjectionBehind` if the read model does not
 * reach the cursor within `HttpHandlers.ReadTimeout`, and with `LogDiverged` if the log does not have its event.
 *
 * **Example** (an order)
 *
 * ```ts
 * handlers.handle("watchOrder", HttpSource.watch(watchOrder, ({ orderId }) => ProjectionStore.watch(Orders, orderId)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const watch = <Name extends string, Path extends string, Params, A, R>(
  _: HttpStream.Documents<Name, Path, Params, A>,
  source: (params: Params) => Stream.Stream<A, EventStoreError | ProjectionBehind, R>
) =>
  Effect.fnUntraced(
    function*({ params, query: { after } }: DocumentsRequest<Params>): Effect.fn.Return<
      Stream.Stream<HttpStream.Document<A>>,
      HttpErrors.ReadError | ProjectionBehind | EventStoreError,
      R | HttpServerRequest.HttpServerRequest
    > {
      const services = yield* Effect.context<R>()
      const timeout = yield* ReadTimeout
      // A path without parameters has no `params`.
      const watched = source((params ?? {}) as Params)
      const waiting = after === undefined ? watched : Stream.provideService(watched, ReadAfter, {
        ...after,
        timeout: Duration.fromInputUnsafe(timeout)
      })
      if (after !== undefined) yield* awaitFirst(waiting, timeout)
      const states = Stream.map(waiting, (data): HttpStream.Document<A> => ({ event: "document", data }))
      yield* unbuffered
      const live = yield* kept(states, Effect.succeed<HttpStream.Document<A>>({ event: "heartbeat", data: "" }))
      return Stream.provideContext(live, services)
    },
    ErrorMapping.retryWhenBehind,
    ErrorMapping.mapStoreErrors(ErrorMapping.ofRead)
  )
