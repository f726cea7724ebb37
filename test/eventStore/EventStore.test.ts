/** The functions that call the event store of the context do as its methods do. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { EventQuery, EventStore, Version } from "evsrc"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int }, Stopped: {} })
const ticked = (n: number) => Tick.cases.Ticked.make({ n })

describe("the functions of the event store", () => {
  it.effect("append under a condition, which a matching event breaks", () =>
    Effect.gen(function*() {
      const { condition } = yield* EventStore.readByQuery(EventQuery.ofStoredTypes([{ types: ["Ticked"] }]))
      const receipt = yield* EventStore.appendIf(condition, Tick, "a", [ticked(1)])
      assert.deepStrictEqual([receipt.stream, receipt.version], ["a", Version.make(1)])
      const error = yield* Effect.flip(EventStore.appendIf(condition, Tick, "b", [ticked(2)]))
      assert.strictEqual(error._tag, "AppendConditionFailed")
      const options = { expected: Version.make(3) }
      const { condition: now } = yield* EventStore.readByQuery(EventQuery.ofStoredTypes([{ types: ["Ticked"] }]))
      const conflict = yield* Effect.flip(EventStore.appendIf(now, Tick, "a", [ticked(2)], options))
      assert.strictEqual(conflict._tag, "ConcurrencyConflict")
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("read the whole log by position, from where the options say", () =>
    Effect.gen(function*() {
      yield* EventStore.append(Tick, "a", [ticked(1)])
      const { position } = yield* EventStore.append(Tick, "b", [ticked(2)])
      yield* EventStore.append(Tick, "a", [ticked(3)])
      const read = (options?: EventStore.ReadLogOptions) =>
        Effect.map(
          Stream.runCollect(EventStore.readAll(Tick, options)),
          (all) => all.map(({ event, stream }) => ({ stream: String(stream), event }))
        )
      assert.deepStrictEqual(yield* read(), [{ stream: "a", event: ticked(1) }, { stream: "b", event: ticked(2) }, {
        stream: "a",
        event: ticked(3)
      }])
      assert.deepStrictEqual(yield* read({ after: position }), [{ stream: "a", event: ticked(3) }])
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("closing a stream without events", () => {
  it.effect("fails and writes nothing, whatever version the caller expects", () =>
    Effect.gen(function*() {
      for (
        const options of [
          {},
          ...(["any", "noStream", "streamExists", Version.zero] as const).map((expected) => ({ expected }))
        ]
      ) {
        const error = yield* Effect.flip(EventStore.close(Tick, "a", { _tag: "Stopped" }, options))
        assert.match(error.message, /stream "a" has no events and cannot be closed/, JSON.stringify(options))
      }
      const conflict = yield* Effect.flip(
        EventStore.close(Tick, "a", { _tag: "Stopped" }, { expected: Version.make(1) })
      )
      assert.match(conflict.message, /stream "a" has no events and cannot be closed/)
      assert.strictEqual(yield* EventStore.head, 0n)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
