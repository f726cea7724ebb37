/** Personal data and its erasure, while several processes write, read, project and erase concurrently. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  DateTime,
  type Duration,
  Effect,
  Layer,
  Queue,
  Random,
  Redacted,
  Schedule,
  Schema,
  Stream
} from "effect"
import { Reactivity } from "effect/reactivity"
import { Erasure, EventStore, KeyStore, PersonalData, ProjectionStore, Projector, Version } from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"
import { internals } from "../../src/core/internals.ts"
import type { Fingerprint } from "../../src/core/SchemaFingerprint.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as PostgresTools from "../support/PostgresTools.ts"
import * as Proxy from "../support/Proxy.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { Names, PersonEvent, storesAt } from "./people.ts"

const timeout = 240_000

const rounds = scale(2, 8)

/** Returns every table and column of the schema that contains a text. */
const columnsWith = Effect.fnUntraced(function*(text: string) {
  const sql = yield* PgClient.PgClient
  const columns = yield* sql<{ readonly table: string; readonly column: string }>`
    select table_name as table, column_name as column from information_schema.columns where table_schema = 'evsrc'`
  assert.isAbove(columns.length, 30)
  const found: Array<string> = []
  for (const { column, table } of columns) {
    const rows = yield* sql.unsafe(
      `select 1 from evsrc."${table}" where "${column}"::text like '%' || $1 || '%' limit 1`,
      [text]
    )
    if (rows.length > 0) found.push(`${table}.${column}`)
  }
  return found.toSorted()
})

interface Written {
  readonly person: string
  readonly stream: string
  readonly version: number
  readonly name: string
}

const parseWritten = (line: string): ReadonlyArray<Written> => {
  const found = /^wrote (\S+) (\S+) (\d+) (\S+) \.$/.exec(line)
  if (found === null) return []
  const [, person, stream, version, name] = found
  return [{ person: person!, stream: stream!, version: Number(version), name: name! }]
}

/** Returns the readable name of every event, by stream and version. */
const readNames = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const events = yield* Stream.runCollect(store.readAll(PersonEvent))
  return new Map(events.map(({ event, stream, version }) => [`${stream}/${version}`, event.name]))
})

/** Copies the log to another database, as a backup does. */
const copyLog = Effect.fnUntraced(
  function*(to: string) {
    const sql = yield* PgClient.PgClient
    const [row] = yield* sql<{ readonly rows: string }>`
      select coalesce(json_agg(t), '[]')::text as rows from evsrc.events as t`
    const target = yield* PgClient.makeClient({ url: Redacted.make(to) })
    yield* target`set session_replication_role = replica`
    yield* target`insert into evsrc.events select * from json_populate_recordset(null::evsrc.events, ${
      row!.rows
    }::json)`
    yield* target`select setval('evsrc.positions', (select max(position) from evsrc.events))`
  },
  Effect.scoped,
  Effect.provide(Reactivity.layer)
)

const nameOf = (n: number) => PersonEvent.cases.Named.make({ personId: "ann", writer: "w", name: `secret-${n}` })

const erasedName = (subject: string) => ({ _tag: "Erased", subject })

interface Databases {
  readonly log: string
  readonly keys: string
}

const startWorker = Effect.fnUntraced(function*({ keys, log }: Databases, role: "writer" | "projector") {
  const env = { LOG_URL: log, KEYS_URL: keys, ROLE: role }
  const script = yield* Script.start(import.meta.resolve("./personWorker.ts"), { env })
  yield* script.waitFor(/^ready \.$/)
  return script
})

/** Waits until the log has 60 more events. */
const progress = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const events = Effect.map(
    sql<{ readonly n: bigint }>`select count(*) as n from evsrc.events`,
    ([row]) => row!.n
  )
  const before = yield* events
  yield* Effect.repeat(events, { until: (now) => now >= before + 60n, schedule: Schedule.spaced("20 millis") })
})

/** Erases two random people. Returns the receipts. */
const eraseTwo = Effect.flatMap(
  Effect.forEach([1, 2], () => Effect.map(Random.nextIntBetween(0, 20), (n) => `person-${n}`)),
  (people) => Effect.forEach(people, Erasure.erase, { concurrency: "unbounded" })
)

/** Erases people in several rounds, and kills a writer in the second. Returns the receipts by person and the killed writers. */
const eraseInRounds = Effect.fnUntraced(function*(databases: Databases, writers: Array<Script.Script>) {
  const erased = new Map<string, Erasure.ErasureReceipt>()
  const killed: Array<Script.Script> = []
  for (let round = 0; round < rounds; round++) {
    for (const receipt of yield* eraseTwo) erased.set(receipt.subject, receipt)
    if (round === 1) {
      const victim = writers.shift()!
      yield* victim.signal("SIGKILL")
      killed.push(victim)
      writers.push(yield* startWorker(databases, "writer"))
    }
    yield* progress
  }
  return { erased, killed }
})

