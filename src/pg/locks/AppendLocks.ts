/**
 * Finds which session holds a lock that an append needs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { PgConnections } from "../connections/PgConnections.ts"
import { fromSqlError } from "../PgErrors.ts"
import * as ReadBatcher from "../read/ReadBatcher.ts"
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
  /** The types and tags that it shares with other appends, as their locks name them. */
  readonly shared: ReadonlyArray<string>
  /** The types and tags that it locks against other appends of them. */
  readonly exclusive: ReadonlyArray<string>
  /** The documents, as `documentsParameter` names them. */
  readonly documents: ReadonlyArray<string>
  /** The key of the only lock of a type or tag that is wanted, as `pg_locks` lists it. By default all are. */
  readonly key?: number | undefined
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

/** How long the next statement waits after one for several appends, in milliseconds. */
const pause = 20

/** A lock that is wanted, as a row of the statement. */
interface Wanted {
  /** The number of the request. */
  readonly ordinal: number
  readonly lock: HeldLock["lock"]
  readonly name: string
  readonly isExclusive: boolean
  /** The key that the name must have; -1 for any. */
  readonly key: bigint
}

/** What was found of an append's locks; `undefined` if the server has not answered within a second. */
export type Found = Option.Option<HeldLock> | undefined

/**
 * Returns a function that finds the oldest session that holds one of these locks. Requests that come while a statement is in flight share the next one,
 * because thousands of appends may wait for one lock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const finder = Effect.fnUntraced(function*(
  connections: PgConnections,
  schema: string
): Effect.fn.Return<(locks: Locks) => Effect.Effect<Found>, never, Scope.Scope> {
  const { sql } = connections
  const statement = statementIn(schema)
  const many = (requests: ReadonlyArray<Locks>) => {
    const wanted = requests.flatMap(wantedOf)
    return connections.statement(
      sql.unsafe<FoundRow>(statement, [
        wanted.map(({ ordinal }) => ordinal),
        wanted.map(({ lock }) => lock),
        wanted.map(({ name }) => name),
        wanted.map(({ isExclusive }) => isExclusive),
        wanted.map(({ key }) => key)
      ]).withoutTransform,
      timeout
    ).pipe(
      Effect.map((rows) => {
        const byOrdinal = new Map(rows.map((row) => [row.ordinal, row]))
        return requests.map((_, ordinal) => Option.fromUndefinedOr(byOrdinal.get(ordinal)))
      }),
      Effect.mapError(fromSqlError),
      Effect.tap(requests.length > 1 ? Effect.sleep(pause) : Effect.void)
    )
  }
  const find = yield* ReadBatcher.make<Locks, Option.Option<HeldLock>>(
    { one: (request) => Effect.map(many([request]), ([found]) => found!), many, timeout },
    { alone: 1, inFlight: 1, batchReads: 1_000 }
  )
  return (locks) =>
    find(locks).pipe(
      // Not in the caller's transaction, which has failed.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(sql.transactionService)(context)),
      Effect.timeoutOption(timeout),
      Effect.map(Option.getOrUndefined),
      Effect.catch(() => Effect.undefined)
    )
})

interface FoundRow extends HeldLock {
  readonly ordinal: number
}

const lockOf = (name: string): "tag" | "type" => name.startsWith("t") ? "tag" : "type"

const wantedOf = (
  { commandId, documents, exclusive, key: onlyKey, shared, stream }: Locks,
  ordinal: number
): ReadonlyArray<Wanted> => {
  const key = BigInt(onlyKey ?? -1)
  return [
    ...stream === undefined ? [] : [{ ordinal, key, lock: "stream", name: stream, isExclusive: true } as const],
    ...commandId === undefined ? [] : [{ ordinal, key, lock: "command", name: commandId, isExclusive: true } as const],
    ...exclusive.map((name) => ({ ordinal, key, lock: lockOf(name), name, isExclusive: true })),
    ...shared.map((name) => ({ ordinal, key, lock: lockOf(name), name, isExclusive: false })),
    ...documents.map((name) =>
      ({
        ordinal,
        key,
        lock: name.includes("\u001f") ? "document" : "documents",
        name: name.slice(1),
        isExclusive: name.startsWith("x")
      }) as const
    )
  ]
}

/**
 * The second key of an advisory lock is listed as an oid, which has no sign. A shared lock blocks only sessions that want an exclusive one, so an
 * exclusive lock comes first. A prepared transaction has no pid.
 */
const statementIn = (schema: string): string =>
  `with wanted as materialized (
    select ordinal, lock, exclusive, (hashtext(name)::bigint & 4294967295)::oid as object,
        (case lock when 'stream' then '${schema}.events' when 'command' then '${schema}.events_command'
          when 'document' then '${schema}.documents' when 'documents' then '${schema}.documents' else '${schema}.event_tags' end)::regclass::oid as class,
        case when lock in ('document', 'documents') then split_part(name, E'\\x1f', 1) end as projection
      from unnest($1::integer[], $2::text[], $3::text[], $4::boolean[], $5::bigint[]) as wanted(ordinal, lock, name, exclusive, key)
      where key = -1 or key = hashtext(name)::bigint & 4294967295
  ), locks as materialized (
    select * from pg_locks where locktype in ('advisory', 'transactionid') and granted
  ), prepared as materialized (
    select own.virtualtransaction, prepared.gid, prepared.prepared
      from locks own join pg_prepared_xacts prepared on prepared.transaction = own.transactionid
      where own.locktype = 'transactionid' and own.pid is null
  ), activity as materialized (
    select pid, application_name, xact_start from pg_stat_activity
  )
  select distinct on (wanted.ordinal) wanted.ordinal, wanted.lock,
      bool_or(wanted.lock in ('type', 'documents')) over (partition by wanted.ordinal) as concerns_others,
      wanted.projection, held.pid, activity.application_name as application, prepared.gid as prepared,
      extract(epoch from clock_timestamp() - coalesce(activity.xact_start, prepared.prepared))::integer as seconds
    from locks held join wanted on held.classid = wanted.class and held.objid = wanted.object
      left join activity on activity.pid = held.pid
      left join prepared on held.pid is null and prepared.virtualtransaction = held.virtualtransaction
    where held.locktype = 'advisory' and held.objsubid = 2 and held.pid is distinct from pg_backend_pid()
      and held.database = (select oid from pg_database where datname = current_database())
      and (wanted.exclusive or held.mode = 'ExclusiveLock')
    order by wanted.ordinal, held.mode <> 'ExclusiveLock', coalesce(activity.xact_start, prepared.prepared)`
