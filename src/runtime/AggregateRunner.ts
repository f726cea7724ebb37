/**
 * Runs aggregates: load, fold, decide, append; on a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Rpc from "effect/rpc/Rpc"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { AggregateDecider } from "../domain/Aggregate.ts"
import type * as Command from "../domain/Command.ts"
import * as Decider from "../domain/Decider.ts"
import { ConcurrencyConflict, EventStoreError } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import type { EventRecord } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { StreamId } from "../domain/StreamId.ts"
import * as Version from "../domain/Version.ts"
import * as EventStore from "../store/EventStore.ts"
import { NewId } from "../store/NewId.ts"
import { CommandContext, metadataOf } from "./CommandContext.ts"
import * as RpcCall from "./RpcCall.ts"

/**
 * - `conflictRetry`: when to decide again after a concurrency conflict, and how often. By default 16 times, after a
 *   random delay of up to 2, 4, 8 … 50 milliseconds
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions {
  readonly conflictRetry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * - `atVersion`: only events up to this version
 * - `atTime`: only events recorded up to this instant
 *
 * @since 0.1.0
 * @category options
 */
export interface LoadOptions {
  readonly atVersion?: Version.Version | undefined
  readonly atTime?: DateTime.DateTime | undefined
}

/**
 * The state of an instance, and the version and position of the last event in it (0 when there is none).
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out State> {
  readonly state: State
  readonly version: Version.Version
  readonly position: Position.Position
}

// Full jitter ("Exponential Backoff And Jitter", AWS, 2015): contenders that met once should not meet again.
const defaultConflictRetry = Schedule.exponential("2 millis").pipe(
  Schedule.modifyDelay(({ duration }) =>
    Effect.map(Random.next, (part) => Duration.millis(part * Math.min(Duration.toMillis(duration), 50)))
  ),
  Schedule.upTo({ times: 16 })
)

/**
 * The state of one instance of an aggregate, now or as it was.
 *
 * @since 0.1.0
 * @category loading
 */
export const load = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  options: LoadOptions = {}
): Effect.Effect<Loaded<State>, EventStoreError, EventStore.EventStore> =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => continueFrom(store, decider, decider.aggregate.streamOf(id), empty(decider), options)
  )

const empty = <State>(decider: { readonly initial: State }): Loaded<State> => ({
  state: decider.initial,
  version: Version.zero,
  position: Position.start
})

/** Folds the events after those that are already in the state. */
const continueFrom = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  from: Loaded<State>,
  { atTime, atVersion }: LoadOptions = {}
): Effect.Effect<Loaded<State>, EventStoreError> => {
  const events = store.readStream(decider.aggregate.events, stream, { from: Version.make(from.version + 1) })
  const wanted = (record: EventRecord<Event.Tagged>) =>
    (atVersion === undefined || record.version <= atVersion)
    && (atTime === undefined || DateTime.isLessThanOrEqualTo(record.recordedAt, atTime))
  return Stream.runFold(
    atVersion === undefined && atTime === undefined ? events : Stream.takeWhile(events, wanted),
    () => from,
    ({ state }, { event, position, version }) => ({ state: decider.evolve(state, event), version, position })
  )
}

/**
 * The handlers of an aggregate's commands, over an event store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: RunOptions = {}
): Layer.Layer<Rpc.ToHandler<C>, never, EventStore.EventStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const context = yield* Effect.context<never>()
    const execute = yield* executor(store, decider, options)
    const commands = Array.from(decider.aggregate.group.requests.values())
    return RpcCall.handlers<C, never>(
      commands.map((command) => [command, (payload: Rpc.Payload<C>) => execute(command._tag, payload)] as const),
      context
    )
  }))

const executor = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  options: RunOptions
) {
  const newId = yield* NewId
  const { aggregate } = decider
  const conflictRetry = options.conflictRetry ?? defaultConflictRetry

  const execute = Effect.fnUntraced(function*(
    command: C["_tag"],
    payload: Rpc.Payload<C>
  ): Effect.fn.Return<Receipt, Rpc.Error<C> | ConcurrencyConflict | EventStoreError> {
    const context = yield* CommandContext
    const commandId = context.commandId ?? newId()
    const span = Option.getOrUndefined(yield* Effect.option(Effect.currentSpan))
    const metadata = metadataOf(context, commandId, span)
    // `HasId` of Aggregate.make has seen to it that every command carries the id, as a string.
    const stream = aggregate.streamOf(Reflect.get(payload as object, aggregate.id) as string)

    // Only a command id that came from outside can have been used before.
    const earlier = context.commandId === undefined ? Effect.succeedNone : store.receipt(context.commandId)
    const unlessDone = <A, E>(otherwise: Effect.Effect<A, E>): Effect.Effect<A | Receipt, E | EventStoreError> =>
      Effect.flatMap(
        earlier,
        (receipt): Effect.Effect<A | Receipt, E> =>
          Option.isSome(receipt) && receipt.value.stream === stream ? Effect.succeed(receipt.value) : otherwise
      )

    let loaded = empty(decider)
    const attempt = Effect.gen(function*() {
      loaded = yield* continueFrom(store, decider, stream, loaded)
      const { position, state, version } = loaded
      if (context.expected !== undefined && !Version.meets(version, context.expected)) {
        return yield* unlessDone(
          Effect.fail(new ConcurrencyConflict({ stream, expected: context.expected, actual: version }))
        )
      }
      const decision = Decider.decide(decider, state, command, payload)
      if (Result.isFailure(decision)) return yield* unlessDone(Effect.fail(decision.failure))
      const events = decision.success
      if (events.length === 0) {
        return yield* unlessDone(Effect.succeed<Receipt>({ stream: stream as StreamId, version, position, events: [] }))
      }
      return yield* resolveUnknown(store.append(aggregate.events, stream, events, { expected: version, metadata }))
    })

    return yield* Effect.retry(attempt, {
      schedule: conflictRetry,
      while: (error) => error instanceof ConcurrencyConflict && context.expected === undefined
    })
  })
  return execute
})

const patience = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 second")]).pipe(
  Schedule.upTo({ duration: "10 seconds" })
)

const isUnknown = (error: { readonly _tag: string }): boolean =>
  error instanceof EventStoreError && error.reason._tag === "OutcomeUnknown"

/**
 * Sends an append whose outcome is unknown again, which its command id makes safe. While the store cannot be reached, the outcome
 * stays unknown.
 */
const resolveUnknown = <A, E extends { readonly _tag: string }>(append: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.catchIf(append, isUnknown, (unknown) => {
    const isOut = (error: E) => isUnknown(error) || (error instanceof EventStoreError && error.isRetryable)
    return append.pipe(
      Effect.retry({ schedule: patience, while: isOut }),
      Effect.mapError((error) => isOut(error) ? unknown : error)
    )
  })
