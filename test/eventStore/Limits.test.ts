import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { EventStore, Limits } from "evsrc"

const Said = Schema.TaggedUnion({ Said: { text: Schema.String } })

const bytes = (text: string) => new TextEncoder().encode(JSON.stringify({ text })).length + "{}".length

/** Whether a store with this limit on an event takes an event with this text. */
const takes = (text: string, limits: Partial<Limits>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    return yield* store.append(Said, "s", [{ _tag: "Said", text }])
  }).pipe(
    Effect.provide(EventStore.layerMemory.pipe(
      Layer.provide(Layer.succeed(Limits, {
        eventBytes: 1e9,
        appendBytes: 1e9,
        appendEvents: 10,
        pageSize: 10,
        scannedPositions: 1e6,
        documentBytes: 1e9,
        ...limits
      }))
    )),
    Effect.isSuccess
  )

describe("Limits", () => {
  it.effect.prop(
    "an event's size is that of its JSON in UTF-8, to the byte",
    [Schema.String],
    ([text]) =>
      Effect.gen(function*() {
        assert.isTrue(yield* takes(text, { eventBytes: bytes(text) }))
        assert.isFalse(yield* takes(text, { eventBytes: bytes(text) - 1 }))
        assert.isTrue(yield* takes(text, { appendBytes: bytes(text) }))
        assert.isFalse(yield* takes(text, { appendBytes: bytes(text) - 1 }))
      })
  )

  it.effect("counts four bytes for a character outside the basic plane", () =>
    Effect.gen(function*() {
      const text = "💶é€"
      assert.isTrue(yield* takes(text, { eventBytes: bytes(text) }))
      assert.isFalse(yield* takes(text, { eventBytes: bytes(text) - 1 }))
    }))
})
