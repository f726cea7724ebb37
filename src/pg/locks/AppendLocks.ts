/**
 * Finds which session holds a lock that an append needs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PgConnections } from "../connections/PgConnections.ts"
import type { Session } from "./SessionWords.ts"

/**
 * The locks that an append needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Locks {
  readonly stream?: string | undefined
  readonly commandId?: string | undefined
  /** The types and tags, as their locks name them. */
  readonly names: ReadonlyArray<string>
  /** Whether the types and tags are locked against other appends of them. */
  readonly isExclusive: boolean
  /** The documents, as `documentsParameter` names them. */
  readonly documents: ReadonlyArray<string>
}

/**
 * A lock that another session holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeldLock extends Session {
  readonly lock: "stream" | "command" | "tag" | "type" | "document" | "documents"
  /** Whether locks are held for which appends to other streams wait too. */
  readonly concerns_others: boolean
  /** The inline projection whose document is locked. */
  readonly projection: string | null
}

/** The caller has waited long enough. */
const timeout = 1_000

/**
 * Returns a function that finds the oldest session that holds one of these locks; none if it finds none within a second.
 *
 * @since 0.1.0
 * @category constructors
 */
export const finder = (connections: PgConnections, schema: string) => {
  const { sql } = connections
  return (
    { commandId, documents, isExclusive, names, stream }: Locks
  ): Effect.Effect<Option.Option<HeldLock>> =>
    connections.statement(
      sql.unsafe<HeldLock>(statementIn(schema), [stream ?? null, commandId ?? null, names, isExclusive, documents])
        .withoutTransform,
      timeout
    ).pipe(
      // Not in the caller's transaction, which has failed.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(sql.transactionService)(context)),
      Effect.timeoutOption(timeout),
      Effect.map(Option.flatMap(([row]) => Option.fromUndefinedOr(row))),
      Effect.catch(() => Effect.succeedNone)
    )
}

/**
 * The second key of an advisory lock is listed as an oid, which has no sign. A shared lock blocks only sessions that want an exclusive one, so an
 * exclusive lock comes first.
 */
const statementIn = (schema: string): string =>
  `with wanted as (
    select '${schema}.events'::regclass::oid as class, (hashtext($1)::bigint & 4294967295)::oid as object, 'stream' as lock,
        null as projection, true as exclusive
    union all
    select '${schema}.events_command'::regclass::oid, (hashtext($2)::bigint & 4294967295)::oid, 'command', null, true
      where $2::text is not null
    union all
    select '${schema}.event_tags'::regclass::oid, (hashtext(name)::bigint & 4294967295)::oid,
        case when starts_with(name, 't') then 'tag' else 'type' end, null, $4::boolean
      from unnest($3::text[]) as name
    union all
    select '${schema}.documents'::regclass::oid, (hashtext(substr(name, 2))::bigint & 4294967295)::oid,
        case when position(E'\\x1f' in name) > 0 then 'document' else 'documents' end, split_part(substr(name, 2), E'\\x1f', 1),
        starts_with(name, 'x')
      from unnest($5::text[]) as name
  )
  select wanted.lock, bool_or(wanted.lock in ('type', 'documents')) over () as concerns_others, wanted.projection, held.pid, activity.application_name as application,
      extract(epoch from clock_timestamp() - activity.xact_start)::integer as seconds
    from pg_locks held join wanted on held.classid = wanted.class and held.objid = wanted.object
      left join pg_stat_activity activity on activity.pid = held.pid
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2 and held.pid <> pg_backend_pid()
      and held.database = (select oid from pg_database where datname = current_database())
      and (wanted.exclusive or held.mode = 'ExclusiveLock')
    order by held.mode <> 'ExclusiveLock', activity.xact_start limit 1`
