import type { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import type { PGlite } from "@electric-sql/pglite"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { inject } from "vitest"
import * as LockOwner from "../../src/pglite/LockOwner.ts"
import * as PgliteClient from "../../src/pglite/PgliteClient.ts"
import type { PgliteError } from "../../src/pglite/PgliteError.ts"
import { freshPglite, layerPglite } from "../support/Database.ts"
import * as Folders from "../support/Folders.ts"
import * as Script from "../support/Script.ts"

const failed = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(Effect.result(effect), Result.getFailure)

const reasonOf = (error: SqlError) => error.reason._tag

const snapshot = Effect.promise(() => Fs.openAsBlob(inject("pgliteSnapshot")))

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Folders.forDatabases(), "evsrc-pglite-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** A client, and the PGlite under it, which the test also uses directly. */
const shared: Effect.Effect<
  { readonly pglite: PGlite; readonly client: PgClient.PgClient },
  PgliteError | SqlError,
  Scope.Scope
> = Effect.gen(function*() {
  const pglite = yield* freshPglite
  const client = yield* PgliteClient.make({ pglite })
  return { pglite, client }
}).pipe(Effect.provide(Reactivity.layer))

layer(layerPglite())("a client in memory", (it) => {
  it.effect("is PostgreSQL 18 as the user postgres", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      assert.deepStrictEqual(
        yield* sql`SELECT current_setting('server_version_num')::int / 10000 AS major, session_user::text AS who`,
        [{ major: 18, who: "postgres" }]
      )
    }))

  it.effect("has sequences, triggers and advisory locks, and lists locks", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE SEQUENCE positions`
      yield* sql`SELECT nextval('positions'), nextval('positions')`
      assert.deepStrictEqual(yield* sql`SELECT pg_sequence_last_value('positions'::regclass) AS last`, [{ last: 2n }])
      const held = sql`SELECT classid::int AS a, objid::int AS b, mode FROM pg_locks WHERE locktype = 'advisory'`
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT pg_advisory_xact_lock_shared(7, 11)`
        assert.deepStrictEqual(yield* held, [{ a: 7, b: 11, mode: "ShareLock" }])
      }))
      assert.deepStrictEqual(yield* held, [])
      yield* sql`CREATE TABLE fixed (id int)`
      yield* sql`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0042'; END $$`
      yield* sql`CREATE TRIGGER fixed BEFORE UPDATE ON fixed FOR EACH STATEMENT EXECUTE FUNCTION refuse()`
      assert.include(String((yield* Effect.flip(sql`UPDATE fixed SET id = 1`)).cause), "no")
    }))

  it.effect("passes parameters of every kind and arrays of them", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const rows = yield* sql<{ readonly bytes: Uint8Array }>`SELECT ${[
        "a",
        "b,\"c\"",
        "\0".length.toString()
      ]}::text[] AS texts,
        ${[1n, 2n ** 62n]}::bigint[] AS bigints, ${[1, null, 3]}::int[] AS holes, ${[]}::text[] AS none,
        ${new Uint8Array([0, 255])}::bytea AS bytes, ${new Date(0)}::timestamptz AS at, ${true}::bool AS yes,
        ${null}::text AS nothing, ${JSON.stringify({ x: ["ü"] })}::jsonb AS doc`
      const seen: ReadonlyArray<unknown> = rows.map((row) => ({ ...row, bytes: Array.from(row.bytes) }))
      assert.deepStrictEqual(seen, [{
        texts: ["a", "b,\"c\"", "1"],
        bigints: [1n, 2n ** 62n],
        holes: [1, null, 3],
        none: [],
        bytes: [0, 255],
        at: new Date(0),
        yes: true,
        nothing: null,
        doc: { x: ["ü"] }
      }])
    }))

  it.effect("sends and returns a value of 20 MB, and returns 50,000 rows", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const big = "0123456789abcdef".repeat(1_250_000)
      const [row] = yield* sql<{ readonly big: string }>`SELECT ${big}::text AS big`
      assert.strictEqual(row?.big, big)
      const rows = yield* sql<{ readonly n: number }>`SELECT n, repeat('x', 100) AS x FROM generate_series(1, 50000) n`
      assert.deepStrictEqual(rows.map(({ n }) => n), Array.from({ length: 50_000 }, (_, index) => index + 1))
    }))

  it.effect("streams rows, and accepts further statements after a partly read stream", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const numbers = sql<{ readonly n: number }>`SELECT n FROM generate_series(1, 20000) n`.stream
      assert.strictEqual(yield* Stream.runFold(numbers, () => 0, (sum, { n }) => sum + n), 200_010_000)
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(Stream.take(numbers, 2))), [{ n: 1 }, { n: 2 }])
      assert.deepStrictEqual(yield* sql`SELECT 1 AS n`, [{ n: 1 }])
    }))

  it.effect("serves 200 concurrent fibers, each with its own results", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE counter (n int)`
      yield* sql`INSERT INTO counter VALUES (0)`
      const results = yield* Effect.forEach(Array.from({ length: 200 }, (_, index) => index), (index) =>
        index % 2 === 0 ?
          Effect.map(sql<{ readonly n: number }>`SELECT ${index}::int AS n`, ([row]) => row?.n) :
          // Read, pause, write: correct only if no other transaction interleaves.
          sql.withTransaction(Effect.gen(function*() {
            const [row] = yield* sql<{ readonly n: number }>`SELECT n FROM counter`
            yield* Effect.yieldNow
            yield* sql`UPDATE counter SET n = ${row!.n + 1}`
            return index
          })), { concurrency: "unbounded" })
      assert.deepStrictEqual(results, Array.from({ length: 200 }, (_, index) => index))
      assert.deepStrictEqual(yield* sql`SELECT n FROM counter`, [{ n: 100 }])
    }))

  it.effect("reports a statement's failure with its reason, and stays usable", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE one (id int PRIMARY KEY)`
      yield* sql`INSERT INTO one VALUES (1)`
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`INSERT INTO one VALUES (1)`)), "UniqueViolation")
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`SELEC`)), "SqlSyntaxError")
      assert.deepStrictEqual(yield* sql`SELECT id FROM one`, [{ id: 1 }])
    }))

  it.effect("rolls back a failed transaction, and a failed savepoint alone", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE written (id int PRIMARY KEY)`
      const write = (id: number) => sql`INSERT INTO written VALUES (${id})`
      yield* failed(sql.withTransaction(Effect.andThen(write(1), write(1))))
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* write(2)
        yield* failed(sql.withTransaction(Effect.andThen(write(3), write(2))))
        yield* sql.withTransaction(write(4))
      }))
      assert.deepStrictEqual(yield* sql`SELECT id FROM written ORDER BY id`, [{ id: 2 }, { id: 4 }])
    }))

  it.effect("fails a commit that violates a deferred constraint", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE late (id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED)`
      const twice = sql.withTransaction(sql`INSERT INTO late VALUES (1), (1)`)
      assert.strictEqual(reasonOf(yield* Effect.flip(twice)), "UniqueViolation")
      assert.deepStrictEqual(yield* sql`SELECT * FROM late`, [])
    }))
})

