/**
 * For which appends the server has reported a lock of another transaction. Internal: group commit alone uses it.
 *
 * @since 0.1.0
 */
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import type { Entry } from "./AppendQueue.ts"
import { Held } from "./Held.ts"
import { lockOfStream } from "./PgAppend.ts"

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
}

/**
 * Returns whether an append waits for the lock of its stream.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfStream = ({ lock, stream }: WaitingPending): boolean => lock === lockOfStream(stream)

/**
 * The appends for which the server has reported a lock, and that wait for it.
 *
 * @since 0.1.0
 * @category models
 */
export class Reported {
  readonly #held = new Held()
  readonly #locksOfStreams = new Map<string, string>()
  readonly #locksOfNames = new Map<string, string>()
  /** The locks for which appends have waited too long. */
  readonly #recent = new Map<string, { readonly lock: string; readonly until: number }>()

  add(pending: WaitingPending, lock: string): void {
    this.remove(pending)
    pending.lock = lock
    this.#held.add(pending)
    if (isOfStream(pending)) this.#held.freeNames(pending)
    this.#locksOfStreams.set(pending.stream, lock)
    for (const name of namesOf(pending)) this.#locksOfNames.set(name, lock)
  }

  /** Removes an append that has waited too long. Those behind it wait for the same lock, until one of them is sent and its answer is there. */
  timedOut(pending: WaitingPending, millis: number): void {
    const { lock } = pending
    if (lock === undefined) return
    this.remove(pending)
    for (const key of [ofStream(pending.stream), ...namesOf(pending)]) {
      this.#recent.delete(key)
      this.#recent.set(key, { lock, until: millis + recentFor })
    }
    for (const [key, { until }] of this.#recent) {
      if (until > millis && this.#recent.size <= maxRecent) break
      this.#recent.delete(key)
    }
  }

  /** Tells that the server has given an append its locks. */
  gotLocks(pending: WaitingPending): void {
    this.remove(pending)
    if (this.#recent.size === 0) return
    for (const key of [ofStream(pending.stream), ...namesOf(pending)]) this.#recent.delete(key)
  }

  remove(pending: WaitingPending): void {
    const { lock } = pending
    if (lock === undefined) return
    pending.lock = undefined
    this.#held.remove(pending)
    this.#locksOfStreams.delete(pending.stream)
    for (const name of namesOf(pending)) if (this.#locksOfNames.get(name) === lock) this.#locksOfNames.delete(name)
  }

  /** Returns the lock for which an append waits, itself or behind another one; `undefined` if it waits for none. */
  lockOf(pending: WaitingPending, millis: number): string | undefined {
    if (pending.lock !== undefined) return pending.lock
    if (this.#held.has(pending)) {
      const name = namesOf(pending).find((of) => this.#locksOfNames.has(of))
      return this.#locksOfStreams.get(pending.stream) ??
        (name === undefined ? undefined : this.#locksOfNames.get(name)) ?? `those of append ${pending.eventId}`
    }
    for (const key of [ofStream(pending.stream), ...namesOf(pending)]) {
      const recent = this.#recent.get(key)
      if (recent !== undefined && recent.until > millis) return recent.lock
    }
    return undefined
  }
}

/** For how many milliseconds a lock counts as held after an append has waited too long for it, and for how many streams and names. */
const recentFor = 1_000
const maxRecent = 10_000

const ofStream = (stream: string): string => `s${stream}`

const namesOf = ({ conditionNames, names }: Entry): ReadonlyArray<string> =>
  conditionNames.length === 0 ? names : [...conditionNames, ...names]
