/**
 * The SQLSTATE of a database error, and whether it is transient. Internal: the package does not export it.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

/**
 * Returns the SQLSTATE that the server sent, if it sent one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const sqlState = (error: SqlError): string | undefined => {
  const { cause } = error.reason
  // Errors of Node have codes too (ECONNREFUSED).
  return Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) && /^[0-9A-Z]{5}$/.test(cause.code)
    ? cause.code
    : undefined
}

/** Resources exhausted (53), operator intervention such as a shutdown (57), system errors such as a full disk (58). */
const transient = /^(53|57|58)/

/**
 * Returns whether the server itself was unavailable, so that the same statement may succeed later.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTransient = (error: SqlError): boolean => transient.test(sqlState(error) ?? "")

const textOf = (cause: unknown, name: "message" | "where"): string | undefined => {
  const text = Predicate.hasProperty(cause, name) ? cause[name] : undefined
  return Predicate.isString(text) && text !== "" ? text : undefined
}

/**
 * Returns the server's message with its context, such as the table of a lock, and the SQLSTATE; the client's message without those.
 *
 * @since 0.1.0
 * @category accessors
 */
export const serverWords = (error: SqlError): string => {
  const { cause } = error.reason
  const state = sqlState(error)
  const where = textOf(cause, "where")
  return `${textOf(cause, "message") ?? error.message}${
    where === undefined ? "" : ` ${where.replaceAll(/\s+/g, " ")}`
  }${state === undefined ? "" : ` (SQLSTATE ${state})`}`
}
