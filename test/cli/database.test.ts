/** `evsrc migrate` and `evsrc doctor`, and what every command does with a database that is not as it should be. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Reports } from "evsrc/cli"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as Cli from "./Cli.ts"

const clientOf = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 3 })

const query = (url: string, text: string) =>
  Effect.provide(Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text)), clientOf(url))

const latest = PgMigrations.names.at(-1)!

describe("evsrc migrate", () => {
  it.live("runs missing migrations once, also when two commands run concurrently", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const before = yield* Cli.document(Reports.migrateCheck, ["migrate", "--check"], { url, code: 1 })
      assert.isFalse(before.isCurrent)
      assert.include(before.reason ?? "", `Schema "evsrc" is at migration 0 of ${PgMigrations.names.length}`)

      const both = yield* Effect.all([1, 2].map(() => Cli.document(Reports.migrate, ["migrate"], { url })), {
        concurrency: "unbounded"
      })
      assert.sameDeepMembers(both.map(({ ran }) => ran), [[...PgMigrations.names], []])

      assert.strictEqual(
        yield* Cli.output(["migrate", "--check"], { url }),
        `Schema "evsrc" is at migration ${latest}, the latest of this version\n`
      )
      assert.include(yield* Cli.output(["migrate"], { url }), "nothing to run")
    }))

  it.live("prints the SQL for a schema without a database", () =>
    Effect.gen(function*() {
      const all = yield* Cli.document(Reports.migrateSql, ["migrate", "--sql", "--schema", "shop"])
      assert.deepStrictEqual(all.map(({ migration }) => migration), [...PgMigrations.names])
      for (const { migration, sql } of all) {
        assert.strictEqual(sql, yield* PgMigrations.sqlOf(migration as typeof latest, { schema: "shop" }))
      }
    }))

  it.live("rejects a newer schema, and does not change it", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), clientOf(url))
      yield* query(url, "insert into evsrc.migrations (migration_id, name) values (99, '0099_future')")
      const { reason } = yield* Cli.document(Reports.migrateCheck, ["migrate", "--check"], { url, code: 1 })
      assert.include(reason ?? "", "is at migration 99, newer than migration")
      for (const command of [["migrate"], ["tail", "--no-follow"]]) {
        const { code, stderr } = yield* Cli.run(command, { url })
        assert.strictEqual(code, 2, stderr)
        assert.include(stderr, "newer than migration")
      }
      const { findings, verdict } = yield* Cli.document(Reports.doctor, ["doctor"], { url, code: 1 })
      assert.strictEqual(verdict, "problem")
      assert.include(findings.find(({ check }) => check === "migrations")!.found, "newer than migration")
    }))
})

describe("evsrc doctor", () => {
  it.live("reports problems, and says what to do", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), clientOf(url))
      // The server of the tests runs without fsync, which is a problem of any other server.
      const { findings, verdict } = yield* Cli.document(Reports.doctor, ["doctor"], { url, code: 1 })
      const of = (check: string) => findings.find((finding) => finding.check === check)!
      assert.strictEqual(verdict, "problem")
      assert.strictEqual(of("fsync").level, "problem")
      for (const check of ["server", "encoding", "migrations", "rights", "autovacuum", "clock"]) {
        assert.strictEqual(of(check).level, "fine", JSON.stringify(of(check)))
      }
      assert.strictEqual(of("role").level, "warning")
      assert.strictEqual(of("transaction ids").level, "fine")
      for (const { advice, level } of findings) assert.strictEqual(advice === null, level === "fine")

      for (
        const statement of [
          `create role "${name}" login password 'word of a role'`,
          `grant usage on schema evsrc to "${name}"`,
          `grant select on evsrc.migrations, evsrc.hash_check, evsrc.log to "${name}"`,
          `alter role "${name}" set default_transaction_isolation = 'serializable'`
        ]
      ) yield* query(url, statement)
      const role = new URL(url)
      role.username = name
      role.password = "word of a role"
      const { stdout } = yield* Cli.run(["doctor"], { url: role.href })
      assert.include(stdout, `"${name}" lacks execute on evsrc.append`)
      assert.include(stdout, "problem default_transaction_isolation: serializable")
      assert.include(stdout, "GRANT pg_read_all_stats")
      for (const statement of [`drop owned by "${name}"`, `drop role "${name}"`]) yield* query(url, statement)
    }))
})

describe("evsrc doctor, when vacuum is behind or an index is invalid", () => {
  it.live("names the table and the index", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), clientOf(url))
      yield* query(url, `create table evsrc.twice as select 1 as n from generate_series(1, 2)`)
      yield* Effect.ignore(query(url, "create unique index concurrently once on evsrc.twice (n)"))
      yield* query(
        url,
        `create table evsrc.dead with (autovacuum_enabled = false) as select n from generate_series(1, 12000) as n`
      )
      yield* query(url, "delete from evsrc.dead")
      // The session that ended has reported its statistics, or does so within a second.
      const bloated = yield* Effect.repeat(
        Effect.map(Cli.document(Reports.doctor, ["doctor"], { url, code: 1 }), ({ findings }) => findings),
        { until: (findings) => findings.some(({ check }) => check === "vacuum"), times: 50 }
      )
      assert.include(
        bloated.find(({ check }) => check === "vacuum")?.found,
        "evsrc.dead has 12000 dead rows and 0 live ones"
      )
      const index = bloated.find(({ check }) => check === "indexes")!
      assert.deepInclude(index, { level: "problem", found: "evsrc.once is invalid, so no statement uses it" })
      assert.include(index.advice, "REINDEX INDEX CONCURRENTLY evsrc.once")
    }))
})

describe("evsrc", () => {
  it.live("exits with 3 when the server is unreachable, and prints no password", () =>
    Effect.gen(function*() {
      const away = "postgres://ann:top-secret-word@127.0.0.1:1/shop"
      const { code, stderr, stdout } = yield* Cli.execute(["status"], { url: away })
      assert.strictEqual(code, 3, stderr)
      assert.include(stderr, "The database is unavailable")
      assert.notInclude(stderr + stdout, "top-secret-word")
      const invalid = yield* Cli.execute(["tail", "--url", "postgres://ann:top-secret-word@127.0.0.1:port/shop"])
      assert.strictEqual(invalid.code, 2)
      assert.notInclude(invalid.stderr + invalid.stdout, "top-secret-word")
    }))

  it.live("exits with 2 after wrong use, and prints only to the standard error", () =>
    Effect.gen(function*() {
      assert.deepInclude(yield* Cli.execute(["tail", "--nofollow"]), { code: 2, stdout: "" })
      for (
        const [args, message] of [
          [["tial"], "Unknown subcommand"],
          [["migrate", "--chek"], "--check"],
          [["migrate", "--check", "--sql"], "exclude each other"],
          [["tail", "--after", "soon"], "is no position"],
          [["processes", "--limit", "0"], "it must be at least 1"],
          [["causation", "a-command", "--limit", "0"], "it must be at least 1"],
          [["parked", "retry", "orders", "Order-1", "--timeout=-1"], "it must be 0 or more seconds"],
          [["status"], "There is no database"]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* Cli.run(args)
        assert.strictEqual(code, 2, stderr)
        assert.include(stderr, message)
        assert.strictEqual(stdout, "")
      }
    }))

  it.live("prints help, its version and completions", () =>
    Effect.gen(function*() {
      assert.include(yield* Cli.output(["--help"]), "migrate")
      assert.include(yield* Cli.output(["parked", "skip", "--help"]), "--reason")
      assert.match((yield* Cli.execute(["--version"])).stdout, /^evsrc v\d+\.\d+\.\d+\n$/)
      assert.include(yield* Cli.output(["--completions", "bash"]), "evsrc")
    }))
})
