/** Closed and archived streams, exports and imports, on a real server: several connections at a time, and the database's own refusals. */
import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, FileSystem, Layer, Predicate, Redacted, Schema, Stream } from "effect"
import {
  Event,
  EventStore,
  LogTransfer,
  Position,
  Projection,
  ProjectionStore,
  Projector,
  Rebuild,
  StreamLifecycle,
  Version
} from "evsrc"
import { PgEventStore, PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import { isLong } from "../support/scale.ts"
import * as Script from "../support/Script.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int, tag: Schema.optionalKey(Schema.String) } }).pipe(
  Event.tags({ tag: "tag" })
)
const tick = (n: number, tag?: string) => Tick.cases.Ticked.make(tag === undefined ? { n } : { n, tag })

const Count = Projection.make("count", {
  events: Tick,
  document: Schema.Struct({ events: Schema.Int, sum: Schema.Int }),
  lifecycle: "async",
  key: () => "all",
  evolve: { Ticked: (count, { n }) => ({ events: (count?.events ?? 0) + 1, sum: (count?.sum ?? 0) + n }) }
})

const append = (stream: string, n: number, tag?: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [tick(n, tag)]))

/** What the database says against a statement. */
const refusalOf = (statement: string) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const { reason } = yield* Effect.flip(sql.unsafe(statement))
    const { cause } = reason
    return Predicate.hasProperty(cause, "code") && Predicate.hasProperty(cause, "message")
      ? `${String(cause.code)} ${String(cause.message)}`
      : String(cause)
  })

layer(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())), { excludeTestServices: true })(
  "the database",
  (it) => {
    it.effect("lets no event go that is not archived, byte for byte", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        for (const stream of ["open", "closed", "moved"]) {
          yield* append(stream, 1, "t")
          yield* append(stream, 2)
          if (stream !== "open") yield* StreamLifecycle.close(Tick, stream, tick(3))
        }
        yield* StreamLifecycle.archive("moved")
        const immutable = /^23001 events are immutable/
        const log = sql`select l::text as row from evsrc.log l order by position`
        const before = yield* log
        assert.strictEqual(before.length, 8)
        for (const table of ["events", "archived_events", "event_tags"]) {
          for (
            const change of [
              `update evsrc.${table} set position = position`,
              `delete from evsrc.${table}`,
              `truncate evsrc.${table}`
            ]
          ) {
            assert.match(yield* refusalOf(change), immutable, change)
          }
        }
        assert.match(yield* refusalOf("delete from evsrc.events where stream = 'closed'"), immutable)
        for (
          const change of [
            "truncate evsrc.closed_streams",
            "delete from evsrc.closed_streams",
            "update evsrc.closed_streams set version = 7 where stream = 'closed'",
            "update evsrc.closed_streams set archived_at = null where stream = 'moved'",
            "update evsrc.closed_streams set archived_at = now() where stream = 'moved'"
          ]
        ) {
          assert.match(yield* refusalOf(change), /^23001/, change)
        }
        // As `archive` does, with one mistake each.
        const moving = (columns: string, condition: string) =>
          `with moving as (delete from evsrc.events where ${condition} returning *)
          insert into evsrc.archived_events select ${columns} from moving`
        assert.match(yield* refusalOf(moving("*", "stream = 'open'")), immutable, "a stream that is open")
        assert.match(yield* refusalOf(moving("*", "stream = 'closed'")), immutable, "one that is not marked")
        yield* sql`update evsrc.closed_streams set archived_at = now() where stream = 'closed'`
        const columns = (yield* sql<{ readonly name: string }>`
        select column_name as name from information_schema.columns
          where table_schema = 'evsrc' and table_name = 'events' order by ordinal_position`).map(({ name }) => name)
        for (const changed of columns) {
          const other: Readonly<Record<string, string>> = {
            position: "position + 1000000",
            stream: "stream || 'x'",
            version: "version + 100",
            type: "type || 'x'",
            schema_version: "schema_version + 1",
            id: "gen_random_uuid()",
            command_id: "'c' || position",
            command_events: "7",
            data: "(data::text || ' ')::json",
            metadata: "(metadata::text || ' ')::json",
            recorded_at: "recorded_at + interval '1 microsecond'",
            tags: "array['x']",
            hash: "'x'",
            closes: "not coalesce(closes, false)"
          }
          const list = columns.map((name) => name === changed ? other[name]! : name).join(", ")
          assert.match(yield* refusalOf(moving(list, "stream = 'closed'")), immutable, `a change of ${changed}`)
        }
        assert.match(
          yield* refusalOf(
            `with moving as (delete from evsrc.events where stream = 'closed' returning *)
            insert into evsrc.archived_events select * from moving where version > 1`
          ),
          immutable,
          "one left behind"
        )
        assert.match(
          yield* refusalOf("insert into evsrc.archived_events select * from evsrc.events where stream = 'closed'"),
          /^23001 an event is either in the log or archived/
        )
        yield* sql.unsafe(moving("*", "stream = 'closed'"))
        assert.deepStrictEqual(yield* log, before)
      }))
  }
)

