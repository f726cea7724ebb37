/**
 * Reads which sessions hold locks of the store: appends in flight hold back readers, and other locks block sessions.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Position from "../../core/Position.ts"
import type { EventStoreDriver, InFlightAppend, LockHolder } from "../../eventStore/driver/EventStoreDriver.ts"
import type { LockTimeoutErrors } from "../append/LockTimeoutError.ts"
import type { LockWaits } from "../append/LockWaits.ts"
import type { PgStatement } from "../PgStatement.ts"

/** The session, or the prepared transaction, that holds a lock. */
interface SessionRow {
  readonly pid: number | null
  readonly role_name: string | null
  readonly application: string | null
  readonly prepared: string | null
  readonly state: string | null
  readonly since: Date | null
  readonly waiting_since: Date | null
}

interface InFlightRow extends SessionRow {
  readonly read_at: Date
  /** Null in a single row, when nothing is in flight. */
  readonly low_water_mark: bigint | null
}

interface HolderRow extends SessionRow {
  readonly query_since: Date | null
  readonly locks: ReadonlyArray<string>
  readonly waiting: number
}

/** A younger transaction is listed only if a session waits for it, or if it is idle. */
const minAge = "1 second"

/** A transaction that has been idle for this time is listed, although no session may wait for it: a wait may have ended by a short timeout. */
const minIdle = "100 milliseconds"

/**
 * The name of the lock that a session holds while it runs migrations.
 *
 * @since 0.1.0
 * @category references
 */
export const lockOfMigrations = "the lock of migrations"

/** The locks that appends take. */
const lockOfAppends = {
  stream: "the lock of a stream",
  command: "the lock of a command id",
  names: "the lock of types or tags of events",
  documents: "the lock of documents of inline projections"
}
const locksOfAppends: ReadonlySet<string> = new Set(Object.values(lockOfAppends))

/** The maximum number of waiting sessions that are examined. */
const maxWaiting = 100

/**
 * Makes the reader of the locks of a schema, given by its quoted name. A program without `pg_read_all_stats` does not see the age of another role's
 * transaction, and gets only the holders for which others wait.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): Pick<EventStoreDriver, "inFlight" | "lockHolders"> => ({
  inFlight: Effect.map(
    query<InFlightRow>(
      `select clock_timestamp() as read_at, in_flight.*
        from (values (1)) as one left join ${schema}.in_flight_appends() as in_flight on true`,
      [],
      { isDiagnosis: true }
    ),
    (rows) => ({
      readAt: DateTime.makeUnsafe(rows[0]!.read_at),
      appends: rows.flatMap((row): ReadonlyArray<InFlightAppend> =>
        row.low_water_mark === null ? [] : [{ ...sessionOf(row), lowWaterMark: Position.make(row.low_water_mark) }]
      )
    })
  ),
  lockHolders: Effect.map(
    query<HolderRow>(statementIn(schema), [], { isDiagnosis: true }),
    (rows) => rows.map(holderOf)
  )
})

/** The maximum number of appends of which the holders of their locks are looked for. */
const maxAppends = 100

