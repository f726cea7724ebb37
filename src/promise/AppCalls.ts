/**
 * The methods of an app, over its runtime.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as CommandBus from "../command/CommandBus.ts"
import { type EventStoreError, InvalidQuery, invalidRequest } from "../core/errors.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type * as Projection from "../projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"
import type * as Query from "../query/Query.ts"
import * as QueryBus from "../query/QueryBus.ts"
import * as After from "./After.ts"
import type {
  Accepted,
  Answered,
  App,
  CallOptions,
  CloseOptions,
  DispatchOptions,
  EventsOptions,
  Failed,
  Page,
  ReadOptions
} from "./App.ts"
import type { AppClosed } from "./AppError.ts"
import * as AppLayer from "./AppLayer.ts"
import type { AppRuntime, Outcome } from "./AppRuntime.ts"
import { interruptedItself } from "./Defects.ts"
import * as Subscription from "./Subscription.ts"

/**
 * Returns the app over a runtime. The caller ensures that the runtime has the services.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Services>(runtime: AppRuntime): App<Services> => {
  const { accept, answer, call, subscribe } = callsOf(runtime)

  const close = ({ releaseTimeout, timeout = "10 seconds" }: CloseOptions = {}): Promise<void> => {
    try {
      return runtime.close(
        AppLayer.durationOf("timeout", timeout),
        AppLayer.durationOf("releaseTimeout", releaseTimeout ?? AppLayer.defaultReleaseTimeout)
      )
    } catch (error) {
      return Promise.reject(error)
    }
  }

  const app = {
    dispatch: <C extends Command.Any>(
      command: C,
      payload: Command.PayloadInput<C>,
      { signal, ...context }: DispatchOptions = {}
    ) => accept(() => CommandBus.dispatch<C>(command, payload, context), signal),

    dispatchUnknown: <C extends Command.Any>(command: C, json: unknown, { signal, ...context }: DispatchOptions = {}) =>
      accept(() => CommandBus.dispatchUnknown<C>(command, json, context), signal),

    ask: <Q extends Query.Any>(query: Q, payload: Query.PayloadInput<Q>, options: ReadOptions = {}) =>
      answer(query, options, (asked) => QueryBus.ask<Q>(query, payload, asked)),

    askUnknown: <Q extends Query.Any>(query: Q, json: unknown, options: ReadOptions = {}) =>
      answer(query, options, (asked) => QueryBus.askUnknown<Q>(query, json, asked)),

    events: <E extends Event.Any>(events: E, options: EventsOptions<NoInfer<Event.TagText<E>>> = {}) =>
      subscribe(eventsOf(events, options), options),

    watch: <P extends Projection.Any>(projection: P, key: string, options: ReadOptions = {}) =>
      subscribe(
        Stream.map(waiting(ProjectionStore.watch<P>(projection, key), options), Option.getOrUndefined),
        options
      ),

    watchList: <P extends Projection.Any>(
      projection: P,
      list: ProjectionStore.ListOptions<P> = {},
      options: ReadOptions = {}
    ) =>
      subscribe(
        Stream.map(
          waiting(ProjectionStore.watchList<P>(projection, list), options),
          ({ items, next }): Page<ProjectionStore.DocumentOf<P>> => ({ items, next: Option.getOrUndefined(next) })
        ),
        options
      ),

    run: async <A, E, R>(effect: Effect.Effect<A, E, R>, { signal }: CallOptions = {}) => {
      const result = await call(effect, signal)
      if (!result.ok) throw result.error
      return result.value
    },

    close,
    [Symbol.asyncDispose]: () => close()
  }
  // The methods of `App` accept less: only the calls for which the layer has the services.
  return app
}

const callsOf = (runtime: AppRuntime) => {
  const call = async <A, E, R>(effect: Effect.Effect<A, E, R>, signal: AbortSignal | undefined) =>
    resultOf(await runtime.start(effect, { kind: "call", signal }).outcome, signal)

  const accept = async <E, R>(
    dispatch: () => Effect.Effect<Receipt, E, R>,
    signal: AbortSignal | undefined
  ): Promise<Accepted | Failed<E | AppClosed>> => {
    const result = await call(Effect.suspend(dispatch), signal)
    return result.ok ? { ok: true, receipt: result.value, cursor: After.cursorOf(result.value) } : result
  }

  const answer = <Q extends Query.Any, A, E, R>(
    { _tag: query }: Q,
    { after, signal, timeout }: ReadOptions,
    ask: (options: QueryBus.AskOptions) => Effect.Effect<A, E, R>
  ): Promise<Answered<A> | Failed<E | InvalidQuery | AppClosed>> => {
    const position = after === undefined ? undefined : After.toLogPosition(after)
    return position !== undefined && Result.isFailure(position)
      ? call(Effect.fail(new InvalidQuery({ query, message: position.failure })), signal)
      : call(Effect.suspend(() => ask({ after: position?.success, timeout })), signal)
  }

  const subscribe = <A, E, R>(stream: Stream.Stream<A, E, R>, { signal }: CallOptions): Subscription.Subscription<A> =>
    Subscription.make(runtime, stream, signal)

  return { call, accept, answer, subscribe }
}

/** Returns the result of a call. Throws the reason of the signal if it has interrupted the call. */
const resultOf = <A, E>(
  outcome: Outcome<A, E>,
  signal: AbortSignal | undefined
): Answered<A> | Failed<E | AppClosed> => {
  switch (outcome._tag) {
    case "Succeeded":
      return { ok: true, value: outcome.value }
    case "Failed":
    case "Closed":
      return { ok: false, error: outcome.error }
    case "Interrupted":
      throw signal?.aborted === true ? signal.reason : interruptedItself()
  }
}

const eventsOf = <E extends Event.Any>(
  events: E,
  { after, follow = true, pageSize, stream, where }: EventsOptions<NoInfer<Event.TagText<E>>>
): Stream.Stream<RecordedEvent<Event.Of<E>>, EventStoreError, EventStore.EventStore> => {
  const position = after === undefined ? undefined : After.toLogPosition(after)
  if (position !== undefined && Result.isFailure(position)) return Stream.fail(invalidRequest(position.failure))
  const options = {
    after: position?.success,
    pageSize,
    where: stream === undefined ? where : { ...where, streamPrefix: stream }
  }
  const found = follow ? EventStore.subscribe<E>(events, options) : EventStore.readAll<E>(events, options)
  // The prefix `Order-1` also selects the events of `Order-10`.
  return stream === undefined ? found : Stream.filter(found, (recorded) => recorded.stream === stream)
}

/** Waits for the position of `after` before the first read. */
const waiting = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  { after, timeout = "5 seconds" }: ReadOptions
): Stream.Stream<A, E | EventStoreError, R> => {
  if (after === undefined) return stream
  const position = After.toLogPosition(after)
  return Result.isFailure(position)
    ? Stream.fail(invalidRequest(position.failure))
    : Stream.provideService(stream, ReadAfter, {
      ...position.success,
      timeout: Duration.fromInputUnsafe(timeout)
    })
}
