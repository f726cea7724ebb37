/**
 * The commands of each instance of an aggregate in this process, in the order of their arrival.
 *
 * **Details**
 *
 * One command of an instance is decided at a time. When its append has its place in the queue of the store, the next command is decided on
 * the state that the append leads to, before the append has ended. So the appends of an instance that wait together travel together, and none
 * of them conflicts with another. Each append names the last event of the state on which it was decided: when an append is not written, those
 * behind it are not either, and their commands are decided again.
 *
 * When appends of other processes are in the way again and again, the commands that wait are decided while this process holds the lock of the stream.
 * It is released when no command waits any more.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as LockWait from "../core/lockWait.ts"
import type { Version } from "../core/Version.ts"
import type { StreamLock } from "../eventStore/driver/EventStoreDriver.ts"
import type { CachedState } from "./AggregateState.ts"

/**
 * An append that was sent and whose outcome is not known yet.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sent<State> {
  /** The state that the append leads to. Its position is not known yet. */
  readonly state: CachedState<State>
  /** The id of the last erasure that the state takes into account. */
  readonly lastErasure: string | undefined
  /** The state with its position, or `undefined` if the append was not written. */
  readonly outcome: Deferred.Deferred<CachedState<State> | undefined>
  readonly chain: Chain
  readonly commandId: string | undefined
  /** The number of commands that had arrived when it was sent. */
  readonly arrivals: number
}

/** Appends of which each was decided on the state of the one before. */
interface Chain {
  isBroken: boolean
  /** Whether it was broken by a command id that the log has, and not by events of others. */
  isRepeated: boolean
}

/**
 * A lock of the stream, under which the commands that wait are decided.
 *
 * @since 0.1.0
 * @category models
 */
export interface Locked<State> {
  readonly lock: StreamLock
  /** The state that was read under the lock, and the id of the last erasure that it takes into account. */
  read: { readonly state: CachedState<State>; readonly lastErasure: string | undefined } | undefined
  /** Whether an append under the lock was sent. */
  hasSent: boolean
}

/**
 * The turn of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn<State> extends CommandLoop.Turn {
  /** Returns the last append that was sent, if it has not ended. */
  readonly last: () => Sent<State> | undefined
  /** Returns whether the cached state is known to be old, because an append on it had a conflict. */
  readonly isStale: () => boolean
  /** Returns whether a state of this version was the current one at some moment since the command arrived. */
  readonly isVerified: (version: Version) => boolean
  /** Returns whether an append was sent since the command arrived, so that the state it leads to is not older than the command. */
  readonly sentSince: (sent: Sent<State>) => boolean
  /** Takes the beginning of a read of the current state; returns a function that takes its end. */
  readonly readBegins: () => (version: Version) => void
  /** Returns the end of an append under a command id that was sent and did not fail, as far as it is remembered. */
  readonly sentUnder: (commandId: string) => Effect.Effect<unknown> | undefined
  /** Forgets that there was one. */
  readonly forget: (commandId: string) => void
  /** Adds an append that was decided on the state of `behind`, or on one that was read. */
  readonly sent: (
    state: CachedState<State>,
    lastErasure: string | undefined,
    behind: Sent<State> | undefined,
    commandId: string | undefined
  ) => Sent<State>
  /** Takes the outcome of an append for the commands behind it: the state, or why it was not written, if that is known. */
  readonly ended: (sent: Sent<State>, state: CachedState<State> | undefined, obstacle: Obstacle | undefined) => void
  /** Returns whether appends of other processes were in the way of those of the instance again and again. */
  readonly isContended: () => boolean
  /** Takes whether a read under the lock has found events of others. */
  readonly foundEvents: (found: boolean) => void
  /** Returns the lock, if the commands are decided under one. */
  readonly locked: () => Locked<State> | undefined
  /** Decides this command, and those that wait, under a lock. */
  readonly lock: (lock: StreamLock) => Locked<State>
  /** Releases the lock. */
  readonly unlock: () => void
}

/**
 * Why an append was not written: events of others in its stream, or among the matches of its models, or its command id was in the log.
 *
 * @since 0.1.0
 * @category models
 */
export type Obstacle = "stream" | "models" | "repeated"

/**
 * Returns a turn for a command that does not take part in a queue.
 *
 * @since 0.1.0
 * @category constructors
 */
export const outside = <State>(): Turn<State> => turnOf(makeInstance<State>(), 0).turn

