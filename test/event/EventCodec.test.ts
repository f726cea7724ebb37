import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Equal, Result, Schema, SchemaGetter } from "effect"
import { type EncodedEvent, Event, EventCodec, Position, StreamId, Version } from "evsrc"

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

const recorded = (type: string, schemaVersion: number, data: Schema.Json): EncodedEvent => ({
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
        const codec = EventCodec.make(Shape)
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
    assert.strictEqual(EventCodec.make(Shape), EventCodec.make(Shape))
  })

  it("refuses to encode what is no event of the set, or breaks its Schema, and names the field", () => {
    const encode = (event: unknown) => EventCodec.make(Shape).encode(event as typeof Shape.Type)
    assert.include(failure(encode({ _tag: "Painted" })), "Painted")
    assert.include(failure(encode({ _tag: "Drawn", name: "x", sides: 1.5 })), "Drawn")
  })

  it("names position, stream, version, type and schema version of what it cannot decode", () => {
    const codec = EventCodec.make(Shape)
    const cases = [
      [recorded("Painted", 1, {}), "UnknownType"],
      [recorded("Erased", 2, {}), "NewerVersion"],
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

describe("Event.upcasters", () => {
  const Point = Schema.TaggedUnion({ Moved: { x: Schema.Int, y: Schema.Int }, Stopped: {} }).pipe(Event.upcasters({
    Moved: Event.from({ to: Schema.Tuple([Schema.Int, Schema.Int]) })
      .to({ x: Schema.Int }, (v1) => ({ x: v1.to[0] }))
      .toCurrent((v2) => {
        if (v2.x === 13) throw new Error("unlucky")
        return { x: v2.x, y: v2.x === 14 ? 0.5 : 0 }
      })
  }))
  const decode = (schemaVersion: number, data: Schema.Json) =>
    EventCodec.make(Point).decode(recorded("Moved", schemaVersion, data))

  it.effect.prop("every past version upcasts to a current event", [Schema.Int], ([x]) =>
    Effect.sync(() => {
      if (x === 13 || x === 14) return
      const expected = { _tag: "Moved" as const, x, y: 0 }
      assert.deepEqual(Result.getOrThrow(decode(1, { to: [x, 1] }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(2, { x }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(3, { x, y: 0 }))[0]?.event, expected)
    }))

  it("writes the current version", () => {
    const codec = EventCodec.make(Point)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Moved", x: 1, y: 1 })).schemaVersion, 3)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Stopped" })).schemaVersion, 1)
  })

  it("reports a past payload that is malformed, an upcaster that throws or misses the current Schema, a version from the future", () => {
    const problem = (result: ReturnType<typeof decode>) => Result.getOrThrow(Result.flip(result)).problem
    assert.strictEqual(problem(decode(1, { to: 1 })), "Malformed")
    assert.strictEqual(problem(decode(1, { to: [13, 0] })), "UpcasterFailed")
    assert.strictEqual(problem(decode(2, { x: 14 })), "UpcasterFailed")
    assert.strictEqual(problem(decode(4, {})), "NewerVersion")
  })

  it("refuses the history of an event that is not in the set", () => {
    const histories = { Jumped: Event.from({}).toCurrent(() => ({})) }
    assert.throws(() => Shape.pipe(Event.upcasters(histories as {})), "Jumped")
  })
})

describe("Event.merge", () => {
  const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } }).pipe(
    Event.upcasters({ Ticked: Event.from({}).toCurrent(() => ({ n: 0 })) })
  )
  const Both = Event.merge(Shape, Tick)

  it("has the events of all, with their histories", () => {
    const codec = EventCodec.make(Both)
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

describe("events that were split, renamed or retired", () => {
  const User = Schema.TaggedUnion({
    Registered: { id: Schema.String, name: Schema.NonEmptyString },
    EmailAdded: { id: Schema.String, email: Schema.String },
    Poked: { id: Schema.String }
  }).pipe(
    Event.upcasters({
      // Version 1 had the email, 2 was without and had a full name, 3 is now.
      Registered: Event.from({ id: Schema.String, name: Schema.String, email: Schema.String })
        .splitInto(["Registered", "EmailAdded"], ({ email, id, name }) => [
          { _tag: "Registered", id, name },
          { _tag: "EmailAdded", id, email }
        ])
        .from({ id: Schema.String, fullName: Schema.String })
        .toCurrent(({ fullName, id }) => ({ id, name: fullName }))
    }),
    Event.legacy({
      SignedUp: Event.from({ user: Schema.String })
        .to({ id: Schema.String, name: Schema.String }, ({ user }) => ({ id: user, name: user }))
        .splitInto(["Registered"], (v2) => {
          if (v2.name === "boom") throw new Error("too loud")
          return [{ _tag: "Registered", ...v2 }]
        }),
      Knocked: Event.from({ id: Schema.String })
        .to({ id: Schema.NonEmptyString }, (v1) => v1)
        .renamedTo("Poked", ({ id }) => ({ id: `not ${id}` })),
      Stray: Event.from({ id: Schema.String }).splitInto(["Poked"], ({ id }) => [{ _tag: id as "Poked", id }]),
      Blinked: Event.retired
    })
  )
  const codec = EventCodec.make(User)
  const decode = (type: string, schemaVersion: number, data: Schema.Json) =>
    Result.map(codec.decode(recorded(type, schemaVersion, data)), (records) => records.map(({ event }) => event))
  const problem = (result: ReturnType<typeof decode>) => Result.getOrThrow(Result.flip(result))

  it("decode as what they mean today, each part with its number", () => {
    const old = Result.getOrThrow(codec.decode(recorded("Registered", 1, { id: "1", name: "Ann", email: "a@b" })))
    assert.deepEqual(old.map(({ event, id, part }) => [part, id, event]), [
      [0, recorded("", 1, {}).id, { _tag: "Registered", id: "1", name: "Ann" }],
      [1, recorded("", 1, {}).id, { _tag: "EmailAdded", id: "1", email: "a@b" }]
    ])
    const ann = [{ _tag: "Registered" as const, id: "Ann", name: "Ann" }]
    assert.deepEqual(Result.getOrThrow(decode("Registered", 2, { id: "Ann", fullName: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("Registered", 3, { id: "Ann", name: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("SignedUp", 1, { user: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("SignedUp", 2, { id: "Ann", name: "Ann" })), ann)
    for (const version of [1, 2, 70]) assert.deepEqual(Result.getOrThrow(decode("Blinked", version, 1)), [])
  })

  it("are never written", () => {
    for (const _tag of ["SignedUp", "Blinked"]) {
      assert.include(failure(codec.encode({ _tag } as typeof User.Type)), _tag)
    }
    const now = Result.getOrThrow(codec.encode({ _tag: "Registered", id: "1", name: "Ann" }))
    assert.deepEqual([now.type, now.schemaVersion], ["Registered", 3])
  })

  it("report an upcaster that throws, makes an invalid event, or one that it does not name; and the step", () => {
    const cases = [
      [
        decode("SignedUp", 1, { user: "boom" }),
        "UpcasterFailed",
        "the upcaster from schema version 2 threw: Error: too loud"
      ],
      [
        decode("SignedUp", 2, { id: "1", name: "" }),
        "UpcasterFailed",
        "the upcaster from schema version 2 made no valid"
      ],
      [
        decode("Registered", 1, { id: "1", name: "", email: "" }),
        "UpcasterFailed",
        "from schema version 1 made no valid"
      ],
      [decode("Knocked", 1, { id: "" }), "UpcasterFailed", "from schema version 1 made no payload of version 2"],
      [decode("Stray", 1, { id: "Registered" }), "UpcasterFailed", "\"Registered\", which is none of Poked"],
      [decode("SignedUp", 1, { id: "1" }), "Malformed", "user"],
      [decode("SignedUp", 3, {}), "NewerVersion", "this program has its schema versions 1 to 2"],
      [decode("Stray", 2, {}), "NewerVersion", "this program has its schema version 1;"],
      [decode("SignedUp", 0, {}), "UnknownVersion", "from 1"]
    ] as const
    for (const [result, expected, detail] of cases) {
      const error = problem(result)
      assert.deepEqual(error.problem, expected)
      assert.include(error.message, detail)
    }
  })

  it("are looked for under every name that they may have in the log", () => {
    assert.deepEqual(Event.storedTypes(User), ["Registered", "EmailAdded", "Poked", "SignedUp", "Knocked", "Stray"])
    assert.deepEqual(Event.storedTypes(User, ["EmailAdded"]), ["EmailAdded", "Registered"])
    assert.deepEqual(Event.storedTypes(User, ["Registered"]), ["Registered", "SignedUp"])
    assert.deepEqual(Event.storedTypes(User, []), [])
    assert.deepEqual(codec.storedTypes, Event.storedTypes(User))
  })

  it("have their versions counted", () => {
    assert.deepEqual(Event.versions(User), {
      Registered: 3,
      EmailAdded: 1,
      Poked: 1,
      SignedUp: 2,
      Knocked: 2,
      Stray: 1,
      Blinked: "retired"
    })
  })

  it("keep their names to themselves", () => {
    const Other = Schema.TaggedUnion({ Other: {} })
    const Gone = Other.pipe(Event.legacy({ Gone: Event.retired }))
    const refused: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => Event.merge(User, Other.pipe(Event.legacy({ Blinked: Event.retired }))), "Blinked"],
      [() => Event.merge(User, Other.pipe(Event.legacy({ Poked: Event.retired }))), "Poked"],
      [() => Event.merge(Schema.TaggedUnion({ SignedUp: {} }), User), "SignedUp"],
      [() => Other.pipe(Event.legacy({ Other: Event.retired as never })), "Other"],
      [() => Gone.pipe(Event.legacy({ Gone: Event.retired })), "Gone"],
      [
        () => User.pipe(Event.upcasters({ Registered: Event.from({}).toCurrent(() => ({ id: "", name: "x" })) })),
        "Registered"
      ],
      [() => Other.pipe(Event.legacy({ A: Event.from({}).splitInto(["B"] as never, () => []) })), "B"],
      [() => Other.pipe(Event.upcasters({ Other: Event.from({}).splitInto(["B"] as never, () => []) })), "B"]
    ]
    for (const [make, name] of refused) assert.throws(make, name)
    const both = EventCodec.make(Event.merge(Other, User))
    assert.deepEqual(Result.getOrThrow(both.decodeData({ type: "Blinked", schemaVersion: 1, data: {} })), [])
    assert.deepEqual(both.storedTypes, ["Other", ...codec.storedTypes])
    assert.deepEqual(Event.versions(Event.merge(Other, User)), { Other: 1, ...Event.versions(User) })
  })

  it("have their Schemas and upcasters compiled once, not for each event", () => {
    let compiled = 0
    const Counted = Schema.declareConstructor<string>()([], () => {
      compiled++
      return (input) => Effect.succeed(String(input))
    }, {
      toCodecJson: () =>
        Schema.link<string>()(Schema.String, { decode: SchemaGetter.passthrough(), encode: SchemaGetter.passthrough() })
    })
    const Set = Schema.TaggedUnion({ Now: { text: Counted } }).pipe(
      Event.legacy({ Then: Event.from({ text: Counted }).renamedTo("Now", (e) => e) })
    )
    const decode = (text: string) => EventCodec.make(Set).decodeData({ type: "Then", schemaVersion: 1, data: { text } })
    Result.getOrThrow(decode("first"))
    const first = compiled
    assert.isAbove(first, 0)
    for (let n = 0; n < 100; n++) assert.deepEqual(Result.getOrThrow(decode("x")), [{ _tag: "Now", text: "x" }])
    assert.strictEqual(compiled, first)
  })
})

const failure = (result: Result.Result<unknown, string>): string => Result.getOrThrow(Result.flip(result))
