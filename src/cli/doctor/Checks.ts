/**
 * The checks of `doctor`.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { EventStoreError } from "../../core/errors.ts"
import { isEmbedded, sizeOf } from "../../pg/connections/ClientPool.ts"
import * as PgMigrations from "../../pg/migrations/PgMigrations.ts"
import type { PgOptions } from "../../pg/PgOptions.ts"
import { type Finding, fine, problem, warning } from "./Finding.ts"
import * as ServerFacts from "./ServerFacts.ts"

const server = ({ encoding, isStandby, number, version }: ServerFacts.ServerFacts): ReadonlyArray<Finding> => [
  number < 140_000
    ? problem("server", `PostgreSQL ${version}`, "evsrc needs PostgreSQL 14 or later; upgrade the server")
    : fine("server", `PostgreSQL ${version}`),
  encoding === "UTF8"
    ? fine("encoding", encoding)
    : problem("encoding", encoding, "Create a database with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"),
  ...isStandby
    ? [problem("primary", "the server is a standby", "The store works on the primary only; connect to it")]
    : []
]

const role = ({ isSuperuser, readsAllStats, role }: ServerFacts.ServerFacts): ReadonlyArray<Finding> => [
  isSuperuser
    ? warning(
      "role",
      `"${role}" is a superuser`,
      "Run programs under a role that is not a superuser, so that the database checks its rights"
    )
    : fine("role", `"${role}"`),
  ...readsAllStats ? [] : [
    warning(
      "statistics",
      `"${role}" cannot see what the sessions of other roles do`,
      `To let health name these sessions, run as a superuser: GRANT pg_read_all_stats TO "${role}"`
    )
  ]
]

const sessions = (
  { maxSessions, oldestPid, oldestTransaction, preparedTransactions, sessions, unused, unusedBy }:
    ServerFacts.ServerFacts,
  poolSize: number | undefined
): ReadonlyArray<Finding> => {
  const free = maxSessions - sessions
  const found = `${sessions} of ${maxSessions} in use`
  return [
    free < Math.max(3, maxSessions / 10)
      ? warning(
        "connections",
        found,
        "Raise max_connections, use smaller pools (maxConnections), or end unused sessions"
      )
      : poolSize !== undefined && poolSize > free
      ? warning(
        "connections",
        `${found}, and the pool of the configuration has ${poolSize}`,
        "Use a smaller pool, or raise max_connections"
      )
      : fine("connections", found),
    ...unused < 5 ? [] : [
      warning(
        "unused connections",
        `${unused} sessions have been idle for an hour, most of them of "${unusedBy ?? ""}"`,
        "Give that program a smaller pool, or an idleTimeout"
      )
    ],
    ...oldestTransaction === null || oldestTransaction < 300 ? [] : [
      warning(
        "transactions",
        `the session ${oldestPid} has been in a transaction for ${Math.round(oldestTransaction)} s`,
        `It keeps vacuum from removing rows; end it with: SELECT pg_terminate_backend(${oldestPid})`
      )
    ],
    ...preparedTransactions === 0 ? [] : [
      warning(
        "prepared transactions",
        `${preparedTransactions} wait in this database`,
        "A prepared transaction that has appended holds back readers; find it in pg_prepared_xacts, and end it with COMMIT PREPARED or ROLLBACK PREPARED"
      )
    ]
  ]
}

/** The settings that matter, with what is fine and what to do otherwise. */
const expectations: ReadonlyArray<{
  readonly name: string
  readonly isFine: (setting: string) => boolean
  readonly otherwise: (check: string, found: string) => Finding
}> = [
  {
    name: "fsync",
    isFine: (setting) => setting === "on",
    otherwise: (check, found) =>
      problem(check, found, "A crash of the machine can lose or damage committed events; set it to on")
  },
  {
    name: "full_page_writes",
    isFine: (setting) => setting === "on",
    otherwise: (check, found) => problem(check, found, "A crash of the machine can damage the log; set it to on")
  },
  {
    name: "synchronous_commit",
    isFine: (setting) => setting !== "off",
    otherwise: (check, found) =>
      warning(check, found, "A crash can lose events whose receipts were returned; set it to on")
  },
  {
    name: "default_transaction_isolation",
    isFine: (setting) => setting === "read committed",
    otherwise: (check, found) =>
      problem(check, found, "The store rejects it; set it to read committed for the role of the program")
  },
  {
    name: "default_transaction_read_only",
    isFine: (setting) => setting === "off",
    otherwise: (check, found) => problem(check, found, "Appends fail; set it to off for the role of the program")
  },
  {
    name: "track_activities",
    isFine: (setting) => setting === "on",
    otherwise: (check, found) => warning(check, found, "Health cannot name sessions that hold locks; set it to on")
  },
  {
    name: "autovacuum",
    isFine: (setting) => setting === "on",
    otherwise: (check, found) =>
      warning(check, found, "Tables of documents and checkpoints grow without limit; set it to on")
  },
  {
    name: "max_locks_per_transaction",
    isFine: (setting) => Number(setting) >= 64,
    otherwise: (check, found) =>
      warning(check, found, "Group commit takes several locks for each append; set it to 64 or more")
  }
]

