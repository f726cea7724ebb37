/**
 * Handles the commands of aggregates: load, fold, decide, append; after a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { ConcurrencyConflict, type EventStoreError, invalidRequest, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as DecisionModels from "../decision/DecisionModels.ts"
import type * as Event from "../event/Event.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateLoader from "./AggregateLoader.ts"
import type { CachedState } from "./AggregateState.ts"
import * as Boundary from "./Boundary.ts"
import * as Decider from "./Decider.ts"

/**
 * How a layer handles the commands of an aggregate.
 *
 * @since 0.1.0
 * @category options
 */
export interface AggregateOptions extends CommandExecution.RunOptions {
  /**
   * The state on which a command is decided. `"verified"`, the default, is the cached state, which the condition of the append verifies, so a
   * command on a busy instance takes one round trip; before a command fails or appends nothing, the stream is read. `"fresh"` reads the stream
   * before every decision.
   */
  readonly load?: "verified" | "fresh" | undefined
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
        writes: { events: decider.aggregate.events, store: store[internals].driver }
      },
      commands
    )
    return InProcessRpc.handlers<C, never>(
      commands.map((command) => [command, (payload: Command.Payload<C>) => execute(command, payload)] as const),
      context,
      { owner: decider, personal: decider.personalFields }
    )
  })).pipe(Layer.provide(HandlerRegistry.layer))

/** What a command was decided to do on a state: append events, or end without any. */
interface Decided<E, Error> {
  readonly events: ReadonlyArray<E>
  readonly withoutEvents: Effect.Effect<Receipt, Error | ConcurrencyConflict | EventStoreError>
}

const makeExecute = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  options: AggregateOptions
) {
  const run = yield* CommandExecution.make(store[internals], options)
  const loader = yield* AggregateLoader.loaderOf(store, decider)
  AggregateLoader.setHandling(decider)
  const { aggregate } = decider
  const usesCache = options.load !== "fresh"

  return (rpc: C, payload: Command.Payload<C>) => {
    // `HasId` of Aggregate.make ensures that every command has the id, a string.
    const stream = aggregate.streamOf(Reflect.get(payload as object, aggregate.id) as string)
    const { events } = aggregate
    return run({ rpc, payload, events, streamOf: () => stream }, (attempt) => {
      const decide = decideOn(decider, stream, rpc._tag, payload, attempt)
      const boundary = Boundary.make(store, decider.modelsOf(rpc._tag, payload))
      /** The state of the last decision in this execution; after a conflict only the events after it are read. */
      let decidedOn: CachedState<State> | undefined
      const append = Effect.fnUntraced(
        function*(loaded: CachedState<State>, batch: ReadonlyArray<Event.Of<Events>>) {
          const options = {
            expected: loaded.version,
            ...(loaded.version === 0 ? {} : { lastEventId: loaded.eventId }),
            metadata: attempt.metadata,
            content: yield* attempt.content
          }
          const { events: written, receipt } = yield* boundary.append(events, stream, batch, options)
          if (written !== undefined) yield* loader.appended(stream, loaded, written)
          return receipt
        },
        Effect.tapErrorTag("ConcurrencyConflict", ({ actual }) => {
          if (decidedOn === undefined || actual >= decidedOn.version) return Effect.void
          // The stream has become shorter, because an older backup was restored.
          decidedOn = undefined
          return loader.drop
        })
      )

      /** Decides on a state, and ensures that a decision without events rests on a state and models of one moment: no append verifies it. */
      const decideCurrent = Effect.fnUntraced(function*(current: CachedState<State>) {
        const read = yield* boundary.read
        const [decided, after] = [decide(current, read?.states), read?.condition?.after]
        if (decided.events.length > 0 || after === undefined || current.position <= after) return decided
        boundary.clear()
        const decidedAgain = decide(current, (yield* boundary.read)?.states)
        if (decidedAgain.events.length > 0) return decidedAgain
        const { version } = decidedOn = yield* loader.current(stream, current)
        if (version === current.version) return decidedAgain
        return yield* new ConcurrencyConflict({ stream, expected: current.version, actual: version })
      })

      return Effect.gen(function*() {
        if (decidedOn === undefined) {
          decidedOn = Option.getOrUndefined(yield* loader.cached(stream))
          const { events } = usesCache && decidedOn !== undefined
            ? decide(decidedOn, (yield* boundary.read)?.states)
            : { events: [] }
          if (decidedOn !== undefined && events.length > 0) {
            // A conflict here means only that the cached state was old, so the command is decided again at once and not after a delay. The
            // same holds for a stream that was closed: the command is decided on its last event.
            const receipt = yield* Effect.asSome(append(decidedOn, events)).pipe(
              Effect.catchTag("ConcurrencyConflict", () => Effect.succeedNone),
              Effect.catchReason("EventStoreError", "StreamClosed", () => Effect.succeedNone),
              // The log was set back. The read of the stream finds that it does not have the last event of the cached state.
              Effect.catchReason("EventStoreError", "LogDiverged", () => Effect.succeedNone)
            )
            if (Option.isSome(receipt)) return receipt.value
          }
        }
        yield* boundary.read
        const current = decidedOn = yield* loader.current(stream, decidedOn)
        const { events, withoutEvents } = yield* decideCurrent(current)
        return yield* events.length > 0 ? append(current, events) : attempt.firstReceiptOr(withoutEvents)
      })
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
): Decided<Event.Of<Events>, Command.DeclaredError<C>> => {
  if (expected !== undefined && !Version.meets(version, expected)) {
    const conflict = new ConcurrencyConflict({ stream, expected, actual: version })
    return { events: [], withoutEvents: Effect.suspend(() => failWithoutRetry(conflict)) }
  }
  if (lastEventId !== undefined && lastEventId !== eventId) {
    return {
      events: [],
      withoutEvents: Effect.suspend(() => failWithoutRetry(lastEventError(stream, lastEventId, expected)))
    }
  }
  // State and models may be of different moments, and a command id may come again: what `decide` throws counts no earlier than a rejection.
  const outcome = Result.try(() => Decider.decide(decider, state, command, payload, models))
  if (Result.isFailure(outcome)) return { events: [], withoutEvents: Effect.die(outcome.failure) }
  const decision = outcome.success
  if (Result.isFailure(decision)) return { events: [], withoutEvents: Effect.fail(decision.failure) }
  return {
    events: decision.success,
    withoutEvents: CommandExecution.emptyReceipt(command, stream, version, position, eventId)
  }
}
