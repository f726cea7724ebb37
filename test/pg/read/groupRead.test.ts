/** Group read on databases: what one statement reads for many callers is what each would read alone. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Fiber, Layer, Option, Result, Schedule, Schema, Stream, Tracer } from "effect"
import { Event, EventQuery, EventStore, Limits, LogPosition, Position, StreamLifecycle, Version } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { StreamId } from "../../../src/core/StreamId.ts"
import * as EventEncryption from "../../../src/eventStore/EventEncryption.ts"
import { layerPglite, layerPostgres } from "../../support/Database.ts"

const Note = Schema.TaggedUnion({ Noted: { n: Schema.Int, text: Schema.String } })
const notes = (count: number, text = "") =>
  Array.from({ length: count }, (_, n) => Note.cases.Noted.make({ n: n + 1, text }))

const Booking = Schema.TaggedUnion({ Booked: { who: Schema.String }, Left: { who: Schema.String } }).pipe(
  Event.tags({ who: "who" })
)

/** How many reads each statement of several had. */
const statements: Array<number> = []
const tracer = Tracer.make({
  span: (options) => {
    const span = new Tracer.NativeSpan(options)
    const { end } = span
    if (options.name === "EventStore.groupRead") {
      span.end = (...args) => {
        statements.push(Number(span.attributes.get("evsrc.reads")))
        end.apply(span, args)
      }
    }
    return span
  }
})

/** Waits for this number of reads in shared statements, and returns how many each had. A statement's span ends just after its callers have the results. */
const sent = (reads: number) =>
  Effect.suspend(() =>
    statements.reduce((sum, one) => sum + one, 0) < reads ? Effect.fail("too few") : Effect.succeed([...statements])
  ).pipe(Effect.retry({ schedule: Schedule.spaced("5 millis"), times: 1_000 }), Effect.orDie)

const append = (stream: string, count: number, text?: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Note, stream, notes(count, text)))

const read = (stream: string, options?: EventStore.ReadStreamOptions) =>
  Effect.flatMap(EventStore.EventStore, (store) => Stream.runCollect(store.readStream(Note, stream, options)))

const versions = (stream: string, options?: EventStore.ReadStreamOptions) =>
  Effect.map(read(stream, options), (events) => events.map(({ version }) => version))

const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

const together = { concurrency: "unbounded" } as const

const options = { groupRead: { alone: 1, inFlight: 1 } }

