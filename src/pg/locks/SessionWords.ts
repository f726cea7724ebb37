/**
 * The text by which errors name a session that holds a lock.
 *
 * @since 0.1.0
 */

/**
 * A session, and for how many seconds its transaction has run; null when this program's role may not see it, or without a transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session {
  /** Null for a prepared transaction, which has no session. */
  readonly pid: number | null
  readonly application: string | null
  /** The identifier of a prepared transaction. */
  readonly prepared?: string | null
  readonly seconds: number | null
}

/**
 * Returns the text that names a session.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = ({ application, pid, prepared, seconds }: Session): string => {
  const age = seconds === null ? "" : `for ${seconds} s`
  return pid === null
    ? `the prepared transaction "${prepared ?? "unknown"}"${age && ` (${age})`}`
    : `the session ${pid} (application "${application ?? ""}"${age && `, in a transaction ${age}`})`
}
