/**
 * A command on one instance of an aggregate: load the state, decide, append on the condition that it is the current one. A command with decision models
 * also loads these, and its append has their condition too.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import type * as CommandExecution from "../command/CommandExecution.ts"
import * as CommandLoop from "../command/CommandLoop.ts"
import * as RefusedEvents from "../command/RefusedEvents.ts"
import { ConcurrencyConflict, type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as DecisionModels from "../decision/DecisionModels.ts"
import * as ModelCache from "../decision/ModelCache.ts"
import * as ModelLoader from "../decision/ModelLoader.ts"
import type * as Event from "../event/Event.ts"
import * as EventAppender from "../eventStore/EventAppender.ts"
import type { CachedState } from "./AggregateState.ts"
import * as Boundary from "./Boundary.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import * as InstanceQueue from "./InstanceQueue.ts"
import * as RepeatedCommand from "./RepeatedCommand.ts"

/** What to load. */
interface Reload {
  readonly state: InstanceLoader.Reload
  readonly models: ModelLoader.Reload | undefined
}

type SendError = ConcurrencyConflict | EventStoreError

/** The execution of a command. */
interface Execution<State, Events extends Event.Any, C extends Command.Any> {
  readonly instances: InstanceLoader.Instances<State, Events, C>
  readonly attempt: CommandExecution.Attempt
  readonly boundary: Boundary.Boundary | undefined
  readonly isInTransaction: boolean
}

/** The turns of a command: that among the commands of its instance, and that among those with a tag of its models in common. */
interface Turn<State> extends CommandLoop.Turn {
  readonly state: InstanceQueue.Turn<State>
  readonly passModels: () => void
}

/**
 * Makes the execution of a command of an instance.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State, Events extends Event.Any, C extends Command.Any, E>(
  instances: InstanceLoader.Instances<State, Events, C>,
  attempt: CommandExecution.Attempt,
  boundary: Boundary.Boundary | undefined,
  decide: (
    state: CachedState<State>,
    models: DecisionModels.AnyStates | undefined
  ) => CommandLoop.Decided<Event.Of<Events>, E | SendError>
): Effect.Effect<Receipt, E | SendError> => {
  const isInTransaction = instances.store[internals].driver.inTransaction(attempt.caller)
  const execution = { instances, attempt, boundary, isInTransaction }
  return CommandLoop.make<Turn<State>, Boundary.Base<State>, Event.Of<Events>, E | SendError, Reload>({
    inTurn: (effect) => inTurn(execution, effect),
    load: (turn, reload) => load(execution, turn, reload),
    decide: (base) => decideOn(attempt, base, decide),
    sync: (turn, base, events) => sync(execution, turn, base, events),
    verify: (turn, base) => verify(execution, turn, base),
    reload: ({ models, ...base }) => ({
      state: reloadOf(base),
      models: models && { ...models.reload, decisions: models.reload.decisions + 1 }
    }),
    alternates: (before, current) =>
      new ConcurrencyConflict({
        stream: attempt.stream,
        expected: before.state.from.version,
        actual: current.state.from.version
      })
  }, { state: InstanceLoader.first, models: boundary?.models.first })
}

const inTurn = <State, Events extends Event.Any, C extends Command.Any, E>(
  { attempt, boundary, instances, isInTransaction }: Execution<State, Events, C>,
  effect: (turn: Turn<State>) => Effect.Effect<CommandLoop.Synced<Reload, E>, E>
): Effect.Effect<CommandLoop.Synced<Reload, E | EventStoreError>, E | EventStoreError> => {
  if (isInTransaction) return effect(turnOf(InstanceQueue.outside<State>(), () => {}))
  const inBoth = (state: InstanceQueue.Turn<State>) =>
    boundary === undefined
      ? effect(turnOf(state, () => {}))
      // The command that has the turn may wait for a lock that another process holds, which waits in the same way.
      : boundary.inTurn((pass) => effect(turnOf(state, pass)), state.unlock)
  return instances.queue.inTurn(
    attempt.stream,
    attempt.isNewId() ? inBoth : (state) => RepeatedCommand.answered(attempt, state, () => inBoth(state))
  )
}

const turnOf = <State>(state: InstanceQueue.Turn<State>, passModels: () => void): Turn<State> => ({
  state,
  passModels,
  hasPassed: state.hasPassed,
  pass: () => {
    state.pass()
    passModels()
  }
})

const load = <State, Events extends Event.Any, C extends Command.Any>(
  { attempt, boundary, instances, isInTransaction }: Execution<State, Events, C>,
  { state }: Turn<State>,
  reload: Reload
): Effect.Effect<Boundary.Base<State>, EventStoreError> => {
  // A command that is decided alone waits for appends, which may wait for the lock to be released.
  if (reload.models !== undefined && ModelLoader.isAlone(reload.models)) state.unlock()
  const lock = isInTransaction ? undefined : instances.store[internals].driver.lockStream
  const loadState = InstanceLoader.load(instances, attempt.stream, state, lock, reload.state)
  return boundary === undefined || reload.models === undefined
    ? Effect.map(loadState, (state) => ({ state, models: undefined, isCurrent: state.isCurrent, reload: reload.state }))
    : Boundary.load(boundary, reload.models, loadState, reload.state)
}

const reloadOf = <State>(
  { reload, state: { behind, from } }: Pick<Boundary.Base<State>, "reload" | "state">
): InstanceLoader.Reload => ({
  // A version that a broken chain would have led to says nothing about the state of another one.
  outdated: behind === undefined ? from.version : reload.outdated,
  // A repeated command id before it says nothing about other processes.
  decisions: behind?.chain.isRepeated === true ? reload.decisions : reload.decisions + 1
})

const decideOn = <State, E, Failure>(
  { firstReceiptOr }: CommandExecution.Attempt,
  { models, state: { from } }: Boundary.Base<State>,
  decide: (
    state: CachedState<State>,
    models: DecisionModels.AnyStates | undefined
  ) => CommandLoop.Decided<E, Failure | EventStoreError>
): CommandLoop.Decided<E, Failure | EventStoreError> => {
  const states = models?.states
  if (states !== undefined && Result.isFailure(states)) {
    return { events: [], end: firstReceiptOr(Effect.die(states.failure)) }
  }
  const { end, events } = decide(from, states?.success)
  if (end === undefined) return { events, end }
  return { events, end: firstReceiptOr(models === undefined ? end : Boundary.resting(end, models.last)) }
}

/** Before a command ends without events: its state, and its models, have to be the current ones. */
const verify = <State, Events extends Event.Any, C extends Command.Any>(
  { attempt: { stream }, boundary, instances }: Execution<State, Events, C>,
  turn: Turn<State>,
  base: Boundary.Base<State>
): Effect.Effect<Boundary.Base<State> | undefined, SendError> => {
  const { models, state: { behind, from, lock } } = base
  if (boundary !== undefined && models !== undefined) {
    return Boundary.verify(instances, stream, turn.state, base, boundary.models.current(models))
  }
  const of = (state: InstanceLoader.LoadedState<State> | undefined) => state && { ...base, state, isCurrent: true }
  if (behind === undefined) {
    const read = from.version === 0 ? undefined : from
    return Effect.map(
      InstanceLoader.loadCurrent(instances, stream, turn.state, read),
      (loaded) => of({ ...loaded, lock })
    )
  }
  turn.pass()
  return Effect.map(InstanceLoader.settle(instances, stream, turn.state, behind), of)
}

