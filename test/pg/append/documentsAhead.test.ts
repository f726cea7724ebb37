/** How statements write documents that were computed before their appends: which appends find their documents changed, and what is written. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { type EventStoreDriver, StreamId, Version } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import type { PreparedAppend } from "../../../src/pg/append/AppendParameters.ts"
import * as PgAppend from "../../../src/pg/append/PgAppend.ts"
import * as PgConnections from "../../../src/pg/connections/PgConnections.ts"
import * as PgDeadlines from "../../../src/pg/PgDeadlines.ts"
import { layerPostgres } from "../../support/Database.ts"

let counter = 0
const unique = (prefix: string) => `${prefix}-${++counter}`

const projection = "counts@1"

const request = (stream: string, options: Partial<PreparedAppend> = {}): PreparedAppend => ({
  stream: StreamId.StreamId.make(stream),
  expected: "any",
  events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: "{}", metadata: "{}" }],
  ...options
})

const touching = (...keys: ReadonlyArray<string>) => ({ touchedDocuments: [{ projection, keys }] })

/** An append that changes documents: each has the content of its own, or is removed, and was computed from a revision. */
const ahead = (
  stream: string,
  documents: ReadonlyArray<readonly [key: string, from: bigint, document?: string]>,
  options: Partial<PreparedAppend> = {}
): PreparedAppend =>
  request(stream, {
    ...touching(...documents.map(([key]) => key)),
    documents: documents.map(([key, from, document]): EventStoreDriver.DocumentAhead => ({
      generation: projection,
      key,
      document,
      indexed: [],
      from
    })),
    ...options
  })

const statementsOf = (sql: PgClient.PgClient) =>
  PgAppend.make(
    PgConnections.make(sql, Effect.runSync(PgDeadlines.make())),
    `"evsrc"`,
    () => Effect.succeed(Option.none())
  )

/** The statements, and a session of its own in a transaction, which the scope ends. */
const sessions = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const other = yield* Effect.provide(PgClient.makeClient(sql.config), Reactivity.layer)
  yield* other`begin`
  return { sql, ...statementsOf(sql), other, inOther: statementsOf(other) }
})

/** Stores a document, and returns its revision. */
const store = (key: string, document = "0") =>
  Effect.flatMap(PgClient.PgClient, (sql) =>
    Effect.map(
      sql<{ readonly revision: bigint }>`insert into evsrc.documents (generation, key, document, revision)
        values (${projection}, ${key}, ${document}, nextval('evsrc.revisions')) returning revision`,
      ([row]) => row!.revision
    ))

const stored = (keys: ReadonlyArray<string>) =>
  Effect.flatMap(PgClient.PgClient, (sql) =>
    Effect.map(
      sql<{ readonly key: string; readonly document: string }>`
        select key, document::text as document from evsrc.documents where generation = ${projection} and key = any (${keys})`,
      (rows) => Object.fromEntries(rows.map(({ document, key }) => [key, document]))
    ))

const outcomes = (rows: ReadonlyArray<PgAppend.AppendRow>) =>
  rows.map(({ outcome, version }) => [outcome, Number(version)])

/** None of these statements waits for a lock. */
const soon = Effect.timeout("30 seconds")

const migrated = Layer.effectDiscard(PgMigrations.run()).pipe(Layer.provideMerge(layerPostgres()))

