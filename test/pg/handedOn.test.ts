/** Consumers that take what their own process has appended, while other processes append. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { Event, EventStore, LogPosition, Position, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import * as PageReader from "../../src/consumer/page/PageReader.ts"
import { internals } from "../../src/core/internals.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import { freshDatabase } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { id: Schema.String, n: Schema.Int } }).pipe(Event.tags({ clock: "id" }))

/** A process: a store with connections of its own. */
const process = Effect.fnUntraced(function*(url: string) {
  const context = yield* Layer.build(
    Layer.fresh(PgEventStore.layer).pipe(
      Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
    )
  )
  const store = Context.get(context, EventStore.EventStore)
  const sql = Context.get(context, SqlClient.SqlClient)
  const { driver } = store[internals]
  const append = (id: string, count = 1) =>
    store.append(Tick, `Clock-${id}`, Array.from({ length: count }, (_, n) => ({ _tag: "Ticked", id, n })))
  let reads = 0
  const readerOf = (filter: Parameters<typeof PageReader.make>[0]["filter"] = {}, batchSize = 500) =>
    PageReader.make({
      driver: {
        ...driver,
        readAll: (page) =>
          Effect.suspend(() => {
            reads++
            return driver.readAll(page)
          })
      },
      filter,
      batchSize,
      maxBatchSize: batchSize
    })
  return { append, driver, readerOf, reads: () => reads, sql }
})

const idsOf = (events: ReadonlyArray<EncodedEvent>) => events.map(({ id }) => id)

/** Returns the checkpoint of a consumer after a page. */
const checkpointOf = ({ head, headCount, headEventId, reached }: PageReader.Page): LogPosition.LogPosition =>
  reached.position === head ? LogPosition.make(head, headEventId, headCount) : reached

/** Reads pages until one ends at a position; returns the events and the pages. */
const readUpTo = Effect.fnUntraced(function*(
  reader: PageReader.PageReader,
  after: LogPosition.LogPosition,
  position: Position.Position
) {
  const events: Array<EncodedEvent> = []
  let reached = after
  while (reached.position < position) {
    const page = yield* reader.read(reached)
    yield* page.verify ?? Effect.void
    events.push(...page.events)
    reached = checkpointOf(page)
    if (page.isLast && reached.position < position) yield* reader.changed(reached)
  }
  return { events, reached }
})

