import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { EventStore } from "evsrc"
import { linkEvents } from "../../src/command/TraceContext.ts"

const Tick = Schema.TaggedUnion({ Ticked: {} })
const traceId = "0af7651916cd43dd8448eb211c80319c"

/** Returns the links of a span over events with these trace flags. */
const linksOf = (flags: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (const [n, flag] of flags.entries()) {
      yield* store.append(Tick, "Tick-1", [{ _tag: "Ticked" }], {
        metadata: { traceparent: `00-${traceId}-b7ad6b716920333${n}-${flag}` }
      })
    }
    const events = yield* Stream.runCollect(store.readAllEncoded())
    return yield* Effect.gen(function*() {
      yield* linkEvents(events)
      return (yield* Effect.currentSpan).links
    }).pipe(Effect.withSpan("handler"))
  }).pipe(Effect.provide(EventStore.layerMemory))

describe("the links to the spans of events", () => {
  it.effect("are sampled exactly where the trace flags say so", () =>
    Effect.gen(function*() {
      const links = yield* linksOf(["00", "01", "02", "03"])
      assert.deepStrictEqual(
        links.map(({ span }) => [span.traceId, span.spanId, span.sampled]),
        [false, true, false, true].map((sampled, n) => [traceId, `b7ad6b716920333${n}`, sampled])
      )
    }))
})
