/** Tampering that a superuser can do: changes of the tables past the store and its triggers. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Event, EventStore, EventStoreError, HashChain, LogTransfer, Position, StreamLifecycle } from "evsrc"
import { PgEventStore, PgMigrations, type PgOptions } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase, layerPglite, layerPostgres } from "../support/Database.ts"
import { isLong } from "../support/scale.ts"

const Said = Schema.TaggedUnion({ Said: { text: Schema.String } })
const say = (stream: string, ...texts: ReadonlyArray<string>) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) =>
      store.append(Said, stream, texts.map((text) => ({ _tag: "Said", text })), {
        metadata: { actor: "ann", commandId: `${stream}-${texts.join()}` }
      })
  )

/** Appends positions 1 to 4 to stream a, 5 and 6 to b, and 7 to c. */
const written = Effect.gen(function*() {
  yield* say("a", "one", "two")
  yield* say("a", "three")
  yield* say("a", "four")
  yield* say("b", "five", "six")
  yield* say("c", "seven")
  return yield* HashChain.verify()
})

const tampered = (...statements: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const tables = ["events", "archived_events"]
    for (const table of tables) yield* sql.unsafe(`alter table evsrc.${table} disable trigger user`)
    for (const statement of statements) yield* sql.unsafe(statement)
    for (const table of tables) yield* sql.unsafe(`alter table evsrc.${table} enable trigger user`)
  })

const at = (kind: string, stream: string, version: number, position: number) => ({
  kind,
  stream,
  version,
  position: BigInt(position)
})
const missing = (stream: string, version: number, last: number, position: number) => ({
  ...at("missing", stream, version, position),
  last
})

const set = (what: string, position: number) => `update evsrc.events set ${what} where position = ${position}`
const changed = at("changed", "a", 2, 2)
const double = (position: number) =>
  `insert into evsrc.archived_events select * from evsrc.events where position = ${position}`

interface Tampering {
  readonly statements: ReadonlyArray<string>
  /** The faults that `verify` finds without an anchor. */
  readonly faults: ReadonlyArray<unknown>
  /** False for a change that an anchor does not detect either. */
  readonly anchored?: false
}

