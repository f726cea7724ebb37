/**
 * Runs aggregates: load, fold, decide, append; on a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Rpc from "effect/rpc/Rpc"
import * as Stream from "effect/Stream"
import type { AggregateDecider } from "../domain/Aggregate.ts"
import type * as Command from "../domain/Command.ts"
import * as Decider from "../domain/Decider.ts"
import { ConcurrencyConflict, type EventStoreError } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import type { EventRecord } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import * as Version from "../domain/Version.ts"
import * as EventStore from "../store/EventStore.ts"
import * as CommandRun from "./CommandRun.ts"
import * as RpcCall from "./RpcCall.ts"

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
  options: CommandRun.RunOptions = {}
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
  options: CommandRun.RunOptions
) {
  const run = yield* CommandRun.make(store, options)
  const { aggregate } = decider
  return (command: C["_tag"], payload: Rpc.Payload<C>) => {
    // `HasId` of Aggregate.make has seen to it that every command carries the id, as a string.
    const stream = aggregate.streamOf(Reflect.get(payload as object, aggregate.id) as string)
    return run(command, () => stream, ({ expected, metadata, refuse, unlessDone }) => {
      let loaded = empty(decider)
      return Effect.gen(function*() {
        loaded = yield* continueFrom(store, decider, stream, loaded)
        const { position, state, version } = loaded
        if (expected !== undefined && !Version.meets(version, expected)) {
          return yield* unlessDone(
            Effect.suspend(() => refuse(new ConcurrencyConflict({ stream, expected, actual: version })))
          )
        }
        const decision = Decider.decide(decider, state, command, payload)
        if (Result.isFailure(decision)) return yield* unlessDone(Effect.fail(decision.failure))
        if (decision.success.length === 0) {
          return yield* unlessDone(CommandRun.nothingHappens(command, stream, version, position))
        }
        return yield* store.append(aggregate.events, stream, decision.success, { expected: version, metadata })
      })
    })
  }
})
