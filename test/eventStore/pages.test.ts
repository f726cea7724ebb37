import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
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
