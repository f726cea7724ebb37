/**
 * A command on one instance of an aggregate that also rests on decision models: load and read the models, decide, append on condition.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Command from "../command/Command.ts"
import type * as CommandExecution from "../command/CommandExecution.ts"
import { ConcurrencyConflict, type EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { Models } from "../decision/DecisionDefinition.ts"
import type * as DecisionModels from "../decision/DecisionModels.ts"
import type * as Event from "../event/Event.ts"
import { type CachedState, foldWritten } from "./AggregateState.ts"
import * as Boundary from "./Boundary.ts"
import type { Decided, Instances } from "./InstanceCommand.ts"
import type { Turn } from "./InstanceQueue.ts"

/**
 * Executes a command alone among those of its instance in this process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State, Events extends Event.Any, C extends Command.Any, E>(
  { decider, loader, queue, store, usesCache }: Instances<State, Events, C>,
  stream: string,
  attempt: CommandExecution.Attempt,
  models: Models,
  decide: (
    state: CachedState<State>,
    models: DecisionModels.AnyStates | undefined
  ) => Decided<Event.Of<Events>, E>
): Effect.Effect<Receipt, E | ConcurrencyConflict | EventStoreError> => {
  const { events } = decider.aggregate
  const boundary = Boundary.make(store, models)
  /** The state of the last decision in this execution; after a conflict only the events after it are read. */
  let decidedOn: CachedState<State> | undefined
  /** The id of the last erasure that it takes into account. */
  let lastErasure: string | undefined
  const append = Effect.fnUntraced(
    function*(loaded: CachedState<State>, batch: ReadonlyArray<Event.Of<Events>>) {
      const options = {
        expected: loaded.version,
        ...(loaded.version === 0 ? {} : { lastEventId: loaded.eventId }),
        metadata: attempt.metadata,
        content: yield* Effect.fromResult(attempt.content())
      }
      const { events: written, receipt } = yield* boundary.append(events, stream, batch, options)
      if (written !== undefined) {
        yield* loader.appended(stream, loaded, foldWritten(decider, loaded, written), lastErasure)
      }
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
    const [decided, after] = [restingOn(read, decide(current, read?.states)), read?.condition?.after]
    if (decided.events.length > 0 || after === undefined || current.position <= after) return decided
    boundary.clear()
    const readAgain = yield* boundary.read
    const decidedAgain = restingOn(readAgain, decide(current, readAgain?.states))
    if (decidedAgain.events.length > 0) return decidedAgain
    const { version } = decidedOn = yield* loader.current(stream, current)
    if (version === current.version) return decidedAgain
    return yield* new ConcurrencyConflict({ stream, expected: current.version, actual: version })
  })

  const execute = Effect.gen(function*() {
    if (decidedOn === undefined) {
      decidedOn = yield* loader.cached(stream)
      lastErasure = loader.checkedErasure()
      const { events } = usesCache && decidedOn !== undefined
        ? decide(decidedOn, (yield* boundary.read)?.states)
        : { events: [] }
      if (decidedOn !== undefined && events.length > 0) {
        const receipt = yield* ifCurrent(append(decidedOn, events))
        if (Option.isSome(receipt)) return receipt.value
      }
    }
    yield* boundary.read
    lastErasure = loader.checkedErasure()
    const current = decidedOn = yield* loader.current(stream, decidedOn)
    const { events, withoutEvents } = yield* decideCurrent(current)
    return yield* events.length > 0 ? append(current, events) : attempt.firstReceiptOr(withoutEvents)
  })
  const inTurn = (turn: Turn<State>) => {
    turn.unlock()
    const last = turn.last()
    return last === undefined ? execute : Effect.andThen(Deferred.await(last.outcome), execute)
  }
  return Effect.contextWith((caller: Context.Context<never>) =>
    store[internals].driver.inTransaction(caller) ? execute : queue.inTurn(stream, inTurn)
  )
}

/** Returns a decision whose receipt, if it has no events, covers the last event of the models: a query with `after` then includes that event. */
const restingOn = <E, F>(
  read: DecisionModels.ReadModels | undefined,
  decided: Decided<E, F>
): Decided<E, F> => ({
  events: decided.events,
  withoutEvents: Effect.map(decided.withoutEvents, (receipt) => {
    const last = read?.last
    return last === undefined || last.position <= receipt.position || last.eventId === undefined
      ? receipt
      : { ...receipt, position: last.position, eventId: last.eventId }
  })
})

/**
 * Runs an append on a cached state. A conflict means only that the state was old, so the command is decided again at once and not after a delay. The
 * same holds for a stream that was closed: the command is decided on its last event. When the log was set back, the read of the stream finds that it
 * does not have the last event of the cached state.
 */
const ifCurrent = (
  append: Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError>
): Effect.Effect<Option.Option<Receipt>, EventStoreError> =>
  Effect.asSome(append).pipe(
    Effect.catchTag("ConcurrencyConflict", () => Effect.succeedNone),
    Effect.catchReason("EventStoreError", "StreamClosed", () => Effect.succeedNone),
    Effect.catchReason("EventStoreError", "LogDiverged", () => Effect.succeedNone)
  )
