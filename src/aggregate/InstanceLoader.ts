/**
 * Loads the state of an instance that a command is decided on: that of an append in flight, the cached one, or the current one.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { StreamId } from "../core/StreamId.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreDriver, StreamLock } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendError } from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import type { AggregateLoader } from "./AggregateLoader.ts"
import { type CachedState, empty, foldSent } from "./AggregateState.ts"
import type * as InstanceQueue from "./InstanceQueue.ts"

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
  readonly load: "verified" | "assumeNew" | "fresh"
}

/**
 * What to load.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reload {
  /** A state of this version or below is too old. */
  readonly outdated: number
  /** How often the command was decided before. */
  readonly decisions: number
}

/**
 * What to load first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const first: Reload = { outdated: -1, decisions: 0 }

/**
 * The state on which a command is decided.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadedState<State> extends CommandLoop.Base {
  readonly from: CachedState<State>
  readonly lastErasure: string | undefined
  /** The append that leads to the state, if its outcome is not known yet. */
  readonly behind?: InstanceQueue.Sent<State> | undefined
  /** The lock under which it was read, while it is held. */
  readonly lock?: StreamLock | undefined
  /** Whether it was read for this command. */
  readonly wasRead: boolean
}

/** How often a command is decided on a state that may be old, before it is decided under a lock of the stream, or alone on the current state. */
const maxOptimistic = 2

/**
 * Loads the state to decide on. Once commands of other processes were in the way again and again, it is read under a lock of the stream.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  lock: EventStoreDriver["lockStream"],
  { decisions, outdated }: Reload
): Effect.Effect<LoadedState<State>, EventStoreError> => {
  const isOptimistic = decisions < maxOptimistic
  return lock !== undefined && (!isOptimistic || turn.isContended() || turn.locked() !== undefined)
    ? loadLocked(instances, stream, turn, () => lock(stream as StreamId))
    : loadUnlocked(instances, stream, turn, isOptimistic ? outdated : Infinity)
}

/** Returns the state of the last append, the cached one, or the current one. */
const loadUnlocked = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  outdated: number
): Effect.Effect<LoadedState<State>, EventStoreError> =>
  Effect.flatMap(instances.loader.cached(stream), (cached) => {
    const { decider, load, loader } = instances
    const usesCache = load !== "fresh"
    const lastErasure = loader.checkedErasure()
    const last = turn.last()
    if (last !== undefined) {
      return usesCache && last.state.version > outdated && last.lastErasure === lastErasure
        ? Effect.as(loader.noteShared, {
          from: last.state,
          lastErasure,
          behind: last,
          isCurrent: false,
          wasRead: false
        })
        : Deferred.await(last.outcome).pipe(
          Effect.andThen(loader.cached(stream)),
          Effect.flatMap((cached) => loadCurrent(instances, stream, turn, cached))
        )
    }
    const known = cached ?? (load === "assumeNew" ? empty(decider) : undefined)
    if (!usesCache || known === undefined || known.version <= outdated || turn.isStale()) {
      return loadCurrent(instances, stream, turn, cached)
    }
    const isCurrent = cached !== undefined && turn.isVerified(known.version)
    return Effect.succeed({ from: known, lastErasure, isCurrent, wasRead: false })
  })

