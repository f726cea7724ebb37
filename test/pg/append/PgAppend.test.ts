/** The statements themselves, without the group commit and the retries above them, which would make good for much that is wrong here. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { EventQuery, type EventStoreDriver, Position, StreamId, Version } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import * as PgAppend from "../../../src/pg/append/PgAppend.ts"
import * as PgConnections from "../../../src/pg/connections/PgConnections.ts"
import * as PgDeadlines from "../../../src/pg/PgDeadlines.ts"
import { layerPostgres } from "../../support/Database.ts"

type Request = EventStoreDriver.AppendRequest

let counter = 0
const name = (prefix: string) => `${prefix}-${++counter}`

const request = (stream: string, options: Partial<Request> & { readonly count?: number } = {}): Request => ({
  stream: StreamId.StreamId.make(stream),
  expected: "any",
  events: Array.from({ length: options.count ?? 1 }, (_, n) => ({
    id: crypto.randomUUID(),
    type: "Ticked",
    schemaVersion: 1,
    data: JSON.stringify({ n }),
    metadata: "{}"
  })),
  ...options
})

const statements = Effect.map(
  PgClient.PgClient,
  (sql) =>
    PgAppend.make(
      PgConnections.make(sql, Effect.runSync(PgDeadlines.make())),
      `"evsrc"`,
      () => Effect.succeed(Option.none())
    )
)

/** The same statements, on a connection of their own in the middle of a transaction. */
const elsewhere = Effect.gen(function*() {
  const { config } = yield* PgClient.PgClient
  const sql = yield* PgClient.makeClient(config)
  yield* sql`begin`
  return {
    sql,
    ...PgAppend.make(
      PgConnections.make(sql, Effect.runSync(PgDeadlines.make())),
      `"evsrc"`,
      () => Effect.succeed(Option.none())
    )
  }
}).pipe(Effect.provide(Reactivity.layer))

/** Until a statement waits for an advisory lock. */
const aStatementWaits = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql`select 1 from pg_locks where not granted and locktype = 'advisory'
      and database = (select oid from pg_database where datname = current_database())`
).pipe(
  Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("10 millis") }),
  Effect.timeout("30 seconds")
)

const migrated = Layer.effectDiscard(PgMigrations.run()).pipe(Layer.provideMerge(layerPostgres()))