describe("while streams are closed and archived", () => {
  it.live("no reader misses an event or sees one twice, no projection, and no rebuild", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 12 })
      const other = yield* Layer.build(Layer.fresh(PgEventStore.layer).pipe(Layer.provide(Layer.fresh(client))))
      const elsewhere = Effect.provideService(EventStore.EventStore, Context.get(other, EventStore.EventStore))
      const streams = Array.from({ length: 60 }, (_, i) => `Tick-${i}`)
      const program = Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        let n = 0
        for (const stream of streams) {
          yield* store.append(
            Tick,
            stream,
            Array.from({ length: 20 }, (_, i) => tick(++n, i % 10 === 0 ? "some" : undefined))
          )
        }
        const start = yield* store.head
        const followed: Array<bigint> = []
        const consumer = yield* Effect.forkChild(
          Stream.runForEach(
            store.subscribeEncoded({ pageSize: 7 }),
            (e) => Effect.sync(() => followed.push(e.position))
          )
        )
        const moved = yield* Deferred.make<void>()
        const mover = Effect.forEach(streams, (stream) =>
          Effect.andThen(
            StreamLifecycle.close(Tick, stream, tick(0)),
            Effect.andThen(append(`Open-${stream}`, 0), elsewhere(StreamLifecycle.archive(stream)))
          ), { concurrency: 2, discard: true })
        const repeated = <A, E, R>(look: Effect.Effect<A, E, R>) =>
          Effect.gen(function*() {
            let rounds = 0
            while (!(yield* Deferred.isDone(moved)) || rounds < 3) {
              yield* look
              rounds++
            }
            return rounds
          })
        const contiguous = (versions: ReadonlyArray<number>) => versions.every((version, i) => version === i + 1)
        const readers = [
          // Over many pages, between which streams are moved.
          Effect.map(Stream.runCollect(store.readAllEncoded({ pageSize: 50 })), (log) => {
            assert.isTrue(log.every((e, i) => i === 0 || e.position > log[i - 1]!.position))
            assert.strictEqual(log.filter((e) => e.position <= start).length, 1200, "the log")
          }),
          Effect.forEach(streams.slice(0, 20), (stream) =>
            Effect.map(Stream.runCollect(store.readStreamEncoded(stream, { pageSize: 6 })), (events) => {
              assert.isTrue(
                contiguous(events.map((e) =>
                  e.version
                )) && events.length >= 20,
                stream
              )
            })),
          Effect.map(store.readByQuery([{ tags: ["tag:some"] }]), ({ events }) => {
            assert.strictEqual(events.length, 120, "by tag")
          }),
          Effect.map(store.readByQuery([{ types: ["Ticked"] }]), ({ events }) => {
            assert.strictEqual(events.filter((e) => e.position <= start).length, 1200, "by type")
          }),
          Effect.gen(function*() {
            const before = yield* store.head
            const head = yield* store.head
            assert.isAtLeast(Number(head), Number(before), "the head does not step back")
            const { events } = yield* store[internals].driver.lag({ after: Position.start, to: start, limit: 10_000 })
            assert.strictEqual(events, 1200, "the lag")
            assert.strictEqual(
              (yield* store[internals].driver.readStored({ after: Position.start, limit: 1200 })).events.at(-1)!
                .position,
              start,
              "raw"
            )
          })
        ]
        const rebuilt = repeated(Stream.runDrain(Rebuild.rebuild(Count)))
        const looking = yield* Effect.forEach(readers, (reader) => Effect.forkChild(repeated(reader)))
        const rebuilding = yield* Effect.forkChild(rebuilt)
        yield* mover
        yield* Deferred.succeed(moved, undefined)
        for (const fiber of looking) assert.isAtLeast(yield* Fiber.join(fiber), 3)
        yield* Fiber.join(rebuilding)

        const { position } = yield* append("Last", 0)
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        yield* awaitPosition(Count, position, "30 seconds")
        const total = 1200 + 60 + 60 + 1
        const count = yield* ProjectionStore.get(Count, "all")
        assert.deepStrictEqual(count, yield* Effect.asSome(Effect.succeed({ events: total, sum: (1200 * 1201) / 2 })))
        const log = yield* Stream.runCollect(store.readAllEncoded())
        yield* Effect.repeat(Effect.sleep(5), { until: () => followed.length >= total })
        yield* Fiber.interrupt(consumer)
        assert.deepStrictEqual(followed, log.map((e) => e.position), "the subscription")
        const sql = yield* PgClient.PgClient
        const [left] = yield* sql<{ readonly hot: bigint; readonly archived: bigint }>`
          select (select count(*) from evsrc.events) as hot, (select count(*) from evsrc.archived_events) as archived`
        assert.deepStrictEqual(left, { hot: 61n, archived: 1260n }, "what is moved is gone from where appends are")
      })
      yield* program.pipe(
        Effect.provide(Projector.layer([Count], { batchSize: 30 })),
        Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client)))
      )
    }).pipe(Effect.scoped), 120_000)

  it.live("an append waits for the transaction that closes its stream, and goes on when that is rolled back", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* append("a", 1)
      const waiting = sql`select 1 from pg_locks where locktype = 'advisory' and not granted`
      const closing = Effect.fnUntraced(function*(commit: boolean) {
        const begun = yield* Deferred.make<void>()
        const appends = yield* Effect.forEach(
          [3, 4, 5],
          (n) => Effect.forkChild(Effect.exit(Effect.andThen(Deferred.await(begun), append("a", n))))
        )
        yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
          yield* StreamLifecycle.close(Tick, "a", tick(2))
          assert.strictEqual((yield* StreamLifecycle.status("a"))._tag, "closed", "within the transaction")
          yield* Deferred.succeed(begun, undefined)
          yield* Effect.repeat(waiting, { until: (rows) => rows.length > 0 })
          if (!commit) return yield* Effect.fail("rolled back")
        })))
        return yield* Effect.forEach(appends, Fiber.join)
      })
      const allowed = yield* closing(false)
      assert.isNotEmpty(allowed)
      assert.deepStrictEqual(allowed.filter(Exit.isFailure), [])
      assert.deepInclude(yield* StreamLifecycle.status("a"), { _tag: "open" as const, version: Version.make(4) })
      const refused = yield* closing(true)
      assert.isNotEmpty(refused)
      assert.deepStrictEqual(refused.filter(Exit.isSuccess), [])
      assert.deepInclude(yield* StreamLifecycle.status("a"), { _tag: "closed" as const, version: Version.make(5) })
    }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))
})