describe("a consumer", () => {
  it.live("takes the events of its own process as a read returns them", () =>
    Effect.gen(function*() {
      const own = yield* process((yield* freshDatabase).url)
      const reader = own.readerOf()
      yield* own.append("a")
      const first = checkpointOf(yield* reader.read(LogPosition.start))
      assert.strictEqual((yield* reader.read(first)).events.length, 0, "nothing was appended since")
      yield* own.append("a", 3)
      const last = (yield* own.append("b")).position
      const reads = own.reads()
      const { events, reached } = yield* readUpTo(reader, first, last)
      assert.strictEqual(own.reads(), reads, "no read")
      const read = yield* own.driver.readAll({ after: first.position, limit: 10, countSince: Position.start })
      assert.deepStrictEqual(events, read.events)
      assert.deepStrictEqual([reached.position, reached.eventId], [read.head, read.headEventId])
      assert.deepStrictEqual(reached.count, read.headCount)
    }))

  it.live("takes only events of its filter, and reads those that the server divides", () =>
    Effect.gen(function*() {
      const own = yield* process((yield* freshDatabase).url)
      const filters = [
        { streamPrefix: "Clock-a" },
        { tags: ["clock:b"] },
        { types: ["Other"] },
        ...[0, 1].map((index) => ({ partition: { index, of: 2 } })),
        ...[0, 1].map((index) => ({ partition: { index, of: 2, tag: "clock" } }))
      ]
      yield* own.append("a")
      const readers = filters.map((filter) => own.readerOf(filter))
      const firsts = yield* Effect.forEach(readers, (reader) => reader.read(LogPosition.start))
      yield* Effect.forEach(readers, (reader, index) => reader.read(firsts[index]!.reached))
      const names = ["a", "b", "c", "d", "e"]
      yield* Effect.forEach(names, (id) => own.append(id))
      for (const [index, reader] of readers.entries()) {
        const reads = own.reads()
        const after = firsts[index]!.reached
        const { events, reached } = yield* reader.read(after)
        assert.strictEqual(own.reads() - reads, "partition" in filters[index]! ? 1 : 0, "the reads")
        const read = yield* own.driver.readAll({ after: after.position, limit: 10, ...filters[index] })
        assert.deepStrictEqual(idsOf(events), idsOf(read.events), JSON.stringify(filters[index]))
        assert.strictEqual(reached.position, read.reached.position)
      }
    }))

  it.live("reads where another process has appended, or is about to", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const [own, other] = [yield* process(url), yield* process(url)]
      const reader = own.readerOf()
      yield* own.append("a")
      const first = yield* reader.read(LogPosition.start)
      yield* reader.read(first.reached)
      yield* own.append("a")
      yield* other.append("b")
      yield* own.append("a")
      // Its position is before those of the next appends, but it is not visible yet.
      const appended = yield* other.sql.withTransaction(Effect.gen(function*() {
        const { position } = yield* other.append("c")
        yield* own.append("a")
        const { events, reached } = yield* readUpTo(reader, first.reached, Position.make(position - 1n))
        assert.deepStrictEqual(events.map(({ stream }) => stream), ["Clock-a", "Clock-b", "Clock-a"])
        assert.strictEqual(reached.position, position - 1n)
        assert.strictEqual((yield* reader.read(reached)).events.length, 0, "the append in flight holds back the next")
        return reached
      }))
      const last = yield* own.append("a")
      const { events } = yield* readUpTo(reader, appended, last.position)
      assert.deepStrictEqual(events.map(({ stream }) => stream), ["Clock-c", "Clock-a", "Clock-a"])
    }))

  it.live("does not miss an event while processes append, and transactions roll back", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const processes = yield* Effect.forEach([1, 2, 3], () => process(url))
      const appendAll = (own: typeof processes[number], name: string) =>
        Effect.forEach(Array.from({ length: 60 }, (_, n) => n), (n) => {
          const append = own.append(`${name}${n % 3}`, 1 + n % 2)
          return n % 7 !== 3 ? append : own.sql.withTransaction(
            Effect.andThen(append, n % 14 === 3 ? Effect.fail("rolled back") : Effect.void)
          ).pipe(Effect.ignore)
        }, { discard: true })
      const readers = processes.map((own) => own.readerOf({}, 7))
      const read = processes.map((): Array<EncodedEvent> => [])
      const follow = (index: number) =>
        Effect.gen(function*() {
          let reached = LogPosition.start
          while (true) {
            const page = yield* readers[index]!.read(reached)
            yield* page.verify ?? Effect.void
            read[index]!.push(...page.events)
            reached = checkpointOf(page)
            if (page.isLast) yield* readers[index]!.changed(reached)
          }
        })
      yield* Effect.forEach(processes, (_, index) => Effect.forkScoped(follow(index)))
      yield* Effect.forEach(processes, (own, index) => appendAll(own, `p${index}-`), { concurrency: 3 })
      const log = yield* processes[0]!.driver.readAll({ after: Position.start, limit: 1_000 })
      assert.strictEqual(log.events.length > 200, true)
      yield* Effect.repeat(Effect.sleep("10 millis"), {
        until: () => read.every((events) => events.length >= log.events.length)
      }).pipe(Effect.timeout("1 minute"))
      for (const events of read) assert.deepStrictEqual(idsOf(events), idsOf(log.events))
      yield* Effect.forEach(readers, ({ discard }) => discard)
    }))

  it.live("rejects an event of its process that the log has lost, and reads instead", () =>
    Effect.gen(function*() {
      const own = yield* process((yield* freshDatabase).url)
      const reader = own.readerOf()
      yield* own.append("a")
      const first = yield* reader.read(LogPosition.start)
      yield* reader.read(first.reached)
      const { position } = yield* own.append("a")
      const last = yield* own.append("b")
      const page = yield* reader.read(first.reached)
      assert.strictEqual(page.reached.position, last.position)
      yield* page.verify!
      // As after a failover: the sequence is set back too, and another process fills the position.
      yield* own.sql`alter table evsrc.events disable trigger all`
      yield* own.sql`update evsrc.events set id = gen_random_uuid() where position = ${position}`
      const reads = own.reads()
      const again = yield* reader.read(first.reached)
      assert.strictEqual(own.reads(), reads, "no read")
      const error = yield* Effect.flip(again.verify!)
      assert.strictEqual(error.reason._tag, "LogDiverged")
      const found = yield* reader.read(first.reached)
      assert.strictEqual(found.verify, undefined)
      assert.strictEqual(own.reads(), reads + 1)
      assert.strictEqual(found.events.length, 2)
    }))

  it.live("reads after 1,000 positions at the latest", () =>
    Effect.gen(function*() {
      const own = yield* process((yield* freshDatabase).url)
      const reader = own.readerOf()
      yield* own.append("a")
      let { reached } = yield* reader.read(LogPosition.start)
      yield* reader.read(reached)
      const reads = own.reads()
      for (let n = 0; n < 13; n++) {
        const { position } = yield* own.append("a", 90)
        reached = (yield* readUpTo(reader, reached, position)).reached
      }
      assert.strictEqual(own.reads(), reads + 1)
    }))

  for (const kind of ["documents", "a handler"] as const) {
    it.live(`with ${kind} does not apply what the log has lost`, () =>
      Effect.gen(function*() {
        const client = PgClient.layer({ url: Redacted.make((yield* freshDatabase).url), maxConnections: 4 })
        let isLost = false
        let tried = 0
        const losing = Effect.map(PgEventStore.makeDriver(), (driver) => {
          const appended = driver.appended!
          return {
            ...driver,
            appended: {
              has: (position: Position.Position) => !isLost && appended.has(position),
              after: (position: Position.Position, limit: number) =>
                isLost ?
                  Effect.succeed([]) :
                  Effect.map(appended.after(position, limit), (events) =>
                    events.map((event) => {
                      tried++
                      return { ...event, id: "00000000-0000-4000-8000-000000000000", data: { id: "a", n: 1000 } }
                    })),
              clear: () => {
                isLost = true
              }
            }
          }
        })
        const stores = Layer.merge(EventStore.layer(losing), PgProjectionStore.layer).pipe(
          Layer.provideMerge(PgEventStore.layerMigrations()),
          Layer.provideMerge(client)
        )
        const handled: Array<number> = []
        const sums = Projection.make("sums", {
          events: Tick,
          document: Schema.Struct({ sum: Schema.Int }),
          key: ({ id }) => id,
          evolve: { Ticked: (before, { n }) => ({ sum: (before?.sum ?? 0) + n }) }
        })
        const numbers = Subscription.make("numbers", {
          events: Tick,
          handle: { Ticked: ({ n }) => Effect.sync(() => handled.push(n)) }
        })
        const options = { lease: "3 seconds" } as const
        const worker = kind === "documents"
          ? Layer.effectDiscard(Layer.build(Projector.layer([sums], options)))
          : Layer.effectDiscard(Layer.build(Subscription.layer([numbers], options)))
        const expected = [1, 2, 3, 4]
        yield* Effect.gen(function*() {
          const total = kind === "documents"
            ? Effect.map(ProjectionStore.get(sums, "a"), Option.match({ onNone: () => 0, onSome: ({ sum }) => sum }))
            : Effect.sync(() => handled.reduce((sum, n) => sum + n, 0))
          const pause = Effect.sleep("20 millis")
          for (const n of expected) {
            yield* EventStore.append(Tick, "Clock-a", [{ _tag: "Ticked", id: "a", n }])
            // Until the consumer waits for the next.
            yield* Effect.repeat(Effect.andThen(pause, total), { until: (sum) => sum >= n * (n + 1) / 2 }).pipe(
              Effect.timeout("1 minute")
            )
            yield* pause
          }
          assert.strictEqual(yield* total, 10)
          if (kind === "a handler") assert.deepStrictEqual(handled, expected)
          assert.isAbove(tried, 0)
          assert.isTrue(isLost)
        }).pipe(Effect.provide(worker.pipe(Layer.provideMerge(stores))))
      }))
  }
})
