/**
 * For which appends the server has reported a lock of another transaction. Internal: group commit alone uses it.
 *
 * @since 0.1.0
 */
import type { StreamId } from "../../core/StreamId.ts"
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import type { Locks } from "../locks/AppendLocks.ts"
import type { Entry } from "./AppendQueue.ts"
import { conflictOf, Held } from "./Held.ts"
import * as LocksOfAppend from "./LocksOfAppend.ts"
import { lockOfCommand, lockOfStream } from "./PgAppend.ts"

/**
 * An append, and the lock for which it waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitingPending extends Entry {
  readonly request: AppendRequest
  /** The lock for which it waits, if the server has reported one since it was sent. */
  lock: string | undefined
  /** When the server has reported a lock for it first, in milliseconds. */
  waitsSince: number | undefined
}

/**
 * Returns whether an append waits for the lock of its stream.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfStream = ({ lock, stream }: WaitingPending): boolean => lock === lockOfStream(stream)

/**
 * A lock for which appends wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface AwaitedLock {
  readonly lock: string
  /** The stream of the first append for which the server has reported it. */
  readonly stream: StreamId
  /** What the server is asked for, to find who holds it. */
  readonly locks: Locks
  /** When the server has reported it first, in milliseconds. */
  readonly since: number
}

/**
 * The wait of an append for a lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitForLock {
  readonly awaited: AwaitedLock
  /** Whether the append needs the lock itself; otherwise it waits behind another append that does. */
  readonly isOwn: boolean
  /** Since when, in milliseconds. */
  readonly since: number
}

/** A lock, and how many wait for it. */
interface Counted extends AwaitedLock {
  count: number
}

/**
 * The appends for which the server has reported a lock, and that wait for it.
 *
 * @since 0.1.0
 * @category models
 */
export class Reported {
  readonly #held = new Held()
  readonly #locks = new Map<string, Counted>()
  /** The locks of streams, command ids and names, and for how many appends. */
  readonly #locksOf = new Map<string, Map<AwaitedLock, number>>()
  /** The locks for which appends have waited too long. */
  readonly #recent = new Map<string, { readonly awaited: AwaitedLock; readonly until: number }>()

  add(pending: WaitingPending, lock: string, millis: number): void {
    this.remove(pending)
    const { request } = pending
    const awaited = this.#locks.get(lock) ??
      { lock, stream: request.stream, locks: LocksOfAppend.of(request, lock), since: millis, count: 0 }
    this.#locks.set(lock, awaited)
    awaited.count++
    pending.lock = lock
    pending.waitsSince ??= millis
    this.#held.add(pending)
    if (isOfStream(pending)) this.#held.freeNames(pending)
    for (const key of keysOf(pending)) {
      const locks = this.#locksOf.get(key) ?? new Map<AwaitedLock, number>()
      this.#locksOf.set(key, locks.set(awaited, (locks.get(awaited) ?? 0) + 1))
    }
  }

  /** Removes an append that has waited too long. Those behind it wait for the same lock, until one of them is sent and its answer is there. */
  timedOut(pending: WaitingPending, millis: number): void {
    const awaited = this.remove(pending)
    if (awaited === undefined) return
    for (const key of keysOf(pending)) {
      this.#recent.delete(key)
      this.#recent.set(key, { awaited, until: millis + recentFor })
    }
    for (const [key, { until }] of this.#recent) {
      if (until > millis && this.#recent.size <= maxRecent) break
      this.#recent.delete(key)
    }
  }

  /** Records that the server has granted an append its locks. */
  gotLocks(pending: WaitingPending): void {
    this.remove(pending)
    if (this.#recent.size === 0) return
    for (const key of keysOf(pending)) this.#recent.delete(key)
  }

  /** Removes an append, and returns the lock for which it has waited. */
  remove(pending: WaitingPending): AwaitedLock | undefined {
    const awaited = pending.lock === undefined ? undefined : this.#locks.get(pending.lock)
    if (awaited === undefined) return undefined
    pending.lock = undefined
    if (--awaited.count === 0) this.#locks.delete(awaited.lock)
    this.#held.remove(pending)
    for (const key of keysOf(pending)) {
      const locks = this.#locksOf.get(key)
      const others = (locks?.get(awaited) ?? 1) - 1
      if (others > 0) locks?.set(awaited, others)
      else if (locks?.delete(awaited) === true && locks.size === 0) this.#locksOf.delete(key)
    }
    return awaited
  }

  /** Returns for which lock an append waits, itself or behind another one; `undefined` if it waits for none. */
  waitOf(pending: WaitingPending, millis: number): WaitForLock | undefined {
    const { commandId, lock, since, stream, waitsSince } = pending
    const own = lock === undefined ? undefined : this.#locks.get(lock)
    if (own !== undefined) return { awaited: own, isOwn: true, since: waitsSince ?? since }
    const awaited = this.#held.has(pending) ? this.#lockBefore(pending) : this.#recentOf(pending, millis)
    if (awaited === undefined) return undefined
    const isOwn = awaited.lock === lockOfStream(stream) ||
      commandId !== undefined && awaited.lock === lockOfCommand(commandId)
    return { awaited, isOwn, since: Math.max(since, awaited.since) }
  }

  /** Returns the lock of the append behind which another one waits. */
  #lockBefore(pending: WaitingPending): AwaitedLock | undefined {
    const { names, freedNames } = this.#held
    const name = conflictOf(names, pending) ?? (pending.restsOnOthers ? conflictOf(freedNames, pending) : undefined)
    return this.#lockOf(ofStream(pending.stream)) ??
      (pending.commandId === undefined ? undefined : this.#lockOf(ofCommand(pending.commandId))) ??
      (name === undefined ? undefined : this.#lockOf(name))
  }

  #lockOf(key: string): AwaitedLock | undefined {
    return this.#locksOf.get(key)?.keys().next().value
  }

  #recentOf(pending: WaitingPending, millis: number): AwaitedLock | undefined {
    if (this.#recent.size === 0) return undefined
    for (const key of keysOf(pending)) {
      const recent = this.#recent.get(key)
      if (recent !== undefined && recent.until > millis) return recent.awaited
    }
    return undefined
  }
}

/** For how many milliseconds a lock counts as held after an append has waited too long for it, and for how many streams and names. */
const recentFor = 1_000
const maxRecent = 10_000

// Names begin with "t" or "y".
const ofStream = (stream: string): string => `s${stream}`
const ofCommand = (id: string): string => `c${id}`

const keysOf = ({ commandId, conditionNames, names, stream }: Entry): ReadonlyArray<string> => [
  ofStream(stream),
  ...commandId === undefined ? [] : [ofCommand(commandId)],
  ...conditionNames,
  ...names
]
