/**
 * Runs decisions: read what the models ask for, fold, decide, append if nothing of it has changed; otherwise decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type * as Decision from "./DecisionDefinition.ts"

/**
 * The handler of a decision's command, over an event store. Its events go to a stream of their own, named after the command and its id; an
 * expected version in the command's context is refused, since there is no version to expect.
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
      run(command._tag, (commandId) =>
        StreamId.nameOf(command._tag, commandId), ({ expected, metadata, stream, firstReceiptOr }) =>
        Effect.gen(function*() {
          if (expected !== undefined) {
            return yield* invalidRequest(
              `"${command._tag}" is decided on several entities and has no version to expect`
            )
          }
          const models = decision.models(payload)
          const query = Object.values(models).map((model) =>
            model.query
          )
          const { condition, events } = yield* store.readByQuery(query)
          const states = yield* fold(models, events)
          const decided = decision.decide(states, payload)
          const outcome = Result.isResult(decided) ? decided : Result.succeed(decided)
          if (Result.isFailure(outcome)) return yield* firstReceiptOr(Effect.fail(outcome.failure))
          if (outcome.success.length === 0) {
            const last = events[events.length - 1]?.position ?? Position.start
            return yield* firstReceiptOr(CommandExecution.emptyReceipt(command._tag, stream, Version.zero, last))
          }
          return yield* Effect.catchTag(
            store.appendIf(condition, decision.events, stream, outcome.success, { metadata }),
            "AppendConditionFailed",
            (conflict) => Effect.fail(storeError(conflict))
          )
        }))
    return InProcessRpc.handlers<C, never>([[command, execute]], context)
  }))

/**
 * Every model's state after the events that it asks for. `taken` is told which these are.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = (
  models: Decision.Models,
  events: ReadonlyArray<EncodedEvent>,
  taken?: (model: string, record: RecordedEvent<Event.Tagged>) => void
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
        for (const record of decoded.success) {
          state = model.evolve(state, record.event)
          taken?.(name, record)
        }
      }
      states[name] = state
    }
    return Effect.succeed(states)
  })