/**
 * Adds to the holders of locks the appends of this process that wait for them without a statement, which the catalogs do not show.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withWaitingAppends = (
  lockHolders: EventStoreDriver["lockHolders"],
  { waiting }: Pick<LockWaits, "waiting">,
  { holderOf }: Pick<LockTimeoutErrors, "holderOf">
): EventStoreDriver["lockHolders"] =>
  Effect.gen(function*() {
    const holders = yield* lockHolders
    const appends = waiting().toSorted((one, other) => one.since - other.since).slice(0, maxAppends)
    if (appends.length === 0 || holders.length === 0) return holders
    const found = yield* Effect.forEach(appends, ({ request }) => holderOf(request), { concurrency: "unbounded" })
    const counts = new Map<number | null, number>()
    for (const holder of found) if (holder !== undefined) counts.set(holder.pid, (counts.get(holder.pid) ?? 0) + 1)
    return holders.map((holder) => {
      const waitingAppends = counts.get(holder.pid ?? null)
      return waitingAppends === undefined ? holder : { ...holder, waitingAppends }
    })
  })

const holderOf = (row: HolderRow): LockHolder => ({
  ...sessionOf(row),
  querySince: instant(row.query_since),
  locks: row.locks,
  keepsOutAppends: row.locks.some((lock) => locksOfAppends.has(lock)),
  waiting: row.waiting
})

const sessionOf = (row: SessionRow) => ({
  pid: row.pid ?? undefined,
  role: row.role_name ?? undefined,
  application: row.application ?? undefined,
  prepared: row.prepared ?? undefined,
  state: row.state ?? undefined,
  since: instant(row.since),
  waitingSince: instant(row.waiting_since)
})

const instant = (date: Date | null) => date === null ? undefined : DateTime.makeUnsafe(date)

/** It reads catalogs only, so no lock of the store makes it wait. A read of a table is no lock that others wait for, but for changes of the schema. */
const statementIn = (schema: string): string =>
  `with store as (
    select oid, relname::text as name, relkind from pg_class where relnamespace = to_regnamespace('${schema}')
  ), held as (
    select lock.pid, lock.virtualtransaction, case
        when lock.locktype = 'relation' and lock.mode = 'RowShareLock' then 'rows of the table ' || store.name
        when lock.locktype = 'relation' then 'the table ' || store.name || ' (' || lock.mode || ')'
        when store.name = 'positions' then 'the in-flight low-water mark of an append'
        when store.name = 'events' then '${lockOfAppends.stream}'
        when store.name = 'events_command' then '${lockOfAppends.command}'
        when store.name = 'event_tags' then '${lockOfAppends.names}'
        when store.name = 'documents' then '${lockOfAppends.documents}'
        else 'an advisory lock of ' || store.name
      end as lock
      from pg_locks lock join store
        on lock.locktype = 'relation' and lock.relation = store.oid and store.relkind in ('r', 'p') and lock.mode <> 'AccessShareLock'
          or lock.locktype = 'advisory' and lock.objsubid = 2 and lock.classid = store.oid
      where lock.granted and lock.database = (select oid from pg_database where datname = current_database())
        and lock.pid is distinct from pg_backend_pid()
    union all
    select pid, virtualtransaction, '${lockOfMigrations}' from pg_locks,
        hashtextextended('evsrc/migrations/${schema.replaceAll("\"", "")}', 0) as key
      where locktype = 'advisory' and granted and objsubid = 1 and pid is distinct from pg_backend_pid()
        and classid = ((key >> 32) & 4294967295)::oid and objid = (key & 4294967295)::oid
        and database = (select oid from pg_database where datname = current_database())
  ), waits as (
    select distinct waiting.pid, coalesce(waiting.waitstart, clock_timestamp()) as since, coalesce(waiting.relation, tuple.relation) as relation,
        waiting.locktype = 'relation' as is_table
      from pg_locks waiting
        -- The first session that waits for a row holds the lock of the row's place.
        left join pg_locks tuple on tuple.pid = waiting.pid and tuple.locktype = 'tuple' and tuple.granted
      where not waiting.granted limit ${maxWaiting}
  ), others as (
    -- Those for which a session of the store, or of this application, waits at a table that is not of the store.
    select distinct blocker as pid, null::text as virtualtransaction,
        case when waits.is_table then 'the table ' else 'rows of the table ' end || coalesce(class.relname, '(unknown)') as lock
      from waits join pg_stat_activity activity on activity.pid = waits.pid
        cross join unnest(pg_blocking_pids(waits.pid)) as blocker left join pg_class class on class.oid = waits.relation
      where blocker <> 0 and blocker <> pg_backend_pid() and activity.datname = current_database()
        and (activity.application_name = current_setting('application_name') and activity.usename = session_user
          or exists (select from pg_locks lock join store on lock.relation = store.oid where lock.pid = waits.pid and lock.granted))
        and not exists (select from held where held.pid = blocker)
  ), all_held as (
    select * from held union all select * from others
  ), waiting as (
    select blocker, count(*)::integer as sessions, min(since) as since from (
      select pid, since from waits
    ) as waiting, unnest(pg_blocking_pids(waiting.pid)) as blocker
      group by blocker
  )
  select held.pid, activity.usename::text as role_name, activity.application_name as application, prepared.gid as prepared, activity.state,
      coalesce(activity.xact_start, prepared.prepared) as since, activity.query_start as query_since,
      array_agg(distinct held.lock order by held.lock) as locks, coalesce(waiting.sessions, 0) as waiting,
      waiting.since as waiting_since
    from all_held held
      left join pg_stat_activity activity on activity.pid = held.pid
      -- A prepared transaction has no pid. It holds the lock of its own id.
      left join pg_locks own on held.pid is null and own.pid is null and own.locktype = 'transactionid'
        and own.virtualtransaction = held.virtualtransaction
      left join pg_prepared_xacts prepared on prepared.transaction = own.transactionid
      left join waiting on waiting.blocker = coalesce(held.pid, 0)
    where waiting.blocker is not null
      or activity.state like 'idle in transaction%' and activity.state_change < clock_timestamp() - interval '${minIdle}'
      or coalesce(activity.xact_start, prepared.prepared) < clock_timestamp() - interval '${minAge}'
    group by 1, 2, 3, 4, 5, 6, 7, 9, 10
    order by 9 = 0, 6, 1`
