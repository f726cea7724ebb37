import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Redacted, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import { EventStore, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgMigrations, PgStores } from "evsrc/pg"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as PostgresTools from "../support/PostgresTools.ts"
import * as Consumer from "./consumer.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })
const Sum = Projection.make("sum", {
  events: Tick,
  document: Schema.Struct({ events: Schema.Int, sum: Schema.Int }),
  key: () => "all",
  evolve: { Ticked: (all = { events: 0, sum: 0 }, { n }) => ({ events: all.events + 1, sum: all.sum + n }) }
})

const clientAt = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })

const append = (stream: string, n: number) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Tick, stream, [tick(n)], { metadata: { commandId: `${n}` } })
  )

const rows = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  return yield* sql<{ readonly position: bigint }>`
    select *, data::text as data, metadata::text as metadata from evsrc.events order by position`
})

/** Starts an append that stays in flight until `commit`. */
const appendInFlight = Effect.fnUntraced(function*(stream: string, n: number) {
  const sql = yield* PgClient.PgClient
  const [appended, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const fiber = yield* append(stream, n).pipe(
    Effect.andThen(Deferred.succeed(appended, undefined)),
    Effect.andThen(Deferred.await(go)),
    sql.withTransaction,
    Effect.forkScoped
  )
  yield* Deferred.await(appended)
  return { commit: Effect.andThen(Deferred.succeed(go, undefined), Fiber.join(fiber)) }
})

/** Fills a log in use: it has burnt positions, also beyond its end, an append in flight, and a projection that is half-way. */
const fillLog = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const projections = yield* ProjectionStore.ProjectionStore
  const sql = yield* PgClient.PgClient
  for (let n = 1; n <= 50; n++) yield* append(`Tick-${n % 7}`, n)
  const half = yield* store.head
  yield* projections.awaitPosition(Sum, half, "60 seconds").pipe(Effect.provide(Projector.layer([Sum])))
  yield* appendInFlight("Tick-slow", 51)
  for (let n = 52; n <= 100; n++) yield* append(`Tick-${n % 7}`, n)
  const burnt = Array.from({ length: 100 }, (_, n) => tick(n))
  yield* Effect.flip(sql.withTransaction(Effect.andThen(store.append(Tick, "Tick-0", burnt), Effect.fail("no"))))
  const [drawn] = yield* sql<{ readonly last: bigint }>`select last_value as last from evsrc.positions`
  return { half, events: yield* rows, last: drawn!.last }
})

/** Asserts that appends, readers and projections continue on the restored log. */
const assertContinues = Effect.fnUntraced(function*({ events, half, last }: Effect.Success<typeof fillLog>) {
  const store = yield* EventStore.EventStore
  const projections = yield* ProjectionStore.ProjectionStore
  const sql = yield* PgClient.PgClient
  assert.deepStrictEqual(yield* PgMigrations.run(), [])
  assert.deepStrictEqual(yield* rows, events)
  assert.strictEqual(yield* store.head, events.at(-1)!.position)

  const consumer = yield* Consumer.follow(1, half)
  const { commit } = yield* appendInFlight("Tick-slow", 101)
  const overtaking = yield* append("Tick-new", 102)
  assert.isAbove(Number(overtaking.position - last), 1, "no position is assigned twice")
  assert.strictEqual(yield* store.head, events.at(-1)!.position, "the append in flight holds readers back")
  yield* commit
  const repeated = yield* append("Tick-1", 1)
  assert.strictEqual(
    repeated.position,
    events[0]!.position,
    "the command id of an event before the dump returns its receipt"
  )

  const all = (yield* rows).map(({ position }) => Position.make(position))
  assert.strictEqual(all.length, events.length + 2)
  yield* consumer.until((seen) => seen.at(-1) === all.at(-1))
  assert.deepStrictEqual(consumer.seen, all.filter((position) => position > half))
  yield* projections.awaitPosition(Sum, all.at(-1)!, "60 seconds").pipe(Effect.provide(Projector.layer([Sum])))
  const numbers = Array.from({ length: 102 }, (_, i) => i + 1).filter((n) => n !== 51)
  assert.deepStrictEqual(
    Option.getOrThrow(yield* ProjectionStore.get(Sum, "all")),
    { events: numbers.length, sum: numbers.reduce((a, b) => a + b) }
  )
  for (
    const change of ["update evsrc.events set type = 'x'", "delete from evsrc.event_tags", "truncate evsrc.events"]
  ) {
    const error = yield* Effect.flip(sql.unsafe(change))
    assert.include(String(error.reason.cause), "immutable")
  }
})

/** Copies as pg_dump does: the rows of one snapshot, then the current value of the sequence, to which no snapshot applies. */
const copyByRows = Effect.fnUntraced(
  function*(from: string, to: string) {
    const [source, target] = yield* Effect.all(
      [from, to].map((url) => PgClient.makeClient({ url: Redacted.make(url) }))
    )
    yield* Effect.provideService(PgMigrations.run(), SqlClient.SqlClient, target!)
    yield* source!`begin isolation level repeatable read`
    // As pg_restore --disable-triggers does.
    yield* target!`set session_replication_role = replica`
    for (const table of ["events", "event_tags", "documents", "checkpoints"]) {
      const [row] = yield* source!.unsafe<{ readonly rows: string }>(
        `select coalesce(json_agg(t), '[]')::text as rows from evsrc.${table} as t`
      )
      yield* target!.unsafe(
        `insert into evsrc.${table} select * from json_populate_recordset(null::evsrc.${table}, $1::json)`,
        [row!.rows]
      )
    }
    const [row] = yield* source!<{ readonly last: bigint; readonly called: boolean }>`
    select last_value as last, is_called as called from evsrc.positions`
    yield* target!`set session_replication_role = origin`
    yield* target!`select setval('evsrc.positions', ${row!.last}, ${row!.called})`
  },
  Effect.scoped,
  Effect.provide(Reactivity.layer)
)

const assertRestores = Effect.fnUntraced(function*<E>(
  copy: (from: string, to: string) => Effect.Effect<void, E>,
  options: PostgresServer.Options = {}
) {
  const [source, target] = yield* Effect.all(
    Array.from({ length: 2 }, () => PostgresServer.make({ settings: { fsync: "off" }, ...options })),
    { concurrency: "unbounded" }
  )
  const filled = yield* Effect.tap(fillLog, copy(source!.url, target!.url)).pipe(
    Effect.scoped,
    Effect.provide(PgStores.layer.pipe(Layer.provideMerge(clientAt(source!.url))))
  )
  yield* assertContinues(filled).pipe(
    Effect.scoped,
    Effect.provide(PgStores.layerWithoutMigrations().pipe(Layer.provideMerge(clientAt(target!.url))))
  )
})

const timeout = 120_000

describe("a log restored into a fresh cluster loses, skips and renumbers no event", () => {
  it.live(
    "by pg_dump and psql",
    () => assertRestores(PostgresTools.dumpAndRestore, { binaries: PostgresTools.folder! }),
    { ...PostgresTools.needed, timeout }
  )

  it.live("row by row", () => assertRestores(copyByRows), timeout)
})