const sync = <State, Events extends Event.Any, C extends Command.Any>(
  execution: Execution<State, Events, C>,
  turn: Turn<State>,
  base: Boundary.Base<State>,
  batch: ReadonlyArray<Event.Of<Events>>
): Effect.Effect<CommandLoop.Synced<Reload, SendError>, SendError> => {
  const { attempt: { content, metadata, stream }, instances: { decider, loader, store }, instances } = execution
  const made = content()
  if (Result.isFailure(made)) return Effect.fail(made.failure)
  const { models, state: { from, lastErasure, lock } } = base
  const { eventId, version } = from
  const lastEventId = version === 0 ? undefined : eventId
  const options = { expected: version, lastEventId, metadata, content: made.success }
  const tracker = InstanceLoader.track(instances, turn.state, base.state, metadata.commandId)
  const others = models === undefined ? taggedTracker(execution) : models.track()
  const { events } = decider.aggregate
  const condition = models?.condition()
  const append = CommandLoop.tracked(
    (observer) =>
      EventAppender.append(store[internals].appending, { events, stream, batch, options, condition, observer }),
    others === undefined ? [tracker] : [tracker, others],
    () => {
      // Others wait for its models until it has ended, so it must not wait for the lock to be released.
      if (models?.isAlone === true) turn.state.unlock()
      else turn.passModels()
      tracker.queued()
    },
    lock
  )
  return Effect.matchEffect(append, {
    onSuccess: ({ receipt, written }) => {
      const synced = CommandLoop.written(receipt)
      return written === undefined
        ? Effect.succeed(synced)
        : Effect.as(loader.appended(stream, from, tracker.state(), lastErasure), synced)
    },
    onFailure: (error) => conflictOf(execution, base, error)
  })
}

/** Follows the events of a command without models for the models of others. */
const taggedTracker = <State, Events extends Event.Any, C extends Command.Any>(
  { instances, isInTransaction }: Execution<State, Events, C>
): CommandLoop.Tracker | undefined => {
  const cache = isInTransaction ? undefined : ModelCache.existing(instances.store[internals].driver)
  return cache && ModelCache.trackerOfTagged(cache)
}

const conflictOf = <State, Events extends Event.Any, C extends Command.Any>(
  { boundary, instances: { loader } }: Execution<State, Events, C>,
  base: Boundary.Base<State>,
  error: EventAppender.AppendError
): Effect.Effect<CommandLoop.Synced<Reload, SendError>, SendError> => {
  const { models, state: { behind, from, isCurrent } } = base
  const ofModels = models && boundary?.models.afterError(models, error)
  if (error._tag === "AppendConditionFailed") {
    const failure = storeError(error)
    return Effect.succeed(
      CommandLoop.conflict({ state: base.reload, models: ofModels }, models?.isAlone === true ? failure : undefined)
    )
  }
  if (RefusedEvents.isRefusal(error)) return Effect.succeed(CommandLoop.refused(error))
  if (!InstanceLoader.isOfOldState(error)) return Effect.fail(error)
  // Of a log that was set back, the models may be old too.
  const wasCurrent = isCurrent && (error._tag === "ConcurrencyConflict" || models?.isAlone !== false)
  const synced = CommandLoop.conflict({ state: reloadOf(base), models: ofModels }, wasCurrent ? error : undefined)
  const isShorter = behind === undefined && error._tag === "ConcurrencyConflict" && error.actual < from.version
  // The stream has become shorter, because an older backup was restored.
  return isShorter ? Effect.as(loader.drop, synced) : Effect.succeed(synced)
}
