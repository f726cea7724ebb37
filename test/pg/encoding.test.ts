/** What depends on the encoding of the database: the migrations, and the stored hashes of tags. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, Schedule, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { Event, EventQuery, EventStore, EventStoreError, StreamLifecycle } from "evsrc"
import { PgEventStore, PgMigrations, PgStores } from "evsrc/pg"
import { execFile } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as Path from "node:path"
import { promisify } from "node:util"
import { inject } from "vitest"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import * as PostgresTools from "../support/PostgresTools.ts"
import { Tick, tick } from "./taggedTicks.ts"

const append = (stream: string, n: number, tag: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [tick(n, tag)]))

const decode = Schema.decodeUnknownSync(Schema.Struct({ n: Schema.Int }))

/** The numbers of the events that have a tag. */
const withTag = (tag: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.readByQuery(EventQuery.ofStoredTypes([{ tags: [Event.tag("tag", tag)] }]))
  ).pipe(
    Effect.map(({ events }) => events.map(({ data }) => decode(data).n))
  )

const eventTags = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql<{ readonly tag_hash: bigint; readonly position: bigint }>`
      select tag_hash, position from evsrc.event_tags order by tag_hash, position`
)

const onServer = (statement: string) =>
  PgClient.makeClient({ url: Redacted.make(inject("postgresUrl")) }).pipe(
    Effect.flatMap((sql) => sql.unsafe(statement)),
    Effect.scoped,
    Effect.provide(Reactivity.layer)
  )

/** The address of a fresh database with an encoding. */
const databaseWith = (encoding: string) => {
  const name = `evsrc_${randomUUID().replaceAll("-", "")}`
  return Effect.acquireRelease(
    Effect.as(
      onServer(`create database ${name} encoding '${encoding}' template template0 lc_collate 'C' lc_ctype 'C'`),
      Object.assign(new URL(inject("postgresUrl")), { pathname: `/${name}` }).href
    ),
    () => Effect.orDie(onServer(`drop database ${name} with (force)`))
  )
}

const schemas = Effect.flatMap(
  PgClient.PgClient,
  (sql) => sql<{ readonly name: string }>`select nspname as name from pg_namespace where nspname = 'evsrc'`
)

const misconfigured = (error: unknown): string => {
  assert.instanceOf(error, EventStoreError)
  assert.strictEqual(error.reason._tag, "StoreMisconfigured", error.message)
  return error.message
}

describe("a database with another encoding than UTF8", () => {
  for (const encoding of ["LATIN1", "SQL_ASCII"]) {
    const expected = "encoding UTF8, but"

    it.live(`is rejected by the migrations: ${encoding}`, () =>
      Effect.gen(function*() {
        const client = PgClient.layer({ url: Redacted.make(yield* databaseWith(encoding)) })
        yield* Effect.gen(function*() {
          const layer = Effect.asVoid(Effect.provide(EventStore.EventStore, Layer.fresh(PgStores.layer)))
          for (const runs of [Effect.asVoid(PgMigrations.run()), layer]) {
            const message = misconfigured(yield* Effect.flip(runs))
            assert.include(message, expected)
            assert.include(message, encoding)
          }
          assert.deepStrictEqual(yield* schemas, [])
        }).pipe(Effect.provide(client))
      }))

    it.live(`is rejected where a dump was restored into it: ${encoding}`, () =>
      Effect.gen(function*() {
        const client = PgClient.layer({ url: Redacted.make(yield* databaseWith(encoding)) })
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          yield* sql`create schema evsrc`
          yield* sql`create table evsrc.migrations (migration_id integer, name text)`
          for (const [index, name] of PgMigrations.names.entries()) {
            yield* sql`insert into evsrc.migrations values (${index + 1}, ${name})`
          }
          const message = misconfigured(yield* Effect.flip(PgMigrations.check()))
          assert.include(message, expected)
          assert.include(message, encoding)
        }).pipe(Effect.provide(client))
      }))

    it.live.skipIf(PostgresTools.folder === undefined)(
      `is left empty by psql, which continues after errors: ${encoding}`,
      () =>
        Effect.gen(function*() {
          const url = yield* databaseWith(encoding)
          const file = new URL("../../migrations/0001_event_store.sql", import.meta.url).pathname
          const { stderr } = yield* Effect.promise(() =>
            promisify(execFile)(Path.join(PostgresTools.folder ?? "", "psql"), ["--quiet", "--file", file, url])
          )
          assert.include(stderr, expected)
          assert.deepStrictEqual(
            yield* Effect.provide(schemas, PgClient.layer({ url: Redacted.make(url) })),
            []
          )
        })
    )
  }
})

