/**
 * Finds for which lock a session waits, and which session holds it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LockObserver } from "../connections/BoundedConnection.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import * as SessionWords from "./SessionWords.ts"

interface WaitRow {
  readonly locktype: string
  readonly pid: number | null
  readonly application: string | null
  readonly seconds: number | null
}

/** The caller's statement waits meanwhile, and is not to wait for longer. */
const observeTimeout = 1_000

/**
 * Returns a function that finds for which lock a session waits, and the session that holds it, which itself waits for none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (connections: PgConnections): LockObserver => (pid) =>
  connections.statement(connections.sql.unsafe<WaitRow>(waitOf, [pid]).withoutTransform, observeTimeout).pipe(
    Effect.timeoutOption(observeTimeout),
    Effect.map(Option.match({
      onNone: () => undefined,
      onSome: ([row]) =>
        row &&
        {
          isOfRow: locksOfRows.has(row.locktype),
          holder: row.pid === null ? undefined : SessionWords.of({ ...row, pid: row.pid })
        }
    })),
    Effect.catch(() => Effect.undefined)
  )

/** A row is locked by the id of the transaction that has written it; those that wait for it queue at the place of the row. */
const locksOfRows: ReadonlySet<string> = new Set(["transactionid", "tuple", "spectoken"])

/** Those that wait in a queue also wait for all before them, so each session is looked at once. The holder is the one that waits for no other. */
const waitOf = `with recursive chain(pid) as (
    select $1::integer
    union
    select blocker from chain, unnest(pg_blocking_pids(chain.pid)) as blocker where blocker <> 0
  )
  select waiting.locktype, activity.pid, activity.application_name as application,
      extract(epoch from clock_timestamp() - activity.xact_start)::integer as seconds
    from pg_locks waiting
      left join lateral (
        select chain.pid from chain where chain.pid <> $1 order by cardinality(pg_blocking_pids(chain.pid)) limit 1
      ) as holder on true
      left join pg_stat_activity activity on activity.pid = holder.pid
    where waiting.pid = $1 and not waiting.granted
    limit 1`