const settings = (found: ReadonlyMap<string, string>): ReadonlyArray<Finding> =>
  expectations.flatMap(({ isFine, name, otherwise }) => {
    const setting = found.get(name)
    return setting === undefined ? [] : [isFine(setting) ? fine(name, setting) : otherwise(name, setting)]
  })

const keepAlive = (sql: SqlClient.SqlClient): ReadonlyArray<Finding> => {
  if (isEmbedded(sql) || !(PgClient.TypeId in sql)) return []
  const { config } = sql as PgClient.PgClient
  return config.keepAlive === undefined && config.path === undefined && config.stream === undefined
    ? [
      warning(
        "keep-alive",
        "the client of the configuration has no keep-alive",
        "Only the next statement detects a dead connection; give PgClient the option keepAlive, such as \"30 seconds\""
      )
    ]
    : [fine("keep-alive", "the client has keep-alive")]
}

/** Deadlines and health compare times of the database with each other, but logs and tokens do not. */
const maxAhead = 1000

const clock = ({ ahead, half }: { readonly ahead: number; readonly half: number }): Finding => {
  const apart = Math.max(0, Math.abs(ahead) - half)
  const found = `the server's clock is ${Math.round(Math.abs(ahead))} ms ${
    ahead < 0 ? "behind" : "ahead of"
  } this machine's`
  return apart < maxAhead
    ? fine("clock", found)
    : warning("clock", found, "Synchronize the clocks of both machines, by NTP")
}

/** The server warns at 40 million ids before the end, and stops at 3 million. */
const maxTransactionIds = 1_500_000_000

const vacuum = (
  schema: string,
  { transactionIds }: ServerFacts.ServerFacts,
  bloated: ReadonlyArray<ServerFacts.Bloat>
): ReadonlyArray<Finding> => [
  transactionIds < maxTransactionIds
    ? fine("transaction ids", `the oldest is ${transactionIds} transactions old`)
    : problem(
      "transaction ids",
      `the oldest is ${transactionIds} transactions old; at 2147483648 the server accepts no writes`,
      "Vacuum is behind: end old transactions, drop unused replication slots, and run VACUUM (FREEZE) in this database"
    ),
  ...bloated.map(({ deadRows, liveRows, table }) =>
    warning(
      "vacuum",
      `${schema}.${table} has ${deadRows} dead rows and ${liveRows} live ones`,
      `Look for old transactions, which keep vacuum from removing rows; then run: VACUUM (ANALYZE) "${schema}"."${table}"`
    )
  )
]

const indexes = (invalid: ReadonlyArray<string>): ReadonlyArray<Finding> =>
  invalid.map((name) =>
    problem(
      "indexes",
      `${name} is invalid, so no statement uses it`,
      `Its creation has failed; repair it with: REINDEX INDEX CONCURRENTLY ${name}`
    )
  )

const migrations = (options: PgOptions): Effect.Effect<Finding, EventStoreError, SqlClient.SqlClient> =>
  PgMigrations.check(options).pipe(
    Effect.as(fine("migrations", `schema "${options.schema ?? "evsrc"}" has the migrations of this version`)),
    Effect.catchReason(
      "EventStoreError",
      "StoreMisconfigured",
      (found, error) =>
        found.cause === undefined
          ? Effect.succeed(problem("migrations", found.message, "To run the missing migrations: evsrc migrate"))
          : Effect.fail(error)
    )
  )

const rights = (
  schema: string,
  { role }: ServerFacts.ServerFacts,
  missing: ReadonlyArray<{ readonly kind: string; readonly object: string; readonly right: string }>
): Finding => {
  if (missing.length === 0) return fine("rights", `"${role}" may append and run consumers`)
  const names = missing.slice(0, 5).map(({ object, right }) => `${right} on ${object}`)
  const more = missing.length > names.length ? ` and ${missing.length - names.length} more` : ""
  return problem(
    "rights",
    `"${role}" lacks ${names.join(", ")}${more}`,
    `As the owner of the tables, grant what docs/reference.md lists for a role of a program, beginning with: GRANT USAGE ON SCHEMA "${schema}" TO "${role}"`
  )
}

/**
 * Runs all checks.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  options: PgOptions,
  isConfigured: boolean
): Effect.fn.Return<ReadonlyArray<Finding>, EventStoreError, SqlClient.SqlClient> {
  const { schema = "evsrc" } = options
  const facts = yield* ServerFacts.read(sql)
  const found = yield* ServerFacts.readSettings(sql, expectations.map(({ name }) => name))
  const clocks = yield* ServerFacts.readClock(sql)
  const migrated = yield* migrations(options)
  return [
    ...server(facts),
    migrated,
    ...role(facts),
    ...migrated.level === "fine" ? [rights(schema, facts, yield* ServerFacts.readMissingRights(sql, schema))] : [],
    ...settings(found),
    ...isEmbedded(sql) ? [] : sessions(facts, isConfigured ? sizeOf(sql) : undefined),
    ...isConfigured ? keepAlive(sql) : [],
    ...vacuum(schema, facts, yield* ServerFacts.readBloat(sql, schema)),
    ...indexes(yield* ServerFacts.readInvalidIndexes(sql, schema)),
    clock(clocks)
  ]
})
