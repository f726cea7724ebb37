/**
 * Handles the commands of decisions: read the events of the models, fold, decide, and append unless other events have matched since; after a
 * conflict read what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { ConcurrencyConflict, type EventStoreError, invalidRequest, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as DecisionCommand from "./DecisionCommand.ts"
import type * as Decision from "./DecisionDefinition.ts"
import * as DecisionTurns from "./DecisionTurns.ts"
import * as ModelCache from "./ModelCache.ts"
import * as ModelLoader from "./ModelLoader.ts"

/**
 * How a layer handles the command of a decision.
 *
 * @since 0.1.0
 * @category options
 */
export interface DecisionOptions extends CommandExecution.RunOptions {
  /**
   * The matches of the models on which a command is decided. `"verified"`, the default, takes the cached ones, which the condition of the append
   * verifies, so a decision on tags that were seen takes one round trip; before a command fails or appends nothing, the models are read. `"assumeNew"`
   * also takes a model without cached matches to have none, so the first decision on new tags takes one round trip; if there are some, a read and
   * a second append follow. `"fresh"` reads the models before every decision.
   */
  readonly load?: "verified" | "assumeNew" | "fresh" | undefined
  /**
   * The maximum number of decisions with a tag in common that wait or are in flight in this process: a whole number from 1, 1,000 by default. One
   * more fails with `StoreUnavailable`, and can be sent again.
   */
  readonly maxWaiting?: number | undefined
}

/**
 * Provides the handler of a decision's command. Its events go to the stream that the decision names, or else to a stream of their own,
 * `<command>-<command id>`.
 *
 * **Gotchas**
 *
 * Without `stream`, an expected version fails with `InvalidRequest`, because every command has a new stream.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <C extends Command.Any, Events extends Event.Any>(
  decision: Decision.Decision<C, Events>,
  options: DecisionOptions = {}
): Layer.Layer<Command.HandlerOf<C>, never, EventStore.EventStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const context = yield* Effect.context<never>()
    const run = yield* CommandExecution.make(store[internals], options)
    const { command, events } = decision
    const { load = "verified", maxWaiting = 1_000 } = options
    if (!Number.isSafeInteger(maxWaiting) || maxWaiting < 1) {
      return yield* Effect.die(
        new Error(
          `Decision.layer: maxWaiting of the decision of "${command._tag}" is ${maxWaiting}; it must be a whole number from 1`
        )
      )
    }
    const cache = ModelCache.ofStore(store[internals].driver, yield* ModelCache.ModelCacheLimits)
    const handling = { store, decision, cache, load, maxWaiting }
    const execute = (payload: Command.Payload<C>) =>
      run(
        {
          rpc: command,
          payload,
          events,
          streamOf: (commandId) => decision.stream?.(payload) ?? StreamId.nameOf(command._tag, commandId)
        },
        (attempt) => handle(handling, payload, attempt)
      )
    yield* HandlerRegistry.register(
      {
        definition: decision,
        name: `the decision of "${command._tag}"`,
        writes: {
          events,
          store: store[internals].driver,
          ownStreams: decision.stream === undefined ? command._tag : undefined
        }
      },
      [command]
    )
    return InProcessRpc.handlers<C, never>(
      [[command, execute]],
      context,
      { owner: decision, personal: EventPersonalData.fieldNamesOf(events) }
    )
  })).pipe(Layer.provide(HandlerRegistry.layer))

/** What the executions of a layer share. */
interface Handling<C extends Command.Any, Events extends Event.Any> {
  readonly store: EventStore.EventStore["Service"]
  readonly decision: Decision.Decision<C, Events>
  readonly cache: ModelCache.ModelCache
  readonly load: "verified" | "assumeNew" | "fresh"
  readonly maxWaiting: number
}

