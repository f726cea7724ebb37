/** Live documents while appends are under way: what has a lower position may be seen later. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Queue, Schema, Stream } from "effect"
import { EventStore, type EventStoreDriver, LogPosition, Position, Projection, ProjectionStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import * as LiveProjection from "../../src/projection/LiveProjection.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
const order = Projection.make("order", {
  events: Counted,
  lifecycle: "live",
  document: Schema.Array(Schema.Int),
  key: () => "all",
  evolve: { Counted: (before = [], { n }) => [...before, n] }
})

/** A log of five events, of which one cannot be seen by the first few reads, nor is anything from there on final until then. */
const withHidden = Effect.fnUntraced(function*(hidden: number, reads: number) {
  const store = yield* EventStore.EventStore
  yield* store.append(Counted, "s", [1, 2, 3, 4, 5].map((n) => ({ _tag: "Counted", n })))
  let asked = 0
  const driver: EventStoreDriver.EventStoreDriver = {
    ...store[internals].driver,
    readByQuery: (page) =>
      Effect.map(
        store[internals].driver.readByQuery({ ...page, limit: page.limit + 1 }),
        ({ events, head, headEventId }) => {
          const hides = asked++ < reads
          const found = events.filter(({ position }) => !hides || position !== BigInt(hidden)).slice(0, page.limit)
          const mark = hides ? Position.make(BigInt(hidden - 1)) : head
          const last = found.length < page.limit ? Position.max(page.after, mark) : found.at(-1)!.position
          return {
            reached: LogPosition.make(last, events.find(({ position }) => position === last)?.id),
            headEventId: hides ? events.find(({ position }) => position === BigInt(hidden - 1))?.id : headEventId,
            events: found,
            head: mark
          }
        }
      )
  }
  return { driver, asked: () => asked }
})

const limitsOf = (pageSize: number) => ({ pageSize, documentBytes: 1000 })

const shown = (documents: LiveProjection.LiveDocuments) => Effect.map(documents.get("all"), (found) => found?.document)

describe("a live document", () => {
  it.effect("has no gap when an event becomes visible after a page behind it", () =>
    Effect.gen(function*() {
      const { driver } = yield* withHidden(2, 1)
      const documents = LiveProjection.make(driver, order, limitsOf(2), "all")
      yield* documents.read("visible")
      assert.deepStrictEqual(yield* shown(documents), [1, 2, 3, 4, 5])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("contains events committed behind an append in flight, over several pages", () =>
    Effect.gen(function*() {
      const { asked, driver } = yield* withHidden(1, 10)
      const documents = LiveProjection.make(driver, order, limitsOf(1), "all")
      yield* documents.read("visible")
      assert.deepStrictEqual(yield* shown(documents), [2, 3, 4, 5])
      // One page, of twice as many events each time, has had to hold them all.
      assert.strictEqual(asked(), 4)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("changes in a watch in log order, only with final events", () =>
    Effect.gen(function*() {
      const { driver } = yield* withHidden(3, 2)
      const documents = LiveProjection.make(driver, order, limitsOf(10), "all")
      for (const expected of [[1, 2], [1, 2], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]) {
        yield* documents.read("final")
        assert.deepStrictEqual(yield* shown(documents), expected)
        assert.strictEqual(documents.reached(), BigInt(expected.length))
      }
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

it.effect("a watch of a live document applies each event once", () =>
  Effect.gen(function*() {
    let applied = 0
    const sums = Projection.make("sums", {
      events: Counted,
      lifecycle: "live",
      document: Schema.Int,
      key: () => "all",
      evolve: {
        Counted: (sum = 0, { n }) => {
          applied++
          return sum + n
        }
      }
    })
    const seen = yield* Queue.unbounded<number | undefined>()
    yield* ProjectionStore.watch(sums, "all").pipe(
      Stream.runForEach((found) => Queue.offer(seen, Option.getOrUndefined(found))),
      Effect.forkScoped
    )
    assert.isUndefined(yield* Queue.take(seen))
    for (const [n, sum] of [[1, 1], [2, 3], [4, 7]] as const) {
      yield* EventStore.append(Counted, "s", [{ _tag: "Counted", n }])
      assert.strictEqual(yield* Queue.take(seen), sum)
    }
    assert.strictEqual(applied, 3)
  }).pipe(Effect.scoped, Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
