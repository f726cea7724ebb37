/**
 * Handles the commands of aggregates: load, fold, decide, append; after a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { ConcurrencyConflict, type EventStoreError, invalidRequest, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as DecisionModels from "../decision/DecisionModels.ts"
import * as ModelCache from "../decision/ModelCache.ts"
import type * as Event from "../event/Event.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateLoader from "./AggregateLoader.ts"
import type { CachedState } from "./AggregateState.ts"
import * as Boundary from "./Boundary.ts"
import * as Decider from "./Decider.ts"
import * as InstanceCommand from "./InstanceCommand.ts"
import * as InstanceQueue from "./InstanceQueue.ts"

/**
 * How a layer handles the commands of an aggregate.
 *
 * @since 0.1.0
 * @category options
 */
export interface AggregateOptions extends CommandExecution.RunOptions {
  /**
   * The state on which a command is decided. `"verified"`, the default, is the cached state, which the condition of the append verifies, so a
   * command on a busy instance takes one round trip; before a command fails or appends nothing, the stream is read. `"assumeNew"` also takes
   * an instance without a cached state to be new, so its first command takes one round trip; if it is not new, a read and a second append follow.
   * `"fresh"` reads the stream before every decision.
   */
  readonly load?: "verified" | "assumeNew" | "fresh" | undefined
  /**
   * The maximum number of commands of one instance that wait or are in flight in this process: a whole number from 1, 1,000 by default. One more
   * fails with `StoreUnavailable`, and can be sent again.
   */
  readonly maxWaiting?: number | undefined
}

/**
 * Provides the handlers of an aggregate's commands.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: AggregateOptions = {}
): Layer.Layer<Command.HandlerOf<C>, never, EventStore.EventStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const context = yield* Effect.context<never>()
    const execute = yield* makeExecute(store, decider, options)
    const commands = Array.from(decider.aggregate.group.requests.values())
    yield* HandlerRegistry.register(
      {
        definition: decider,
        name: `the aggregate "${decider.aggregate.name}"`,
        writes: { events: decider.aggregate.events, store: store[internals].driver, aggregate: decider.aggregate.name }
      },
      commands
    )
    return InProcessRpc.handlers<C, never>(
      commands.map((command) => [command, (payload: Command.Payload<C>) => execute(command, payload)] as const),
      context,
      { owner: decider, personal: decider.personalFields }
    )
  })).pipe(Layer.provide(HandlerRegistry.layer))

const makeExecute = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  options: AggregateOptions
) {
  const run = yield* CommandExecution.make(store[internals], options)
  const loader = yield* AggregateLoader.loaderOf(store, decider)
  AggregateLoader.setHandling(decider)
  const { aggregate } = decider
  const { events } = aggregate
  const { maxWaiting = 1_000 } = options
  if (!Number.isSafeInteger(maxWaiting) || maxWaiting < 1) {
    return yield* Effect.die(
      new Error(
        `Aggregate.layer: maxWaiting of the aggregate "${aggregate.name}" is ${maxWaiting}; it must be a whole number from 1`
      )
    )
  }
  const queue = InstanceQueue.make<State>(maxWaiting)
  const { load = "verified" } = options
  const boundaries = { store, load, maxWaiting, limits: yield* ModelCache.ModelCacheLimits }
  const instances = { store, decider, loader, queue, load }

  return (rpc: C, payload: Command.Payload<C>) => {
    // `HasId` of Aggregate.make ensures that every command has the id, a string.
    const stream = aggregate.streamOf(Reflect.get(payload as object, aggregate.id) as string)
    return run({ rpc, payload, events, streamOf: () => stream }, (attempt) => {
      const models = decider.modelsOf(rpc._tag, payload)
      const decide = decideOn(decider, stream, rpc._tag, payload, attempt)
      const boundary = models && Boundary.make(boundaries, rpc._tag, attempt, models)
      return InstanceCommand.make(instances, attempt, boundary, decide)
    })
  }
})

/** Returns why a command that names the last event of its stream cannot be decided on another one. */
const lastEventError = (stream: string, eventId: string, expected: Version.Expected | undefined): EventStoreError =>
  typeof expected === "number" && expected > 0
    ? storeError(new LogDiverged({ eventId, stream, version: expected }))
    : invalidRequest("`lastEventId` needs the exact version of that event; pass it as `expected`")

/** Returns the function that decides a command on a state of its stream. */
const decideOn = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  stream: string,
  command: C["_tag"],
  payload: Command.Payload<C>,
  { expected, failWithoutRetry, lastEventId }: CommandExecution.Attempt
) =>
(
  { eventId, position, state, version }: CachedState<State>,
  models: DecisionModels.AnyStates | undefined
): CommandLoop.Decided<Event.Of<Events>, Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError> => {
  const ended = <E>(end: Effect.Effect<Receipt, E>) => ({ events: [], end })
  if (expected !== undefined && !Version.meets(version, expected)) {
    return ended(Effect.suspend(() => failWithoutRetry(new ConcurrencyConflict({ stream, expected, actual: version }))))
  }
  if (lastEventId !== undefined && lastEventId !== eventId) {
    return ended(Effect.suspend(() => failWithoutRetry(lastEventError(stream, lastEventId, expected))))
  }
  // State and models may be of different moments, and a command id may come again: what `decide` throws counts no earlier than a rejection.
  const outcome = Result.try(() => Decider.decide(decider, state, command, payload, models))
  if (Result.isFailure(outcome)) return ended(Effect.die(outcome.failure))
  const decision = outcome.success
  if (Result.isFailure(decision)) return ended(Effect.fail(decision.failure))
  return decision.success.length > 0
    ? { events: decision.success, end: undefined }
    : ended(CommandExecution.emptyReceipt(command, stream, version, position, eventId))
}
