/**
 * The queue of group commit: which appends go out together, and which must wait. It is synchronous and does no I/O.
 *
 * @since 0.1.0
 */

/**
 * An append in the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  /** The stream. Of two appends to it, the later goes in the same statement as the earlier, behind it, or after the earlier has ended. */
  readonly stream: string
  /** The command id, if the append has one. Of two appends with the same id, the later waits until the earlier has ended. */
  readonly commandId: string | undefined
  /** The id of its last event. */
  readonly eventId: string | undefined
  /** The id that the last event of the stream must have, if it must. */
  readonly lastEventId: string | undefined
  /** The size of the payload. */
  readonly bytes: number
  /** When it arrived, in milliseconds. */
  readonly since: number
  /** The names that its condition locks. Of two appends with such a name in common, the later waits as for one to the same stream. */
  readonly conditionNames: ReadonlyArray<string>
  /** The names that its events have, and that a condition of another append may lock. */
  readonly names: ReadonlyArray<string>
  /** Whether its condition rests on appends that have not ended. Those have a name in common with it. */
  readonly restsOnOthers: boolean
}

/**
 * How many statements the queue allows at a time, and how large they are.
 *
 * @since 0.1.0
 * @category options
 */
export interface AppendQueueOptions {
  /** The maximum number of statements in flight, each on a connection of its own. 2 by default. */
  readonly inFlight?: number | undefined
  /**
   * The number of appends, waiting or in flight, for which the queue allows one more statement in flight. 32 by default, because a
   * statement costs the server and this process as much as about twenty more appends in it.
   */
  readonly statementAppends?: number | undefined
  /** The maximum number of appends in a statement. 100 by default. */
  readonly batchAppends?: number | undefined
  /** The maximum payload of a statement in bytes. 4 MiB by default. A single append may exceed it. */
  readonly batchBytes?: number | undefined
  /**
   * The maximum number of statements without a response for a second that do not count as in flight, so that other appends continue.
   * 2 by default.
   */
  readonly maxStalled?: number | undefined
}

/**
 * The appends of a process that wait to be sent, and the streams and command ids of those that were sent and have not ended.
 *
 * **Details**
 *
 * An append goes through `add`, a batch of `nextBatch`, and `end`. The slot of its statement is freed by `statementEnded`, which may
 * come before `end`: an append that waits for a lock in the database keeps its stream and command id but not its slot.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendQueue<in out E extends Entry> {
  /** Adds an append behind all others. */
  readonly add: (entry: E) => void
  /** Removes an append that was not sent yet, and returns whether it was one. */
  readonly remove: (entry: E) => boolean
  /** Removes and returns the appends that were not sent yet and cannot be written, because they rest on an append that was not. */
  readonly removeFollowers: (entry: E) => ReadonlyArray<E>
  /** Removes and returns all appends that were not sent yet. */
  readonly removeAll: () => ReadonlyArray<E>
  /**
   * Removes and returns the appends that have not been sent although they arrived by `since`, or by `sinceBehind` and are behind one that
   * has not ended.
   */
  readonly removeOverdue: (since: number, sinceBehind: number) => ReadonlyArray<E>
  /** Whether no append waits to be sent. */
  readonly isEmpty: () => boolean
  /**
   * Takes the appends of the next statement, in the order of their arrival; if none of them has a condition, those of one stream stand one after the
   * other. No two share a command id, and none has the stream, the command id, or a name of the condition of an append that has not ended or that was
   * passed over; except the names of one that waits for its stream. Empty if no append can go, or no statement more is allowed in flight.
   */
  readonly nextBatch: () => ReadonlyArray<E>
  /** Lets another statement take the place of a batch's statement, which has not ended for long. */
  readonly statementStalled: (batch: ReadonlyArray<E>) => void
  /** Frees the slot of a batch's statement. */
  readonly statementEnded: (batch: ReadonlyArray<E>) => void
  /**
   * Frees the names of an append that waits for its stream in no statement in flight, so that only appends to its stream wait for it, and those that
   * rest on others.
   */
  readonly freeNames: (entry: E) => void
  /** Frees the stream and the command id of an append. */
  readonly end: (entry: E) => void
  /** Puts appends of a batch that were not written back before all others. */
  readonly putBack: (entries: ReadonlyArray<E>) => void
}

