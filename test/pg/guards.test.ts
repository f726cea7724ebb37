/** What the database itself rejects, whatever the caller's role, search_path or settings. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Predicate, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, HashChain, StreamLifecycle } from "evsrc"
import { PgEventStore, PgMigrations, PgStores } from "evsrc/pg"
import { readFileSync } from "node:fs"
import { freshDatabase, layerPglite, layerPostgres } from "../support/Database.ts"
import { Tick, tick } from "./taggedTicks.ts"

const append = (stream: string, n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [tick(n)]))

/** The streams open, closed and moved with two events each; the last two are closed, and the last is archived. */
const writeStreams = Effect.gen(function*() {
  for (const stream of ["open", "closed", "moved"]) {
    yield* append(stream, 1)
    if (stream === "open") yield* append(stream, 2)
    else yield* StreamLifecycle.close(Tick, stream, tick(2))
  }
  yield* StreamLifecycle.archive("moved")
})

const stored = (sql: PgClient.PgClient) =>
  sql`select (select json_agg(t order by position)::text from evsrc.log t) as log,
    (select json_agg(t order by tag_hash, position)::text from evsrc.event_tags t) as tags,
    (select json_agg(t order by stream)::text from evsrc.closed_streams t) as closed`

const event = (position: string, stream: string, version: number, more = "null, null, null") =>
  `insert into evsrc.events (position, stream, version, type, schema_version, id, data, metadata, recorded_at, command_id, command_events, tags)
    values (${position}, '${stream}', ${version}, 'Ticked', 1, gen_random_uuid(), '{}', '{}', now(), ${more})`

/** Writes that only the functions of the store may do, each as it would be sound in itself, or not. */
const directWrites: Readonly<Record<string, string>> = {
  "a position that was never drawn": event("1000000", "open", 3),
  "a position that was drawn outside append": event("nextval('evsrc.positions')", "open", 3),
  "a position below the log": event("-1", "open", 3),
  "a version with a hole before it": event("nextval('evsrc.positions')", "open", 7),
  "a version below 1": event("nextval('evsrc.positions')", "open", 0),
  "a new stream": event("nextval('evsrc.positions')", "new", 1),
  "an event of a closed stream": event("nextval('evsrc.positions')", "closed", 3),
  "an event of an archived stream": event("nextval('evsrc.positions')", "moved", 3),
  "a command id": event("nextval('evsrc.positions')", "open", 3, "'c', 1, null"),
  "tags without their rows": event("nextval('evsrc.positions')", "open", 3, "null, null, '{\"tag:t\"}'"),
  "an archived event again": "insert into evsrc.events select * from evsrc.archived_events",
  "no event": "insert into evsrc.events select * from evsrc.events where false",
  "an event on conflict": `${event("1", "open", 1)} on conflict do nothing`,
  "a copy in the archive": "insert into evsrc.archived_events select * from evsrc.events where stream = 'closed'",
  "an invented archived event": `insert into evsrc.archived_events
    select position + 100, stream, version + 2, type, schema_version, id, null, null, data, metadata, recorded_at, tags, hash, null
      from evsrc.archived_events where version = 2`,
  "a tag": "insert into evsrc.event_tags values (hashtextextended('tag:other', 0), 1)",
  "a stream as closed": "insert into evsrc.closed_streams values ('open', 2, 2, now(), null)",
  "a stream as archived": "update evsrc.closed_streams set archived_at = now() where stream = 'closed'",
  "the removal of an archived copy": "delete from evsrc.archived_events",
  "the removal of an event": "delete from evsrc.events where stream = 'open'"
}

const rejection = (sql: PgClient.PgClient, statement: string) =>
  Effect.map(Effect.exit(sql.unsafe(statement)), (exit) => {
    if (exit._tag === "Success") return "accepted"
    const [reason] = exit.cause.reasons
    const error: unknown = reason !== undefined && "error" in reason ? reason.error : undefined
    return Predicate.hasProperty(error, "reason") && Predicate.hasProperty(error.reason, "cause")
        && Predicate.hasProperty(error.reason.cause, "code")
      ? String(error.reason.cause.code)
      : String(error)
  })