layer(layerPglite(), { excludeTestServices: true })("a client in memory, interrupted", (it) => {
  it.effect("returns the right results and commits no partial transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE half (id int)`
      for (let round = 0; round < 30; round++) {
        const fiber = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
          yield* sql`INSERT INTO half VALUES (1)`
          yield* sql`SELECT pg_sleep(0.002)`
          yield* sql`INSERT INTO half VALUES (2)`
          return yield* Effect.never
        })))
        yield* Effect.sleep(Duration.millis(round % 6))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* sql`SELECT ${round}::int AS round`, [{ round }])
      }
      assert.deepStrictEqual(yield* sql`SELECT * FROM half`, [])
    }))

  it.effect("lets other work of the thread run between statements", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const ticks = { count: 0 }
      const timer = setInterval(() => {
        ticks.count++
      }, 1)
      const t0 = performance.now()
      while (ticks.count <= 10 && performance.now() - t0 < 60_000) yield* sql`SELECT 1`
      clearInterval(timer)
      assert.isAbove(ticks.count, 10)
    }))
})

describe("a client's connection", () => {
  it.live("starts with a clean session and the requested settings", () =>
    Effect.gen(function*() {
      const pglite = yield* freshPglite
      const use = <A, E>(options: PgliteClient.ClientOptions, effect: Effect.Effect<A, E, SqlClient>) =>
        Effect.provide(effect, Layer.fresh(PgliteClient.layer({ ...options, pglite })))
      yield* use(
        { applicationName: "first" },
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`SELECT pg_advisory_lock(1)`
          yield* sql`SET lock_timeout = 1234`
          yield* sql`CREATE TEMP TABLE mine (id int)`
          yield* sql`BEGIN`
          yield* sql`CREATE TABLE never (id int)`
        })
      )
      // The transaction ends with its client, so that direct statements to PGlite are not part of it.
      assert.strictEqual(pglite.isInTransaction(), false)
      const seen = yield* use(
        { startupParameters: { statement_timeout: "5s" }, applicationName: "it's" },
        Effect.flatMap(SqlClient, (sql) =>
          sql`SELECT (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory') AS locks,
            current_setting('lock_timeout') AS lock_timeout, current_setting('statement_timeout') AS statement_timeout,
            current_setting('application_name') AS name, to_regclass('never')::text AS never, to_regclass('mine')::text AS mine,
            (SELECT count(*)::int FROM pg_prepared_statements WHERE statement LIKE 'SET lock_timeout%') AS prepared`)
      )
      assert.deepStrictEqual(seen, [{
        locks: 0,
        lock_timeout: "0",
        statement_timeout: "5s",
        name: "it's",
        never: null,
        mine: null,
        prepared: 0
      }])
    }))

  it.live("fails with PostgreSQL's reason for an invalid setting", () =>
    Effect.gen(function*() {
      const pglite = yield* freshPglite
      const error = yield* Effect.flip(Effect.provide(
        Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`),
        PgliteClient.layer({ pglite, startupParameters: { statement_timeout: "soon" } })
      ))
      assert.strictEqual(error._tag, "SqlError")
      assert.include(String(error.cause instanceof Error ? error.cause.cause : ""), "statement_timeout")
    }))

  it.live("is replaced when it fails, and its transaction is rolled back", () =>
    Effect.gen(function*() {
      const { client: sql, pglite } = yield* shared
      yield* sql`CREATE TABLE lost (id int)`
      const exit = yield* Effect.exit(sql.withTransaction(Effect.andThen(
        sql`INSERT INTO lost VALUES (1)`,
        // The client does not implement the protocol of COPY, and closes the connection.
        sql`COPY lost TO STDOUT`
      )))
      assert.include(String(exit), "COPY is not supported")
      assert.deepStrictEqual(yield* sql`SELECT id FROM lost`, [])
      assert.strictEqual(pglite.isInTransaction(), false)
    }))

  it.live("does not run a statement after the interruption of its fiber", () =>
    Effect.gen(function*() {
      const { client: sql, pglite } = yield* shared
      yield* sql`CREATE TABLE lost (id int)`
      // PGlite delays the statement until its own transaction ends, which takes longer than the client waits.
      const holding = Deferred.makeUnsafe<void>()
      const done = pglite.transaction(async (transaction) => {
        await transaction.query("INSERT INTO lost VALUES (1)")
        await Effect.runPromise(Deferred.await(holding))
      })
      const fiber = yield* Effect.forkChild(sql`INSERT INTO lost VALUES (2)`)
      yield* Effect.sleep("20 millis")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* Effect.sleep("6 seconds")
      yield* Deferred.succeed(holding, undefined)
      yield* Effect.promise(() => done)
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* sql`SELECT id FROM lost`, [{ id: 1 }])
    }))

  it.live("fails with a SqlError, not a defect, when PGlite is closed", () =>
    Effect.gen(function*() {
      const { client: sql, pglite } = yield* shared
      yield* Effect.promise(() => pglite.close())
      const error = yield* Effect.flip(sql`SELECT 1`)
      assert.strictEqual(error._tag, "SqlError")
      assert.strictEqual(reasonOf(error), "ConnectionError")
    }))

  it.live("separates its transaction from direct statements to PGlite", () =>
    Effect.gen(function*() {
      const { client: sql, pglite } = yield* shared
      yield* sql`CREATE TABLE apart (id int)`
      const direct = yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`INSERT INTO apart VALUES (1)`
        const direct = yield* Effect.forkDetach(Effect.promise(() => pglite.query("INSERT INTO apart VALUES (2)")))
        yield* Effect.sleep("10 millis")
        yield* sql`ROLLBACK AND CHAIN`
        return direct
      }))
      yield* Fiber.join(direct)
      assert.deepStrictEqual(yield* sql`SELECT id FROM apart`, [{ id: 2 }])
    }))

  it.live("is the only client of a PGlite", () =>
    Effect.gen(function*() {
      const { pglite } = yield* shared
      const error = yield* Effect.flip(Effect.scoped(PgliteClient.make({ pglite })))
      assert(error._tag === "PgliteError", error.message)
      assert.strictEqual(error.reason, "InUse")
    }).pipe(Effect.provide(Reactivity.layer)))
})

describe("listen", () => {
  it.live("receives notifications after the commit, and leaves the connection free", () =>
    Effect.gen(function*() {
      const { client: sql, pglite } = yield* shared
      yield* Effect.scoped(Effect.gen(function*() {
        const received = yield* sql.listen("Büro \"1\"")
        const other = yield* sql.listen("other")
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql.notify("Büro \"1\"", "in a transaction")
          assert.strictEqual(yield* Queue.size(received), 0)
        }))
        yield* failed(sql.withTransaction(Effect.andThen(sql.notify("Büro \"1\"", "rolled back"), Effect.fail("no"))))
        yield* sql.notify("Büro \"1\"", "alone")
        yield* Effect.promise(() => pglite.query("SELECT pg_notify('Büro \"1\"', 'by PGlite')"))
        const payloads = yield* Effect.forEach([1, 2, 3], () => Queue.take(received)).pipe(Effect.timeout("1 minute"))
        assert.deepStrictEqual(payloads.map(({ payload }) => payload), ["in a transaction", "alone", "by PGlite"])
        assert.strictEqual(yield* Queue.size(other), 0)
      }))
      assert.deepStrictEqual(yield* sql`SELECT 1 AS n`, [{ n: 1 }])
      const error = yield* Effect.flip(Effect.scoped(sql.listen("x".repeat(64))))
      assert.strictEqual(error._tag, "SqlError")
    }))

  it.live("continues on a new connection", () =>
    Effect.gen(function*() {
      const { client: sql } = yield* shared
      const received = yield* sql.listen("events")
      yield* failed(sql`COPY (SELECT 1) TO STDOUT`)
      yield* sql.notify("events", "again")
      assert.strictEqual((yield* Effect.timeout(Queue.take(received), "1 minute")).payload, "again")
    }))
})

// On a busy machine the child process needs most of a minute to create a folder.
const childProcessTimeout = 180_000

describe("a folder", () => {
  const count = Effect.flatMap(SqlClient, (sql) => sql`SELECT count(*)::int AS n FROM kept`)

  it.live("is created with its parents, and persists", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "a", "b")
      const open = PgliteClient.layer({ dataDir: path, loadDataDir: yield* snapshot })
      const [fsync] = yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`CREATE TABLE kept (id int)`
        yield* sql`INSERT INTO kept VALUES (1), (2)`
        return yield* sql`SELECT current_setting('fsync') AS fsync, current_setting('wal_sync_method') AS method`
      }).pipe(Effect.provide(Layer.fresh(open)))
      assert.deepStrictEqual(fsync, { fsync: "on", method: "fsync" })
      assert.deepStrictEqual(yield* Effect.provide(count, Layer.fresh(open)), [{ n: 2 }])
      assert.deepStrictEqual(
        Fs.readdirSync(path).filter((name) => name.startsWith("evsrc") || name.endsWith(".pid")),
        []
      )
    }))

  it.live("is created from a dump that is only loaded for a new folder", () =>
    Effect.gen(function*() {
      const dataDir = yield* folder
      let loaded = 0
      const loadDataDir = async () => {
        loaded++
        return Fs.openAsBlob(inject("pgliteSnapshot"))
      }
      const openOnce = Effect.scoped(PgliteClient.open({ dataDir, fsync: false, loadDataDir }))
      yield* Effect.andThen(openOnce, openOnce)
      assert.strictEqual(loaded, 1)
    }))

  it.live("is rejected while this process has it open, also under another name", () =>
    Effect.gen(function*() {
      const path = yield* folder
      yield* PgliteClient.open({ dataDir: path, fsync: false, loadDataDir: yield* snapshot })
      const link = `${path}-link`
      yield* Effect.acquireRelease(
        Effect.sync(() => Fs.symlinkSync(path, link)),
        () => Effect.sync(() => Fs.rmSync(link))
      )
      const error = yield* Effect.flip(Effect.scoped(PgliteClient.open({ dataDir: link })))
      assert.strictEqual(error.reason, "InUse")
    }))

  it.live("is rejected while another process has it open, and intact after kill -9", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const script = yield* Script.start(import.meta.resolve("./folder.script.ts"), { args: [path] })
      yield* script.waitFor(/^open$/)
      const rejected = yield* Effect.flip(Effect.scoped(PgliteClient.open({ dataDir: path })))
      assert.strictEqual(rejected.reason, "InUse")
      assert.include(rejected.message, String(script.pid))
      yield* script.signal("SIGKILL")
      yield* script.exited
      assert.deepStrictEqual(yield* Effect.provide(count, PgliteClient.layer({ dataDir: path })), [{ n: 1 }])
    }), childProcessTimeout)

  it.live("is closed cleanly when the process receives SIGTERM", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const script = yield* Script.start(import.meta.resolve("./folder.script.ts"), {
        args: [path, inject("pgliteSnapshot")]
      })
      yield* script.waitFor(/^open$/)
      yield* script.signal("SIGTERM")
      yield* Effect.timeout(script.exited, "1 minute")
      assert.deepStrictEqual(
        Fs.readdirSync(path).filter((name) => name.startsWith("evsrc") || name.endsWith(".pid")),
        []
      )
      assert.deepStrictEqual(yield* Effect.provide(count, PgliteClient.layer({ dataDir: path })), [{ n: 1 }])
    }), childProcessTimeout)

  it.live("is taken over from a lock of an ended process or a reused process id", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const lock = Path.join(path, "evsrc.lock")
      const options = { dataDir: path, fsync: false, loadDataDir: yield* snapshot }
      const here = { ...LockOwner.own(LockOwner.nodeSystem, path, "here", false) }
      for (const owner of [{ ...here, pid: 2 ** 22 + 1 }, { ...here, started: "1" }]) {
        Fs.writeFileSync(lock, JSON.stringify(owner))
        yield* Effect.scoped(PgliteClient.open(options))
        assert.notInclude(Fs.readdirSync(path), "evsrc.lock")
      }
      Fs.writeFileSync(
        lock,
        JSON.stringify({ ...here, pid: process.ppid, started: LockOwner.nodeSystem.startOf(process.ppid) })
      )
      const error = yield* Effect.flip(Effect.scoped(PgliteClient.open(options)))
      assert.strictEqual(error.reason, "InUse")
      assert.include(Fs.readdirSync(path), "evsrc.lock")
    }))

  it.live("is created again after an interrupted creation; other folders stay as is", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const options = { dataDir: path, fsync: false, loadDataDir: yield* snapshot }
      Fs.writeFileSync(Path.join(path, "PG_VERSION"), "18\n")
      Fs.writeFileSync(Path.join(path, "evsrc.unfinished"), "")
      yield* Effect.scoped(PgliteClient.open(options))
      assert.include(Fs.readdirSync(path), "global")

      const other = yield* folder
      Fs.writeFileSync(Path.join(other, "letter.txt"), "dear")
      const error = yield* Effect.flip(Effect.scoped(PgliteClient.open({ dataDir: other })))
      assert.strictEqual(error.reason, "Folder")
      assert.deepStrictEqual(Fs.readdirSync(other), ["letter.txt"])
    }))

  it.live("that cannot be used fails with a typed error", () =>
    Effect.gen(function*() {
      const path = yield* folder
      Fs.writeFileSync(Path.join(path, "file"), "")
      const under = yield* Effect.flip(Effect.scoped(PgliteClient.open({ dataDir: Path.join(path, "file", "data") })))
      assert.deepStrictEqual([under._tag, under.reason], ["PgliteError", "Folder"])

      const broken = yield* folder
      Fs.writeFileSync(Path.join(broken, "PG_VERSION"), "17\n")
      const error = yield* Effect.flip(Effect.scoped(PgliteClient.open({ dataDir: broken })))
      assert.strictEqual(error.reason, "Start")
      assert.notInclude(Fs.readdirSync(broken), "evsrc.lock")
    }))
})