type Erased = ReadonlyMap<string, Erasure.ErasureReceipt>

/** Asserts that the writers printed nothing unexpected. Returns the events that they wrote. */
const assertWritersAgree = (lines: ReadonlyArray<string>, erased: Erased) => {
  const written = lines.flatMap(parseWritten)
  assert.isAbove(written.length, 60 * rounds)
  assert.deepStrictEqual(lines.filter((line) => line.startsWith("unexpected")), [])
  const rejected = new Set(lines.flatMap((line) => /^erased (\S+) \.$/.exec(line)?.[1] ?? []))
  assert.includeMembers(Array.from(erased.keys()), Array.from(rejected), "people whose events were rejected")
  assert.isAbove(rejected.size, 0)
  return written
}

type ReadNames = Effect.Success<typeof readNames>

/** Asserts that exactly the names of erased people are unreadable in the events. */
const assertEventsErased = Effect.fnUntraced(
  function*(written: ReadonlyArray<Written>, names: ReadNames, erased: Erased) {
    for (const { name, person, stream, version } of written) {
      const expected = erased.has(person) ? erasedName(person) : name
      assert.deepStrictEqual<unknown>(names.get(`${stream}/${version}`), expected, `${stream}/${version}`)
    }
    assert.isAtLeast(names.size, written.length)
    for (const receipt of erased.values()) {
      assert.deepStrictEqual(receipt.found.plaintext ?? [], [], receipt.subject)
      const after = yield* Erasure.scan(receipt.subject)
      assert.isAtLeast(after.encrypted.events, receipt.found.encrypted.events)
    }
  }
)

/** Asserts that the projection contains every event, and no name of an erased person. */
const assertDocumentsErased = Effect.fnUntraced(function*(names: ReadNames, erased: Erased) {
  const store = yield* EventStore.EventStore
  const projections = yield* ProjectionStore.ProjectionStore
  yield* projections.awaitPosition(Names, yield* store.head, "60 seconds")
  const { items } = yield* ProjectionStore.list(Names, { limit: 100 })
  assert.strictEqual(items.reduce((sum, { events }) => sum + events, 0), names.size, "projected events")
  const readable = Array.from<unknown>(names.values())
  for (const { personId, name } of items.flatMap(({ names }) => Object.values(names))) {
    if (erased.has(personId)) assert.deepStrictEqual<unknown>(name, erasedName(personId))
    else assert.include(readable, name)
  }
})

