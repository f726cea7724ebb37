import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Redacted, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, EventStoreError, Position } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { randomBytes } from "node:crypto"
import { layerPostgres } from "../support/Database.ts"
import { needs } from "../support/needs.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as Consumer from "./consumer.ts"

const Note = Schema.TaggedUnion({ Noted: { text: Schema.String } })
/** The text is random, because the database compresses repetitive values. */
const note = (bytes: number) => Note.cases.Noted.make({ text: randomBytes(bytes / 2).toString("hex") })

const streams = Array.from({ length: 20 }, (_, i) => `Note-${i}`)

/** Appends two events to each stream, concurrently. The command ids make it repeatable. */
const appendToAll = (round: number, bytes: number) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.forEach(streams, (stream) => {
      const metadata = { commandId: `${stream} ${round}` }
      return Effect.exit(store.append(Note, stream, [note(100), note(bytes)], { metadata }))
    }, { concurrency: "unbounded" }))

type Outcome = Exit.Exit<unknown, unknown>

/** Returns the errors among the outcomes. Asserts that each is retryable and that nothing was written. */
const failuresOf = (outcomes: ReadonlyArray<Outcome>) => {
  const errors = outcomes.flatMap((outcome) => Option.toArray(Exit.findErrorOption(outcome)))
  for (const error of errors) {
    assert.instanceOf(error, EventStoreError)
    assert.strictEqual(error.reason._tag, "StoreUnavailable")
    assert.strictEqual(error.isRetryable, true, error.message)
    assert.include(error.message, "53100")
  }
  return errors
}

const versions = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql<{ readonly stream: string; readonly last: bigint; readonly count: bigint }>`
    select stream, max(version) as last, count(*) as count from evsrc.events group by stream`
  for (const { count, last, stream } of rows) assert.strictEqual(last, count, `${stream} has no gap`)
  return new Map(rows.map(({ last, stream }) => [stream, Number(last)]))
})

/** A database on the small disk. The write-ahead log is elsewhere, because the server cannot run without space for it. */
const layerSmall = Layer.unwrap(
  Effect.gen(function*() {
    const server = yield* PostgresServer.make({ settings: { fsync: "off" }, smallDisk: "40m" })
    const admin = yield* PgClient.makeClient({ url: Redacted.make(server.url) })
    yield* admin.unsafe(`create tablespace small location '${server.smallDisk}'`)
    yield* admin.unsafe(`create database small tablespace small`)
    const url = new URL(server.url)
    url.pathname = "/small"
    return PgClient.layer({ url: Redacted.make(url.href), maxConnections: 10 })
  }).pipe(Effect.provide(Reactivity.layer))
)

describe("a full disk", () => {
  it.live(
    "fails appends as a whole, and resumes without a gap when there is space",
    () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        yield* sql`create table filler (n int, bytes text)`
        yield* sql`insert into filler select n, repeat(md5(n::text), 30) from generate_series(1, 10000) as n`
        const consumers = [yield* Consumer.follow(1), yield* Consumer.follow(500)]

        let round = 0
        let outcomes: ReadonlyArray<Outcome> = []
        while (failuresOf(outcomes).length === 0) outcomes = yield* appendToAll(++round, 20_000)
        const inTransaction = yield* Effect.exit(
          sql.withTransaction(store.append(Note, "elsewhere", [note(1_000_000)]))
        )
        assert.isAbove(failuresOf([inTransaction]).length, 0)

        const whileFull = yield* versions
        for (const [i, stream] of streams.entries()) {
          assert.strictEqual(whileFull.get(stream) ?? 0, 2 * (Exit.isSuccess(outcomes[i]!) ? round : round - 1))
        }
        assert.isUndefined(whileFull.get("elsewhere"))

        yield* sql`drop table filler`
        for (const again of [round, round + 1]) {
          assert.deepStrictEqual(failuresOf(yield* appendToAll(again, 20_000)), [])
        }
        const afterwards = yield* versions
        for (const stream of streams) assert.strictEqual(afterwards.get(stream), 2 * (round + 1))

        const rows = yield* sql<{ readonly position: bigint }>`select position from evsrc.events order by position`
        const committed = rows.map((row) => Position.make(row.position))
        for (const { seen, until } of consumers) {
          yield* until((seen) => seen.at(-1) === committed.at(-1))
          assert.deepStrictEqual(seen, committed)
        }
      }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerSmall)))),
    { ...needs("unshare with user namespaces", PostgresServer.smallDisks()), timeout: 120_000 }
  )

  it.live(
    "is StoreUnavailable, for a single append and for a group",
    () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql.unsafe(`create function no_space() returns trigger language plpgsql as $$
        begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$`)
        yield* sql`create trigger no_space before insert on evsrc.events for each row execute function no_space()`
        assert.strictEqual(failuresOf(yield* appendToAll(1, 100)).length, streams.length)
        yield* sql`drop trigger no_space on evsrc.events`
        assert.deepStrictEqual(failuresOf(yield* appendToAll(1, 100)), [])
        for (const last of (yield* versions).values()) assert.strictEqual(last, 2)
      }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres()))))
  )
})
