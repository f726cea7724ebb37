/**
 * A command on one instance of an aggregate: load, decide, send; after a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import type * as CommandExecution from "../command/CommandExecution.ts"
import { ConcurrencyConflict, type EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreDriver, StreamLock } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendObserver } from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import type { AggregateLoader } from "./AggregateLoader.ts"
import { type CachedState, empty, foldSent } from "./AggregateState.ts"
import * as InstanceQueue from "./InstanceQueue.ts"

/**
 * What a command was decided to do on a state: append events, or end without any.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decided<E, Error> {
  readonly events: ReadonlyArray<E>
  readonly withoutEvents: Effect.Effect<Receipt, Error | ConcurrencyConflict | EventStoreError>
}

/**
 * What the commands of an aggregate share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Instances<State, Events extends Event.Any, C extends Command.Any> {
  readonly store: EventStore.EventStore["Service"]
  readonly decider: AggregateDecider<State, Events, C>
  readonly loader: AggregateLoader<State>
  readonly queue: InstanceQueue.InstanceQueue<State>
  /** Whether commands may be decided on a cached state, which their append verifies. */
  readonly usesCache: boolean
  /** Whether an instance without a cached state is taken to be new, which its append verifies. */
  readonly assumesNew: boolean
}

/** The state on which a command is decided. */
interface Base<State> {
  readonly from: CachedState<State>
  readonly lastErasure: string | undefined
  /** The append that leads to the state, if its outcome is not known yet. */
  readonly behind?: InstanceQueue.Sent<State> | undefined
  /** The lock under which it was read, while it is held. */
  readonly lock?: StreamLock | undefined
  /** Whether the state was the current one at some moment since the command arrived. */
  readonly isCurrent: boolean
}

/** The state on which a command was decided was not the current one. */
class Outdated extends Data.TaggedError("Outdated") {}

/** How often a command is decided on a state that may be old, before it is decided under a lock of the stream, or alone on the current state. */
const maxOptimistic = 2

/**
 * Executes a command of an instance in its turn.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State, Events extends Event.Any, C extends Command.Any, E>(
  instances: Instances<State, Events, C>,
  stream: string,
  attempt: CommandExecution.Attempt,
  decide: (state: CachedState<State>) => Decided<Event.Of<Events>, E>
): Effect.Effect<Receipt, E | ConcurrencyConflict | EventStoreError> => {
  let decisions = 0
  /** The version in the log on which the command was last decided. */
  let decidedOn = -1
  type Decision = Effect.Effect<Receipt, E | ConcurrencyConflict | EventStoreError | Outdated>

  const { lockStream } = instances.store[internals].driver

  const decideInTurn = (turn: InstanceQueue.Turn<State>, lock: EventStoreDriver["lockStream"]): Decision => {
    const { commandId } = attempt.metadata
    const earlier = commandId === undefined ? undefined : turn.sentUnder(commandId)
    if (commandId !== undefined && earlier !== undefined) {
      // Its own append would be a duplicate, so those behind it would have to be decided again.
      turn.pass()
      const isUnknown = Effect.suspend(() => {
        turn.forget(commandId)
        return Effect.fail(new Outdated())
      })
      return Effect.andThen(earlier, attempt.firstReceiptOr(isUnknown))
    }
    const isOptimistic = decisions++ < maxOptimistic
    const isLocked = lock !== undefined && (!isOptimistic || turn.isContended() || turn.locked() !== undefined)
    return Effect.flatMap(
      isLocked
        ? loadLocked(instances, stream, turn, () => lock(stream as StreamId))
        : load(instances, stream, turn, isOptimistic ? decidedOn : Infinity),
      (base) => decideOn(turn, base)
    )
  }

  const decideOn = (turn: InstanceQueue.Turn<State>, base: Base<State>): Decision => {
    const { behind, from, isCurrent } = base
    // A version that a broken chain would have led to says nothing about the state of another one.
    if (behind === undefined) decidedOn = from.version
    const { events, withoutEvents } = decide(from)
    if (events.length > 0) return send(instances, stream, attempt, turn, base, events)
    if (isCurrent) {
      turn.pass()
      return attempt.firstReceiptOr(withoutEvents)
    }
    if (behind === undefined) {
      const read = from.version === 0 ? undefined : from
      return Effect.flatMap(loadCurrent(instances, stream, turn, read), (current) => decideOn(turn, current))
    }
    turn.pass()
    // When its append has been written, the state was the current one.
    return Effect.flatMap(
      Effect.zip(Deferred.await(behind.outcome), instances.loader.cached(stream)),
      ([state]): Decision => {
        // A subject may have been erased meanwhile. And a `decide` that looks at more than the state, such as a clock, may have events now.
        const isUsable = state !== undefined && behind.lastErasure === instances.loader.checkedErasure()
        const decided = isUsable ? decide(state) : undefined
        return decided === undefined || decided.events.length > 0
          ? Effect.fail(new Outdated())
          : attempt.firstReceiptOr(decided.withoutEvents)
      }
    )
  }

  const { queue, store } = instances
  const once = Effect.contextWith((caller: Context.Context<never>) =>
    store[internals].driver.inTransaction(caller)
      ? decideInTurn(InstanceQueue.outside(), undefined)
      : queue.inTurn(stream, (turn) => decideInTurn(turn, lockStream))
  )
  const untilCurrent: Effect.Effect<Receipt, E | ConcurrencyConflict | EventStoreError> = Effect.catchIf(
    once,
    (error) => error instanceof Outdated,
    () => untilCurrent
  )
  return untilCurrent
}

