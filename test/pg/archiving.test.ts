/** Closed and archived streams, exports and imports on PostgreSQL: concurrent connections, and changes that the database rejects. */
import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  Layer,
  Predicate,
  Redacted,
  Result,
  Schema,
  Stream
} from "effect"
import { Reactivity } from "effect/reactivity"
import {
  Event,
  EventQuery,
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

/** Runs a statement in a session that pretends to be one of the store's functions. */
const pretending = (statement: string) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    yield* sql.unsafe("set local search_path = pg_catalog, pg_temp, pg_catalog")
    return yield* sql.unsafe(statement)
  }).pipe((run) => Effect.flatMap(PgClient.PgClient, (sql) => sql.withTransaction(run)))

/** Returns the SQLSTATE and the message with which the database rejects a statement. */
const rejectionOf = (statement: string) =>
  Effect.gen(function*() {
    const { reason } = yield* Effect.flip(pretending(statement))
    const { cause } = reason
    return Predicate.hasProperty(cause, "code") && Predicate.hasProperty(cause, "message")
      ? `${String(cause.code)} ${String(cause.message)}`
      : String(cause)
  })

const immutable = /^23001 events are immutable/

const logRows = Effect.flatMap(
  PgClient.PgClient,
  (sql) => sql`select l::text as row from evsrc.log l order by position`
)

/** Appends two events to each of the streams open, closed and moved, closes the last two and archives the last. */
const writeStreams = Effect.gen(function*() {
  for (const stream of ["open", "closed", "moved"]) {
    yield* append(stream, 1, "t")
    yield* append(stream, 2)
    if (stream !== "open") yield* StreamLifecycle.close(Tick, stream, tick(3))
  }
  yield* StreamLifecycle.archive("moved")
})

const assertEventsAreImmutable = Effect.gen(function*() {
  for (const table of ["events", "archived_events", "event_tags"]) {
    for (
      const change of [
        `update evsrc.${table} set position = position`,
        `delete from evsrc.${table}`,
        `truncate evsrc.${table}`
      ]
    ) {
      assert.match(yield* rejectionOf(change), immutable, change)
    }
  }
  assert.match(yield* rejectionOf("delete from evsrc.events where stream = 'closed'"), immutable)
})

const assertClosedStreamsAreImmutable = Effect.gen(function*() {
  for (
    const change of [
      "truncate evsrc.closed_streams",
      "delete from evsrc.closed_streams",
      "update evsrc.closed_streams set version = 7 where stream = 'closed'",
      "update evsrc.closed_streams set archived_at = null where stream = 'moved'",
      "update evsrc.closed_streams set archived_at = now() where stream = 'moved'"
    ]
  ) {
    assert.match(yield* rejectionOf(change), /^23001/, change)
  }
})

/** Returns the statement by which `archive` moves events. */
const moving = (columns: string, condition: string) =>
  `with moving as (delete from evsrc.events where ${condition} returning *)
  insert into evsrc.archived_events select ${columns} from moving`

/** Expressions that change the value of each column of `events`. */
const changedColumns: Readonly<Record<string, string>> = {
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

/** Asserts that the database rejects a move of the stream closed that changes, omits or copies an event. */
const assertMovesAreVerbatim = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const columns = (yield* sql<{ readonly name: string }>`
    select column_name as name from information_schema.columns
      where table_schema = 'evsrc' and table_name = 'events' order by ordinal_position`).map(({ name }) => name)
  assert.sameMembers(columns, Object.keys(changedColumns))
  for (const changed of columns) {
    const list = columns.map((name) => name === changed ? changedColumns[name]! : name).join(", ")
    assert.match(yield* rejectionOf(moving(list, "stream = 'closed'")), immutable, `a change of ${changed}`)
  }
  assert.match(
    yield* rejectionOf(
      `with moving as (delete from evsrc.events where stream = 'closed' returning *)
      insert into evsrc.archived_events select * from moving where version > 1`
    ),
    immutable,
    "an event that is not archived"
  )
  assert.match(
    yield* rejectionOf("insert into evsrc.archived_events select * from evsrc.events where stream = 'closed'"),
    /^23001 an event is either in the log or archived/
  )
})