describe("an import", () => {
  const storeAt = (url: string) =>
    Layer.fresh(PgEventStore.layer).pipe(
      Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
    )

  it.live("that is killed goes on where it was, until the log is the same byte for byte", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/log.ndjson`
      const [from, to] = [yield* freshDatabase, yield* freshDatabase]
      yield* Effect.gen(function*() {
        for (let n = 0; n < 40; n++) {
          const store = yield* EventStore.EventStore
          yield* store.append(Tick, `Tick-${n}`, Array.from({ length: 250 }, (_, i) => tick(i, "x")), {
            metadata: { commandId: `command-${n}` }
          })
        }
        for (let n = 0; n < 10; n++) {
          yield* StreamLifecycle.close(Tick, `Tick-${n}`, tick(0))
          if (n % 2 === 0) yield* StreamLifecycle.archive(`Tick-${n}`)
        }
        yield* LogTransfer.exportToFile(file)
      }).pipe(Effect.provide(storeAt(from.url)))
      const text = yield* fs.readFileString(file)
      const importer = Script.start(import.meta.resolve("./importing.ts"), {
        args: [file],
        env: { DATABASE_URL: to.url }
      })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        let before = Position.start
        for (const pages of isLong ? [1, 2, 5, 9] : [2, 5]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const script = yield* importer
            yield* script.waitFor(/^ready$/)
            for (let page = 0; page < pages; page++) yield* script.waitFor(/^at /)
            yield* script.signal("SIGKILL")
            yield* script.exited
          }))
          const { last } = store[internals].driver
          // The server may yet be at what it was told last.
          yield* Effect.repeat(Effect.andThen(Effect.sleep(20), last), { until: (now) => now >= before && now > 0n })
          before = yield* last
          const { events } = yield* store[internals].driver.readStored({ after: Position.start, limit: 20_000 })
          const lines = text.split("\n")
          assert.isTrue(
            events.every((e, i) => lines[i + 1]!.includes(`"position":"${e.position}"`)),
            "a beginning of the log"
          )
        }
        const script = yield* importer
        const done = yield* script.waitFor(/^done/)
        assert.isBelow(Number(done.slice(5)), 10_010, "not all was to be written again")
        const lines = yield* Stream.runCollect(LogTransfer.export())
        assert.strictEqual(lines.join(""), text)
      }).pipe(Effect.provide(storeAt(to.url)))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)), 120_000)

  it.live(
    "into a log that others write to is refused: all that they have written is there, and nobody misses anything",
    () =>
      Effect.gen(function*() {
        const [from, to] = [yield* freshDatabase, yield* freshDatabase]
        const lines = yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          for (let n = 0; n < 40; n++) {
            yield* store.append(
              Tick,
              `Tick-${n}`,
              Array.from({ length: 250 }, (_, i) => tick(i))
            )
          }
          return yield* Stream.runCollect(LogTransfer.export())
        }).pipe(Effect.provide(storeAt(from.url)))
        const [one, two] = [yield* Layer.build(storeAt(to.url)), yield* Layer.build(storeAt(to.url))]
        const store = Context.get(two, EventStore.EventStore)
        const seen: Array<bigint> = []
        const consumer = yield* Effect.forkChild(
          Stream.runForEach(store.subscribeEncoded({ pageSize: 100 }), (e) => Effect.sync(() => seen.push(e.position)))
        )
        const acknowledged: Array<bigint> = []
        const importing = yield* Effect.forkChild(
          Effect.flip(Effect.provideContext(LogTransfer.import(Stream.fromIterable(lines)), one))
        )
        yield* store[internals].driver.changed(Position.start)
        // Streams of the export, too.
        const writers = yield* Effect.forEach([0, 1, 2, 39], (n) =>
          Effect.forkChild(Effect.forEach(Array.from({ length: 20 }), () =>
            store.append(Tick, `Tick-${n}`, [tick(1000)]).pipe(
              Effect.tap(({ position }) =>
                Effect.sync(() => acknowledged.push(position))
              ),
              // What was drawn before the import came to the same place.
              Effect.catchReason("EventStoreError", "StoreFailure", () => Effect.void)
            ), { discard: true })))
        const error = yield* Fiber.join(importing)
        assert.include(["TransferRejected", "DamagedExport"], error._tag)
        yield* Effect.forEach(writers, Fiber.join)
        const log = yield* Stream.runCollect(store.readAllEncoded())
        yield* Effect.repeat(Effect.sleep(5), { until: () => seen.length >= log.length })
        yield* Fiber.interrupt(consumer)
        assert.deepStrictEqual(seen, log.map((e) => e.position))
        const positions = new Set(seen)
        assert.isAbove(acknowledged.length, 20)
        assert.isNotEmpty(acknowledged)
        assert.deepStrictEqual(acknowledged.filter((position) => !positions.has(position)), [])
        const versions = new Map<string, number>()
        for (const e of log) {
          assert.strictEqual(e.version, (versions.get(e.stream) ?? 0) + 1, "versions without a hole")
          versions.set(e.stream, e.version)
        }
      }).pipe(Effect.scoped),
    120_000
  )
})