/** Returns the state to decide on under the lock of the stream: that of the last append under it, or the one that was read under it. */
const loadLocked = <State, Events extends Event.Any, C extends Command.Any>(
  instances: Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  lockStream: () => StreamLock
): Effect.Effect<LoadedState<State>, EventStoreError> =>
  Effect.flatMap(instances.loader.cached(stream), (cached) => {
    const { noteShared } = instances.loader
    const lastErasure = instances.loader.checkedErasure()
    const [last, locked] = [turn.last(), turn.locked()]
    const again = Effect.suspend(() => loadLocked(instances, stream, turn, lockStream))
    if (locked === undefined) {
      if (last !== undefined) return Effect.andThen(Deferred.await(last.outcome), again)
      return readLocked(instances, stream, turn, turn.lock(lockStream()), cached)
    }
    const { hasSent, lock, read } = locked
    const isUsable = (of: string | undefined) => instances.load !== "fresh" && of === lastErasure
    if (lock.isOpen()) {
      if (last !== undefined && isUsable(last.lastErasure)) {
        const base = { from: last.state, lastErasure, behind: last, isCurrent: false, lock, wasRead: false }
        return Effect.as(noteShared, base)
      }
      if (!hasSent) {
        // The session of the lock may have ended since, so it is current only for commands that had arrived.
        return read !== undefined && isUsable(read.lastErasure)
          ? Effect.as(noteShared, {
            from: read.state,
            lastErasure,
            isCurrent: turn.isVerified(read.state.version),
            lock,
            wasRead: false
          })
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
): Effect.Effect<LoadedState<State>, EventStoreError> =>
  Effect.map(
    Effect.andThen(locked.lock.held, loadCurrent(instances, stream, turn, cached)),
    (base) => {
      turn.foundEvents(cached === undefined || base.from.version > cached.version)
      locked.read = { state: base.from, lastErasure: base.lastErasure }
      return { ...base, lock: locked.lock }
    }
  )

/**
 * Reads the current state, after the one that is given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const loadCurrent = <State, Events extends Event.Any, C extends Command.Any>(
  { loader }: Pick<Instances<State, Events, C>, "loader">,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  cached: CachedState<State> | undefined
): Effect.Effect<LoadedState<State>, EventStoreError> =>
  Effect.suspend(() => {
    const readEnded = turn.readBegins()
    // If a subject is erased during the read, the state after the append is not cached.
    const lastErasure = loader.checkedErasure()
    return Effect.map(loader.current(stream, cached), (from) => {
      readEnded(from.version)
      return { from, lastErasure, isCurrent: true, wasRead: true }
    })
  })

/**
 * Returns the state of an append once it is written, or the current one if the append was sent before the command arrived: then others may have appended
 * since, and before. Undefined if the append is not written, or if its state cannot be used any more.
 *
 * @since 0.1.0
 * @category combinators
 */
export const settle = <State, Events extends Event.Any, C extends Command.Any>(
  { loader }: Pick<Instances<State, Events, C>, "loader">,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  behind: InstanceQueue.Sent<State>
): Effect.Effect<LoadedState<State> | undefined, EventStoreError> =>
  Effect.flatMap(
    Effect.zip(Deferred.await(behind.outcome), loader.cached(stream)),
    ([state]) => {
      const { lastErasure } = behind
      // A subject may have been erased meanwhile.
      if (state === undefined || lastErasure !== loader.checkedErasure()) return Effect.undefined
      const settled = { from: state, lastErasure, behind, isCurrent: true, wasRead: false }
      return turn.sentSince(behind)
        ? Effect.succeed(settled)
        : Effect.map(loader.current(stream, state), (from) => ({ ...settled, from }))
    }
  )

/**
 * Follows an append for the next commands of the instance, which are decided on the state that it leads to.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateTracker<State> extends CommandLoop.Tracker {
  /** Ends the turn, or releases the lock if the next command has to wait for the outcome, because the state is not known. */
  readonly queued: () => void
  /** The state with its position, once the events are written. */
  readonly state: () => CachedState<State> | undefined
}

/**
 * Makes the tracker of an append.
 *
 * @since 0.1.0
 * @category constructors
 */
export const track = <State, Events extends Event.Any, C extends Command.Any>(
  { decider }: Pick<Instances<State, Events, C>, "decider">,
  turn: InstanceQueue.Turn<State>,
  { behind, from, lastErasure }: LoadedState<State>,
  commandId: string | undefined
): StateTracker<State> => {
  let sent: InstanceQueue.Sent<State> | undefined
  let state: CachedState<State> | undefined
  return {
    sent: ({ events }) => {
      const locked = turn.locked()
      if (locked !== undefined) locked.hasSent = true
      const next = foldSent(decider, from, events)
      if (next !== undefined) sent = turn.sent(next, lastErasure, behind, commandId)
    },
    queued: () => sent === undefined ? turn.unlock() : turn.pass(),
    repeated: () => {
      if (sent !== undefined) turn.ended(sent, undefined, "repeated")
      sent = undefined
    },
    ended: (outcome, error) => {
      if (sent === undefined) return
      if (outcome?.written !== undefined) state = { ...sent.state, position: outcome.receipt.position }
      turn.ended(sent, state, error !== undefined ? obstacleOf(error) : outcome && "repeated")
    },
    state: () => state
  }
}

/**
 * Returns whether an append may have failed because it was decided on an old state; of a log that was set back, the last event is missing.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfOldState = (error: AppendError): boolean => obstacleOf(error) === "stream"

const obstacleOf = (error: AppendError): InstanceQueue.Obstacle | undefined => {
  if (error._tag === "AppendConditionFailed") return "models"
  const isOfStream = error._tag === "ConcurrencyConflict"
    || error.reason._tag === "StreamClosed" || error.reason._tag === "LogDiverged"
  return isOfStream ? "stream" : undefined
}