describe("erasure, with the keys in another database", () => {
  it.live("is complete while processes write, read, project and are killed", () =>
    Effect.gen(function*() {
      const [log, keys, backup] = [yield* freshDatabase, yield* freshDatabase, yield* freshDatabase]
      const databases = { log: log.url, keys: keys.url }
      yield* Effect.gen(function*() {
        const [writers, projectors] = yield* Effect.all(
          (["writer", "projector"] as const).map((role) =>
            Effect.all([startWorker(databases, role), startWorker(databases, role)], { concurrency: 2 })
          ),
          { concurrency: 2 }
        )
        yield* progress
        yield* Layer.build(storesAt(backup.url, keys.url, { migrate: true }))
        yield* copyLog(backup.url)
        const running = Array.from(writers!)
        const { erased, killed } = yield* eraseInRounds(databases, running)
        for (const { write } of running) yield* write("stop")
        const lines = yield* Effect.forEach(
          [...killed, ...running],
          ({ exited, lines }) => Effect.andThen(exited, Queue.collect(lines))
        )
        const written = assertWritersAgree(lines.flat(), erased)
        const names = yield* readNames
        yield* assertEventsErased(written, names, erased)
        yield* assertDocumentsErased(names, erased)
        for (const { write } of projectors!) yield* write("stop")

        assert.deepStrictEqual(yield* columnsWith("secret"), [], "columns with plaintext")
        assert.includeMembers([...yield* columnsWith("person-")], ["events.data", "documents.document"])
        const inBackup = yield* Effect.provide(readNames, storesAt(backup.url, keys.url, { migrate: false }))
        assert.isAbove(inBackup.size, 40)
        for (const [at, name] of inBackup) {
          assert.deepStrictEqual(name, names.get(at), "the backup from before the erasures is as readable as the log")
        }
        assert.isNotEmpty(Array.from(inBackup.values()).filter(PersonalData.isErased))
      }).pipe(Effect.provide(storesAt(log.url, keys.url, { migrate: true })))
    }), timeout)

  it.live(
    "fails without a database of keys, writes no plaintext and loses nothing",
    () =>
      Effect.gen(function*() {
        const log = yield* freshDatabase
        const layer = (keys: string) =>
          PgStores.layer.pipe(
            Layer.provideMerge(
              PgKeyStore.layerWith({ maxAge: 0 }).pipe(
                Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(keys) })))
              )
            ),
            Layer.provideMerge(PgClient.layer({ url: Redacted.make(log.url), maxConnections: 4 }))
          )
        const keys = yield* Proxy.make((yield* freshDatabase).url)
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          yield* store.append(PersonEvent, "ann", [nameOf(1)])
          yield* keys.cut(true)
          const tries = [
            Effect.asVoid(store.append(PersonEvent, "ann", [nameOf(2)])),
            Stream.runDrain(store.readStream(PersonEvent, "ann")),
            Effect.asVoid(Erasure.erase("ann"))
          ]
          for (const attempt of tries) {
            const error = yield* Effect.flip(attempt)
            assert(error._tag === "EventStoreError" && error.reason._tag === "KeyStoreUnavailable", error.message)
            assert.strictEqual(error.isRetryable, true, error.message)
          }
          yield* keys.cut(false)
          const again = Effect.retry(store.append(PersonEvent, "ann", [nameOf(3)]), {
            schedule: Schedule.spaced("50 millis"),
            times: 100
          })
          assert.strictEqual((yield* again).version, 2)
          assert.deepStrictEqual(Array.from((yield* readNames).values()), ["secret-1", "secret-3"])
          assert.deepStrictEqual(yield* columnsWith("secret"), [])
        }).pipe(Effect.provide(layer(keys.url)))
      }),
    timeout
  )
})

describe("a backup from before an erasure, restored after it", () => {
  it.live(
    "has no plaintext by pg_dump and psql, and does not reveal erased data",
    () =>
      Effect.gen(function*() {
        const folder = PostgresTools.folder!
        const [source, target] = yield* Effect.all(
          Array.from({ length: 2 }, () => PostgresServer.make({ settings: { fsync: "off" }, binaries: folder })),
          { concurrency: "unbounded" }
        )
        const keys = yield* freshDatabase
        const eventOf = (personId: string) =>
          PersonEvent.cases.Named.make({ personId, writer: "w", name: `secret-${personId}` })
        const namesIn = Effect.flatMap(EventStore.EventStore, (store) =>
          Effect.map(Stream.runCollect(store.readAll(PersonEvent)), (events) =>
            events.map(({ event }) => event.name)))
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          yield* store.append(PersonEvent, "people", ["ann", "bob"].map(eventOf))
          const projections = yield* ProjectionStore.ProjectionStore
          yield* projections.awaitPosition(Names, yield* store.head, "60 seconds")
          const pgDump = Path.join(folder, "pg_dump")
          const { stdout } = yield* Effect.promise(() =>
            promisify(execFile)(pgDump, [source!.url], { maxBuffer: Infinity })
          )
          assert.isAbove(stdout.split("~encrypted").length, 4)
          assert.notInclude(stdout, "secret-")
          yield* PostgresTools.dumpAndRestore(source!.url, target!.url)
          yield* Erasure.erase("ann")
        }).pipe(
          Effect.provide(Projector.layer([Names])),
          Effect.provide(storesAt(source!.url, keys.url, { migrate: true }))
        )
        yield* Effect.gen(function*() {
          assert.deepStrictEqual(yield* namesIn, [{ _tag: "Erased", subject: "ann" }, "secret-bob"])
          const { items } = yield* ProjectionStore.list(Names)
          assert.deepStrictEqual(
            items.flatMap(({ names }) =>
              Object.values(names)
            ),
            [
              { personId: "ann", name: { _tag: "Erased", subject: "ann" } },
              { personId: "bob", name: "secret-bob" }
            ]
          )
        }).pipe(Effect.provide(storesAt(target!.url, keys.url, { migrate: false })))
      }),
    { ...PostgresTools.needed, timeout }
  )
})

class RolledBack extends Schema.TaggedError<RolledBack>()("RolledBack", {}) {}