layer(migrated, { excludeTestServices: true })("PgAppend", (it) => {
  it.effect("appends several times to one stream in a batch, each after the one before", () =>
    Effect.gen(function*() {
      const { batch } = yield* statements
      const sql = yield* PgClient.PgClient
      const [a, b] = [name("s"), name("s")]
      const first = request(a, { count: 2, expected: "noStream", commandId: name("command") })
      const rows = yield* batch([
        first,
        request(a, { expected: Version.make(2), lastEventId: first.events[1]!.id, commandId: name("command") }),
        request(a, { expected: Version.make(2) }),
        request(a, { expected: Version.make(3), lastEventId: first.events[1]!.id }),
        request(a, { expected: "streamExists" }),
        request(b, { expected: "noStream" }),
        request(b, { expected: "noStream" })
      ])
      assert.deepStrictEqual(
        rows.map(({ outcome, positions, version }) => [outcome, Number(version), positions?.length ?? 0]),
        [
          ["appended", 2, 2],
          ["appended", 3, 1],
          ["conflict", 3, 0],
          ["diverged", 3, 0],
          ["appended", 4, 1],
          ["appended", 1, 1],
          ["conflict", 1, 0]
        ]
      )
      const written = yield* sql<{ version: number; position: bigint; command_events: number | null }>`
        select version::integer, position, command_events from evsrc.events where stream = ${a} order by version`
      assert.deepStrictEqual(written.map(({ version }) => version), [1, 2, 3, 4])
      assert.deepStrictEqual(
        written.map(({ position }) => position),
        rows.flatMap(({ positions, stream }) => stream === a ? positions ?? [] : [])
      )
      assert.deepStrictEqual(written.map((row) => row.command_events), [2, null, 1, null])
    }))

  it.effect("writes nothing behind an append of its stream that is repeated or closed", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const [a, b] = [name("s"), name("s")]
      const commandId = name("command")
      yield* single(request(a, { commandId }), 60_000)
      yield* single(request(b, { closes: true }), 60_000)
      const rows = yield* batch([
        request(a, { commandId, expected: Version.make(1) }),
        request(a, { expected: Version.make(2) }),
        request(b, { expected: Version.make(1) }),
        request(b, { expected: Version.make(2) })
      ])
      assert.deepStrictEqual(rows.map(({ outcome }) => outcome), ["duplicate", "conflict", "closed", "closed"])
    }))

  it.effect("writes nothing behind a repeated append to a stream whose lock is held", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const [a, b] = [name("s"), name("s")]
      const [first, second] = [name("command"), name("command")]
      yield* single(request(a, { commandId: first }), 60_000)
      yield* single(request(b, { commandId: second }), 60_000)
      const holder = yield* elsewhere
      yield* holder.single(request(a), 60_000)
      const other = name("command")
      yield* holder.single(request(name("s"), { commandId: other }), 60_000)
      const rows = yield* batch([
        request(a, { commandId: first }),
        request(a),
        request(b, { commandId: other }),
        request(b, { commandId: second }),
        request(b)
      ])
      assert.deepStrictEqual(rows.map(({ outcome }) => outcome), ["duplicate", "busy", "busy", "duplicate", "busy"])
      yield* holder.sql`rollback`
    }))

  it.effect("reports all appends to a stream as busy whose lock, or one of them, is held", () =>
    Effect.gen(function*() {
      const { batch } = yield* statements
      const holder = yield* elsewhere
      const [a, b] = [name("s"), name("s")]
      const commandId = name("command")
      yield* holder.single(request(a), 60_000)
      yield* holder.single(request(name("s"), { commandId }), 60_000)
      const rows = yield* batch([
        request(a),
        request(a),
        request(b),
        request(b, { commandId }),
        request(b, { expected: "any" })
      ])
      assert.deepStrictEqual(rows.map(({ outcome }) => outcome), ["busy", "busy", "appended", "busy", "busy"])
      yield* holder.sql`rollback`
    }))

  it.effect("returns a row per append of a batch, and writes those with outcome appended", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const sql = yield* PgClient.PgClient
      const [a, b, c, d] = [name("s"), name("s"), name("s"), name("s")]
      const commandId = name("command")
      yield* single(request(b, { count: 2, commandId }), 60_000)
      const rows = yield* batch([
        request(a, { count: 3, expected: "noStream" }),
        request(b, { expected: Version.make(1) }),
        request(c, { commandId }),
        request(d, { expected: "streamExists" }),
        request(name("s"), { count: 2, commandId: name("command") })
      ])
      assert.deepStrictEqual(
        rows.map((row) => [row.outcome, row.stream, row.version, row.positions?.length ?? 0]),
        [
          ["appended", a, 3n, 3],
          ["conflict", b, 2n, 0],
          ["duplicate", c, 0n, 0],
          ["conflict", d, 0n, 0],
          ["appended", rows[4]!.stream, 2n, 2]
        ]
      )
      const written = yield* sql<{ readonly stream: string; readonly position: bigint }>`
        select stream, position from evsrc.events where stream in ${sql.in([a, b, c, d])} order by position`
      assert.deepStrictEqual(written.map((row) => row.stream), [b, b, a, a, a])
      assert.deepStrictEqual(written.slice(2).map((row) => row.position), rows[0]!.positions)
    }))

  it.effect("stores tags byte for byte, and the command id on the first event only", () =>
    Effect.gen(function*() {
      const { batch } = yield* statements
      const sql = yield* PgClient.PgClient
      const [a, b, c] = [name("s"), name("s"), name("s")]
      const commandId = name("command")
      const tags = ["k:a,b", "k:{\"}", "k:\\", "NULL", "k: é "]
      const tagged = (stream: string) => request(stream).events.map((event) => ({ ...event, tags }))
      yield* batch([
        request(a, { count: 2, commandId }),
        request(b, { events: [...tagged(b), ...request(b).events] }),
        request(c, { expected: "streamExists", events: tagged(c) })
      ])
      const rows = yield* sql`select stream, version, tags, command_id, command_events from evsrc.events
        where stream in ${sql.in([a, b, c])} order by position`
      assert.deepStrictEqual(rows.map((row) => Object.values(row)), [
        [a, 1n, null, commandId, 2],
        [a, 2n, null, null, null],
        [b, 1n, tags, null, null],
        [b, 2n, null, null, null]
      ])
      const side =
        yield* sql`select 1 from evsrc.events e join evsrc.event_tags t using (position) where e.stream = ${b}`
      assert.strictEqual(side.length, tags.length)
    }))

  it.effect("stores the time of an event in whole milliseconds, as it is read", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const sql = yield* PgClient.PgClient
      const [a, b] = [name("s"), name("s")]
      const rows = [yield* single(request(a), 60_000), ...(yield* batch([request(b, { count: 2 })]))]
      const kept = yield* sql<{ readonly at: string }>`
        select (extract(epoch from recorded_at) * 1000)::text as at from evsrc.events
          where stream in ${sql.in([a, b])} order by position`
      assert.deepStrictEqual(
        kept.map(({ at }) => Number(at)),
        [rows[0]!, rows[1]!, rows[1]!].map((row) => row.recorded_at!.getTime())
      )
    }))

  it.effect("returns busy only for appends whose stream or command id is locked", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const [held, free] = [name("s"), name("s")]
      const commandId = name("command")
      const other = yield* elsewhere
      assert.strictEqual((yield* other.single(request(held, { commandId }), 60_000)).outcome, "appended")
      const outcomes = (requests: ReadonlyArray<Request>) =>
        Effect.map(batch(requests), (rows) => rows.map((row) => row.outcome))
      assert.deepStrictEqual(
        yield* outcomes([request(held), request(free), request(name("s"), { commandId })]),
        ["busy", "appended", "busy"]
      )
      assert.strictEqual((yield* single(request(held), "now")).outcome, "busy")
      assert.strictEqual((yield* single(request(name("s"), { commandId }), "now")).outcome, "busy")
      yield* other.sql`commit`
      assert.deepStrictEqual(
        yield* outcomes([request(held, { expected: Version.make(1) }), request(name("s"), { commandId })]),
        ["appended", "duplicate"]
      )
    }).pipe(Effect.scoped))

  it.effect("returns busy for events that another transaction's condition may forbid", () =>
    Effect.gen(function*() {
      const { batch, single } = yield* statements
      const event = (type: string, tags: ReadonlyArray<string>) => ({
        ...request("x").events[0]!,
        id: crypto.randomUUID(),
        type,
        tags
      })
      const append = (type: string, tags: ReadonlyArray<string> = []) =>
        request(name("s"), { events: [event(type, tags)] })
      const [type, tag] = [name("Type"), name("tag")]
      const other = yield* elsewhere
      const condition = {
        query: EventQuery.ofStoredTypes([{ types: [type] }, { tags: [tag] }]),
        after: Position.start,
        seen: []
      }
      assert.strictEqual((yield* other.single(request(name("s"), { condition }), 60_000)).outcome, "appended")
      const appends = [append(type), append("Other"), append("Other", ["a", tag]), append("Other", ["a"])]
      const outcomes = Effect.map(batch(appends), (rows) => rows.map((row) => row.outcome))
      assert.deepStrictEqual(yield* outcomes, ["busy", "appended", "busy", "appended"])
      assert.strictEqual((yield* single(append(type), "now")).outcome, "busy")
      assert.strictEqual((yield* single(append("Other", [tag]), "now")).outcome, "busy")
      yield* other.sql`commit`
      assert.deepStrictEqual(yield* outcomes, ["appended", "appended", "appended", "appended"])
    }).pipe(Effect.scoped))

  for (const [what, options] of [["one event", {}], ["several events", { count: 2 }]] as const) {
    it.effect(`${what} in an open transaction make a condition on their type wait, then fail`, () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const [writer, checker] = [yield* elsewhere, yield* elsewhere]
        const [last] = yield* sql<{ readonly position: bigint }>`
          select coalesce(max(position), 0) as position from evsrc.events`
        const condition = {
          query: EventQuery.ofStoredTypes([{ types: ["Ticked"] }]),
          after: Position.make(last!.position),
          seen: []
        }
        const written = yield* writer.single(request(name("s"), options), 60_000)
        const checked = yield* Effect.forkChild(checker.single(request(name("s"), { condition }), 60_000))
        yield* aStatementWaits
        yield* writer.sql`commit`
        const answer = yield* Fiber.join(checked)
        assert.deepStrictEqual([answer.outcome, answer.positions], ["changed", written.positions!.slice(-1)])
        yield* checker.sql`rollback`
      }).pipe(Effect.scoped))

    it.effect(`${what} wait for an open transaction with their command id, then are duplicates`, () =>
      Effect.gen(function*() {
        const [first, second] = [yield* elsewhere, yield* elsewhere]
        const commandId = name("command")
        yield* first.single(request(name("s"), { ...options, commandId }), 60_000)
        const again = yield* Effect.forkChild(second.single(request(name("s"), { ...options, commandId }), 60_000))
        yield* aStatementWaits
        yield* first.sql`commit`
        assert.strictEqual((yield* Fiber.join(again)).outcome, "duplicate")
        yield* second.sql`rollback`
      }).pipe(Effect.scoped))
  }

  it.effect("rejects a repeated version or command id of a direct insert", () =>
    Effect.gen(function*() {
      const { single } = yield* statements
      const sql = yield* PgClient.PgClient
      const stream = name("s")
      const commandId = name("command")
      yield* single(request(stream, { commandId }), 60_000)
      const insert = (version: number, command: string | null) =>
        Effect.andThen(
          // A session that pretends to be the function append.
          sql`set local search_path = pg_catalog, pg_temp, pg_catalog`,
          sql`insert into evsrc.events
            (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at)
          values (nextval('evsrc.positions'), ${stream}, ${version}, 'Ticked', 1, gen_random_uuid(), ${command}, 1, '{}', '{}', now())`
        ).pipe(sql.withTransaction)
      assert.strictEqual((yield* Effect.flip(insert(1, null))).reason._tag, "UniqueViolation")
      assert.strictEqual((yield* Effect.flip(insert(2, commandId))).reason._tag, "UniqueViolation")
      yield* insert(2, null)
    }))
})