layer(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())), { excludeTestServices: true })(
  "the database",
  (it) => {
    it.effect("removes an event only by a move to the archive, byte for byte", () =>
      Effect.gen(function*() {
        yield* writeStreams
        const before = yield* logRows
        assert.strictEqual(before.length, 8)
        yield* assertEventsAreImmutable
        yield* assertClosedStreamsAreImmutable
        assert.match(yield* rejectionOf(moving("*", "stream = 'open'")), immutable, "a stream that is open")
        assert.match(yield* rejectionOf(moving("*", "stream = 'closed'")), immutable, "a stream without archived_at")
        yield* pretending("update evsrc.closed_streams set archived_at = now() where stream = 'closed'")
        yield* assertMovesAreVerbatim
        yield* pretending(moving("*", "stream = 'closed'"))
        assert.deepStrictEqual(yield* logRows, before)
      }))
  }
)

const streams = Array.from({ length: 60 }, (_, i) => `Tick-${i}`)
const eventsPerStream = 20
const initialEvents = streams.length * eventsPerStream

/** Fills the streams. Every tenth event has a tag. */
const fillStreams = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  let n = 0
  for (const stream of streams) {
    yield* store.append(
      Tick,
      stream,
      Array.from({ length: eventsPerStream }, (_, i) => tick(++n, i % 10 === 0 ? "some" : undefined))
    )
  }
  return yield* store.head
})

const positionsOutOfOrder = (positions: ReadonlyArray<bigint>) =>
  positions.filter((position, i) => i > 0 && position <= positions[i - 1]!)

/** Returns readers that find every event up to `start`, in order, wherever it is stored. */
const readersOf = (start: Position.Position) =>
  Effect.map(EventStore.EventStore, (store) => [
    // Streams are archived between the many pages.
    Effect.map(Stream.runCollect(store.readAllEncoded({ pageSize: 50 })), (log) => {
      assert.deepStrictEqual(positionsOutOfOrder(log.map((e) => e.position)), [])
      assert.strictEqual(log.filter((e) => e.position <= start).length, initialEvents, "events of the log")
    }),
    Effect.forEach(streams.slice(0, 20), (stream) =>
      Effect.map(Stream.runCollect(store.readStreamEncoded(stream, { pageSize: 6 })), (events) => {
        assert.isAtLeast(events.length, eventsPerStream, stream)
        assert.deepStrictEqual(
          events.map((e): number =>
            e.version
          ),
          events.map((_, i) => i + 1),
          stream
        )
      })),
    Effect.map(store.readByQuery(EventQuery.ofStoredTypes([{ tags: ["tag:some"] }])), ({ events }) => {
      assert.strictEqual(events.length, initialEvents / 10, "events by tag")
    }),
    Effect.map(store.readByQuery(EventQuery.ofStoredTypes([{ types: ["Ticked"] }])), ({ events }) => {
      assert.strictEqual(events.filter((e) => e.position <= start).length, initialEvents, "events by type")
    }),
    Effect.gen(function*() {
      const before = yield* store.head
      const head = yield* store.head
      assert.isAtLeast(Number(head), Number(before), "the high-water mark does not go back")
      const { driver } = store[internals]
      const { events: lag } = yield* driver.lag({ after: Position.start, to: start, limit: 10_000 })
      assert.strictEqual(lag, initialEvents, "the lag")
      const { events } = yield* driver.readStored({ after: Position.start, limit: initialEvents })
      assert.strictEqual(events.at(-1)!.position, start, "the last stored event")
    })
  ])

/** Repeats a reader until `done`, and three times at least. Returns how often it ran. */
const repeatUntil = (done: Deferred.Deferred<void>) => <A, E, R>(reader: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    let rounds = 0
    while (!(yield* Deferred.isDone(done)) || rounds < 3) {
      yield* reader
      rounds++
    }
    return rounds
  })

/** Asserts that the projection contains every event once. */
const assertProjected = Effect.fnUntraced(function*(total: number) {
  const { position } = yield* append("Last", 0)
  const { awaitPosition } = yield* ProjectionStore.ProjectionStore
  yield* awaitPosition(Count, position, "1 minute")
  const count = yield* ProjectionStore.get(Count, "all")
  const sum = initialEvents * (initialEvents + 1) / 2
  assert.deepStrictEqual(count, yield* Effect.asSome(Effect.succeed({ events: total, sum })))
})