describe("erasure, with the keys in the same database", () => {
  const oneDatabase = (url: string, maxAge: Duration.Input = "1 hour") =>
    PgStores.layer.pipe(
      Layer.provideMerge(PgKeyStore.layerWith({ maxAge })),
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
    )

  it.live("never uses a key from a rolled-back transaction again", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        const append = (n: number) => store.append(PersonEvent, "ann", [nameOf(n)])
        const attempt = sql.withTransaction(Effect.gen(function*() {
          yield* append(1)
          yield* append(2)
          assert.strictEqual((yield* Stream.runCollect(store.readStream(PersonEvent, "ann"))).length, 2)
          return yield* new RolledBack()
        }))
        assert.strictEqual((yield* Effect.flip(attempt))._tag, "RolledBack")
        assert.deepStrictEqual(yield* sql`select subject from evsrc_keys.subject_keys`, [])
        yield* append(3)
        yield* sql.withTransaction(append(4))
        // As another process, which has no cached keys.
        const read = yield* Effect.provide(readNames, Layer.fresh(oneDatabase(url)))
        assert.deepStrictEqual(Array.from(read.values()), ["secret-3", "secret-4"])
      }).pipe(Effect.provide(oneDatabase(url)))
    }), timeout)

  it.live("is noticed by a process with a transaction that does not see it", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const keys = yield* KeyStore.KeyStore
        const sql = yield* PgClient.PgClient
        yield* store.append(PersonEvent, "ann", [nameOf(1)])
        const before = yield* keys.lastErasure
        const read = Stream.runCollect(store.readStream(PersonEvent, "ann"))
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`set transaction isolation level repeatable read`
          yield* sql`select 1 from evsrc_keys.erasures`
          const other = yield* Layer.build(Layer.fresh(oneDatabase(url)))
          yield* Context.get(other, KeyStore.KeyStore).erase("ann")
          yield* Effect.sleep("100 millis")
          const error = yield* Effect.flip(read)
          assert.strictEqual(error.reason._tag, "StoreMisconfigured")
          assert.include(error.message, "REPEATABLE READ")
          // As another fiber of the process, outside of the transaction.
          const outside = Effect.updateContext(
            keys.lastErasure,
            (context: Context.Context<never>) => Context.omit(sql.transactionService)(context) as Context.Context<never>
          )
          assert.notStrictEqual(yield* outside, before)
        })).pipe(Effect.scoped)
        const [found] = yield* read
        assert.deepStrictEqual(found?.event.name, PersonalData.Erased.make({ subject: "ann" }))
      }).pipe(Effect.provide(oneDatabase(url, "50 millis")))
    }), timeout)

  it.live("finds what was committed while another append is in flight", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { driver } = store[internals]
      const { config } = yield* PgClient.PgClient
      const job = yield* Effect.provide(PgClient.makeClient(config), Reactivity.layer)
      yield* job`begin`
      yield* job`select 1 from evsrc.append_one(true, 'job', null, null, gen_random_uuid(), 'Ran', 1, '{}', '{}')`
      const { position } = yield* store.append(PersonEvent, "Person-ann", [nameOf(1)], {
        metadata: { actor: "secret-1" }
      })
      assert.strictEqual(yield* store.head, 0n)
      yield* driver.snapshots.write({
        stream: StreamId.make("Person-ann"),
        fingerprint: "print" as Fingerprint,
        version: Version.make(1),
        position,
        eventId: crypto.randomUUID(),
        state: `{"badge":"SECRET-1"}`,
        takenAt: yield* DateTime.now
      })
      const { found } = yield* Erasure.erase("ann")
      assert.deepStrictEqual(found.encrypted, { events: 1, snapshots: 0, documents: 0 })
      assert.deepStrictEqual(found.streams, ["Person-ann"])
      assert.deepStrictEqual(found.plaintext?.map(({ path }) => path), ["metadata.actor"])
      assert.deepStrictEqual(yield* driver.snapshots.page(undefined, 10), [])
      yield* job`rollback`
    }).pipe(
      Effect.scoped,
      Effect.provide(
        PgStores.layer.pipe(
          Layer.provideMerge(PgKeyStore.layerWith({ maxAge: "50 millis" })),
          Layer.provideMerge(layerPostgres({ poolSize: 6 }))
        )
      )
    ), timeout)

  it.live(
    "is rejected within a transaction",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const error = yield* Effect.flip(sql.withTransaction(Erasure.erase("ann")))
          assert(error._tag === "EventStoreError" && error.reason._tag === "InvalidRequest")
          assert.include(error.message, "within a transaction")
          assert.deepStrictEqual(yield* sql`select subject from evsrc_keys.subject_keys`, [])
        }).pipe(Effect.provide(oneDatabase(url)))
      }),
    timeout
  )
})