describe("rebuild_event_tags", () => {
  it.live("computes the tags of live and archived events again", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      for (const [n, stream, tag] of [[1, "a", "x"], [2, "a", "y"], [3, "moved", "x"]] as const) {
        yield* append(stream, n, tag)
      }
      yield* StreamLifecycle.close(Tick, "moved", tick(4, "ü"))
      yield* StreamLifecycle.archive("moved")
      const before = yield* eventTags
      assert.strictEqual(before.length, 4)
      // As after a restore on a server with another hash function.
      yield* sql`alter table evsrc.event_tags disable trigger user`
      yield* sql`update evsrc.event_tags set tag_hash = tag_hash + 1`
      yield* sql`insert into evsrc.event_tags (tag_hash, position) values (1, 1)`
      yield* sql`alter table evsrc.event_tags enable trigger user`
      assert.deepStrictEqual(yield* withTag("x"), [])

      const [row] = yield* sql<{ readonly rows: bigint }>`select evsrc.rebuild_event_tags() as rows`
      assert.strictEqual(row?.rows, 4n)
      assert.deepStrictEqual(yield* eventTags, before)
      assert.deepStrictEqual(yield* withTag("x"), [1, 3])
      assert.deepStrictEqual(yield* withTag("ü"), [4])
      const error = yield* Effect.flip(sql`delete from evsrc.event_tags`)
      assert.include(String(error.reason.cause), "immutable")
    }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("waits for an append in flight, and loses no tag of the appends that wait for it", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const [writer, owner] = yield* Effect.all(
        [sql.config, sql.config].map((config) => PgClient.makeClient(config))
      )
      const waiting = (count: number) =>
        sql`select 1 from pg_locks where not granted and locktype = 'relation' and relation = 'evsrc.events'::regclass`
          .pipe(
            Effect.repeat({ until: (rows) => rows.length === count, schedule: Schedule.spaced("5 millis") }),
            Effect.timeout("1 minute")
          )
      yield* append("a", 1, "x")
      yield* writer!`begin`
      yield* writer!`select from evsrc.append(true, array['b'], null, null, array[1], array[gen_random_uuid()], array['Ticked'],
        array[1], array['{"n":2,"tag":"x"}'], array['{}'], array['{"tag:x"}'], null, null, null, null, null, null, null)`
      const rebuilding = yield* Effect.forkChild(owner!`select evsrc.rebuild_event_tags()`)
      yield* waiting(1)
      const appending = yield* Effect.forkChild(append("c", 3, "x"))
      yield* waiting(2)
      yield* writer!`commit`
      yield* Effect.all([Fiber.join(rebuilding), Fiber.join(appending)])
      assert.deepStrictEqual(yield* withTag("x"), [1, 2, 3])
      const [row] = yield* sql<{ readonly tags: number }>`select count(*)::integer as tags from evsrc.event_tags`
      assert.strictEqual(row?.tags, 3)
    }).pipe(
      Effect.scoped,
      Effect.provide([PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())), Reactivity.layer])
    ))

  it.live("is allowed to the owner of the table only", () =>
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
      yield* asAdmin(`grant all on all tables in schema evsrc to ${role}`)
      const asRole = Object.assign(new URL(url), { username: role, password: "secret" })
      const error = yield* Effect.flatMap(
        PgClient.PgClient,
        (sql) => Effect.flip(sql`select evsrc.rebuild_event_tags()`)
      )
        .pipe(Effect.provide(PgClient.layer({ url: Redacted.make(asRole.href) })))
      assert.include(String(error.reason.cause), "must be owner of table event_tags")
    }))
})

const serverOf13 = "create function old.current_setting(text) returns text language sql as "
  + "$$ select case $1 when 'server_version_num' then '130013' when 'server_version' then '13.13' else pg_catalog.current_setting($1) end $$"

