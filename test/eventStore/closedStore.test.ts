/** Readers that follow the log of a store whose layer is closed. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import { EventStore, type EventStoreError, Position } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Ticked = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = Ticked.cases.Ticked.make({ n: 1 })

const follow = (store: EventStore.EventStore["Service"]) => Stream.runDrain(store.subscribe(Ticked))

/** Fails unless a reader ends with the error that the store is closed. */
const endsAsClosed = (reader: Effect.Effect<void, EventStoreError>) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Effect.timeout(reader, "1 minute"))
    assert.strictEqual(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "StoreUnavailable")
    assert.match(error.message, /is closed/)
  })

const stores = {
  memory: EventStore.layerMemory,
  PGlite: Layer.fresh(PgEventStore.layer).pipe(Layer.provide(layerPglite())),
  PostgreSQL: Layer.fresh(PgEventStore.layer).pipe(Layer.provide(layerPostgres({ poolSize: 4 })))
}

describe.each(Object.entries(stores))("a reader that follows the log of a closed store on %s", (_, layer) => {
  const closable = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const store = Context.get(yield* Layer.buildWithScope(layer, scope), EventStore.EventStore)
    yield* store.append(Ticked, "ticks", [tick])
    return { store, close: Scope.close(scope, Exit.void) }
  })

  it.live("fails while it waits for the next event", () =>
    Effect.gen(function*() {
      const { close, store } = yield* closable
      const reader = yield* Effect.forkChild(follow(store), { startImmediately: true })
      // The first page has arrived, and the reader waits.
      yield* Stream.runDrain(Stream.take(store.subscribe(Ticked), 1))
      yield* close
      yield* endsAsClosed(Fiber.join(reader))
    }))

  it.live("fails when it begins after the end", () =>
    Effect.gen(function*() {
      const { close, store } = yield* closable
      yield* close
      yield* endsAsClosed(follow(store))
      yield* endsAsClosed(store[internals].driver.changed(Position.make(1n)))
    }))

  it.live("fails when it reads at the end", () =>
    Effect.scoped(Effect.gen(function*() {
      const { [internals]: { driver } } = (yield* closable).store
      const scope = yield* Scope.make()
      const reading = yield* Scope.provide(EventStore.make({ ...driver, readAll: () => Effect.never }), scope)
      const reader = yield* Effect.forkChild(follow(reading), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Scope.close(scope, Exit.void)
      yield* endsAsClosed(Fiber.join(reader))
    })))
})