const tamperings: Readonly<Record<string, Tampering>> = {
  "one byte of a payload": {
    statements: [set(`data = replace(data::text, 'two', 'twp')::json`, 2)],
    faults: [changed]
  },
  "a space in metadata": { statements: [set(`metadata = (metadata::text || ' ')::json`, 2)], faults: [changed] },
  "a time, by a millisecond": {
    statements: [set(`recorded_at = recorded_at + '1 millisecond'`, 2)],
    faults: [changed]
  },
  "a time, by a microsecond": {
    statements: [set(`recorded_at = recorded_at + '1 microsecond'`, 2)],
    faults: [changed]
  },
  "the type": { statements: [set(`type = 'Sait'`, 2)], faults: [changed] },
  "the version of the Schema": { statements: [set(`schema_version = 2`, 2)], faults: [changed] },
  "the id": { statements: [set(`id = gen_random_uuid()`, 2)], faults: [changed] },
  "the flag that closes its stream": { statements: [set(`closes = true`, 2)], faults: [changed] },
  "tags": {
    statements: [set(`tags = array['x:y']`, 2)],
    faults: [changed, { ...at("tagMissing", "a", 2, 2), tag: "x:y" }]
  },
  "the command id": { statements: [set(`command_id = command_id || 'x'`, 3)], faults: [at("changed", "a", 3, 3)] },
  "the number of a command's events": {
    statements: [set(`command_events = 1`, 1)],
    faults: [at("changed", "a", 1, 1)]
  },
  "the position": { statements: [set(`position = nextval('evsrc.positions')`, 7)], faults: [at("changed", "c", 1, 8)] },
  "an infinite time": { statements: [set(`recorded_at = 'infinity'`, 2)], faults: [changed] },
  "a version below all others": { statements: [set("version = -1", 7)], faults: [at("changed", "c", -1, 7)] },
  "a version beyond all others": {
    statements: [set("version = 9007199254740992", 7)],
    faults: [missing("c", 1, 9007199254740991, 7)]
  },
  "the last event of a stream": { statements: [set(`data = '{}'`, 4)], faults: [at("changed", "a", 4, 4)] },
  "a hash": {
    statements: [set(`hash = set_byte(hash, 31, get_byte(hash, 31) # 1)`, 2)],
    faults: [at("hash", "a", 2, 2)]
  },
  "the hash of the last event": {
    statements: [set(`hash = set_byte(hash, 0, get_byte(hash, 0) # 1)`, 4)],
    faults: [at("changed", "a", 4, 4)],
    // An anchor covers the events, not their hashes.
    anchored: false
  },
  "an event and its hash": {
    statements: [set(`data = '{}', hash = sha256('x')`, 2)],
    faults: [changed, at("changed", "a", 3, 3)]
  },
  "a removed hash": { statements: [set(`hash = null`, 2)], faults: [at("unchained", "a", 2, 2)] },
  "two swapped payloads": {
    statements: [
      `update evsrc.events e set data = o.data from evsrc.events o
        where e.position in (2, 3) and o.position in (2, 3) and e.position <> o.position`
    ],
    faults: [changed, at("changed", "a", 3, 3)]
  },
  "two swapped events": {
    statements: [set("version = 99", 2), set("version = 2", 3), set("version = 3", 2)],
    // Each event keeps its own hash: version 3 comes first in the log.
    faults: [at("changed", "a", 3, 2), at("changed", "a", 2, 3), at("changed", "a", 4, 4)]
  },
  "an event moved to another stream": {
    statements: [set("stream = 'c', version = 2", 6)],
    faults: [at("changed", "c", 2, 6)]
  },
  "an event removed from the middle": {
    statements: [`delete from evsrc.events where position = 2`],
    faults: [missing("a", 2, 2, 3)]
  },
  "two events removed from the middle": {
    statements: [`delete from evsrc.events where position in (2, 3)`],
    faults: [missing("a", 2, 3, 4)]
  },
  "the beginning of a stream": {
    statements: [`delete from evsrc.events where position in (1, 2)`],
    faults: [missing("a", 1, 2, 3)]
  },
  "an event added at the end, without a hash": {
    statements: [
      "alter table evsrc.events disable trigger events_hash_chain",
      `insert into evsrc.events (position, stream, version, type, schema_version, id, data, metadata, recorded_at)
        values (nextval('evsrc.positions'), 'b', 3, 'Said', 1, gen_random_uuid(), '{}', '{}', date_trunc('milliseconds', now()))`
    ],
    faults: [at("unchained", "b", 3, 9)],
    anchored: false
  },
  "a doubled event": {
    statements: [double(3)],
    faults: [at("doubled", "a", 3, 3)]
  },
  "an event added in the middle, with the version of another and a right hash": {
    statements: [
      "create trigger forge before insert on evsrc.archived_events for each row execute function evsrc.set_event_hash()",
      `insert into evsrc.archived_events (position, stream, version, type, schema_version, id, data, metadata, recorded_at)
        select nextval('evsrc.positions'), stream, version, type, schema_version, gen_random_uuid(), '{"text":"forged"}', '{}', recorded_at
          from evsrc.events where position = 2`,
      "drop trigger forge on evsrc.archived_events"
    ],
    faults: [at("doubled", "a", 2, 10)],
    // It is above the position of the anchor.
    anchored: false
  },
  "two doubled events, one of them changed and one the last": {
    statements: [double(2), double(7), set(`data = '{}'`, 2)],
    faults: [changed, at("doubled", "a", 2, 2), at("doubled", "c", 1, 7)]
  },
  "the end of a stream": { statements: [`delete from evsrc.events where position = 6`], faults: [] },
  "the end of the log": { statements: [`delete from evsrc.events where position = 7`], faults: [] },
  "a whole stream": { statements: [`delete from evsrc.events where stream = 'a'`], faults: [] },
  "a recomputed chain": {
    statements: [
      `create table again as select * from evsrc.events where stream = 'a'`,
      `delete from evsrc.events where stream = 'a'`,
      `insert into evsrc.events select position, stream, version, type, schema_version, id, command_id, command_events,
        case when version = 2 then '{"text":"other"}'::json else data end, metadata, recorded_at, tags, null
        from again order by version`
    ],
    faults: []
  }
}

