import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream, Tracer } from "effect"
import { Aggregate, Command, CommandBus, EventStore } from "evsrc"
import * as TraceContext from "../../src/command/TraceContext.ts"

const traceId = "0af7651916cd43dd8448eb211c80319c"
const otherId = "1af7651916cd43dd8448eb211c80319c"

const eventOf = (traceparent?: string) => ({ metadata: traceparent === undefined ? {} : { traceparent } })
const inTrace = (id: string, span: number, flags = "01") =>
  eventOf(`00-${id}-${span.toString(16).padStart(16, "0")}-${flags}`)
const spansOf = (links: ReadonlyArray<Tracer.SpanLink> | undefined) =>
  links?.map(({ span }) => [span.traceId, span.spanId])

const Tick = Schema.TaggedUnion({ Ticked: { id: Schema.String } })
const Count = Command.make("Count", { payload: { id: Schema.String } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Struct({}),
  events: Tick,
  commands: [Count]
}).decider({
  initial: {},
  evolve: { Ticked: (state) => state },
  decide: { Count: (_, c) => [Tick.cases.Ticked.make(c)] }
})

describe("the span of a batch", () => {
  it("belongs to the trace of its events, and links to their other spans", () => {
    const { links, parent, root } = TraceContext.ofBatch([
      inTrace(traceId, 1),
      inTrace(traceId, 2),
      inTrace(traceId, 1)
    ])
    assert.deepStrictEqual([parent?.traceId, parent?.spanId, root], [traceId, "0000000000000001", undefined])
    assert.deepStrictEqual(spansOf(links), [[traceId, "0000000000000002"]])
  })

  it("begins a trace that is linked to those of its events, if they are of several", () => {
    const several = [inTrace(traceId, 1), inTrace(otherId, 2), inTrace(traceId, 3)]
    const { links, parent, root } = TraceContext.ofBatch(several)
    assert.deepStrictEqual([parent, root], [undefined, true])
    assert.deepStrictEqual(spansOf(links), [
      [traceId, "0000000000000001"],
      [otherId, "0000000000000002"],
      [traceId, "0000000000000003"]
    ])
    const { links: one, root: isRoot } = TraceContext.ofBatch([inTrace(traceId, 1), eventOf()])
    assert.deepStrictEqual([isRoot, spansOf(one)], [true, [[traceId, "0000000000000001"]]])
  })

  it("has 128 links at most", () => {
    const events = Array.from({ length: 500 }, (_, n) => inTrace(n % 2 === 0 ? traceId : otherId, n + 1))
    assert.strictEqual(TraceContext.ofBatch(events).links?.length, 128)
  })

  it("begins a trace without links for events without a valid trace context", () => {
    for (
      const traceparent of [undefined, "", "00-noop-noop-00", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, "ff-x"]
    ) {
      assert.deepStrictEqual(TraceContext.ofBatch([eventOf(traceparent)]), { root: true })
    }
  })

  it("is sampled exactly where the trace flags of its events say so", () => {
    const sampled = ["00", "01", "02", "03"].map((flags) =>
      TraceContext.ofBatch([inTrace(traceId, 1, flags)]).parent?.sampled
    )
    assert.deepStrictEqual(sampled, [false, true, false, true])
  })
})

describe("the trace context of a command", () => {
  const traceparentAfter = (program: <A, E, R>(dispatch: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      yield* program(CommandBus.dispatch(Count, { id: "a" }))
      const [event] = yield* Stream.runCollect((yield* EventStore.EventStore).readAllEncoded())
      return event?.metadata.traceparent
    }).pipe(Effect.provide(Aggregate.layer(Counter)), Effect.provide(EventStore.layerMemory))

  it.effect("is absent while tracing is disabled, without a caller that is traced", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* traceparentAfter(Effect.withTracerEnabled(false)))
      assert.match((yield* traceparentAfter((dispatch) => dispatch)) ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    }))

  it.effect("is that of the caller while tracing is disabled", () =>
    Effect.gen(function*() {
      const caller = Tracer.externalSpan({ traceId, spanId: "b7ad6b7169203331", sampled: true })
      const found = yield* traceparentAfter((dispatch) =>
        dispatch.pipe(Effect.withTracerEnabled(false), Effect.withParentSpan(caller))
      )
      assert.strictEqual(found, `00-${traceId}-b7ad6b7169203331-01`)
    }))
})