/**
 * Makes an empty queue.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E extends Entry>(options: AppendQueueOptions = {}): AppendQueue<E> => {
  const { batchAppends = 100, batchBytes = 4 * 1024 * 1024, inFlight = 2, maxStalled = 2, statementAppends = 32 } =
    options
  // In the order of arrival. A Set, because an interrupted append is removed from any place.
  let waiting = new Set<E>()
  const held = new Held()
  const stalled = new Set<ReadonlyArray<E>>()
  let statementsInFlight = 0
  let appendsInFlight = 0

  return {
    add: (entry) => {
      waiting.add(entry)
    },
    remove: (entry) => waiting.delete(entry),
    removeFollowers: (entry) => {
      const removed = followersOf(waiting, entry)
      for (const follower of removed) waiting.delete(follower)
      return removed
    },
    removeAll: () => {
      const removed = Array.from(waiting)
      waiting.clear()
      return removed
    },
    removeOverdue: (since, sinceBehind) => {
      const removed = overdue(waiting, held, since, sinceBehind)
      for (const entry of removed) waiting.delete(entry)
      return removed
    },
    isEmpty: () => waiting.size === 0,
    nextBatch: () => {
      if (waiting.size === 0) return []
      const appends = waiting.size + appendsInFlight
      const statements = Math.max(1, Math.min(inFlight, Math.floor(appends / statementAppends)))
      if (statementsInFlight - Math.min(stalled.size, maxStalled) >= statements) return []
      // An equal part for each statement. Otherwise one takes nearly all, and keeps doing so: callers whose appends end together also
      // append again together.
      const batch = take(waiting, held, Math.min(batchAppends, Math.ceil(appends / statements)), batchBytes)
      if (batch.length > 0) {
        statementsInFlight++
        appendsInFlight += batch.length
      }
      return batch
    },
    statementStalled: (batch) => {
      stalled.add(batch)
    },
    statementEnded: (batch) => {
      stalled.delete(batch)
      statementsInFlight--
      appendsInFlight -= batch.length
    },
    freeNames: (entry) => held.freeNames(entry),
    end: (entry) => held.remove(entry),
    putBack: (entries) => {
      for (const entry of entries) held.remove(entry)
      waiting = new Set([...entries, ...waiting])
    }
  }
}

/** Takes the next batch out of the appends that wait. */
const take = <E extends Entry>(
  waiting: Set<E>,
  held: Held,
  maxAppends: number,
  maxBytes: number
): ReadonlyArray<E> => {
  const taken: Array<E> = []
  const takenIds = new Set<string>()
  // An append behind one that must wait would overtake it.
  const passed = new Held()
  let bytes = 0
  for (const entry of waiting) {
    const { commandId } = entry
    if (held.has(entry) || passed.has(entry) || commandId !== undefined && takenIds.has(commandId)) {
      const waitsForStream = held.hasStreamFor(entry) || passed.hasStreamFor(entry)
      passed.add(entry)
      // Appends to other streams need not wait until its stream is free.
      if (waitsForStream) passed.freeNames(entry)
      continue
    }
    if (taken.length > 0 && bytes + entry.bytes > maxBytes) break
    waiting.delete(entry)
    if (commandId !== undefined) takenIds.add(commandId)
    taken.push(entry)
    bytes += entry.bytes
    if (taken.length === maxAppends) break
  }
  for (const entry of taken) held.add(entry)
  return taken.some(({ conditionNames }) => conditionNames.length > 0) ? taken : byStream(taken)
}