/** Operators and functions that compare everything as equal, and the settings that put them first. */
const hostile = [
  "create schema evil",
  ...["text", "bigint", "boolean", "uuid", "json"].flatMap((type) => [
    `create function evil.always(${type}, ${type}) returns boolean language sql immutable as 'select true'`,
    `create function evil.never(${type}, ${type}) returns boolean language sql immutable as 'select false'`,
    `create operator evil.= (leftarg = ${type}, rightarg = ${type}, function = evil.always)`,
    `create operator evil.<> (leftarg = ${type}, rightarg = ${type}, function = evil.never)`
  ]),
  "create function evil.current_setting(text, boolean default true) returns text language sql as $$ select 'pg_catalog, pg_temp, pg_catalog' $$",
  "create function evil.replace(text, text, text) returns text language sql as $$ select 'pg_catalog, pg_temp, pg_catalog' $$",
  "grant usage on schema evil to public"
]

const hostilePath = "set local search_path = evil, pg_catalog"

const createRole = Effect.fnUntraced(function*(sql: PgClient.PgClient, name: string, url: string) {
  yield* sql.unsafe(`create role ${name} login password 'secret'`)
  yield* Effect.addFinalizer(() =>
    Effect.orDie(Effect.andThen(sql.unsafe(`drop owned by ${name} cascade`), sql.unsafe(`drop role ${name}`)))
  )
  const asRole = Object.assign(new URL(url), { username: name, password: "secret" })
  return yield* PgClient.makeClient({ url: Redacted.make(asRole.href) })
})

for (const [name, client] of Object.entries({ PGlite: layerPglite, PostgreSQL: layerPostgres })) {
  describe(`direct writes on ${name}`, () => {
    it.live("are rejected one and all, and change nothing", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        const before = yield* stored(sql)
        for (const [what, statement] of Object.entries(directWrites)) {
          assert.strictEqual(yield* rejection(sql, statement), "23001", what)
        }
        // An append in the same transaction gives no right to it.
        for (const statement of [directWrites["a tag"]!, event("nextval('evsrc.positions')", "open", 4)]) {
          const code = yield* sql.withTransaction(
            Effect.andThen(append("open", 3), Effect.flatMap(rejection(sql, statement), Effect.fail))
          ).pipe(Effect.flip)
          assert.strictEqual(code, "23001")
        }
        assert.deepStrictEqual(yield* stored(sql), before)
        assert.strictEqual((yield* append("open", 3)).version, 3)
      }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client())))))

    it.live("are rejected behind operators and functions that come before pg_catalog", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        for (const statement of hostile) yield* sql.unsafe(statement)
        const before = yield* stored(sql)
        for (const [what, statement] of Object.entries(directWrites)) {
          // Looked up by its own operators, the statement itself may find no row.
          const run = Effect.andThen(sql.unsafe(hostilePath), Effect.flatMap(rejection(sql, statement), Effect.fail))
          assert.strictEqual(yield* Effect.flip(sql.withTransaction(run)), "23001", what)
        }
        yield* sql.withTransaction(Effect.andThen(sql.unsafe(hostilePath), append("open", 3)))
        yield* sql.withTransaction(Effect.andThen(sql.unsafe(hostilePath), StreamLifecycle.archive("closed")))
        const [row] = yield* sql<{ readonly moved: number; readonly open: number }>`
          select (select count(*)::integer from evsrc.archived_events) as moved,
            (select count(*)::integer from evsrc.events) as open`
        assert.deepStrictEqual(row, { moved: 4, open: 3 })
        assert.notDeepEqual(yield* stored(sql), before)
      }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client())))))

    it.live("with malformed tags are rejected even from a session that pretends to be append", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        for (const tags of ["{null}", "{tag:t,null}", `{""}`, "{}", "{{a,b}}", "[2:2]={a}"]) {
          const pretend = Effect.andThen(
            sql`set local search_path = pg_catalog, pg_temp, pg_catalog`,
            Effect.flatMap(
              rejection(sql, event("nextval('evsrc.positions')", "open", 3, `null, null, '${tags}'`)),
              Effect.fail
            )
          )
          assert.strictEqual(yield* Effect.flip(sql.withTransaction(pretend)), "23514", tags)
        }
      }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client())))))

    it.live("cannot be hidden from any function: each has a search_path of its own", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* PgMigrations.run({ hashChain: true, causationIndex: true })
        yield* PgMigrations.runKeys({ schema: "evsrc_keys" })
        // A function with a SQL body was resolved when it was created. One looks at the search_path of its caller, and names every schema.
        const open = yield* sql`
          select p.oid::regprocedure::text as name from pg_proc p
            where pronamespace in ('evsrc'::regnamespace, 'evsrc_keys'::regnamespace) and prosqlbody is null
              and proname <> 'reject_direct_write'
              and not coalesce(proconfig && array[
                'search_path=pg_catalog, pg_temp', 'search_path=pg_catalog, pg_temp, pg_catalog'
              ], false)`
        assert.deepStrictEqual(open, [])
      }).pipe(Effect.provide(client())))
  })
}