describe("a server before PostgreSQL 14", () => {
  it.live("is rejected by the migrations, the check and the file", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const real = PgClient.layer({ url: Redacted.make(url) })
      yield* Effect.provide(PgMigrations.run({ schema: "present" }), real)
      yield* Effect.provide(
        Effect.flatMap(PgClient.PgClient, (sql) => Effect.andThen(sql`create schema old`, sql.unsafe(serverOf13))),
        real
      )
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const checks = [
          PgMigrations.run(),
          PgMigrations.run({ schema: "present" }),
          PgMigrations.check({ schema: "present" })
        ]
        for (const check of checks) {
          const message = misconfigured(yield* Effect.flip(Effect.asVoid(check)))
          assert.include(message, "PostgreSQL 14 or later")
          assert.include(message, "13.13")
        }
        const first = (yield* PgMigrations.sqlOf("0001_event_store", { schema: "other" })).split("end $$;")[0]!
        const error = yield* Effect.flip(sql.unsafe(`${first}end $$`).unprepared)
        assert.include(String(error.reason.cause), "PostgreSQL 14 or later, but this is 13.13")
      }).pipe(
        Effect.provide(PgClient.layer({ url: Redacted.make(url), startupOptions: "-c search_path=old,pg_catalog" }))
      )
    }))
})

describe("a log restored where the hash function differs", () => {
  it.live("is rejected until rebuild_event_tags has run, and claims no partitions that have changed", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const claim = (consumer: string, by = consumer === "documents@1" ? "document" : "stream") =>
        sql`select partition from evsrc.claim_partitions(${consumer}, null, 'me', 2, ${by}, 'all', interval '1 minute', false, false)`
      yield* Effect.gen(function*() {
        yield* append("a", 1, "x")
        yield* append("b", 2, "\u00fc")
        for (const consumer of ["even@1", "uneven@1", "documents@1"]) yield* claim(consumer)
        yield* sql`update evsrc.checkpoints set position = 1 where generation <> 'even@1' and partition = 0`
      }).pipe(Effect.provide(Layer.fresh(PgStores.layer)))
      yield* sql`alter table evsrc.event_tags disable trigger user`
      yield* sql`update evsrc.event_tags set tag_hash = tag_hash + 1`
      yield* sql`alter table evsrc.event_tags enable trigger user`
      yield* sql`update evsrc.hash_check set hash = hash + 1`

      for (const layer of [PgStores.layer, PgStores.layerWithoutMigrations()]) {
        const message = misconfigured(yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(layer)))))
        assert.include(message, "select evsrc.rebuild_event_tags()")
      }
      yield* sql`select evsrc.rebuild_event_tags()`
      assert.deepStrictEqual(
        yield* Effect.provide(Effect.all([withTag("x"), withTag("\u00fc")]), Layer.fresh(PgStores.layer)),
        [[1], [2]]
      )
      assert.strictEqual((yield* claim("even@1")).length, 2)
      const error = yield* Effect.flip(claim("uneven@1"))
      assert.include(String(error.reason.cause), "the partitions of uneven@1 are not those of before")
      // The server does not hash the keys of documents.
      assert.strictEqual((yield* claim("documents@1")).length, 2)
      // Where the hashes are the same, it leaves the partitions alone.
      yield* sql`select evsrc.rebuild_event_tags()`
      assert.strictEqual((yield* claim("even@1")).length, 2)
    }).pipe(Effect.provide(layerPostgres())))
})

describe("a log whose sequence is behind its events", () => {
  it.live("is rejected at the start, and by an append that meets an event", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* Effect.gen(function*() {
        for (const n of [1, 2, 3]) yield* append(`s-${n}`, n, "x")
        // As on a subscriber of logical replication.
        yield* sql`select setval('evsrc.positions', 1)`
        const error = yield* Effect.flip(append("s-4", 4, "x"))
        assert.include(misconfigured(error), "that another event has")
      }).pipe(Effect.provide(Layer.fresh(PgStores.layer)))
      for (const layer of [PgStores.layer, PgStores.layerWithoutMigrations()]) {
        const message = misconfigured(yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(layer)))))
        assert.match(message, /is at 2, and the last event at [34],/)
        yield* sql.unsafe(/"(select setval.*)"$/.exec(message)![1]!)
        yield* Effect.provide(append("s-4", 4, "x"), Layer.fresh(layer))
        yield* sql`select setval('evsrc.positions', 2)`
      }
    }).pipe(Effect.provide(layerPostgres())))
})