const chained = PgEventStore.layerWith({ hashChain: true })

const backEnds = { PGlite: layerPglite, PostgreSQL: layerPostgres }

for (const [name, client] of Object.entries(backEnds)) {
  describe(`the hash chain on ${name}`, () => {
    it.live(
      "reports each change and its place, and with an anchor also truncation",
      () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const { anchor, ...report } = yield* written
          assert.deepInclude(report, { isIntact: true, verified: 7, unchained: 0, faults: [], faultCount: 0 })
          yield* sql`create table original as select * from evsrc.events`
          // PGlite runs the same statements.
          const all = Object.entries(tamperings)
          for (const [what, { anchored, faults, statements }] of isLong || name !== "PGlite" ? all : all.slice(0, 5)) {
            yield* tampered(...statements)
            const alone = yield* HashChain.verify()
            assert.deepStrictEqual<unknown>(alone.faults, faults, what)
            assert.deepStrictEqual([alone.isIntact, alone.faultCount], [faults.length === 0, faults.length], what)
            const against = yield* HashChain.verify({ against: anchor, pageSize: 2 })
            assert.deepStrictEqual(
              against.faults.map(({ kind }) => kind).filter((kind) => kind === "anchor"),
              anchored === false ? [] : ["anchor"],
              `against the anchor: ${what}`
            )
            assert.deepStrictEqual<unknown>(against.faults.filter(({ kind }) => kind !== "anchor"), faults, what)
            // Restores the original rows, hashes included.
            yield* tampered(
              "drop table if exists again",
              "delete from evsrc.events",
              "delete from evsrc.archived_events",
              "alter table evsrc.events disable trigger events_hash_chain",
              "insert into evsrc.events select * from original",
              "alter table evsrc.events enable trigger events_hash_chain"
            )
            assert.deepStrictEqual((yield* HashChain.verify({ against: anchor })).faults, [], `restored after: ${what}`)
          }
          // `maxFaults` limits the list, not the count.
          yield* tampered(`update evsrc.events set data = '{}'`)
          const many = yield* HashChain.verify({ maxFaults: 3 })
          assert.deepStrictEqual([many.faults.length, many.faultCount, many.verified], [3, 7, 0])
        }).pipe(Effect.provide(chained.pipe(Layer.provideMerge(client()))))
    )

    it.live("reports what the index of tags lacks, and what it has too many", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const store = yield* EventStore.EventStore
        const Sold = Schema.TaggedUnion({ Sold: { by: Schema.Array(Schema.String) } }).pipe(Event.tags({ by: "by" }))
        const sell = (stream: string, ...by: ReadonlyArray<string>) =>
          store.append(Sold, stream, [{ _tag: "Sold", by }])
        yield* sell("a", "ann", "bob", "ann")
        yield* sell("b")
        yield* sell("b", "ann")
        yield* store.close(Sold, "b", { _tag: "Sold", by: ["bob"] })
        yield* StreamLifecycle.archive("b")
        const verify = HashChain.verify({ pageSize: 2 })
        assert.deepStrictEqual((yield* verify).faults, [])
        const indexed = (...statements: ReadonlyArray<string>) =>
          tampered(
            "alter table evsrc.event_tags disable trigger user",
            ...statements,
            "alter table evsrc.event_tags enable trigger user"
          )
        const row = (tag: string, position: number) => `(hashtextextended('by:${tag}', 0), ${position})`
        yield* indexed(
          `delete from evsrc.event_tags where (tag_hash, position) in (${row("bob", 1)}, ${row("ann", 3)})`,
          `insert into evsrc.event_tags values ${row("ann", 2)}, ${row("eve", 4)}, ${row("ann", 9)}`
        )
        const { faultCount, faults, isIntact } = yield* verify
        assert.deepStrictEqual<unknown>(faults, [
          { ...at("tagMissing", "a", 1, 1), tag: "by:bob" },
          { kind: "tagExtra", position: 2n },
          { ...at("tagMissing", "b", 2, 3), tag: "by:ann" },
          { kind: "tagExtra", position: 4n },
          { kind: "tagExtra", position: 9n }
        ])
        assert.deepStrictEqual([isIntact, faultCount], [false, 5])
        yield* sql`select evsrc.rebuild_event_tags()`
        assert.deepStrictEqual((yield* verify).faults, [])
        // More rows than a page of the index has, with many of one hash.
        yield* indexed(
          "insert into evsrc.event_tags select n % 3, 1000 + n from generate_series(1, 4500) as n"
        )
        assert.strictEqual((yield* verify).faultCount, 4500)
        yield* indexed("delete from evsrc.event_tags")
        assert.deepStrictEqual((yield* verify).faults.map(({ kind, position }) => [kind, position]), [
          ["tagMissing", 1n],
          ["tagMissing", 1n],
          ["tagMissing", 3n],
          ["tagMissing", 4n]
        ])
      }).pipe(Effect.provide(chained.pipe(Layer.provideMerge(client())))))

    it.live("begins with the first append after it is enabled, for every process", () =>
      Effect.gen(function*() {
        const use = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>, options: PgOptions = {}) =>
          Effect.provide(effect, Layer.fresh(PgEventStore.layerWith(options)))
        yield* use(say("a", "one", "two"))
        yield* use(say("b", "three"))
        const { anchor, ...before } = yield* use(HashChain.verify())
        assert.deepInclude(before, { isIntact: true, verified: 0, unchained: 3 })
        // Without its migration the option is an error, never silently ignored.
        const rejected = yield* Effect.flip(
          Effect.provide(Effect.void, Layer.fresh(PgEventStore.layerWithoutMigrations({ hashChain: true })))
        )
        assert.instanceOf(rejected, EventStoreError)
        assert.strictEqual(rejected.reason._tag, "StoreMisconfigured")
        yield* use(say("a", "four"), { hashChain: true })
        yield* use(say("a", "five"), { hashChain: true })
        yield* use(say("b", "six", "seven"))
        yield* Effect.provide(Effect.void, Layer.fresh(PgEventStore.layerWithoutMigrations({ hashChain: true })))
        const { anchor: _, ...after } = yield* use(HashChain.verify({ against: anchor }))
        assert.deepInclude(after, { isIntact: true, verified: 4, unchained: 3 })
        // An anchor also covers events without a hash.
        yield* tampered(set(`data = '{}'`, 1))
        assert.deepStrictEqual((yield* use(HashChain.verify())).faults, [])
        assert.deepStrictEqual(
          (yield* use(HashChain.verify({ against: anchor }))).faults.map(({ kind }) => kind),
          ["anchor"]
        )
        // The first hash of a stream covers only its own event.
        yield* tampered(set(`data = '{}'`, 4))
        assert.deepStrictEqual<unknown>(
          (yield* use(HashChain.verify())).faults,
          [{ kind: "changed", stream: "a", version: 3, position: Position.make(4n) }]
        )
      }).pipe(Effect.provide(client())))
  })
}

