/**
 * What is known of a client's pool: whether it is a PGlite, how many connections it has, and how many of them may be occupied for long.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"

const isPgClient = (sql: SqlClient): sql is PgClient.PgClient => PgClient.TypeId in sql

/**
 * Returns whether a client is that of a PGlite.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEmbedded = (sql: SqlClient): boolean =>
  isPgClient(sql) && sql.config.stream !== undefined && sql.config.host === "pglite"

/**
 * Logs, for debugging, that a client over TCP leaves dead connections that are idle to the deadline of the next statement.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checkKeepAlive = (sql: SqlClient): Effect.Effect<void> =>
  isPgClient(sql) && sql.config.keepAlive === undefined && sql.config.stream === undefined
    && sql.config.path === undefined
    ? Effect.logDebug("The SQL client has no keepAlive, so a dead connection is found only by the next statement on it")
    : Effect.void

/** The default of `PgClient`. */
const defaultSize = 10

/**
 * Returns the number of connections in a client's pool.
 *
 * @since 0.1.0
 * @category accessors
 */
export const sizeOf = (sql: SqlClient): number =>
  isPgClient(sql) && Predicate.hasProperty(sql.config, "maxConnections") &&
    Predicate.isNumber(sql.config.maxConnections)
    ? sql.config.maxConnections
    : defaultSize

/**
 * How many connections of a client's pool the stores use at the moment, and how many statements and transactions wait for one.
 *
 * @since 0.1.0
 * @category models
 */
export interface PoolUse {
  inUse: number
  waiting: number
}

const uses = new WeakMap<SqlClient, PoolUse>()

/**
 * Returns the use of a client's pool: the same object for all stores on the client.
 *
 * @since 0.1.0
 * @category accessors
 */
export const useOf = (sql: SqlClient): PoolUse => {
  let use = uses.get(sql)
  if (use === undefined) uses.set(sql, use = { inUse: 0, waiting: 0 })
  return use
}

/** The default of `PgClient`. */
const defaultMaxMessageSize = 16 * 1024 * 1024

/**
 * Returns the size of the largest message that a client reads, in bytes; `Infinity` if it is another client than `PgClient`, or that of a PGlite.
 *
 * @since 0.1.0
 * @category accessors
 */
export const maxMessageSizeOf = (sql: SqlClient): number =>
  !isPgClient(sql) || isEmbedded(sql)
    ? Infinity
    : Predicate.hasProperty(sql.config, "maxMessageSize") && Predicate.isNumber(sql.config.maxMessageSize)
    ? sql.config.maxMessageSize
    : defaultMaxMessageSize

const followers = new WeakMap<SqlClient, Semaphore.Semaphore>()

/**
 * Returns the permits for reads of those that follow the log or a document, for half of the pool: the same for all stores on the client.
 *
 * @since 0.1.0
 * @category accessors
 */
export const followersOf = (sql: SqlClient): Semaphore.Semaphore => {
  const found = followers.get(sql)
  if (found !== undefined) return found
  const made = Semaphore.makeUnsafe(Math.max(1, Math.floor(sizeOf(sql) / 2)))
  followers.set(sql, made)
  return made
}

const occupations = new WeakMap<SqlClient, Semaphore.Semaphore>()

/**
 * Returns the permits for what may occupy connections of a client for long: the same for all stores on the client.
 *
 * @since 0.1.0
 * @category accessors
 */
export const occupationsOf = (sql: SqlClient): Semaphore.Semaphore => {
  const found = occupations.get(sql)
  if (found !== undefined) return found
  const made = Semaphore.makeUnsafe(maxOccupations(sizeOf(sql)))
  occupations.set(sql, made)
  return made
}

/**
 * Returns how many connections of a pool may be occupied for long at a time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const maxOccupations = (size: number): number => Math.max(1, size - 2)
