/**
 * Whether a statement has waited in vain for a lock that events of other keys do not need. Internal: the package does not export it.
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
  /** Whether it is a lock of rows. One of a table, or of something else, may concern the events of all keys. */
  readonly isOfRow: boolean
  /** The session that holds the lock, in words. */
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

/** The server's words, in English, for a wait that nothing has observed: with its context, or of `NOWAIT`. */
const wordsOfRow =
  /while (updating|deleting|locking|inserting|checking|rechecking) .*tuple|obtain lock on row|uniqueness of tuple/

/**
 * Returns whether a database error is that of a vain wait for a lock of rows (`lock_not_available`).
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfRow = (error: SqlError): boolean =>
  sqlState(error) === "55P03" && (observations.get(error)?.isOfRow ?? wordsOfRow.test(serverWords(error)))

/**
 * Says for which lock a statement has waited, in the words of the server, and which session holds it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (error: SqlError): string => {
  const holder = observations.get(error)?.holder
  return holder === undefined ? serverWords(error) : `${serverWords(error)}, held by ${holder}`
}

/**
 * Marks the error of a vain wait for a lock of rows, of a stream, or of something else of one key.
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