for (const [name, client] of Object.entries(backEnds)) {
  it.live(
    `imports a log whose chain began midway, with and without a chain, on ${name}`,
    () =>
      Effect.gen(function*() {
        const source = client()
        const from = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>, options: PgOptions) =>
          Effect.provide(effect, Layer.fresh(PgEventStore.layerWith(options)))
        const { anchor, first, lines } = yield* Effect.provide(
          Effect.gen(function*() {
            yield* from(Effect.andThen(say("a", "one", "two"), say("b", "three")), {})
            yield* from(Effect.andThen(say("a", "four"), say("b", "five")), { hashChain: true })
            const { anchor } = yield* from(HashChain.verify(), {})
            const exported = Effect.gen(function*() {
              const { driver } = (yield* EventStore.EventStore)[internals]
              const { events: [first] } = yield* driver.readStored({ after: Position.start, limit: 1 })
              return { anchor, first: first!, lines: yield* Stream.runCollect(LogTransfer.export()) }
            })
            return yield* from(exported, {})
          }),
          source
        )
        for (const hashChain of [true, false]) {
          yield* Effect.gen(function*() {
            // As after an import that stopped behind the first event, which has no hash.
            const { driver } = (yield* EventStore.EventStore)[internals]
            assert.deepStrictEqual(yield* driver.restore({ after: Position.start, events: [first] }), {
              _tag: "Restored"
            })
            yield* LogTransfer.import(Stream.fromIterable(lines))
            assert.deepStrictEqual(yield* Stream.runCollect(LogTransfer.export()), lines)
            yield* say("a", "six")
            const { faults, unchained, verified } = yield* HashChain.verify({ against: anchor })
            assert.deepStrictEqual(faults.filter(({ kind }) => kind !== "unchained"), [])
            assert.strictEqual(verified + unchained, 6)
            if (hashChain) assert.deepStrictEqual([faults.length, verified, unchained], [0, 3, 3])
          }).pipe(Effect.provide(PgEventStore.layerWith({ hashChain }).pipe(Layer.provide(Layer.fresh(client())))))
        }
      })
  )
}