for (const [name, client] of Object.entries({ PGlite: layerPglite, PostgreSQL: layerPostgres })) {
  const store = PgEventStore.layerWith(options).pipe(
    Layer.provideMerge(client()),
    Layer.provideMerge(Layer.succeed(Tracer.Tracer, tracer))
  )
  describe(`group read on ${name}`, () => {
    it.live("returns to each of many readers what it would read alone, by few statements", () =>
      Effect.gen(function*() {
        const sizes = upTo(20).map((n) => n % 4)
        yield* Effect.forEach(sizes, (size, index) => size > 0 ? append(`s${index}`, size) : Effect.void, together)
        yield* append("long", 300)
        yield* append("wide", 4, "x".repeat(100_000))
        yield* append("archived", 1)
        yield* EventStore.close(Note, "archived", notes(1)[0]!)
        yield* StreamLifecycle.archive("archived")
        statements.length = 0
        const [short, long, later, wide, limited, archived] = yield* Effect.all([
          Effect.forEach(sizes, (_, index) => versions(`s${index}`), together),
          versions("long"),
          versions("long", { from: Version.make(250), pageSize: 20 }),
          read("wide"),
          versions("long", { limit: 3 }),
          versions("archived")
        ], together)
        assert.deepStrictEqual<unknown>(short, sizes.map((size) => upTo(size)))
        assert.deepStrictEqual<unknown>([long, later], [upTo(300), upTo(300, 250)])
        assert.deepStrictEqual(wide.map(({ event }) => [event.n, event.text.length]), upTo(4).map((n) => [n, 100_000]))
        assert.deepStrictEqual<unknown>([limited, archived], [upTo(3), [1, 2]])
        assert.deepStrictEqual(yield* sent(25), [25], "those that arrived in one turn")
      }).pipe(Effect.provide(store)))

    it.live("returns to each of many readers its snapshot, by few statements", () =>
      Effect.gen(function*() {
        const { snapshots } = yield* PgEventStore.makeDriver(options)
        const keys = upTo(24).map((n) => ({
          stream: StreamId.make(`s${n}`),
          // The last ones have none of this fingerprint.
          fingerprint: n > 20 ? "other" : "f"
        }))
        const written = upTo(20).map((n) => ({
          stream: StreamId.make(`s${n}`),
          fingerprint: "f",
          version: Version.make(n),
          position: Position.make(BigInt(n)),
          eventId: globalThis.crypto.randomUUID(),
          // The third exceeds the bytes of a statement.
          state: JSON.stringify(n < 4 ? "x".repeat(2_500_000) : n),
          takenAt: DateTime.makeUnsafe(n)
        }))
        yield* Effect.forEach(written, (snapshot) => snapshots.write(snapshot))
        statements.length = 0
        const found = yield* Effect.forEach(keys, snapshots.read, together)
        assert.deepStrictEqual<unknown>(
          found,
          keys.map((_, index) => Option.fromUndefinedOr(written[index]))
        )
        assert.deepStrictEqual(yield* sent(24), [24])
      }).pipe(Effect.provide(store)))

    it.live("returns to each of many queries what it would read alone, by few statements", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const guests = ["fay", "a\"b", "c\\d", "e,{f}", "null", "ü"]
        for (const n of upTo(60)) {
          const who = guests[n % guests.length]!
          yield* store.append(Booking, `b-${n}`, [n % 2 === 0 ? { _tag: "Booked", who } : { _tag: "Left", who }])
        }
        const all = yield* Stream.runCollect(store.readAllEncoded())
        const placeOf = (index: number) => LogPosition.make(all[index]!.position, all[index]!.id)
        const wrong = LogPosition.make(all[3]!.position, globalThis.crypto.randomUUID())
        const tagged = guests.map((guest) => EventQuery.ofStoredTypes([{ tags: [Event.tag("who", guest)] }]))
        const others = [
          EventQuery.ofStoredTypes([{ types: ["Booked"] }, { types: ["Left"], tags: [Event.tag("who", "fay")] }]),
          EventQuery.ofStoredTypes([{ types: ["Unknown"] }])
        ]
        // In a statement of 64 reads, a page of one has 16 events at most, and a longer one is read alone.
        const pages = upTo(3).flatMap(() =>
          [...tagged, ...others].flatMap((query) => [
            { query, after: Position.start, limit: 1_000 },
            { query, after: all[20]!.position, limit: 3, basis: [placeOf(5), placeOf(20)] },
            { query, after: Position.start, limit: 1_000, basis: [wrong] }
          ])
        )
        const alone = yield* PgEventStore.makeDriver({ groupRead: { alone: 1_000 } })
        const grouped = yield* PgEventStore.makeDriver(options)
        const expected = yield* Effect.forEach(pages, (page) => Effect.result(alone.readByQuery(page)))
        statements.length = 0
        const found = yield* Effect.forEach(pages, (page) => Effect.result(grouped.readByQuery(page)), together)
        assert.deepStrictEqual(found, expected)
        assert.deepStrictEqual((yield* sent(72)).toSorted(), [64, 8])
        assert.strictEqual(expected.filter(Result.isFailure).length, 24, "those whose basis is of another log")
        const limited = { ...pages[0]!, query: EventQuery.ofStoredTypes([{ types: ["Booked"] }]) }
        const few = Effect.updateService(
          grouped.readByQuery(limited),
          Limits,
          (limits) => ({ ...limits, scannedPositions: 5 })
        )
        const [whole, examined] = yield* Effect.all([grouped.readByQuery(limited), few, few], together)
        assert.strictEqual(whole.reached.position, all.at(-1)!.position)
        assert.isBelow(Number(examined.reached.position), Number(all.at(-1)!.position), "as far as its caller allows")
      }).pipe(Effect.provide(store)))

    it.live("returns to each of many appends the documents it changes, by few statements", () =>
      Effect.gen(function*() {
        const { loadAll, write } = yield* PgProjectionStore.makeDriver(options)
        const documents = upTo(24).flatMap((n) =>
          ["a@1", "b@1"].map((generation) => ({
            generation,
            changes: [{
              key: `k${n}`,
              // The third exceeds the bytes of a statement.
              document: JSON.stringify(generation === "a@1" && n < 4 ? "x".repeat(2_500_000) : n),
              indexed: []
            }]
          }))
        )
        yield* write(documents)
        const wanted = upTo(26).map((n) => [
          { generation: "a@1", keys: [`k${n}`] },
          { generation: "b@1", keys: n % 2 === 0 ? [`k${n}`, "k24", "none"] : [] }
        ])
        const stored = (generation: string, key: string) =>
          documents.find((one) => one.generation === generation && one.changes[0]!.key === key)?.changes[0]!.document
        const expected = wanted.map((generations) =>
          generations.map(({ generation, keys }) =>
            Array.from(new Set(keys)).flatMap((key) => {
              const document = stored(generation, key)
              return document === undefined ? [] : [[key, JSON.parse(document)]]
            })
          )
        )
        statements.length = 0
        const found = yield* Effect.forEach(wanted, loadAll, together)
        const contents = found.map((generations) =>
          generations.map((documents) =>
            Array.from(new Map(documents.map(({ document, key }) => [key, document]))).toSorted()
          )
        )
        assert.deepStrictEqual<unknown>(
          contents,
          expected.map((generations) => generations.map((one) => one.toSorted()))
        )
        assert.deepStrictEqual(yield* sent(26), [26], "those that arrived in one turn")
        for (const documents of found.flat(2)) assert.isAbove(Number(documents.revision), 0)
      }).pipe(Effect.provide(store)))

    it.live("fails only the read of documents that the server cannot read", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const { loadAll, write } = yield* PgProjectionStore.makeDriver(options)
        const keys = ["first", "bad", "gone", "good"]
        yield* write([{
          generation: "a@1",
          changes: keys.map((key) => ({ key, document: JSON.stringify(key), indexed: [] }))
        }])
        yield* sql`alter table evsrc.documents rename to stored_documents`
        yield* sql`create view evsrc.documents as select generation, key, document, indexed, stream,
          case when key = 'bad' then revision / (revision - revision) else revision end as revision from evsrc.stored_documents`
        const readers = yield* Effect.forEach(
          keys,
          (key) => Effect.forkChild(loadAll([{ generation: "a@1", keys: [key] }]), { startImmediately: true })
        )
        yield* Fiber.interrupt(readers[2]!)
        const [first, bad, , good] = yield* Effect.forEach(readers, Fiber.await)
        const keyOf = (exit: typeof good) => Exit.map(exit!, ([found]) => found?.map(({ key }) => key))
        assert.deepStrictEqual([keyOf(first), keyOf(good)], [Exit.succeed(["first"]), Exit.succeed(["good"])])
        assert.strictEqual(Option.getOrThrow(Exit.findErrorOption(bad!)).reason._tag, "StoreFailure")
      }).pipe(Effect.provide(Layer.fresh(store))))

    it.live("reads the documents that the caller's transaction has written", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const { loadAll, write } = yield* PgProjectionStore.makeDriver(options)
        const documentOf = (key: string) =>
          Effect.map(loadAll([{ generation: "t@1", keys: [key] }]), ([found]) => found?.map(({ document }) => document))
        const inside = sql.withTransaction(Effect.gen(function*() {
          yield* write([{ generation: "t@1", changes: [{ key: "k", document: "7", indexed: [] }] }])
          return yield* Effect.forEach(upTo(4), () => documentOf("k"), together)
        }))
        assert.deepStrictEqual<unknown>(yield* inside, upTo(4).map(() => [7]))
      }).pipe(Effect.provide(store)))

    it.live("fails only the reader of a damaged event", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const streams = ["first", "bad", "good", "other"]
        yield* Effect.forEach(streams, (stream) => append(stream, 2))
        const outcomes = Effect.map(
          Effect.forEach(streams, (stream) => Effect.exit(versions(stream)), together),
          (exits) =>
            exits.map((exit) =>
              Exit.isSuccess(exit) ? exit.value.length : Option.getOrThrow(Exit.findErrorOption(exit)).reason._tag
            )
        )
        yield* sql`alter table evsrc.events disable trigger user`
        yield* sql`update evsrc.events set data = '7' where stream = 'bad' and version = 2`
        assert.deepStrictEqual(yield* outcomes, [2, "UndecodableEvent", 2, 2])
        // A row that the server itself cannot read.
        yield* sql`create or replace view evsrc.log as select position, stream,
          case when stream = 'bad' then version / (version - version) else version end as version, type, schema_version, id, command_id,
          command_events, data, metadata, recorded_at, tags, hash, closes from evsrc.events`
        assert.deepStrictEqual(yield* outcomes, [2, "StoreFailure", 2, 2])
      }).pipe(Effect.provide(store)))

    it.live("lets no reader wait for the decryption of another", () =>
      Effect.gen(function*() {
        const driver = yield* PgEventStore.makeDriver(options)
        const streams = ["first", "secret", "open"].map((stream) => StreamId.make(stream))
        yield* Effect.forEach(streams, (stream) =>
          driver.append({
            stream,
            expected: "any",
            events: [{
              id: globalThis.crypto.randomUUID(),
              type: "Noted",
              schemaVersion: 1,
              data: "{}",
              metadata: stream === "secret" ? "{\"subjects\":[\"ann\"]}" : "{}"
            }]
          }))
        const encrypted = EventEncryption.make(
          { decrypt: () => Effect.never, lastErasure: Effect.succeed("none") },
          driver
        )
        const readers = yield* Effect.forEach(streams, (stream) =>
          Effect.forkChild(
            encrypted.readStream({ stream, direction: "forward", from: Version.make(1), limit: 5 }),
            { startImmediately: true }
          ))
        assert.strictEqual((yield* Fiber.join(readers[2]!)).length, 1)
        assert.strictEqual((yield* Fiber.join(readers[0]!)).length, 1)
        assert.isUndefined(readers[1]!.pollUnsafe())
        yield* Fiber.interrupt(readers[1]!)
      }).pipe(Effect.provide(store)))

    it.live("reads in a transaction of the caller what the transaction has appended", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* append("s", 1)
        const inside = sql.withTransaction(Effect.gen(function*() {
          yield* append("s", 1)
          return yield* Effect.forEach(upTo(4), () => versions("s"), together)
        }))
        assert.deepStrictEqual<unknown>(yield* inside, upTo(4).map(() => [1, 2]))
      }).pipe(Effect.provide(store)))
  })
}