const handle = <C extends Command.Any, Events extends Event.Any>(
  handling: Handling<C, Events>,
  payload: Command.Payload<C>,
  attempt: CommandExecution.Attempt
): Effect.Effect<Receipt, Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError> => {
  const { cache, decision, load, maxWaiting, store } = handling
  const { command, stream } = decision
  const expected = attempt.expected ?? decision.expected
  if (stream === undefined && (expected !== undefined || attempt.lastEventId !== undefined)) {
    return invalidRequest(
      `Command "${command._tag}" is a decision whose events go to a stream of their own, so it cannot have an expected version; leave out `
        + "`expected`, or name the stream with the option `stream` of Decision.make"
    )
  }
  const models = decision.models(payload)
  const { driver } = store[internals]
  const items = Object.values(models).map(({ query }) => query)
  const takesTurn = items.length > 0 && !driver.inTransaction(attempt.caller)
  const isCached = takesTurn && !EventPersonalData.modelsHavePersonalData(models)
  return DecisionCommand.make<Events, Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError>({
    store,
    events: decision.events,
    attempt,
    expected,
    models: isCached ? ModelLoader.cached(store, cache, models, load) : ModelLoader.reading(store, models),
    decide: decideOn(handling, payload, attempt, expected),
    inTurn: (effect) =>
      takesTurn
        ? DecisionTurns.ofStore(driver).inTurn(
          items,
          { command: command._tag, maxWaiting, layer: "Decision.layer" },
          effect
        )
        : effect(() => {})
  })
}

type Failure<C extends Command.Any> = Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError

/** Returns the function that decides on states. */
const decideOn = <C extends Command.Any, Events extends Event.Any>(
  { decision, store }: Handling<C, Events>,
  payload: Command.Payload<C>,
  { failWithoutRetry, firstReceiptOr, lastEventId, stream }: CommandExecution.Attempt,
  expected: Version.Expected | undefined
) => {
  /** Fails when the stream is not at the expected version, and returns the receipt of no events. */
  const emptyReceipt = Effect.fnUntraced(function*(lastMatch: LogPosition.LogPosition) {
    const command = decision.command._tag
    if (decision.stream === undefined) {
      const { eventId, position } = lastMatch
      return yield* CommandExecution.emptyReceipt(command, stream, Version.zero, position, eventId)
    }
    const found = yield* Stream.runHead(store.readStreamEncoded(stream, { direction: "backward", limit: 1 }))
    const last = Option.getOrUndefined(found)
    const version = last?.version ?? Version.zero
    if (expected !== undefined && !Version.meets(version, expected)) {
      return yield* failWithoutRetry(new ConcurrencyConflict({ stream, expected, actual: version }))
    }
    if (lastEventId !== undefined && lastEventId !== last?.id) {
      return yield* failWithoutRetry(
        typeof expected === "number" && expected > 0
          ? storeError(new LogDiverged({ eventId: lastEventId, stream, version: expected }))
          : invalidRequest("`lastEventId` needs the exact version of that event; pass it as `expected`")
      )
    }
    // The decision also used the models, so a query with `after` must include their last event.
    const { eventId, position } = last !== undefined && last.position > lastMatch.position
      ? LogPosition.ofEvent(last)
      : lastMatch
    return yield* CommandExecution.emptyReceipt(command, stream, version, position, eventId)
  })

  return (
    { last, states }: ModelLoader.LoadedModels
  ): CommandLoop.Decided<Event.Of<Events>, Failure<C>> => {
    const ended = (end: Effect.Effect<Receipt, Failure<C>>) => ({ events: [], end: firstReceiptOr(end) })
    // The first receipt of a command id that comes again does not depend on what a function throws now.
    if (Result.isFailure(states)) return ended(Effect.die(states.failure))
    const attempted = Result.try(() => decision.decide(states.success, payload))
    if (Result.isFailure(attempted)) return ended(Effect.die(attempted.failure))
    const decided = attempted.success
    const outcome = Result.isResult(decided) ? decided : Result.succeed(decided)
    if (Result.isFailure(outcome)) {
      const rejected = Effect.fail(outcome.failure)
      return ended(
        expected === undefined && lastEventId === undefined ? rejected : Effect.andThen(emptyReceipt(last), rejected)
      )
    }
    return outcome.success.length > 0
      ? { events: outcome.success, end: undefined }
      : ended(emptyReceipt(last))
  }
}
