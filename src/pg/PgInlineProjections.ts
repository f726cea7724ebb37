/**
 * The inline projections that a log on PostgreSQL knows.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { fromJsonText } from "../core/json/parseJson.ts"
import * as Position from "../core/Position.ts"
import type {
  InlineExchangesDriver,
  InlineProjectionsDriver,
  RegisteredInlineProjection
} from "../eventStore/driver/InlineProjectionsDriver.ts"
import type { PgStatement } from "./PgStatement.ts"

interface Row {
  readonly projection: string
  readonly keeps: "documents" | "handlers"
  readonly types: ReadonlyArray<string>
  readonly ignores: string | null
  readonly tags: ReadonlyArray<string> | null
  readonly stream_prefix: string | null
  readonly required: boolean
  readonly missed_from: bigint | null
  readonly edition: bigint
}

/**
 * Makes the driver of a schema, given by its quoted name. `maintenanceTimeout` is in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string, maintenanceTimeout: number): InlineProjectionsDriver => {
  const select =
    `select inline.projection, inline.keeps, inline.types, inline.ignores::text as ignores, inline.tags, inline.stream_prefix, inline.required, inline.edition, `
    + `(select min(gap."position") from ${schema}.inline_gaps gap where gap.projection = inline.projection) as missed_from `
    + `from ${schema}.inline_projections inline`
  return {
    registered: Effect.map(query<Row>(`${select} order by inline.projection`, []), (rows) => rows.map(registeredOf)),
    find: (projection) =>
      Effect.map(
        query<Row>(`${select} where inline.projection = $1`, [projection]),
        ([row]) => row === undefined ? undefined : registeredOf(row)
      ),
    register: registerWith(query, schema),
    setRequired: (projection, isRequired) =>
      Effect.asVoid(query(`update ${schema}.inline_projections set required = $2 where projection = $1`, [
        projection,
        isRequired
      ])),
    // Before the effect: a gap of an append that commits during it stays, because the effect may not have seen what the append has written.
    closeGaps: (projection, effect, upTo) =>
      query(
        `delete from ${schema}.inline_gaps where projection = $1 and "position" <= coalesce($2::bigint, "position")`,
        [
          projection,
          upTo ?? null
        ]
      ).pipe(
        Effect.andThen(effect),
        Effect.tap(
          query(
            `update ${schema}.inline_projections set edition = nextval('${schema}.revisions'), exchanged_until = null where projection = $1`,
            [projection]
          )
        )
      ),
    unregister: (projection) =>
      Effect.map(
        query(
          `with gaps as (delete from ${schema}.inline_gaps where projection = $1) `
            + `delete from ${schema}.inline_projections where projection = $1 returning projection`,
          [projection]
        ),
        (rows) => rows.length > 0
      ),
    discard: (projection) =>
      Effect.map(
        query(
          `with gaps as (delete from ${schema}.inline_gaps where projection = $1), discarded as (`
            + `insert into ${schema}.generations as stored (generation, consumer, number, discarded_at) `
            + "values ($1, $1, 0, clock_timestamp()) on conflict (generation) do update "
            + "set discarded_at = coalesce(stored.discarded_at, excluded.discarded_at)) "
            + `delete from ${schema}.inline_projections where projection = $1 returning projection`,
          [projection]
        ),
        (rows) => rows.length > 0
      ),
    ...takingTurns(query, schema),
    exchanges: exchangesOf(query, schema),
    maxWait: maintenanceTimeout
  }
}

const registerWith =
  (query: PgStatement, schema: string): InlineProjectionsDriver["register"] =>
  ({ ignores, isRequired, keeps, projection, reads: { streamPrefix, tags, types } }) =>
    Effect.asVoid(query(
      `insert into ${schema}.inline_projections (projection, types, tags, stream_prefix, required, keeps, ignores) `
        + "values ($1, $2::text[], $3::text[], $4, $5, $6, $7::jsonb) on conflict (projection) do update set types = excluded.types, "
        + "tags = excluded.tags, stream_prefix = excluded.stream_prefix, keeps = excluded.keeps, ignores = excluded.ignores",
      [
        projection,
        types,
        tags?.length ? tags : null,
        streamPrefix ?? null,
        isRequired,
        keeps,
        Object.keys(ignores).length === 0 ? null : JSON.stringify(ignores)
      ]
    ))

/** How long a program may take for a step of an exchange. */
const exchangeLease = "interval '1 minute'"

