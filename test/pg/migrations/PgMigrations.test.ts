import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Redacted, Schema, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql"
import { EventStore, EventStoreError, KeyStore } from "evsrc"
import { PgEventStore, PgKeyStore, PgMigrations, type PgOptions, PgProjectionStore } from "evsrc/pg"
import { readFile } from "node:fs/promises"
import * as MigrationContents from "../../../src/pg/migrations/MigrationContents.ts"
import { freshDatabase, layerPostgres } from "../../support/Database.ts"
import * as Script from "../../support/Script.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

const misconfigured = (error: unknown): string => {
  assert.instanceOf(error, EventStoreError)
  assert.strictEqual(error.reason._tag, "StoreMisconfigured", error.message)
  return error.message
}

type Sql = SqlClient.SqlClient

describe("PgMigrations", () => {
  it.live("run once, and then find nothing to do", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* PgMigrations.run(), PgMigrations.names)
      assert.deepStrictEqual(yield* PgMigrations.run(), [])
      yield* PgMigrations.check()
    }).pipe(Effect.provide(layerPostgres())))

  it.live("can be run by hand, and then count as run", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      for (const name of PgMigrations.names) {
        // As psql does: the text of the file, statement by statement, here within one.
        const text = yield* Effect.promise(() =>
          readFile(new URL(`../../../migrations/${name}.sql`, import.meta.url), "utf8")
        )
        yield* sql.unsafe(`do $by_hand$ begin ${text} end $by_hand$`).unprepared
      }
      yield* PgMigrations.check()
      assert.deepStrictEqual(yield* PgMigrations.run(), [])
      const receipt = yield* Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "s", [tick(1)])).pipe(
        Effect.provide(PgEventStore.layerWithoutMigrations())
      )
      assert.strictEqual(receipt.version, 1)
    }).pipe(Effect.provide(layerPostgres())))

  it.live("are rejected when the text of one that has run was another", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const rejected = Effect.fnUntraced(function*(found: string) {
        const layer = Effect.provide(EventStore.EventStore, Layer.fresh(PgEventStore.layer))
        for (const runs of [PgMigrations.check(), PgMigrations.run(), layer]) {
          assert.include(misconfigured(yield* Effect.flip(runs)), found)
        }
      })
      yield* PgMigrations.run()
      const rows = yield* sql`select checksum from evsrc.migrations`
      assert.strictEqual(new Set(rows.map(({ checksum }) => checksum)).size, PgMigrations.names.length)
      yield* sql`update evsrc.migrations set checksum = 'of another text' where migration_id = 2`
      yield* rejected("its migration 0002_projections has other contents")
      yield* sql`update evsrc.migrations set name = '0002_other' where migration_id = 2`
      yield* rejected("its migration 2 is 0002_other, and not 0002_projections")
      yield* sql`delete from evsrc.migrations where migration_id = 2`
      yield* rejected("it has no migration 2")
    }).pipe(Effect.provide(layerPostgres())))

  it.live("are not run after one of another text", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const [first] = PgMigrations.names
      const text = yield* PgMigrations.sqlOf(first)
      yield* sql.unsafe(`do $by_hand$ begin ${text} end $by_hand$`).unprepared
      yield* sql`update evsrc.migrations set checksum = 'of another text'`
      assert.include(misconfigured(yield* Effect.flip(PgMigrations.run())), `${first} has other contents`)
      assert.deepStrictEqual(yield* sql`select name from evsrc.migrations`, [{ name: first }])
    }).pipe(Effect.provide(layerPostgres())))

  it.live("that were run by hand are rejected when a function has another body", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      for (const [schema, changed] of [["by_hand", false], ["evsrc", true]] as const) {
        for (const name of PgMigrations.names) {
          const text = yield* Effect.promise(() =>
            readFile(new URL(`../../../migrations/${name}.sql`, import.meta.url), "utf8")
          )
          const replaced = text.replaceAll(/\bevsrc\b(?=\s*[.;])/g, schema)
          const body = changed ? replaced.replace("return written;", "return written + 1;") : replaced
          yield* sql.unsafe(`do $by_hand$ begin ${body} end $by_hand$`).unprepared
        }
        const checked = PgMigrations.check({ schema })
        if (!changed) yield* checked
        else assert.include(misconfigured(yield* Effect.flip(checked)), "its function rebuild_event_tags")
      }
    }).pipe(Effect.provide(layerPostgres())))

  it.effect("fail with StoreMisconfigured when their files cannot be read", () =>
    Effect.gen(function*() {
      const set = { folder: "missing/", run: "evsrc migrate", written: "evsrc", names: ["0001_none"], needsUtf8: true }
      const message = misconfigured(yield* Effect.flip(MigrationContents.textOf(set, "0001_none")))
      assert.include(message, "Cannot read the migration missing/0001_none.sql")
    }))

  it.effect("have a checksum that comments, line ends and indentation do not change", () =>
    Effect.sync(() => {
      const checksum = MigrationContents.checksumOf("-- A\ncreate table t (\n  a text\n);\n")
      assert.strictEqual(MigrationContents.checksumOf("create table t (\r\n\ta text\r\n);"), checksum)
      assert.notStrictEqual(MigrationContents.checksumOf("create table t (\n  b text\n);"), checksum)
    }))

  it.live("are safe when several processes start at once", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const scripts = yield* Effect.forEach([1, 2, 3, 4], () =>
        Script.start(import.meta.resolve("../migrate.ts"), { env: { DATABASE_URL: url } }))
      for (const script of scripts) {
        yield* script.waitFor(/^ready$/)
      }
      for (const script of scripts) {
        yield* script.write("go")
      }
      const ran = yield* Effect.forEach(scripts, (script) =>
        script.waitFor(/^ran /), { concurrency: "unbounded" })
      assert.deepStrictEqual(ran.toSorted(), ["ran 0", "ran 0", "ran 0", `ran ${PgMigrations.names.length}`])
    }))

  const lockOfMigrations = "select pg_advisory_xact_lock(hashtextextended('evsrc/migrations/evsrc', 0))"

  /** Starts a program in a database in which another session holds a lock in a transaction. */
  const startWhileLocked = Effect.fnUntraced(function*(
    lock: string,
    prepare: Effect.Effect<unknown, unknown, Sql>,
    deadlines: PgOptions = { lockTimeout: "2 seconds" }
  ) {
    const { url } = yield* freshDatabase
    const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })
    yield* Effect.provide(prepare, client)
    const holder = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" })
    yield* holder`begin`
    const [row] = yield* holder<{ readonly pid: number }>`select pg_backend_pid() as pid`
    yield* holder.unsafe(lock)
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    const layer = PgEventStore.layerWith(deadlines)
    const started = Layer.build(Layer.fresh(layer)).pipe(
      Effect.scoped,
      Effect.provide(Logger.layer([logger])),
      Effect.provide(client),
      Effect.timeout("1 minute")
    )
    return { pid: row!.pid, started, holder, lines }
  })

  for (const lock of [lockOfMigrations, "lock table evsrc.migrations in exclusive mode"]) {
    it.live(`that have all run need no lock: ${lock.slice(0, 16)}`, () =>
      Effect.flatMap(startWhileLocked(lock, PgMigrations.run()), ({ started }) => started).pipe(
        Effect.scoped,
        Effect.provide(Reactivity.layer)
      ))
  }

  for (
    const { lock, prepare, what } of [
      { what: "of migrations", lock: lockOfMigrations, prepare: Effect.void },
      {
        what: "of their table",
        lock: "lock table evsrc.migrations in access exclusive mode",
        prepare: PgMigrations.run()
      }
    ]
  ) {
    it.live(`wait for the lock ${what} up to the lockTimeout, log its holder, and then fail with it`, () =>
      Effect.gen(function*() {
        const { holder, lines, pid, started } = yield* startWhileLocked(lock, prepare)
        const error = yield* Effect.flip(started)
        assert.instanceOf(error, EventStoreError)
        assert.isTrue(error.isRetryable)
        assert.include(error.message, "lock timeout")
        assert.match(
          error.message,
          new RegExp(
            `the session ${pid} .*application "culprit", idle in transaction\\) holds the (lock of|table) migrations`
          )
        )
        const wait =
          /^The start waits for a lock of schema "evsrc": the session \d+ .* holds the (lock of|table) migrations/
        assert.deepStrictEqual(lines.filter((line) => wait.test(line)).length, 1, lines.join("\n"))
        yield* holder`rollback`
        yield* started
      }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))
  }

  it.live("name the session that has locked the events when a start times out", () =>
    Effect.gen(function*() {
      const lock = "lock table evsrc.events in access exclusive mode"
      const { holder, lines, pid, started } = yield* startWhileLocked(lock, PgMigrations.run(), {
        statementTimeout: "2 seconds"
      })
      const error = yield* Effect.flip(started)
      assert.instanceOf(error, EventStoreError)
      assert.isTrue(error.isRetryable)
      const words =
        `the session ${pid} \\(role ".*", application "culprit", idle in transaction\\) holds the table events \\(AccessExclusiveLock\\)`
      assert.match(error.message, new RegExp(`was not free within the statementTimeout; ${words}`))
      const wait = new RegExp(`^The start waits for a lock of schema "evsrc": ${words}`)
      assert.lengthOf(lines.filter((line) => wait.test(line)), 1, lines.join("\n"))
      yield* holder`rollback`
      yield* started
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))

  it.live("leave nothing behind when one fails", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`create schema evsrc`
      // In the way of the second migration.
      yield* sql`create table evsrc.documents (n int)`
      yield* Effect.flip(PgMigrations.run())
      const [row] = yield* sql<{ readonly events: string | null }>`select to_regclass('evsrc.events')::text as events`
      assert.strictEqual(row?.events, null)
      yield* sql`drop table evsrc.documents`
      assert.deepStrictEqual(yield* PgMigrations.run(), PgMigrations.names)
    }).pipe(Effect.provide(layerPostgres())))

  it.live("are checked by layerWithoutMigrations, which rejects older and newer schemas", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const build = (layer: Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient>) =>
        Effect.provide(EventStore.EventStore, Layer.fresh(layer))
      assert.include(misconfigured(yield* Effect.flip(build(PgEventStore.layerWithoutMigrations()))), "migration 0 of")
      yield* PgMigrations.run()
      yield* build(PgEventStore.layerWithoutMigrations())
      yield* sql`insert into evsrc.migrations (migration_id, name) values (1000, 'from_the_future')`
      assert.include(misconfigured(yield* Effect.flip(build(PgEventStore.layerWithoutMigrations()))), "newer")
      assert.include(misconfigured(yield* Effect.flip(build(PgEventStore.layer))), "newer")
    }).pipe(Effect.provide(layerPostgres())))

  it.live("keep two stores in two schemas of one database independent", () =>
    Effect.gen(function*() {
      const { config } = yield* PgClient.PgClient
      const storeIn = (schema: string) =>
        Effect.map(Layer.build(PgEventStore.layerWith({ schema })), Context.get(EventStore.EventStore))
      const one = yield* storeIn("one")
      const two = yield* storeIn("Two_2")
      yield* one.append(Tick, "s", [tick(1)])
      assert.strictEqual((yield* two.append(Tick, "s", [tick(2)], { expected: "noStream" })).version, 1)
      const [start, sql] = [yield* two.head, yield* PgClient.makeClient(config)]
      yield* sql`begin`
      yield* sql`select * from one.append_one(true, 't', null, null, gen_random_uuid(), 'Ticked', 1, '{"n":3}', '{}')`
      // An append in flight in one store, on a stream of the same name too, is nothing to the other.
      yield* two.append(Tick, "t", [tick(4)])
      const seen = yield* Stream.runCollect(two.readAll(Tick, { after: start }))
      assert.deepStrictEqual(seen.map((e) => e.event.n), [4])
      yield* sql`rollback`
    }).pipe(Effect.scoped, Effect.provide([layerPostgres(), Reactivity.layer])))

  it.live("reject events and keys in one schema, in either order, without changes", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const migrations = (schema: string) => sql.unsafe(`select name from ${schema}.migrations order by migration_id`)
      const refused = Effect.fnUntraced(function*<A, R>(runs: Effect.Effect<A, EventStoreError, R>) {
        assert.include(misconfigured(yield* Effect.flip(runs)), "a schema of their own")
      })
      yield* PgMigrations.run({ schema: "events" })
      const ofEvents = yield* migrations("events")
      yield* refused(PgMigrations.runKeys({ schema: "events" }))
      yield* refused(PgMigrations.checkKeys({ schema: "events" }))
      assert.deepStrictEqual(yield* migrations("events"), ofEvents)
      yield* PgMigrations.runKeys({ schema: "keys" })
      const ofKeys = yield* migrations("keys")
      yield* refused(PgMigrations.run({ schema: "keys" }))
      yield* refused(PgMigrations.check({ schema: "keys" }))
      assert.deepStrictEqual(yield* migrations("keys"), ofKeys)
      yield* PgMigrations.check({ schema: "events" })
      yield* PgMigrations.checkKeys({ schema: "keys" })
    }).pipe(Effect.provide(layerPostgres())))

  it.live("reject an invalid schema name", () =>
    Effect.gen(function*() {
      for (const schema of ["", "a.b", `x"; drop schema evsrc; --`, "1a", "x".repeat(64)]) {
        const { message, reason } = yield* Effect.flip(PgMigrations.sqlOf("0001_event_store", { schema }))
        assert.strictEqual(reason._tag, "StoreMisconfigured")
        assert.include(message, `"${schema}"`)
      }
    }))

  it.live("can be run by a role that is not a superuser", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const role = `${name}_owner`
      const asAdmin = (statement: string) =>
        Effect.flatMap(PgClient.PgClient, (sql) => Effect.asVoid(sql.unsafe(statement))).pipe(
          Effect.provide(PgClient.layer({ url: Redacted.make(url) }))
        )
      yield* asAdmin(`create role ${role} login password 'secret'`)
      yield* asAdmin(`grant create on database ${name} to ${role}`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(asAdmin(`drop owned by ${role} cascade`), asAdmin(`drop role ${role}`)))
      )
      const asRole = Object.assign(new URL(url), { username: role, password: "secret" })
      yield* Effect.gen(function*() {
        yield* PgMigrations.runKeys({ schema: "keys" })
        const store = yield* EventStore.EventStore
        assert.strictEqual((yield* store.append(Tick, "s", [tick(1)])).version, 1)
      }).pipe(
        Effect.provide(PgEventStore.layerWith({ hashChain: true, causationIndex: true })),
        Effect.provide(PgClient.layer({ url: Redacted.make(asRole.href) }))
      )
    }))

  it.live("a role that may not read the sequence of positions reads nothing of the log", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const admin = PgClient.layer({ url: Redacted.make(url) })
      const role = `${name}_role`
      const asAdmin = (statement: string) =>
        Effect.provide(Effect.flatMap(PgClient.PgClient, (sql) => Effect.asVoid(sql.unsafe(statement))), admin)
      yield* Effect.provide(PgMigrations.run(), admin)
      yield* asAdmin(`create role ${role} login password 'secret'`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(asAdmin(`drop owned by ${role}`), asAdmin(`drop role ${role}`)))
      )
      yield* asAdmin(`grant usage on schema evsrc to ${role}`)
      yield* asAdmin(`grant select on all tables in schema evsrc to ${role}`)
      yield* asAdmin(`grant execute on function evsrc.append, evsrc.append_one to ${role}`)
      // Enough to draw positions, not to know the last one.
      yield* asAdmin(`grant update on sequence evsrc.positions to ${role}`)
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "secret"
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        assert.strictEqual((yield* store.append(Tick, "s", [tick(1)])).version, 1)
        assert.include(misconfigured(yield* Effect.flip(store.head)), "sequence")
        yield* asAdmin(`grant select on sequence evsrc.positions to ${role}`)
        assert.strictEqual(yield* store.head, 1n)
      }).pipe(
        Effect.provide(
          PgEventStore.layerWithoutMigrations().pipe(Layer.provide(PgClient.layer({ url: Redacted.make(asRole.href) })))
        )
      )
    }))

  it.live("the rights in the guide suffice to use keys and to erase", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const admin = PgClient.layer({ url: Redacted.make(url) })
      const role = `${name}_role`
      const asAdmin = (statement: string) =>
        Effect.provide(Effect.flatMap(PgClient.PgClient, (sql) => Effect.asVoid(sql.unsafe(statement))), admin)
      yield* Effect.provide(PgMigrations.runKeys({ schema: "evsrc_keys" }), admin)
      yield* asAdmin(`create role ${role} login password 'secret'`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(asAdmin(`drop owned by ${role}`), asAdmin(`drop role ${role}`)))
      )
      yield* asAdmin(`grant usage on schema evsrc_keys to ${role}`)
      yield* asAdmin(`grant select on evsrc_keys.migrations, evsrc_keys.erasures to ${role}`)
      yield* asAdmin(`grant select, insert, update on evsrc_keys.subject_keys to ${role}`)
      const asRole = Object.assign(new URL(url), { username: role, password: "secret" })
      yield* Effect.gen(function*() {
        const keys = yield* KeyStore.KeyStore
        const parent: Record<string, Schema.Json> = { name: "Ann" }
        const field = { parent, field: "name", subject: "g-1" }
        yield* keys.encrypt([field], "reject")
        assert.notStrictEqual(parent["name"], "Ann")
        assert.include(misconfigured(yield* Effect.flip(keys.erase("g-1"))), "permission denied")
        const before = yield* keys.lastErasure
        yield* asAdmin(`grant update on evsrc_keys.erasures to ${role}`)
        yield* keys.erase("g-1")
        assert.notStrictEqual(yield* keys.lastErasure, before)
      }).pipe(
        Effect.provide(PgKeyStore.layerWithoutMigrations({ maxAge: 0 })),
        Effect.provide(PgClient.layer({ url: Redacted.make(asRole.href) }))
      )
    }))

  it.live("a role without rights gets StoreMisconfigured", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const admin = PgClient.layer({ url: Redacted.make(url) })
      const role = `${name}_role`
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* PgMigrations.run()
        yield* sql.unsafe(`create role ${role} login password 'secret'`)
      }).pipe(Effect.provide(admin))
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.provide(Effect.flatMap(PgClient.PgClient, (sql) => sql.unsafe(`drop role ${role}`)), admin))
      )
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "secret"
      const stores = Layer.merge(PgEventStore.layer, PgProjectionStore.layer)
      const error = yield* Effect.flip(
        Effect.provide(
          EventStore.EventStore,
          Layer.provide(stores, PgClient.layer({ url: Redacted.make(asRole.href) }))
        )
      )
      assert.include(misconfigured(error), "permission denied")
    }))
})