/** Calls of `append` that name one stream in one place and another in the next, or ask of several streams what only one can do. */
const unsoundAppends: Readonly<Record<string, string>> = {
  "streams that do not begin at 1": appendCall("'[0:1]={open,other}'", "'{1,0}'"),
  "streams that begin below 1": appendCall("'[-1:1]={open,moved,other}'", "'{1,0,0}'"),
  "streams in two dimensions": appendCall("'{{open},{other}}'", "'{1,1}'"),
  "command ids that do not begin at 1": appendCall("'{open,other}'", "'{1,1}'", { commandIds: "'[0:1]={used,new}'" }),
  "an end of two streams": appendCall("'{open,other}'", "'{1,1}'", { closes: "true" }),
  "items of a condition in another order": appendCall("'{open,other}'", "'{1,1}'", {
    items: "'{2,1}', array['{Ticked}','{Ticked}'], array['{}','{}'], '{9,0}', null, null"
  }),
  "items of an append that is not there": appendCall("'{open,other}'", "'{1,1}'", { items: item("'{3}'") }),
  "items that do not begin at 1": appendCall("'{open,other}'", "'{1,1}'", { items: item("'[0:0]={1}'") }),
  "items without a position": appendCall("'{open,other}'", "'{1,1}'", { items: item("'{1}'", "'{null}'") }),
  "items with a position that does not begin at 1": appendCall("'{open,other}'", "'{1,1}'", {
    items: item("'{1}'", "'[2:2]={0}'")
  }),
  "items without positions": appendCall("'{open,other}'", "'{1,1}'", { items: item("'{1}'", "null") }),
  "one stream again behind another": `select 1 from evsrc.append(true, '{open,other,open}', null, null, '{1,1,1}',
      array[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], '{Ticked,Ticked,Ticked}', '{1,1,1}',
      array['{"n":1}','{"n":1}','{"n":1}'], '{"{}","{}","{}"}', null, null, null, null, null, null, null, null, false)`,
  "one command id twice": appendCall("'{open,other}'", "'{1,1}'", { commandIds: "'{new,new}'" }),
  "a used command id in an archived stream": appendCall("'{other}'", "'{1}'", { commandIds: "'[2:2]={archived}'" }),
  "a stream without a name": appendCall("'{null,other}'", "'{1,1}'"),
  "documents that do not begin at 1": `${
    appendCall("'{open,other}'", "'{1,1}'").slice(0, -1)
  }, p_documents => '[0:1]={"{xa}","{xb}"}')`,
  "a number of events that is null": appendCall("'{open,other}'", "'{1,null}'"),
  "more events than it names": appendCall("'{open}'", "'{3}'")
}

function item(appends: string, afters = "'{0}'") {
  return `${appends}, array['{Ticked}'], array['{}'], ${afters}, null, null`
}

