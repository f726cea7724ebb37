/**
 * Events that a store refuses before it looks at the log.
 *
 * @since 0.1.0
 */
import type { AppendError } from "../eventStore/EventAppender.ts"

/**
 * Returns whether an append failed because of its events: one does not satisfy its Schema, exceeds a limit, or has personal data of an erased subject. A
 * command that was decided on an old state may have other events, or none, on the current one.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRefusal = (error: AppendError): boolean =>
  error._tag === "EventStoreError"
  && (error.reason._tag === "InvalidRequest" || error.reason._tag === "SubjectErased")
