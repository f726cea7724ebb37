/**
 * The queue of group commit: which appends go out together, and which must wait. It is synchronous and does no I/O.
 *
 * @since 0.1.0
 */
import { Held } from "./Held.ts"
import { WaitingAppends } from "./WaitingAppends.ts"

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
  /** How many documents of inline projections it writes. */
  readonly documents: number
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
   * The maximum number of documents of inline projections that a statement writes, because each needs a lock. 256 by default. A single append may exceed
   * it.
   */
  readonly batchDocuments?: number | undefined
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
  /** Removes and returns the appends that were not sent yet for which a function returns true. */
  readonly removeIf: (isRemoved: (entry: E) => boolean) => ReadonlyArray<E>
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
  /** Puts appends of a batch that were not written back, each at its place in the order of arrival. */
  readonly putBack: (entries: ReadonlyArray<E>) => void
  /** Puts an append of a batch back that needs a lock of another transaction. It is not sent until `lockFreed`, unless `takeAwaiting` returns it. */
  readonly await: (entry: E, lock: string) => void
  /** Removes and returns the first append that waits for a lock, as one that was sent and has not ended. */
  readonly takeAwaiting: (lock: string) => E | undefined
  /** Lets the appends that wait for a lock be sent. */
  readonly lockFreed: (lock: string) => void
}

/**
 * Makes an empty queue.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E extends Entry>(options: AppendQueueOptions = {}): AppendQueue<E> => {
  const {
    batchAppends = 100,
    batchBytes = 4 * 1024 * 1024,
    batchDocuments = 256,
    inFlight = 2,
    maxStalled = 2,
    statementAppends = 32
  } = options
  const held = new Held()
  const waiting = new WaitingAppends<E>(held)
  const stalled = new Set<ReadonlyArray<E>>()
  let statementsInFlight = 0
  let appendsInFlight = 0
  const hold = (entry: E): void => {
    held.add(entry)
    waiting.streamHeld(entry.stream)
  }
  const end = (entry: E): void => {
    held.remove(entry)
    waiting.ended(entry)
  }

  return {
    add: (entry) => waiting.add(entry),
    remove: (entry) => waiting.remove(entry),
    removeFollowers: (entry) => removeFollowers(waiting, entry),
    removeAll: () => waiting.removeIf(() => true),
    removeIf: (isRemoved) => waiting.removeIf(isRemoved),
    isEmpty: () => waiting.size === 0,
    nextBatch: () => {
      if (waiting.size === 0) return []
      const appends = waiting.size + appendsInFlight
      const statements = Math.max(1, Math.min(inFlight, Math.floor(appends / statementAppends)))
      if (statementsInFlight - Math.min(stalled.size, maxStalled) >= statements) return []
      // An equal part for each statement. Otherwise one takes nearly all, and keeps doing so: callers whose appends end together also
      // append again together.
      const batch = take(waiting, {
        appends: Math.min(batchAppends, Math.ceil(appends / statements)),
        bytes: batchBytes,
        documents: batchDocuments
      })
      if (batch.length > 0) {
        for (const entry of batch) hold(entry)
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
    freeNames: (entry) => {
      held.freeNames(entry)
      waiting.namesFreed(entry)
    },
    end,
    putBack: (entries) => {
      for (const entry of entries) waiting.add(entry)
      for (const entry of entries) end(entry)
    },
    await: (entry, lock) => {
      waiting.add(entry)
      end(entry)
      waiting.await(entry, lock)
    },
    takeAwaiting: (lock) => {
      const entry = waiting.firstAwaiting(lock)
      if (entry !== undefined) hold(entry)
      return entry
    },
    lockFreed: (lock) => waiting.lockFreed(lock)
  }
}

/** Takes the next batch out of the appends that wait. */
const take = <E extends Entry>(
  waiting: WaitingAppends<E>,
  max: { readonly appends: number; readonly bytes: number; readonly documents: number }
): ReadonlyArray<E> => {
  const taken: Array<E> = []
  const takenIds = new Set<string>()
  let bytes = 0
  let documents = 0
  const fits = (entry: E): boolean =>
    taken.length === 0 || bytes + entry.bytes <= max.bytes && documents + entry.documents <= max.documents
  while (taken.length < max.appends) {
    const entry = waiting.next(takenIds, fits)
    if (entry === undefined) break
    if (entry.commandId !== undefined) takenIds.add(entry.commandId)
    taken.push(entry)
    bytes += entry.bytes
    documents += entry.documents
  }
  return taken.some(({ conditionNames }) => conditionNames.length > 0) ? taken : byStream(taken)
}

/** Returns appends so that those of one stream stand one after the other. */
const byStream = <E extends Entry>(entries: ReadonlyArray<E>): ReadonlyArray<E> =>
  Array.from(Map.groupBy(entries, ({ stream }) => stream).values()).flat()

/** Removes and returns the appends of which each rests on the last event of the one before it, and the first on that of `entry`. */
const removeFollowers = <E extends Entry>(waiting: WaitingAppends<E>, entry: E): ReadonlyArray<E> => {
  const found: Array<E> = []
  let { eventId } = entry
  while (eventId !== undefined) {
    const follower = waiting.restingOn(entry.stream, eventId)
    if (follower === undefined) break
    waiting.remove(follower)
    found.push(follower)
    eventId = follower.eventId
  }
  return found
}