function appendCall(
  streams: string,
  counts: string,
  { closes = "false", commandIds = "null", items = "null, null, null, null, null, null" }: {
    readonly closes?: string
    readonly commandIds?: string
    readonly items?: string
  } = {}
) {
  return `select 1 from evsrc.append(true, ${streams}, null, ${commandIds}, ${counts}, array[gen_random_uuid(), gen_random_uuid()],
    '{Ticked,Ticked}', '{1,1}', array['{"n":1}','{"n":1}'], '{"{}","{}"}', null, ${items}, null, ${closes})`
}

/** The streams whose versions are not 1, 2, 3 …, the closed ones whose last event is not the one recorded, and commands written twice. */
const unsound = (sql: PgClient.PgClient) =>
  sql`
    select 'versions of ' || stream as fault from evsrc.log group by stream having max(version) <> count(*) or min(version) <> 1
    union all
    select 'end of ' || coalesce(closed.stream, event.stream)
      from evsrc.closed_streams closed full join (select * from evsrc.log where closes) as event using (stream, version, position)
      where closed.stream is null or event.stream is null
    union all
    select 'command ' || command_id from evsrc.log where command_id is not null group by command_id having count(*) > 1`

for (const [name, client] of Object.entries({ PGlite: layerPglite, PostgreSQL: layerPostgres })) {
  describe(`calls of append on ${name}`, () => {
    it.live("leave every stream in order, whatever their arrays", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        const store = yield* EventStore.EventStore
        const metadata = (commandId: string) => ({ metadata: { command: "Tick", commandId } })
        yield* store.append(Tick, "used", [tick(1)], metadata("used"))
        yield* store.append(Tick, "old", [tick(1)], metadata("archived"))
        yield* StreamLifecycle.close(Tick, "old", tick(2))
        yield* StreamLifecycle.archive("old")
        const before = yield* stored(sql)
        for (const [what, statement] of Object.entries(unsoundAppends)) {
          const outcome = yield* rejection(sql, statement)
          assert.include(["22023", "22004", "23502", "23505"], outcome, what)
          assert.deepStrictEqual(yield* unsound(sql), [], what)
        }
        assert.deepStrictEqual(yield* stored(sql), before)
        // With no events at all there is nothing to write.
        yield* sql.unsafe(appendCall("'{open,other}'", "'{-1,0}'"))
        assert.deepStrictEqual(yield* stored(sql), before)
        assert.strictEqual((yield* append("open", 3)).version, 3)
      }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client())))))
  })
}