/**
 * The queues of the instances of one aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface InstanceQueue<State> {
  /** Returns the number of instances with commands that wait or are in flight. */
  readonly size: () => number
  /** Runs an effect in its turn among those of the stream. The turn ends with the effect, or before by `pass`. */
  readonly inTurn: <A, E, R>(
    stream: string,
    effect: (turn: Turn<State>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | EventStoreError, R>
}

/** Lets one command of an instance be decided at a time. */
interface Gate {
  isTaken: boolean
  /** The commands that wait for their turn. */
  readonly waiting: Set<Deferred.Deferred<void>>
  /** How many commands wait, are being decided, or wait for their append. */
  commands: number
  /** The lock under which the commands are decided. It is released when none waits any more. */
  locked: { readonly lock: StreamLock } | undefined
}

interface Instance<State> extends Gate {
  last: Sent<State> | undefined
  /** The ends of the appends in flight, by their command ids. */
  readonly sent: Map<string, Effect.Effect<unknown>>
  /** The command ids of the last appends that were written. */
  readonly written: Set<string>
  isStale: boolean
  /** How many commands have arrived. */
  arrivals: number
  /** The latest state that was the current one at a moment when so many commands had arrived. */
  verified: { readonly arrivals: number; readonly version: Version } | undefined
  locked: Locked<State> | undefined
  /** How many chains in a row were broken by events of others. */
  conflicts: number
  /** Under how many locks in a row nothing new must be found before commands are decided without one. */
  contention: number
}

/** How many command ids of an instance that were written are remembered, while commands wait or are in flight. */
const maxRemembered = 100

/** After so many conflicts in a row, commands are decided under a lock of the stream. */
const maxConflicts = 2

/** After so many locks in a row under which no events of others were found, commands are decided without one again. */
const calmLocks = 8

const makeInstance = <State>(): Instance<State> => ({
  isTaken: false,
  waiting: new Set(),
  commands: 0,
  last: undefined,
  sent: new Map(),
  written: new Set(),
  isStale: false,
  arrivals: 0,
  verified: undefined,
  locked: undefined,
  conflicts: 0,
  contention: 0
})

/** How long a command waits for its turn. */
const turnTimeout = "10 seconds"

/**
 * Makes the queues of an aggregate. At most `maxWaiting` commands of an instance wait or are in flight.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State>(maxWaiting: number): InstanceQueue<State> => {
  const instances = new Map<string, Instance<State>>()

  const enter = (stream: string): Instance<State> | undefined => {
    let instance = instances.get(stream)
    if ((instance?.commands ?? 0) >= maxWaiting) return undefined
    if (instance === undefined) instances.set(stream, instance = makeInstance())
    instance.commands++
    instance.arrivals++
    return instance
  }

  const leave = (stream: string, instance: Instance<State>): void => {
    if (--instance.commands === 0) instances.delete(stream)
  }

  return {
    size: () => instances.size,
    inTurn: (stream, effect) =>
      Effect.uninterruptibleMask((restore) => {
        const instance = enter(stream)
        if (instance === undefined) return Effect.fail(tooMany(stream, maxWaiting))
        const { pass, turn } = turnOf(instance, instance.arrivals)
        const left = () => {
          pass()
          leave(stream, instance)
        }
        const inTurn = Effect.onExit(restore(Effect.suspend(() => effect(turn))), () => Effect.sync(left))
        if (take(instance)) return inTurn
        const given = Deferred.makeUnsafe<void>()
        instance.waiting.add(given)
        return Effect.matchCauseEffect(restore(awaitTurn(stream, instance, given)), {
          onSuccess: () => inTurn,
          onFailure: (cause) => {
            // It may have been given the turn at the moment of its interruption.
            if (!instance.waiting.delete(given)) passOn(instance)
            leave(stream, instance)
            return Effect.failCause(cause)
          }
        })
      })
  }
}

/** Takes the turn, and returns whether no other command had it. */
const take = (gate: Gate): boolean => {
  if (gate.isTaken) return false
  gate.isTaken = true
  return true
}

const passOn = (gate: Gate): void => {
  for (const next of gate.waiting) {
    gate.waiting.delete(next)
    Deferred.doneUnsafe(next, Effect.void)
    return
  }
  gate.isTaken = false
  unlock(gate)
}

const unlock = (gate: Gate): void => {
  gate.locked?.lock.release()
  gate.locked = undefined
}

const awaitTurn = (
  stream: string,
  gate: Gate,
  given: Deferred.Deferred<void>
): Effect.Effect<void, EventStoreError> =>
  // The command that passes the turn on resumes this fiber within its own call, so the stack would grow with each command that waits.
  Effect.timeoutOrElse(Effect.andThen(Deferred.await(given), Effect.yieldNow), {
    duration: turnTimeout,
    orElse: () => Effect.fail(waitedTooLong(stream, gate.commands))
  })

const turnOf = <State>(
  instance: Instance<State>,
  arrival: number
): { readonly turn: Turn<State>; readonly pass: () => void } => {
  let hasPassed = false
  const pass = () => {
    if (hasPassed) return
    hasPassed = true
    passOn(instance)
  }
  const verify = (arrivals: number, version: Version) => {
    if (instance.verified === undefined || arrivals > instance.verified.arrivals) {
      instance.verified = { arrivals, version }
    }
  }
  return {
    pass,
    turn: {
      last: () => instance.last,
      isStale: () => instance.isStale,
      isVerified: (version) =>
        instance.verified !== undefined && arrival <= instance.verified.arrivals
        && version >= instance.verified.version,
      sentSince: ({ arrivals }) => arrival <= arrivals,
      readBegins: () => {
        const { arrivals } = instance
        return (version) => {
          instance.isStale = false
          verify(arrivals, version)
        }
      },
      sentUnder: (commandId) =>
        instance.sent.get(commandId) ?? (instance.written.has(commandId) ? Effect.void : undefined),
      forget: (commandId) => {
        instance.written.delete(commandId)
      },
      sent: (state, lastErasure, behind, commandId) => {
        const chain = behind?.chain ?? { isBroken: false, isRepeated: false }
        const sent: Sent<State> = {
          state,
          lastErasure,
          outcome: Deferred.makeUnsafe(),
          chain,
          commandId,
          arrivals: instance.arrivals
        }
        // What is sent behind an append that was not written is not written either.
        if (!chain.isBroken) instance.last = sent
        if (commandId !== undefined) instance.sent.set(commandId, Deferred.await(sent.outcome))
        return sent
      },
      ended: (sent, state, obstacle) => {
        if (state !== undefined) verify(sent.arrivals, state.version)
        end(instance, sent, state, obstacle)
      },
      isContended: () => instance.contention > 0,
      foundEvents: (found) => {
        instance.contention = found ? calmLocks : Math.max(0, instance.contention - 1)
      },
      locked: () => instance.locked,
      lock: (lock) => instance.locked = { lock, read: undefined, hasSent: false },
      unlock: () => unlock(instance),
      pass,
      hasPassed: () => hasPassed
    }
  }
}

/** Takes the outcome of an append. */
const end = <State>(
  instance: Instance<State>,
  sent: Sent<State>,
  state: CachedState<State> | undefined,
  obstacle: Obstacle | undefined
): void => {
  if (state === undefined && !sent.chain.isBroken) {
    sent.chain.isBroken = true
    sent.chain.isRepeated = obstacle === "repeated"
    if (instance.last?.chain === sent.chain) instance.last = undefined
    // If its outcome is unknown, it may have been written.
    if (instance.last === undefined && (obstacle === "stream" || obstacle === undefined)) instance.isStale = true
    if (obstacle === "stream" && ++instance.conflicts >= maxConflicts) instance.contention = calmLocks
  }
  if (instance.last === sent) {
    instance.last = undefined
    instance.conflicts = 0
  }
  if (sent.commandId !== undefined) {
    instance.sent.delete(sent.commandId)
    if (state !== undefined) remember(instance.written, sent.commandId)
  }
  Deferred.doneUnsafe(sent.outcome, Effect.succeed(state))
}

const remember = (written: Set<string>, commandId: string): void => {
  written.add(commandId)
  if (written.size <= maxRemembered) return
  for (const oldest of written) {
    written.delete(oldest)
    return
  }
}

const tooMany = (stream: string, maxWaiting: number): EventStoreError =>
  LockWait.ofKey(storeError(
    new StoreUnavailable({
      message:
        `${maxWaiting} commands on "${stream}" wait or are in flight in this process, which is the maximum (maxWaiting); this one was `
        + "not decided. Send it again later, or raise maxWaiting of Aggregate.layer",
      cause: undefined
    })
  ))

const waitedTooLong = (stream: string, commands: number): EventStoreError =>
  LockWait.ofKey(storeError(
    new StoreUnavailable({
      message:
        `The command waited ${turnTimeout} for its turn on "${stream}" behind ${
          commands - 1
        } others in this process; it was not `
        + "decided. Send it again later",
      cause: undefined
    })
  ))
