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
  readonly pid: number
  readonly application: string | null
  readonly seconds: number | null
}

/**
 * Returns the text that names a session.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = ({ application, pid, seconds }: Session): string =>
  `the session ${pid} (application "${application ?? ""}"${
    seconds === null ? "" : `, in a transaction for ${seconds} s`
  })`