describe("a role", () => {
  it.live("with every right to read and write the tables adds and removes no events, whatever it sets", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const layer = PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url) })))
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        for (const statement of hostile) yield* sql.unsafe(statement)
        const role = `${name}_writer`
        const writer = yield* createRole(sql, role, url)
        yield* sql.unsafe(`grant all on schema evsrc, evil to ${role}`)
        yield* sql.unsafe(`grant all on all tables in schema evsrc to ${role}`)
        yield* sql.unsafe(`grant all on all sequences in schema evsrc to ${role}`)
        for (const statement of disguises) yield* writer.unsafe(statement)
        const before = yield* stored(sql)
        for (const path of ["public", "evil, pg_catalog", pretended, `"pg_catalog", "pg_temp", "pg_catalog"`]) {
          yield* writer.unsafe(`set search_path = ${path}`)
          yield* writer.unsafe("set event_store.restoring = on")
          for (const [what, statement] of Object.entries({ ...directWrites, ...disguisedWrites })) {
            assert.strictEqual(yield* rejection(writer, statement), "23001", `${what}: ${path}`)
          }
        }
        assert.deepStrictEqual(yield* stored(sql), before)
      }).pipe(Effect.scoped, Effect.provide(layer))
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))

  it.live("with the rights of the guide appends and archives, and can neither write tables nor draw positions", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const options = { hashChain: true }
      const layer = PgStores.layerWith(options).pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url) })))
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* writeStreams
        const role = `${name}_app`
        const app = yield* createRole(sql, role, url)
        for (const grant of rights) yield* sql.unsafe(grant.replaceAll(/\bapp\b/g, role))
        yield* sql.unsafe(`grant execute on function evsrc.archive to ${role}`)
        yield* Effect.gen(function*() {
          assert.strictEqual((yield* append("open", 3)).version, 3)
          const store = yield* EventStore.EventStore
          assert.strictEqual((yield* store.append(Tick, "open", [tick(4), tick(5)])).version, 5)
          yield* StreamLifecycle.archive("closed")
        }).pipe(Effect.provide(
          PgEventStore.layerWithoutMigrations(options).pipe(Layer.provide(PgClient.layer(app.config)))
        ))
        const before = yield* stored(sql)
        yield* app.unsafe(`set search_path = ${pretended}`)
        for (const [what, statement] of Object.entries(directWrites)) {
          assert.strictEqual(yield* rejection(app, statement), "42501", what)
        }
        assert.strictEqual(yield* rejection(app, "select nextval('evsrc.positions')"), "42501")
        assert.strictEqual(yield* rejection(app, "select evsrc.rebuild_event_tags()"), "42501")
        assert.deepStrictEqual(yield* stored(sql), before)
        const reader = yield* createRole(sql, `${name}_reader`, url)
        yield* sql.unsafe(`grant usage on schema evsrc to ${name}_reader`)
        yield* sql.unsafe(`grant select on all tables in schema evsrc to ${name}_reader`)
        for (const call of [appendOne, appendCall("'{s}'", "'{1}'"), "select evsrc.archive('closed', now())"]) {
          assert.strictEqual(yield* rejection(reader, call), "42501", call)
        }
        // The setting of an import does not switch the hash chain off.
        yield* app`set event_store.restoring = on`
        yield* app.unsafe(appendOne)
        const { isIntact, verified } = yield* HashChain.verify()
        const [chained] = yield* sql<{ readonly unchained: number }>`
          select count(*)::integer as unchained from evsrc.log where hash is null`
        assert.deepStrictEqual([isIntact, verified, chained?.unchained], [true, 10, 0])
      }).pipe(Effect.scoped, Effect.provide(layer))
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))
})

const appendOne = "select 1 from evsrc.append_one(true, 's', null, null, gen_random_uuid(), 'Ticked', 1, '{}', '{}')"

/** The search_path of the functions that write. */
const pretended = "pg_catalog, pg_temp, pg_catalog"

/** A view and functions of a role, which write as that role, the functions under the search_path of the store's own. */
const disguises = [
  "create view evil.events as select * from evsrc.events",
  `create function evil.add() returns void language sql volatile security definer set search_path = ${pretended}
    as $$ ${event("nextval('evsrc.positions')", "open", 3)} $$`,
  `create function evsrc.add() returns void language plpgsql volatile security definer set search_path = ${pretended}
    as $$ begin ${event("nextval('evsrc.positions')", "open", 3)}; end $$`
]

const disguisedWrites: Readonly<Record<string, string>> = {
  "an event through a view": event("nextval('evsrc.positions')", "open", 3).replace("evsrc.events", "evil.events"),
  "an event through a function": "select evil.add()",
  "an event through a function in the schema": "select evsrc.add()",
  "an event in a CTE": `with written as (${
    event("nextval('evsrc.positions')", "open", 3)
  } returning 1) select * from written`,
  "an event by MERGE": `merge into evsrc.events using (select 3) as source on version = 3 and stream = 'open'
    when not matched then insert (position, stream, version, type, schema_version, id, data, metadata, recorded_at)
      values (nextval('evsrc.positions'), 'open', 3, 'Ticked', 1, gen_random_uuid(), '{}', '{}', now())`
}

/** The statements of the guide, for a role `app`. */
const rights = /```sql\n(grant usage on schema evsrc to app;[^`]*?)```/.exec(
  readFileSync(new URL("../../docs/reference.md", import.meta.url), "utf8")
)![1]!.trim().split("\n")
