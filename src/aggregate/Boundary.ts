/**
 * The decision models of one execution of an aggregate's command: read once, and again after a conflict on them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Models } from "../decision/DecisionDefinition.ts"
import * as DecisionModels from "../decision/DecisionModels.ts"
import type * as EventStore from "../eventStore/EventStore.ts"

/**
 * The models of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Boundary {
  /**
   * Returns the models, which it reads at the first call; `undefined` for a command without models. Call it before the state is read: then a state
   * whose last event is not above the models' high-water mark was the same when the models were read.
   */
  readonly read: Effect.Effect<DecisionModels.ReadModels | undefined, EventStoreError>
  /** Makes the next `read` read what is missing. */
  readonly clear: () => void
  /**
   * Appends like `EventStore.appendReturningEvents`, provided that no other event has matched the models since they were read. When one has, the
   * next `read` reads what is missing; when the log was set back, it reads everything.
   */
  readonly append: EventStore.EventStore["Service"]["appendReturningEvents"]
}

/**
 * Makes the boundary of a command with these models.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: EventStore.EventStore["Service"], models: Models | undefined): Boundary => {
  if (models === undefined) return { read: Effect.undefined, clear: () => {}, append: store.appendReturningEvents }
  const reader = DecisionModels.reader(store, models)
  let last: DecisionModels.ReadModels | undefined
  const clear = () => {
    last = undefined
  }
  return {
    read: Effect.suspend(() =>
      last === undefined ? Effect.tap(reader.read, (read) => Effect.sync(() => last = read)) : Effect.succeed(last)
    ),
    clear,
    append: Effect.fnUntraced(
      function*(events, stream, batch, options = {}) {
        if (last === undefined) return yield* Effect.die(new Error("An append needs models that a decision has read"))
        const { condition } = last
        if (condition === undefined) return yield* store.appendReturningEvents(events, stream, batch, options)
        return yield* store[internals].appendIfReturningEvents(condition, events, stream, batch, options)
      },
      Effect.tapError((error) =>
        Effect.sync(() => {
          // The stream alone has changed; the models are still those that were read.
          if (error._tag === "ConcurrencyConflict") return
          reader.appendFailed(error)
          clear()
        })
      ),
      Effect.catchTag("AppendConditionFailed", (conflict) => Effect.fail(storeError(conflict)))
    )
  }
}
