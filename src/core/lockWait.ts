/**
 * Marks waits for locks and turns that have timed out and concern the events of one key only. Internal: the package does not export it.
 *
 * @since 0.1.0
 */
import type { SqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "./errors.ts"
import { serverWords, sqlState } from "./sqlState.ts"

/**
 * What another connection has seen of a wait for a lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWait {
  /** Whether it is a lock of rows. Any other lock, such as that of a table, may concern the events of all keys. */
  readonly isOfRow: boolean
  /** The text that names the session which holds the lock. */
  readonly holder: string | undefined
}

const observations = new WeakMap<SqlError, LockWait>()
const ofOneKey = new WeakSet<EventStoreError>()

/**
 * Adds what was seen of the wait to the error with which it has ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const observed = (error: SqlError, wait: LockWait): SqlError => {
  observations.set(error, wait)
  return error
}

/** The server's English message for a wait that no other connection has observed: with its context, or of `NOWAIT`. */
const wordsOfRow =
  /while (updating|deleting|locking|inserting|checking|rechecking) .*tuple|obtain lock on row|uniqueness of tuple/

/**
 * Returns whether a database error is a lock timeout on rows (`lock_not_available`).
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfRow = (error: SqlError): boolean =>
  sqlState(error) === "55P03" && (observations.get(error)?.isOfRow ?? wordsOfRow.test(serverWords(error)))

/**
 * Returns the server's message for a lock timeout, with the session that holds the lock if it was seen.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (error: SqlError): string => {
  const holder = observations.get(error)?.holder
  return holder === undefined ? serverWords(error) : `${serverWords(error)}, held by ${holder}`
}

/**
 * Marks the error of a wait that has timed out and concerns one key: for a lock of rows or of a stream, or for the turn of a command.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ofKey = (error: EventStoreError): EventStoreError => {
  ofOneKey.add(error)
  return error
}

/**
 * Returns whether an error is marked by `ofKey`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfKey = (error: EventStoreError): boolean => ofOneKey.has(error)
