/**
 * Handles the commands of decisions: read the events of the models, fold, decide, and append unless other events have matched since; after a
 * conflict read what is missing and decide again.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { ConcurrencyConflict, type EventStoreError, invalidRequest, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type * as Decision from "./DecisionDefinition.ts"
import * as DecisionModels from "./DecisionModels.ts"
import * as DecisionTurns from "./DecisionTurns.ts"

/**
 * How a layer handles the command of a decision.
 *
 * @since 0.1.0
 * @category options
 */
export interface DecisionOptions extends CommandExecution.RunOptions {
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
    const { maxWaiting = 1_000 } = options
    if (!Number.isSafeInteger(maxWaiting) || maxWaiting < 1) {
      return yield* Effect.die(
        new Error(
          `Decision.layer: maxWaiting of the decision of "${command._tag}" is ${maxWaiting}; it must be a whole number from 1`
        )
      )
    }
    const execute = (payload: Command.Payload<C>) =>
      run(
        {
          rpc: command,
          payload,
          events,
          streamOf: (commandId) => decision.stream?.(payload) ?? StreamId.nameOf(command._tag, commandId)
        },
        (attempt) => handle(store, decision, payload, attempt, maxWaiting)
      )
    yield* HandlerRegistry.register(
      {
        definition: decision,
        name: `the decision of "${command._tag}"`,
        writes: { events, store: store[internals].driver }
      },
      [command]
    )
    return InProcessRpc.handlers<C, never>(
      [[command, execute]],
      context,
      { owner: decision, personal: EventPersonalData.fieldNamesOf(events) }
    )
  })).pipe(Layer.provide(HandlerRegistry.layer))

const handle = <C extends Command.Any, Events extends Event.Any>(
  store: EventStore.EventStore["Service"],
  decision: Decision.Decision<C, Events>,
  payload: Command.Payload<C>,
  attempt: CommandExecution.Attempt,
  maxWaiting: number
): Effect.Effect<Receipt, Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError> => {
  const { command, decide, events, expected: declared, stream: streamOf } = decision
  const { content, failWithoutRetry, firstReceiptOr, lastEventId, metadata, stream } = attempt
  const expected = attempt.expected ?? declared
  if (streamOf === undefined && (expected !== undefined || lastEventId !== undefined)) {
    return invalidRequest(
      `Command "${command._tag}" is a decision whose events go to a stream of their own, so it cannot have an expected version; leave out `
        + "`expected`, or name the stream with the option `stream` of Decision.make"
    )
  }
  const models = decision.models(payload)
  const reader = DecisionModels.reader(store, models)

  /** Fails when the stream is not at the expected version, and returns the receipt of no events. */
  const withoutEvents = Effect.fnUntraced(function*(lastMatch: LogPosition.LogPosition) {
    if (streamOf === undefined) {
      const { eventId, position } = lastMatch
      return yield* CommandExecution.emptyReceipt(command._tag, stream, Version.zero, position, eventId)
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
    const position = last?.position ?? Position.start
    return yield* CommandExecution.emptyReceipt(command._tag, stream, version, position, last?.id)
  })

  const execute = Effect.gen(function*() {
    const { condition, last, states } = yield* reader.read
    const attempted = Result.try(() => decide(states, payload))
    // The first receipt of a command id that comes again does not depend on what `decide` throws now.
    if (Result.isFailure(attempted)) return yield* firstReceiptOr(Effect.die(attempted.failure))
    const decided = attempted.success
    const outcome = Result.isResult(decided) ? decided : Result.succeed(decided)
    if (Result.isFailure(outcome)) {
      const rejected = Effect.fail(outcome.failure)
      return yield* firstReceiptOr(
        expected === undefined && lastEventId === undefined ? rejected : Effect.andThen(withoutEvents(last), rejected)
      )
    }
    if (outcome.success.length === 0) return yield* firstReceiptOr(withoutEvents(last))
    const options = { expected, lastEventId, metadata, content: yield* Effect.fromResult(content()) }
    const appending = condition === undefined
      ? store.append(events, stream, outcome.success, options)
      : store.appendIf(condition, events, stream, outcome.success, options)
    return yield* appending.pipe(
      Effect.tapError((error) => Effect.sync(() => reader.appendFailed(error))),
      Effect.catchTag("AppendConditionFailed", (conflict) => Effect.fail(storeError(conflict))),
      Effect.catchTag("ConcurrencyConflict", failWithoutRetry)
    )
  })
  const { driver } = store[internals]
  const items = Object.values(models).map(({ query }) => query)
  return Effect.contextWith((caller: Context.Context<never>) =>
    driver.inTransaction(caller) || items.length === 0
      ? execute
      : DecisionTurns.ofStore(driver).inTurn(items, { command: command._tag, maxWaiting }, () => execute)
  )
}