describe("the hash chain on PostgreSQL", () => {
  it.live("needs no more privileges than an append", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const role = `${name}_role`
      const admin = PgClient.layer({ url: Redacted.make(url) })
      const asAdmin = (statement: string) =>
        Effect.provide(Effect.flatMap(PgClient.PgClient, (sql) => Effect.asVoid(sql.unsafe(statement))), admin)
      yield* Effect.provide(PgMigrations.run({ hashChain: true, schema: "Other" }), admin)
      yield* asAdmin(`create role ${role} login password 'secret'`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(asAdmin(`drop owned by ${role}`), asAdmin(`drop role ${role}`)))
      )
      yield* asAdmin(`grant usage on schema "Other" to ${role}`)
      yield* asAdmin(`grant select on "Other".migrations, "Other".hash_check to ${role}`)
      yield* asAdmin(`grant select on "Other".log, "Other".event_tags to ${role}`)
      yield* asAdmin(`grant execute on function "Other".append, "Other".append_one to ${role}`)
      yield* asAdmin(`grant select on sequence "Other".positions to ${role}`)
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "secret"
      yield* Effect.gen(function*() {
        yield* say("a", "one", "two")
        yield* say("a", "three")
        const { isIntact, verified } = yield* HashChain.verify()
        assert.deepStrictEqual([isIntact, verified], [true, 3])
      }).pipe(
        Effect.provide(
          PgEventStore.layerWithoutMigrations({ hashChain: true, schema: "Other" }).pipe(
            Layer.provide(PgClient.layer({ url: Redacted.make(asRole.href) }))
          )
        )
      )
    }))

  it.live("can be enabled by several processes at once, during appends", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const client = () => Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      const on = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>, options: PgOptions) =>
        Effect.provide(effect, Layer.fresh(PgEventStore.layerWith(options)).pipe(Layer.provide(client())))
      yield* Effect.provide(PgMigrations.run(), client())
      const writers = yield* Effect.forEach(["x", "y"], (prefix) =>
        Effect.forkChild(on(
          Effect.forEach(
            Array.from({ length: 400 }, (_, n) => n),
            (n) => say(`${prefix}-${n % 10}`, `${n}`),
            { concurrency: 8 }
          ),
          {}
        )))
      yield* Effect.forEach([1, 2, 3, 4], () =>
        on(say("starting", `${Math.random()}`), { hashChain: true, lockTimeout: "30 seconds" }), {
        concurrency: "unbounded"
      })
      for (const writer of writers) {
        yield* Fiber.join(writer)
      }
      const { faults, unchained, verified } = yield* on(HashChain.verify(), { hashChain: true })
      assert.deepStrictEqual(faults, [])
      assert.isAtLeast(verified, 4)
      assert.strictEqual(verified + unchained, 804)
    }))
})