const countsOfTables = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql<{ readonly hot: bigint; readonly archived: bigint }>`
      select (select count(*) from evsrc.events) as hot, (select count(*) from evsrc.archived_events) as archived`
)

describe("while streams are closed and archived", () => {
  it.live("readers, projections and rebuilds process every event once", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 12 })
      const other = yield* Layer.build(Layer.fresh(PgEventStore.layer).pipe(Layer.provide(Layer.fresh(client))))
      const elsewhere = Effect.provideService(EventStore.EventStore, Context.get(other, EventStore.EventStore))
      const archiveAll = Effect.forEach(streams, (stream) =>
        Effect.andThen(
          StreamLifecycle.close(Tick, stream, tick(0)),
          Effect.andThen(append(`Open-${stream}`, 0), elsewhere(StreamLifecycle.archive(stream)))
        ), { concurrency: 2, discard: true })
      const program = Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const start = yield* fillStreams
        const received: Array<bigint> = []
        const consumer = yield* Effect.forkChild(
          Stream.runForEach(
            store.subscribeEncoded({ pageSize: 7 }),
            (e) => Effect.sync(() => received.push(e.position))
          )
        )
        const archived = yield* Deferred.make<void>()
        const repeated = repeatUntil(archived)
        const reading = yield* Effect.forEach(yield* readersOf(start), (reader) => Effect.forkChild(repeated(reader)))
        const rebuilding = yield* Effect.forkChild(repeated(Stream.runDrain(Rebuild.rebuild(Count))))
        yield* archiveAll
        yield* Deferred.succeed(archived, undefined)
        for (const fiber of reading) assert.isAtLeast(yield* Fiber.join(fiber), 3)
        yield* Fiber.join(rebuilding)

        const total = initialEvents + 2 * streams.length + 1
        yield* assertProjected(total)
        const log = yield* Stream.runCollect(store.readAllEncoded())
        assert.strictEqual(log.length, total)
        yield* Effect.repeat(Effect.sleep(5), { until: () => received.length >= total })
        yield* Fiber.interrupt(consumer)
        assert.deepStrictEqual(received, log.map((e) => e.position), "positions of the subscription")
        // Each closed stream is archived with the event that closes it.
        assert.deepStrictEqual(yield* countsOfTables, [{ hot: 61n, archived: 1260n }])
      })
      yield* program.pipe(
        Effect.provide(Projector.layer([Count], { batchSize: 30 })),
        Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client)))
      )
    }).pipe(Effect.scoped))

  it.live("an append waits for the transaction that closes its stream", () =>
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
          assert.strictEqual((yield* StreamLifecycle.status("a"))._tag, "closed", "the status within the transaction")
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
      const rejected = yield* closing(true)
      assert.isNotEmpty(rejected)
      assert.deepStrictEqual(rejected.filter(Exit.isSuccess), [])
      assert.deepInclude(yield* StreamLifecycle.status("a"), { _tag: "closed" as const, version: Version.make(5) })
    }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres())))))
})

const storeAt = (url: string) =>
  Layer.fresh(PgEventStore.layer).pipe(
    Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
  )

/** Appends 250 events to each of 40 streams. */
const fillForExport = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  for (let n = 0; n < 40; n++) {
    yield* store.append(Tick, `Tick-${n}`, Array.from({ length: 250 }, (_, i) => tick(i, "x")), {
      metadata: { commandId: `command-${n}` }
    })
  }
})

const closeAndArchiveSome = Effect.gen(function*() {
  for (let n = 0; n < 10; n++) {
    yield* StreamLifecycle.close(Tick, `Tick-${n}`, tick(0))
    if (n % 2 === 0) yield* StreamLifecycle.archive(`Tick-${n}`)
  }
})

const positionIn = (line: string) => /"position":"(\d+)"/.exec(line)?.[1]