/** Returns the state to decide on: that of the last append, the cached one, or the current one. */
const load = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  /** A state of this version or below is too old. */
  outdated: number
): Effect.Effect<Base<State>, EventStoreError> =>
  Effect.flatMap(instances.loader.cached(stream), (cached) => {
    const { assumesNew, decider, loader, usesCache } = instances
    const lastErasure = loader.checkedErasure()
    const last = turn.last()
    if (last !== undefined) {
      return usesCache && last.state.version > outdated && last.lastErasure === lastErasure
        ? Effect.succeed({ from: last.state, lastErasure, behind: last, isCurrent: false })
        : Deferred.await(last.outcome).pipe(
          Effect.andThen(loader.cached(stream)),
          Effect.flatMap((cached) => loadCurrent(instances, stream, turn, cached))
        )
    }
    const known = cached ?? (assumesNew ? empty(decider) : undefined)
    return usesCache && known !== undefined && known.version > outdated && !turn.isStale()
      ? Effect.succeed({ from: known, lastErasure, isCurrent: cached !== undefined && turn.isVerified(known.version) })
      : loadCurrent(instances, stream, turn, cached)
  })

/** Returns the state to decide on under the lock of the stream: that of the last append under it, or the one that was read under it. */
const loadLocked = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  lockStream: () => StreamLock
): Effect.Effect<Base<State>, EventStoreError> =>
  Effect.flatMap(instances.loader.cached(stream), (cached) => {
    const lastErasure = instances.loader.checkedErasure()
    const [last, locked] = [turn.last(), turn.locked()]
    const again = Effect.suspend(() => loadLocked(instances, stream, turn, lockStream))
    if (locked === undefined) {
      if (last !== undefined) return Effect.andThen(Deferred.await(last.outcome), again)
      return readLocked(instances, stream, turn, turn.lock(lockStream()), cached)
    }
    const { hasSent, lock, read } = locked
    const isUsable = (of: string | undefined) => instances.usesCache && of === lastErasure
    if (lock.isOpen()) {
      if (last !== undefined && isUsable(last.lastErasure)) {
        return Effect.succeed({ from: last.state, lastErasure, behind: last, isCurrent: false, lock })
      }
      if (!hasSent) {
        return read !== undefined && isUsable(read.lastErasure)
          ? Effect.succeed({ from: read.state, lastErasure, isCurrent: true, lock })
          : readLocked(instances, stream, turn, locked, cached)
      }
    }
    turn.unlock()
    return Effect.andThen(lock.released, again)
  })

