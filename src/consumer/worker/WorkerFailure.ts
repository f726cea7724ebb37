/**
 * Whether a worker goes on by itself after a failure, or an operator must act.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import { isSqlError } from "effect/sql/SqlError"
import { EventStoreError } from "../../core/errors.ts"
import { sqlState } from "../../core/sqlState.ts"
import type { Failure } from "./WorkerState.ts"

/**
 * Returns the failure of a claim or of a partition.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  cause: Cause.Cause<unknown>,
  /** Whether the worker has claimed before. Then a server that is read-only is passing: it is a standby since a failover, or about to be one. */
  hasClaimed: boolean
): Failure => {
  const isPassing = Option.exists(
    Cause.findErrorOption(cause),
    (error) => error instanceof EventStoreError && (error.isRetryable || hasClaimed && isReadOnly(error))
  )
  return {
    state: isPassing ? "retrying" : "stuck",
    detail: Cause.prettyErrors(cause).map((error) => error.message).join("; ")
  }
}

const isReadOnly = ({ reason }: EventStoreError): boolean =>
  reason._tag === "StoreMisconfigured" && isSqlError(reason.cause) && sqlState(reason.cause) === "25006"