/** Returns appends so that those of one stream stand one after the other. */
const byStream = <E extends Entry>(entries: ReadonlyArray<E>): ReadonlyArray<E> =>
  Array.from(Map.groupBy(entries, ({ stream }) => stream).values()).flat()

/** Returns the appends of which each rests on the last event of the one before it, and the first on that of `entry`. */
const followersOf = <E extends Entry>(waiting: ReadonlySet<E>, entry: E): ReadonlyArray<E> => {
  const found: Array<E> = []
  let { eventId } = entry
  if (eventId === undefined) return found
  for (const other of waiting) {
    if (other.lastEventId !== eventId || other.stream !== entry.stream) continue
    found.push(other)
    eventId = other.eventId
  }
  return found
}

const overdue = <E extends Entry>(
  waiting: ReadonlySet<E>,
  held: Held,
  since: number,
  sinceBehind: number
): ReadonlyArray<E> => {
  const last = Math.max(since, sinceBehind)
  const found: Array<E> = []
  for (const entry of waiting) {
    if (entry.since <= since || entry.since <= last && held.has(entry)) found.push(entry)
  }
  return found
}

/**
 * The streams, command ids and names of appends. A statement does not see what another one in flight writes.
 *
 * @since 0.1.0
 * @category models
 */
export class Held {
  readonly #streams = new Map<string, number>()
  readonly #commandIds = new Map<string, number>()
  readonly #names = makeNames()
  /** The names of those that wait for their stream. */
  readonly #freedNames = makeNames()
  readonly #freed = new WeakSet<Entry>()
  has(entry: Entry): boolean {
    return this.hasStreamFor(entry)
      || entry.commandId !== undefined && this.#commandIds.has(entry.commandId)
      || excludes(this.#names, entry)
  }
  /** Whether an append must wait until its stream is free, or that of another on which it rests. */
  hasStreamFor(entry: Entry): boolean {
    return this.#streams.has(entry.stream) || entry.restsOnOthers && excludes(this.#freedNames, entry)
  }
  add(entry: Entry): void {
    countNames(this.#names, entry, 1)
    this.#change(entry, 1)
  }
  remove(entry: Entry): void {
    countNames(this.#freed.delete(entry) ? this.#freedNames : this.#names, entry, -1)
    this.#change(entry, -1)
  }
  freeNames(entry: Entry): void {
    if (this.#freed.has(entry)) return
    this.#freed.add(entry)
    countNames(this.#names, entry, -1)
    countNames(this.#freedNames, entry, 1)
  }
  #change({ commandId, stream }: Entry, change: number): void {
    count(this.#streams, stream, change)
    if (commandId !== undefined) count(this.#commandIds, commandId, change)
  }
}

/** How many appends have each name. */
interface Names {
  readonly ofConditions: Map<string, number>
  readonly ofEvents: Map<string, number>
}

const makeNames = (): Names => ({ ofConditions: new Map(), ofEvents: new Map() })

const countNames = ({ ofConditions, ofEvents }: Names, { conditionNames, names }: Entry, change: number): void => {
  for (const name of conditionNames) count(ofConditions, name, change)
  for (const name of names) count(ofEvents, name, change)
}

const excludes = ({ ofConditions, ofEvents }: Names, { conditionNames, names }: Entry): boolean =>
  ofConditions.size > 0 && (hasOne(ofConditions, conditionNames) || hasOne(ofConditions, names))
  || conditionNames.length > 0 && hasOne(ofEvents, conditionNames)

const hasOne = (counts: ReadonlyMap<string, number>, names: ReadonlyArray<string>): boolean => {
  for (const name of names) if (counts.has(name)) return true
  return false
}

const count = (counts: Map<string, number>, name: string, change: number): void => {
  const now = (counts.get(name) ?? 0) + change
  if (now > 0) counts.set(name, now)
  else counts.delete(name)
}
