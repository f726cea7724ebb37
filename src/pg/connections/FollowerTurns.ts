/**
 * The turns of those that read whenever something has changed: their reads leave half of the pool to appends, leases and health.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import { inWords } from "../PgDeadlines.ts"
import { followersOf, isEmbedded } from "./ClientPool.ts"
import type { PgConnections } from "./PgConnections.ts"

/**
 * Returns a function that runs a read when it has its turn. In a transaction of the caller, which has its connection, it runs it at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ deadlines: { connectionTimeout, statementTimeout }, sql }: PgConnections) => {
  const turns = followersOf(sql)
  const timeout = connectionTimeout + statementTimeout
  const late = Effect.suspend(() =>
    Effect.fail(storeError(
      new StoreUnavailable({
        message: `a reader that follows the log has waited ${
          inWords(timeout)
        } (connectionTimeout and statementTimeout) for its turn behind others of this process; the database is slow, or there are too many for it`,
        cause: undefined
      })
    ))
  )
  return <A, E, R>(read: Effect.Effect<A, E, R>): Effect.Effect<A, E | EventStoreError, R> =>
    isEmbedded(sql) ?
      read :
      Effect.withFiber(({ context }) =>
        context.mapUnsafe.has(sql.transactionService.key) ?
          read :
          Effect.uninterruptibleMask((restore) =>
            Effect.flatMap(
              restore(Effect.timeoutOrElse(turns.take(1), { duration: timeout, orElse: () => late })),
              () => Effect.ensuring(restore(read), turns.release(1))
            )
          )
      )
}