const readLocked = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  locked: InstanceQueue.Locked<State>,
  cached: CachedState<State> | undefined
): Effect.Effect<Base<State>, EventStoreError> =>
  Effect.map(
    Effect.andThen(locked.lock.held, loadCurrent(instances, stream, turn, cached)),
    (base) => {
      turn.foundEvents(cached === undefined || base.from.version > cached.version)
      locked.read = { state: base.from, lastErasure: base.lastErasure }
      return { ...base, lock: locked.lock }
    }
  )

const loadCurrent = <State, Events extends Event.Any, C extends Command.Any>(
  { loader }: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  cached: CachedState<State> | undefined
): Effect.Effect<Base<State>, EventStoreError> =>
  Effect.suspend(() => {
    const readEnded = turn.readBegins()
    // If a subject is erased during the read, the state after the append is not cached.
    const lastErasure = loader.checkedErasure()
    return Effect.map(loader.current(stream, cached), (from) => {
      readEnded(from.version)
      return { from, lastErasure, isCurrent: true }
    })
  })

/** Appends the events to the state on which they were decided. The next command is decided when the append has its place in the queue. */
const send = <State, Events extends Event.Any, C extends Command.Any>(
  { decider, loader, store }: Instances<State, Events, C>,
  stream: string,
  { content, metadata }: CommandExecution.Attempt,
  turn: InstanceQueue.Turn<State>,
  { behind, from, isCurrent, lastErasure, lock }: Base<State>,
  batch: ReadonlyArray<Event.Of<Events>>
): Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError | Outdated> => {
  const made = content()
  if (Result.isFailure(made)) return Effect.fail(made.failure)
  let sent: InstanceQueue.Sent<State> | undefined
  const observer: AppendObserver = {
    onSend: (request) => {
      const locked = turn.locked()
      if (locked !== undefined) locked.hasSent = true
      const state = foldSent(decider, from, request.events)
      if (state !== undefined) sent = turn.sent(state, lastErasure, behind, metadata.commandId)
    },
    onQueued: () => {
      // Without its state the next command has to wait for the outcome.
      if (sent !== undefined) turn.pass()
      else turn.unlock()
    },
    lock
  }
  const { eventId, version } = from
  const lastEventId = version === 0 ? undefined : eventId
  const options = { expected: version, lastEventId, metadata, content: made.success }
  const append = store[internals].appendObserved(decider.aggregate.events, stream, batch, options, observer)
  let state: CachedState<State> | undefined
  const observed = Effect.onExit(append, (exit) => {
    // Without events the command id was appended before.
    if (Exit.isSuccess(exit) && exit.value.written !== undefined && sent !== undefined) {
      state = { ...sent.state, position: exit.value.receipt.position }
    }
    if (sent !== undefined) turn.ended(sent, state, isConflict(exit))
    return Effect.void
  })
  return Effect.matchEffect(observed, {
    onSuccess: ({ receipt, written }) =>
      written === undefined
        ? Effect.succeed(receipt)
        : Effect.as(loader.appended(stream, from, state, lastErasure), receipt),
    onFailure: (error): Effect.Effect<never, ConcurrencyConflict | EventStoreError | Outdated> => {
      const failed = Effect.fail(isCurrent || !isOfOldState(error) ? error : new Outdated())
      const isShorter = behind === undefined && error instanceof ConcurrencyConflict && error.actual < from.version
      // The stream has become shorter, because an older backup was restored.
      return isShorter ? Effect.andThen(loader.drop, failed) : failed
    }
  })
}

const isConflict = (exit: Exit.Exit<unknown, ConcurrencyConflict | EventStoreError>): boolean =>
  Option.exists(Exit.findErrorOption(exit), isOfOldState)

/** Returns whether an append may have failed because it was decided on an old state; of a log that was set back, the last event is missing. */
const isOfOldState = (error: ConcurrencyConflict | EventStoreError): boolean =>
  error instanceof ConcurrencyConflict || error.reason._tag === "StreamClosed" || error.reason._tag === "LogDiverged"
