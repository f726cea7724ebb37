import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Equal, Result, Schema } from "effect"
import { Event, EventCodec, Position, type RecordedEvent, StreamId, Version } from "evsrc"

const Shape = Schema.TaggedUnion({
  Drawn: {
    name: Schema.String,
    sides: Schema.Int,
    at: Schema.DateTimeUtc,
    weight: Schema.BigInt,
    tags: Schema.Array(Schema.String),
    note: Schema.optionalKey(Schema.NullOr(Schema.String))
  },
  Erased: {}
})

const recorded = (type: string, schemaVersion: number, data: Schema.Json): RecordedEvent => ({
  position: Position.make(7n),
  stream: StreamId.StreamId.make("Shape-1"),
  version: Version.make(3),
  id: "00000000-0000-4000-8000-000000000000",
  type,
  schemaVersion,
  data,
  metadata: {},
  tags: [],
  recordedAt: DateTime.makeUnsafe(0)
})

describe("EventCodec", () => {
  it.effect.prop(
    "what is encoded decodes to the same event, through JSON text",
    [Shape],
    ([event]) =>
      Effect.sync(() => {
        const codec = EventCodec.of(Shape)
        const { data, schemaVersion, type } = Result.getOrThrow(codec.encode(event))
        assert.strictEqual(type, event._tag)
        assert.isFalse(Object.hasOwn(data as object, "_tag"))
        const [decoded, ...others] = Result.getOrThrow(
          codec.decode(recorded(type, schemaVersion, JSON.parse(JSON.stringify(data))))
        )
        assert.deepStrictEqual(others, [])
        // Not strictly: JSON has no -0.
        assert.isTrue(Equal.equals(decoded?.event, event))
      })
  )

  it("is compiled once for a set of events", () => {
    assert.strictEqual(EventCodec.of(Shape), EventCodec.of(Shape))
  })

  it("refuses to encode what is no event of the set, or breaks its Schema, and names the field", () => {
    const encode = (event: unknown) => EventCodec.of(Shape).encode(event as typeof Shape.Type)
    assert.include(failure(encode({ _tag: "Painted" })), "Painted")
    assert.include(failure(encode({ _tag: "Drawn", name: "x", sides: 1.5 })), "Drawn")
  })

  it("names position, stream, version, type and schema version of what it cannot decode", () => {
    const codec = EventCodec.of(Shape)
    const cases = [
      [recorded("Painted", 1, {}), "UnknownType"],
      [recorded("Erased", 2, {}), "UnknownVersion"],
      [recorded("Erased", 0, {}), "UnknownVersion"],
      [recorded("Drawn", 1, { name: 1 }), "Malformed"],
      [recorded("Erased", 1, null), "Malformed"],
      [recorded("Erased", 1, []), "Malformed"]
    ] as const
    for (const [event, problem] of cases) {
      const error = Result.getOrThrow(Result.flip(codec.decode(event)))
      assert.strictEqual(error.problem, problem)
      assert.deepStrictEqual(
        [error.position, error.stream, error.version, error.type, error.schemaVersion],
        [event.position, event.stream, event.version, event.type, event.schemaVersion]
      )
      for (const part of ["position 7", "Shape-1", "version 3", event.type]) assert.include(error.message, part)
    }
  })
})

describe("Event.history", () => {
  const Point = Schema.TaggedUnion({ Moved: { x: Schema.Int, y: Schema.Int }, Stopped: {} }).pipe(Event.history({
    Moved: Event.from({ to: Schema.Tuple([Schema.Int, Schema.Int]) })
      .to({ x: Schema.Int }, (v1) => ({ x: v1.to[0] }))
      .toCurrent((v2) => {
        if (v2.x === 13) throw new Error("unlucky")
        return { x: v2.x, y: v2.x === 14 ? 0.5 : 0 }
      })
  }))
  const decode = (schemaVersion: number, data: Schema.Json) =>
    EventCodec.of(Point).decode(recorded("Moved", schemaVersion, data))

  it.effect.prop("every past version upcasts to a current event", [Schema.Int], ([x]) =>
    Effect.sync(() => {
      if (x === 13 || x === 14) return
      const expected = { _tag: "Moved" as const, x, y: 0 }
      assert.deepEqual(Result.getOrThrow(decode(1, { to: [x, 1] }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(2, { x }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(3, { x, y: 0 }))[0]?.event, expected)
    }))

  it("writes the current version", () => {
    const codec = EventCodec.of(Point)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Moved", x: 1, y: 1 })).schemaVersion, 3)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Stopped" })).schemaVersion, 1)
  })

  it("reports a past payload that is malformed, an upcaster that throws or misses the current Schema, a version from the future", () => {
    const problem = (result: ReturnType<typeof decode>) => Result.getOrThrow(Result.flip(result)).problem
    assert.strictEqual(problem(decode(1, { to: 1 })), "Malformed")
    assert.strictEqual(problem(decode(1, { to: [13, 0] })), "UpcasterFailed")
    assert.strictEqual(problem(decode(2, { x: 14 })), "UpcasterFailed")
    assert.strictEqual(problem(decode(4, {})), "UnknownVersion")
  })

  it("refuses the history of an event that is not in the set", () => {
    const histories = { Jumped: Event.from({}).toCurrent(() => ({})) }
    assert.throws(() => Shape.pipe(Event.history(histories as {})), "Jumped")
  })
})

describe("Event.merge", () => {
  const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } }).pipe(
    Event.history({ Ticked: Event.from({}).toCurrent(() => ({ n: 0 })) })
  )
  const Both = Event.merge(Shape, Tick)

  it("has the events of all, with their histories", () => {
    const codec = EventCodec.of(Both)
    assert.deepStrictEqual(codec.types, ["Drawn", "Erased", "Ticked"])
    assert.deepStrictEqual(Result.getOrThrow(codec.decode(recorded("Ticked", 1, {})))[0]?.event, {
      _tag: "Ticked",
      n: 0
    })
    assert.deepStrictEqual(Result.getOrThrow(codec.decode(recorded("Erased", 1, {})))[0]?.event, { _tag: "Erased" })
  })

  it("refuses sets that share an event's name", () => {
    assert.throws(() => Event.merge(Shape, Schema.TaggedUnion({ Erased: {} })), "Erased")
  })
})

const failure = (result: Result.Result<unknown, string>): string => Result.getOrThrow(Result.flip(result))
