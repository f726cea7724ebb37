/** Many readers that follow the log or watch a document, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

const Ticked = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** A store that counts its reads of pages, of which each takes a while. */
const countingStore = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const counts = { reads: 0, atOnce: 0, max: 0 }
  const store = yield* EventStore.make({
    ...driver,
    readAll: (page) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          counts.reads++
          counts.max = Math.max(counts.max, ++counts.atOnce)
        }),
        () => Effect.delay(driver.readAll(page), "20 millis"),
        () => Effect.sync(() => void counts.atOnce--)
      )
  })
  return { counts, store }
})

/** Runs readers that are behind the first event, with these page sizes, until each has the next one. */
const follow = Effect.fnUntraced(function*(
  store: EventStore.EventStore["Service"],
  pageSizes: ReadonlyArray<number>
) {
  const { position } = yield* store.append(Ticked, "ticks", [{ _tag: "Ticked", n: 0 }])
  const fibers = yield* Effect.forEach(pageSizes, (pageSize) =>
    Effect.forkScoped(
      store.subscribe(Ticked, { after: position, pageSize }).pipe(Stream.take(1), Stream.runCollect)
    ))
  yield* store.append(Ticked, "ticks", [{ _tag: "Ticked", n: 1 }])
  return (yield* Effect.forEach(fibers, Fiber.join)).flat().map(({ event }) => event.n)
})

const onPostgres = Layer.fresh(PgEventStore.layer).pipe(Layer.provideMerge(layerPostgres({ poolSize: 6 })))

describe("many readers that follow the log", () => {
  it.live("share a read if they ask for the same page", () =>
    Effect.gen(function*() {
      const { counts, store } = yield* countingStore
      const pageSizes = Array.from({ length: 60 }, () => 10)
      assert.deepStrictEqual(yield* follow(store, pageSizes), pageSizes.map(() => 1))
      assert.isBelow(counts.reads, 30)
    }).pipe(Effect.scoped, Effect.provide(onPostgres)))

  it.live("occupy at most half of the connections, whatever they read", () =>
    Effect.gen(function*() {
      const { counts, store } = yield* countingStore
      const pageSizes = Array.from({ length: 20 }, (_, n) => n + 1)
      assert.deepStrictEqual(yield* follow(store, pageSizes), pageSizes.map(() => 1))
      assert.strictEqual(counts.max, 3)
    }).pipe(Effect.scoped, Effect.provide(onPostgres)))
})
