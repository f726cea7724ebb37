/**
 * The command of a decision: load its models, decide, append on the condition that they have no other matches.
 *
 * **Details**
 *
 * Decisions with a tag in common are decided in turns. The turn ends when the append has its place in the queue of the store, so decisions on one tag that
 * arrive together are sent together.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as CommandExecution from "../command/CommandExecution.ts"
import * as CommandLoop from "../command/CommandLoop.ts"
import * as RefusedEvents from "../command/RefusedEvents.ts"
import { AppendConditionFailed, type ConcurrencyConflict, type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventAppender from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { Reload } from "./ModelLoader.ts"
import type * as ModelLoader from "./ModelLoader.ts"

/**
 * The parts of a decision.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts<Events extends Event.Any, Failure> {
  readonly store: EventStore.EventStore["Service"]
  readonly events: Events
  readonly attempt: CommandExecution.Attempt
  readonly expected: Version.Expected | undefined
  readonly models: ModelLoader.ModelLoader
  readonly decide: (models: ModelLoader.LoadedModels) => CommandLoop.Decided<Event.Of<Events>, Failure>
  /** Runs an effect in its turn among the decisions with a tag in common, which `pass` ends. */
  readonly inTurn: <A, E>(effect: (pass: () => void) => Effect.Effect<A, E>) => Effect.Effect<A, E | EventStoreError>
}

type SendError = ConcurrencyConflict | EventStoreError

/** Returns whether an append may have failed because it was decided on old matches. */
const mayBeOfOldMatches = (error: EventStoreError): boolean =>
  error.reason._tag === "StreamClosed" || RefusedEvents.isRefusal(error)

/**
 * Makes the execution of a decision.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Events extends Event.Any, Failure>(
  { attempt, decide, events, expected, inTurn, models, store }: Parts<Events, Failure>
): Effect.Effect<Receipt, Failure | SendError> => {
  type Synced = CommandLoop.Synced<Reload, SendError>
  const { content, failWithoutRetry, lastEventId, metadata, stream } = attempt

  const sync = (
    turn: CommandLoop.Turn,
    base: ModelLoader.LoadedModels,
    batch: ReadonlyArray<Event.Of<Events>>
  ): Effect.Effect<Synced, SendError> => {
    const append = CommandLoop.tracked(
      (observer) =>
        Effect.flatMap(Effect.fromResult(content()), (content) => {
          const options = { expected, lastEventId, metadata, content }
          const condition = base.condition()
          return EventAppender.append(store[internals].appending, {
            events,
            stream,
            batch,
            options,
            condition,
            observer
          })
        }),
      [base.track()],
      base.isAlone ? () => {} : turn.pass
    )
    return Effect.matchEffect(append, {
      onSuccess: ({ receipt }): Effect.Effect<Synced> => Effect.succeed(CommandLoop.written(receipt)),
      onFailure: (error): Effect.Effect<Synced, SendError> => {
        if (error._tag === "ConcurrencyConflict") return failWithoutRetry(error)
        const reload = models.afterError(base, error)
        if (error._tag === "EventStoreError" && error.reason._tag !== "LogDiverged") {
          return base.isCurrent || !mayBeOfOldMatches(error)
            ? Effect.fail(error)
            : Effect.succeed(CommandLoop.conflict(reload))
        }
        const failure = error._tag === "EventStoreError" ? error : storeError(error)
        return Effect.succeed(CommandLoop.conflict(reload, base.isAlone ? failure : undefined))
      }
    })
  }

  return CommandLoop.make<
    CommandLoop.Turn,
    ModelLoader.LoadedModels,
    Event.Of<Events>,
    Failure | SendError,
    Reload
  >({
    inTurn: (effect) => inTurn((pass) => effect(CommandLoop.turnOf(pass))),
    load: (_, reload) => models.load(reload),
    decide,
    sync,
    verify: (turn, base) => {
      turn.pass()
      return models.current(base)
    },
    reload: (base) => ({ ...base.reload, decisions: base.reload.decisions + 1 }),
    alternates: (_, { last }) => storeError(new AppendConditionFailed({ position: last.position }))
  }, models.first)
}
