/**
 * Handles the commands of decisions: read the events of the models, fold, decide, and append unless other events have matched since; after a
 * conflict decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { type ConcurrencyConflict, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type * as Decision from "./DecisionDefinition.ts"

/**
 * Provides the handler of a decision's command. Its events go to a stream of their own, `<command>-<command id>`.
 *
 * **Gotchas**
 *
 * An expected version in the command's context fails with `InvalidRequest`, because a decision has no single stream.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <C extends Command.Any, Events extends Event.Any>(
  decision: Decision.Decision<C, Events>,
  options: CommandExecution.RunOptions = {}
): Layer.Layer<Command.HandlerOf<C>, never, EventStore.EventStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const context = yield* Effect.context<never>()
    const run = yield* CommandExecution.make(store, options)
    const { command } = decision
    const execute = (payload: Command.Payload<C>) =>
      run(
        command._tag,
        (commandId) => StreamId.nameOf(command._tag, commandId),
        (attempt) => handle(store, decision, payload, attempt)
      )
    return InProcessRpc.handlers<C, never>([[command, execute]], context)
  }))

const handle = Effect.fnUntraced(function*<C extends Command.Any, Events extends Event.Any>(
  store: EventStore.EventStore["Service"],
  { command, decide, events, models: modelsOf }: Decision.Decision<C, Events>,
  payload: Command.Payload<C>,
  { expected, firstReceiptOr, metadata, stream }: CommandExecution.Attempt
): Effect.fn.Return<Receipt, Command.DeclaredError<C> | ConcurrencyConflict | EventStoreError> {
  if (expected !== undefined) {
    return yield* invalidRequest(
      `Command "${command._tag}" is a decision across several streams, so it cannot have an expected version; leave out \`expected\``
    )
  }
  const models = modelsOf(payload)
  const { condition, events: read } = yield* store.readByQuery(Object.values(models).map(({ query }) => query))
  const decided = decide(yield* fold(models, read), payload)
  const outcome = Result.isResult(decided) ? decided : Result.succeed(decided)
  if (Result.isFailure(outcome)) return yield* firstReceiptOr(Effect.fail(outcome.failure))
  if (outcome.success.length === 0) {
    const last = read[read.length - 1]
    return yield* firstReceiptOr(
      CommandExecution.emptyReceipt(command._tag, stream, Version.zero, last?.position ?? Position.start, last?.id)
    )
  }
  return yield* Effect.catchTag(
    store.appendIf(condition, events, stream, outcome.success, { metadata }),
    "AppendConditionFailed",
    (conflict) => Effect.fail(storeError(conflict))
  )
})

/**
 * Returns the state of every model after the events that match its query. Calls `onEvent` for each event of a model.
 *
 * @since 0.1.0
 * @category combinators
 */
export const fold = (
  models: Decision.Models,
  events: ReadonlyArray<EncodedEvent>,
  onEvent?: (model: string, recorded: RecordedEvent<Event.Tagged>) => void
): Effect.Effect<Readonly<Record<string, unknown>>, EventStoreError> =>
  Effect.suspend(() => {
    const states: Record<string, unknown> = {}
    for (const [name, model] of Object.entries(models)) {
      const codec = EventCodec.make(model.events)
      let state = model.initial
      for (const event of events) {
        if (!EventQuery.matchesItem(model.query, event)) continue
        const decoded = codec.decode(event)
        if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
        for (const recorded of decoded.success) {
          state = model.evolve(state, recorded.event)
          onEvent?.(name, recorded)
        }
      }
      states[name] = state
    }
    return Effect.succeed(states)
  })