layer(migrated, { excludeTestServices: true })("documents computed before their appends", (it) => {
  it.effect("are written for the appends of a statement that are written, and for no others", () =>
    Effect.gen(function*() {
      const { batch, single } = statementsOf(yield* PgClient.PgClient)
      const [a, b, c] = [unique("s"), unique("s"), unique("s")]
      const keys = Array.from({ length: 9 }, () => unique("k"))
      const [added, changed, removed, stale, partly, kept, conflict, repeated, gone] = keys
      const commandId = unique("command")
      yield* single(request(a, { commandId }), 60_000)
      const revisions = yield* Effect.forEach([changed!, removed!, stale!, kept!], (key) => store(key))
      const [ofChanged, ofRemoved, ofStale, ofKept] = revisions
      const rows = yield* batch([
        ahead(a, [[added!, 0n, "1"], [changed!, ofChanged!, "2"], [removed!, ofRemoved!]]),
        ahead(b, [[stale!, ofStale! - 1n, "3"]]),
        // After the stale one, which is not written.
        request(b, { expected: "noStream" }),
        ahead(b, [[partly!, 0n, "4"], [kept!, 0n, "5"]]),
        ahead(b, [[gone!, 7n, "6"]]),
        ahead(c, [[conflict!, 0n, "7"]], { expected: Version.make(9) }),
        ahead(c, [[repeated!, 0n, "8"]], { commandId })
      ])
      assert.deepStrictEqual(outcomes(rows), [
        ["appended", 2],
        ["stale", 0],
        ["appended", 1],
        ["stale", 1],
        ["stale", 1],
        ["conflict", 0],
        ["duplicate", 0]
      ])
      assert.deepStrictEqual(yield* stored(keys), { [added!]: "1", [changed!]: "2", [stale!]: "0", [kept!]: "0" })
      assert.isUndefined(rows[1]!.positions ?? undefined)
      // With the revision of now it is written; with that of before it is not, although the document is the same.
      assert.deepStrictEqual(outcomes(yield* batch([ahead(b, [[kept!, ofKept!, "0"]])])), [["appended", 2]])
      assert.deepStrictEqual(outcomes(yield* batch([ahead(b, [[kept!, ofKept!, "0"]])])), [["stale", 2]])
      // Nothing is written when all are stale.
      const all = yield* batch([ahead(b, [[kept!, 1n, "9"]]), ahead(c, [[stale!, 1n]])])
      assert.deepStrictEqual(outcomes(all), [["stale", 2], ["stale", 0]])
      assert.deepStrictEqual(yield* stored([kept!, stale!]), { [kept!]: "0", [stale!]: "0" })
    }))

  it.effect("are stale while another append has locked one of them", () =>
    Effect.gen(function*() {
      const { batch, inOther, other, single } = yield* sessions
      const [held, free] = [unique("k"), unique("k")]
      yield* inOther.single(request(unique("s"), touching(held)), 60_000)
      const rows = yield* soon(batch([
        ahead(unique("s"), [[free, 0n, "1"]]),
        ahead(unique("s"), [[unique("k"), 0n, "1"], [held, 0n, "2"]]),
        request(unique("s")),
        // Its documents are not computed yet, so it waits for the lock.
        request(unique("s"), touching(held)),
        ahead(unique("s"), [], touching())
      ]))
      assert.deepStrictEqual(
        outcomes(rows),
        [["appended", 1], ["stale", 0], ["appended", 1], ["busy", -3], ["appended", 1]]
      )
      assert.deepStrictEqual(yield* stored([held, free]), { [free]: "1" })
      const alone = yield* soon(single(ahead(unique("s"), [[held, 0n, "2"]]), "now"))
      assert.strictEqual(alone.outcome, "stale")
      yield* other`rollback`
    }))

  it.effect("are stale while another transaction holds the whole projection", () =>
    Effect.gen(function*() {
      const { batch, inOther, other } = yield* sessions
      const key = unique("k")
      yield* inOther.single(request(unique("s"), { touchedDocuments: [{ projection }] }), 60_000)
      const appends = [ahead(unique("s"), [[key, 0n, "1"]]), ahead(unique("s"), [], touching()), request(unique("s"))]
      assert.deepStrictEqual(outcomes(yield* soon(batch(appends))), [["stale", 0], ["busy", -3], ["appended", 1]])
      yield* other`rollback`
      assert.deepStrictEqual(outcomes(yield* soon(batch(appends.slice(0, 2)))), [["appended", 1], ["appended", 1]])
    }))

  it.effect("are stale while a session has locked the row of one of them", () =>
    Effect.gen(function*() {
      const { batch, other } = yield* sessions
      const [locked, free] = [unique("k"), unique("k")]
      const [ofLocked, ofFree] = [yield* store(locked), yield* store(free)]
      yield* other`select from evsrc.documents where key = ${locked} for update`
      const appends = [ahead(unique("s"), [[locked, ofLocked, "1"]]), ahead(unique("s"), [[free, ofFree, "1"]])]
      assert.deepStrictEqual(outcomes(yield* soon(batch(appends))), [["stale", 0], ["appended", 1]])
      yield* other`rollback`
      assert.deepStrictEqual(outcomes(yield* soon(batch(appends.slice(0, 1)))), [["appended", 1]])
    }))

  it.effect("are stale while a session has locked a row that was added since", () =>
    Effect.gen(function*() {
      const { batch, other } = yield* sessions
      const key = unique("k")
      yield* store(key)
      const append = ahead(unique("s"), [[key, 0n, "1"]])
      yield* other`select from evsrc.documents where key = ${key} for update`
      assert.deepStrictEqual(outcomes(yield* soon(batch([append]))), [["stale", 0]])
      assert.deepStrictEqual(yield* stored([key]), { [key]: "0" })
    }))

  it.effect("are compared after a wait for their locks", () =>
    Effect.gen(function*() {
      const { inOther, other, single, sql } = yield* sessions
      const key = unique("k")
      const revision = yield* store(key)
      yield* inOther.single(request(unique("s"), touching(key)), 60_000)
      const waiting = yield* Effect.forkChild(single(ahead(unique("s"), [[key, revision, "1"]]), 60_000))
      yield* sql`select from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("10 millis") }),
        soon
      )
      yield* other`update evsrc.documents set document = '2', revision = nextval('evsrc.revisions') where key = ${key}`
      yield* other`commit`
      assert.strictEqual((yield* soon(Fiber.join(waiting))).outcome, "stale")
      assert.deepStrictEqual(yield* stored([key]), { [key]: "2" })
    }))

  it.effect("fail a statement in which two appends write the same one", () =>
    Effect.gen(function*() {
      const { batch } = statementsOf(yield* PgClient.PgClient)
      const sql = yield* PgClient.PgClient
      const [key, stream] = [unique("k"), unique("s")]
      yield* Effect.flip(batch([ahead(stream, [[key, 0n, "1"]]), ahead(unique("s"), [[key, 0n, "2"]])]))
      assert.deepStrictEqual(yield* stored([key]), {})
      assert.deepStrictEqual(yield* sql`select 1 from evsrc.events where stream = ${stream}`, [])
    }))
})
