import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { EventStore, Projection, ProjectionStore, Projector } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int, text: Schema.String } })
const sums = Projection.make("sums", {
  events: Tick,
  document: Schema.Int,
  key: () => "all",
  evolve: { Ticked: (sum = 0, { n }) => sum + n }
})

/** The events asked for, page by page, while a projection catches up with so many events of so many characters. */
const pagesOf = (events: number, characters: number) =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const documents = yield* ProjectionStore.ProjectionStore
    const limits: Array<number> = []
    const store = yield* EventStore.make({
      ...driver,
      readAll: (page) => {
        limits.push(page.limit)
        return driver.readAll(page)
      }
    })
    const tick = Tick.cases.Ticked.make({ n: 1, text: "x".repeat(characters) })
    for (let n = 0; n < events; n += 100) yield* store.append(Tick, "Tick-1", Array.from({ length: 100 }, () => tick))
    yield* documents.awaitPosition(sums, yield* store.head, "60 seconds").pipe(
      Effect.provide(Layer.provide(Projector.layer([sums]), Layer.succeed(EventStore.EventStore, store)))
    )
    assert.deepStrictEqual(
      (yield* documents[internals].driver.load(sums.id, ["all"])).map(({ document }) => document),
      [events]
    )
    return limits
  }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory]))

it.live("a projection reads larger pages while they are full, up to 5,000 events", () =>
  Effect.gen(function*() {
    const limits = yield* pagesOf(20_000, 1)
    assert.deepStrictEqual(limits.slice(0, 5), [500, 1000, 2000, 4000, 5000])
    assert.strictEqual(Math.max(...limits), 5000)
  }))

it.live("a projection does not read larger pages of large events", () =>
  Effect.gen(function*() {
    assert.strictEqual(Math.max(...yield* pagesOf(2_000, 20_000)), 500)
  }))

it.live("reads of a stream and of the log ask for 500 events, then for 1,000, or for as many as an option says", () =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const asked: Array<number> = []
    const store = yield* EventStore.make({
      ...driver,
      readStream: (page) => {
        asked.push(page.limit)
        return driver.readStream(page)
      },
      readAll: (page) => {
        asked.push(page.limit)
        return driver.readAll(page)
      }
    })
    const tick = Tick.cases.Ticked.make({ n: 1, text: "" })
    yield* store.append(Tick, "long", Array.from({ length: 1_600 }, () => tick))
    const count = (events: Stream.Stream<unknown, unknown>) =>
      Effect.map(Stream.runCount(events), (count) => [count, asked.splice(0)])
    // A later page of a stream begins with the last event of the page before.
    assert.deepStrictEqual(yield* count(store.readStream(Tick, "long")), [1_600, [500, 1_001, 1_001]])
    assert.deepStrictEqual(yield* count(store.readStream(Tick, "long", { limit: 1_500 })), [1_500, [500, 1_001]])
    assert.deepStrictEqual(yield* count(store.readStream(Tick, "long", { pageSize: 900 })), [1_600, [900, 901]])
    assert.deepStrictEqual(yield* count(store.readAll(Tick)), [1_600, [500, 1_000, 1_000]])
    assert.deepStrictEqual(yield* count(store.readAll(Tick, { pageSize: 900 })), [1_600, [900, 900]])
  }).pipe(Effect.provide(EventStore.layerMemory)))
