/** Imports of events with many tags, each of which a transaction locks. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { EventStore, LogTransfer, Position, StreamId } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const fresh = Effect.map(
  Layer.build(Layer.fresh(EventStore.layerMemory)),
  (services) => <A, E>(self: Effect.Effect<A, E, EventStore.EventStore>) => Effect.provideContext(self, services)
)
const upTo = (n: number) => Array.from({ length: n }, (_, index) => index)

it.effect("an import writes no more than 1,000 tags in a transaction", () =>
  Effect.gen(function*() {
    const [from, to] = [yield* fresh, yield* fresh]
    const lines = yield* from(Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      for (const n of upTo(25)) {
        yield* driver.append({
          stream: StreamId.StreamId.make(`Tagged-${n}`),
          expected: "noStream",
          events: [{
            id: crypto.randomUUID(),
            type: "Tagged",
            schemaVersion: 1,
            data: "{}",
            metadata: "{}",
            tags: upTo(n % 3 === 0 ? 0 : 90).map((tag) => `t:${n}-${tag}`)
          }]
        })
      }
      return yield* Stream.runCollect(LogTransfer.export())
    }))
    const written: Array<number> = []
    yield* to(Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { driver } = store[internals]
      const counting = {
        ...store,
        [internals]: {
          ...store[internals],
          driver: {
            ...driver,
            restore: (request: Parameters<typeof driver.restore>[0]) => {
              written.push(request.events.reduce((sum, { tags }) => sum + tags.length, 0))
              return driver.restore(request)
            }
          }
        }
      }
      const summary = yield* Effect.provideService(
        LogTransfer.import(Stream.fromIterable(lines)),
        EventStore.EventStore,
        counting
      )
      assert.deepStrictEqual(summary, { events: 25, written: 25, archived: 0, head: Position.make(25n) })
      assert.deepStrictEqual(yield* Stream.runCollect(LogTransfer.export()), lines)
    }))
    assert.deepStrictEqual(written, [990, 450])
  }))