/** Kills an importer after some pages, again and again, and asserts that the log is a prefix of the export each time. */
const killImporters = <E, R>(importer: Effect.Effect<Script.Script, E, R>, lines: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const { last, readStored } = store[internals].driver
    let before = Position.start
    for (const pages of isLong ? [1, 2, 5, 9] : [2, 5]) {
      yield* Effect.scoped(Effect.gen(function*() {
        const script = yield* importer
        yield* script.waitFor(/^ready$/)
        for (let page = 0; page < pages; page++) yield* script.waitFor(/^at /)
        yield* script.signal("SIGKILL")
        yield* script.exited
      }))
      // The server may still execute the last statement of the killed importer.
      yield* Effect.repeat(Effect.andThen(Effect.sleep(20), last), { until: (now) => now >= before && now > 0n })
      before = yield* last
      const { events } = yield* readStored({ after: Position.start, limit: 20_000 })
      assert.isNotEmpty(events)
      assert.deepStrictEqual(
        events.map((e): string | undefined => String(e.position)),
        lines.slice(1, events.length + 1).map(positionIn)
      )
    }
  })

/** Starts writers to four streams. Each adds the positions of its events to `acknowledged`. */
const startWriters = (acknowledged: Array<bigint>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    // The export contains these streams too.
    return yield* Effect.forEach([0, 1, 2, 39], (n) =>
      Effect.forkChild(Effect.forEach(Array.from({ length: 20 }), () =>
        store.append(Tick, `Tick-${n}`, [tick(1000)]).pipe(
          Effect.tap(({ position }) =>
            Effect.sync(() => acknowledged.push(position))
          ),
          // The import may have written the position that the append drew before.
          Effect.catchReason("EventStoreError", "StoreFailure", () => Effect.void)
        ), { discard: true })))
  })