const exchangesOf = (query: PgStatement, schema: string): InlineExchangesDriver => {
  const table = `${schema}.inline_projections`
  const register = registerWith(query, schema)
  const lease = `exchanged_until = clock_timestamp() + ${exchangeLease}, exchanged_by = pg_backend_pid()`
  return {
    begin: (projection, gap) =>
      register(projection).pipe(
        Effect.andThen(query(
          `insert into ${schema}.inline_gaps (projection, "position", is_read) select $1, $2, true `
            + `where not exists (select from ${schema}.inline_gaps where projection = $1)`,
          [projection.projection, gap]
        )),
        Effect.andThen(query<Pick<Row, "edition">>(
          `update ${table} set edition = nextval('${schema}.revisions'), ${lease} where projection = $1 returning edition`,
          [projection.projection]
        )),
        Effect.map(([row]) => row!.edition)
      ),
    renew: (projection, edition) =>
      Effect.map(
        query(
          `update ${table} set ${lease} where projection = $1 and edition = $2 and exchanged_until is not null returning projection`,
          [projection, edition]
        ),
        (rows) => rows.length > 0
      ),
    end: (projection, edition) =>
      Effect.asVoid(
        query(`update ${table} set exchanged_until = null where projection = $1 and edition = $2`, [
          projection,
          edition
        ])
      ),
    isHeld: (projection, edition) =>
      Effect.map(
        query(
          `select 1 from ${table} where projection = $1 and exchanged_until > clock_timestamp() and edition is distinct from $2::bigint`,
          [projection, edition ?? null]
        ),
        (rows) => rows.length > 0
      ),
    changes: (projection) =>
      Effect.map(
        query<{ readonly changes: number }>(
          `select count(*)::integer as changes from ${schema}.inline_gaps where projection = $1 and not is_read`,
          [projection]
        ),
        ([row]) => row!.changes
      )
  }
}

const takingTurns = (
  query: PgStatement,
  schema: string
): Pick<InlineProjectionsDriver, "exclusively" | "maker"> => ({
  // It never waits for the lock, because it would occupy a connection for as long as another program folds the log.
  exclusively: (projection, _waits, effect) =>
    Effect.flatMap(
      query<{ readonly locked: boolean }>(
        "select pg_try_advisory_xact_lock(to_regclass($1)::oid::integer, hashtext($2)) as locked",
        [`${schema}.inline_projections`, projection]
      ),
      ([row]) => row?.locked === true ? Effect.map(effect, Option.some) : Effect.succeedNone
    ),
  maker: (projection) =>
    Effect.map(
      query<MakerRow>(makerIn(schema), [`${schema}.inline_projections`, projection]),
      ([row]) =>
        row === undefined ? undefined : {
          pid: row.pid,
          application: row.application ?? "",
          since: row.since === null ? undefined : DateTime.makeUnsafe(row.since)
        }
    )
})

interface MakerRow {
  readonly pid: number
  readonly application: string | null
  readonly since: Date | null
}

/**
 * The second key of an advisory lock is listed as an oid, which has no sign. Between two steps of an exchange no lock is held; the session may then do
 * something else.
 */
const makerIn = (schema: string): string =>
  `select held.pid, activity.application_name as application, activity.xact_start as since
    from pg_locks held left join pg_stat_activity activity on activity.pid = held.pid
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2 and held.mode = 'ExclusiveLock'
      and held.database = (select oid from pg_database where datname = current_database())
      and held.classid = to_regclass($1)::oid and held.objid = (hashtext($2)::bigint & 4294967295)::oid
      and held.pid is distinct from pg_backend_pid()
  union all
  select inline.exchanged_by, activity.application_name, null
    from ${schema}.inline_projections inline left join pg_stat_activity activity on activity.pid = inline.exchanged_by
    where inline.projection = $2 and inline.exchanged_until > clock_timestamp()
  limit 1`

const decodeIgnores = Schema.decodeSync(
  fromJsonText(Schema.Record(Schema.String, Schema.Array(Schema.String)))
)

const registeredOf = (row: Row): RegisteredInlineProjection => ({
  projection: row.projection,
  keeps: row.keeps,
  ignores: row.ignores === null ? {} : decodeIgnores(row.ignores),
  reads: {
    types: row.types,
    ...(row.tags === null ? {} : { tags: row.tags }),
    ...(row.stream_prefix === null ? {} : { streamPrefix: row.stream_prefix })
  },
  isRequired: row.required,
  missedFrom: row.missed_from === null ? undefined : Position.make(row.missed_from),
  edition: row.edition
})