describe("an import", () => {
  it.live("resumes after kill -9 and restores the log byte for byte", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/log.ndjson`
      const [from, to] = [yield* freshDatabase, yield* freshDatabase]
      yield* Effect.gen(function*() {
        yield* fillForExport
        yield* closeAndArchiveSome
        yield* LogTransfer.exportToFile(file)
      }).pipe(Effect.provide(storeAt(from.url)))
      const text = yield* fs.readFileString(file)
      const importer = Script.start(import.meta.resolve("./importing.ts"), {
        args: [file],
        env: { DATABASE_URL: to.url }
      })
      yield* Effect.gen(function*() {
        yield* killImporters(importer, text.split("\n"))
        const script = yield* importer
        const done = yield* script.waitFor(/^done/)
        assert.isBelow(Number(done.slice(5)), 10_010, "the last importer writes only the rest")
        const lines = yield* Stream.runCollect(LogTransfer.export())
        assert.strictEqual(lines.join(""), text)
      }).pipe(Effect.provide(storeAt(to.url)))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

  it.live("into a log with other writers is rejected and loses none of their events", () =>
    Effect.gen(function*() {
      const [from, to] = [yield* freshDatabase, yield* freshDatabase]
      const lines = yield* Effect.andThen(fillForExport, Stream.runCollect(LogTransfer.export())).pipe(
        Effect.provide(storeAt(from.url))
      )
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
      const writers = yield* Effect.provideService(startWriters(acknowledged), EventStore.EventStore, store)
      const error = yield* Fiber.join(importing)
      assert.include(["TransferRejected", "DamagedExport"], error._tag)
      yield* Effect.forEach(writers, Fiber.join)
      const log = yield* Stream.runCollect(store.readAllEncoded())
      yield* Effect.repeat(Effect.sleep(5), { until: () => seen.length >= log.length })
      yield* Fiber.interrupt(consumer)
      assert.deepStrictEqual(seen, log.map((e) => e.position))
      const positions = new Set(seen)
      assert.isAbove(acknowledged.length, 20)
      assert.deepStrictEqual(acknowledged.filter((position) => !positions.has(position)), [])
      const versions = new Map<string, number>()
      for (const e of log) {
        assert.strictEqual(e.version, (versions.get(e.stream) ?? 0) + 1, `the versions of ${e.stream} have no gap`)
        versions.set(e.stream, e.version)
      }
    }).pipe(Effect.scoped))

  /** Starts an import of one event, whose position is 2, and then an append; both wait for the table until the effect has returned. */
  const importBesideAppend = (appended: ReturnType<typeof append>) =>
    Effect.gen(function*() {
      const [from, to] = [yield* freshDatabase, yield* freshDatabase]
      const sqlOf = (url: string) => PgClient.make({ url: Redacted.make(url) }).pipe(Effect.provide(Reactivity.layer))
      const lines = yield* Effect.gen(function*() {
        const sql = yield* sqlOf(from.url)
        // The log begins with a position that was rolled back.
        yield* sql`select nextval('evsrc.positions')`
        yield* append("a", 1)
        return yield* Stream.runCollect(LogTransfer.export())
      }).pipe(Effect.provide(storeAt(from.url)))
      const [one, two] = [yield* Layer.build(storeAt(to.url)), yield* Layer.build(storeAt(to.url))]
      const sql = yield* sqlOf(to.url)
      const waiting = (sessions: number) =>
        Effect.repeat(
          sql`select from pg_locks where locktype = 'relation' and relation = 'evsrc.events'::regclass and not granted`,
          { until: (rows) => rows.length === sessions }
        )
      const [importing, appending] = yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`lock table evsrc.events in share row exclusive mode`
        const importing = yield* Effect.forkScoped(
          Effect.result(Effect.provideContext(LogTransfer.import(Stream.fromIterable(lines)), one))
        )
        yield* waiting(1)
        const appending = yield* Effect.forkScoped(Effect.provideContext(appended, two))
        yield* waiting(2)
        return [importing, appending] as const
      }))
      const imported = yield* Fiber.join(importing)
      const { position } = yield* Fiber.join(appending)
      const log = yield* Stream.runCollect(Context.get(two, EventStore.EventStore).readAllEncoded())
      return { imported, position, log: log.map((event) => [event.position, event.stream]) }
    })

  it.live(
    "is rejected while an append is in flight that has drawn a position between its events",
    () =>
      Effect.gen(function*() {
        // With a tag, an append draws its position before it writes.
        const { imported, log, position } = yield* importBesideAppend(append("foreign", 9, "tagged"))
        assert.strictEqual(position, Position.make(1n))
        if (Result.isSuccess(imported)) return assert.fail("the import was not rejected")
        assert.strictEqual(imported.failure._tag, "TransferRejected")
        assert.include(imported.failure.message, "Another process appends to the log")
        assert.deepStrictEqual(log, [[1n, "foreign"]])
      }).pipe(Effect.scoped)
  )

  it.live("waits for an append on the condition that its tags have no event", () =>
    Effect.gen(function*() {
      const [from, to] = [yield* freshDatabase, yield* freshDatabase]
      const lines = yield* Effect.andThen(append("a", 1, "tagged"), Stream.runCollect(LogTransfer.export())).pipe(
        Effect.provide(storeAt(from.url))
      )
      const target = yield* Layer.build(storeAt(to.url))
      const sql = yield* PgClient.make({ url: Redacted.make(to.url) }).pipe(Effect.provide(Reactivity.layer))
      const importing = yield* sql.withTransaction(Effect.gen(function*() {
        // As an append does before it looks for matches.
        yield* sql`select evsrc.lock_condition_keys(array['Other'], null, array[row('{}', '{tag:tagged}')::evsrc.query_item], null)`
        const importing = yield* Effect.forkScoped(
          Effect.provideContext(LogTransfer.import(Stream.fromIterable(lines)), target)
        )
        const waiting = sql`select from pg_locks where locktype = 'advisory' and not granted`
        yield* Effect.repeat(waiting, { until: (rows) => rows.length === 1 || importing.pollUnsafe() !== undefined })
        assert.isUndefined(importing.pollUnsafe(), "the import has not ended")
        return importing
      }))
      assert.strictEqual((yield* Fiber.join(importing)).written, 1)
    }).pipe(Effect.scoped))

  it.live(
    "ends before an append that waits and has drawn no position, which then comes after its events",
    () =>
      Effect.gen(function*() {
        const { imported, log, position } = yield* importBesideAppend(append("foreign", 9))
        if (Result.isFailure(imported)) return yield* imported.failure
        assert.strictEqual(position, Position.make(3n))
        assert.deepStrictEqual(log, [[2n, "a"], [3n, "foreign"]])
      }).pipe(Effect.scoped)
  )
})
