import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Result, Schema, SchemaGetter } from "effect"
import { type EncodedEvent, Event, EventCodec, Position, StreamId, Version } from "evsrc"
import { equal } from "../../src/conformance/Suite.ts"

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

const encodedEvent = (type: string, schemaVersion: number, data: Schema.Json): EncodedEvent => ({
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
    "round-trips every event through JSON text",
    [Shape],
    ([event]) =>
      Effect.sync(() => {
        const codec = EventCodec.make(Shape)
        const { data, schemaVersion, type } = Result.getOrThrow(codec.encode(event))
        assert.strictEqual(type, event._tag)
        assert.isFalse(Object.hasOwn(data as object, "_tag"))
        const [decoded, ...others] = Result.getOrThrow(
          codec.decode(encodedEvent(type, schemaVersion, JSON.parse(JSON.stringify(data))))
        )
        assert.deepStrictEqual(others, [])
        // Not `assert.deepStrictEqual`, because JSON has no -0.
        equal(decoded?.event, event, "the decoded event")
      })
  )

  it("is compiled once per event set", () => {
    assert.strictEqual(EventCodec.make(Shape), EventCodec.make(Shape))
  })

  it("rejects an unknown or invalid event by its name", () => {
    const encode = (event: unknown) => EventCodec.make(Shape).encode(event as typeof Shape.Type)
    assert.include(failure(encode({ _tag: "Painted" })), "Painted")
    assert.include(failure(encode({ _tag: "Drawn", name: "x", sides: 1.5 })), "Drawn")
  })

  it("names the position, stream, version and type of an undecodable event", () => {
    const codec = EventCodec.make(Shape)
    const cases = [
      [encodedEvent("Painted", 1, {}), "UnknownType"],
      [encodedEvent("Erased", 2, {}), "NewerVersion"],
      [encodedEvent("Erased", 0, {}), "UnknownVersion"],
      [encodedEvent("Drawn", 1, { name: 1 }), "Malformed"],
      [encodedEvent("Erased", 1, null), "Malformed"],
      [encodedEvent("Erased", 1, []), "Malformed"]
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
        if (v2.x === 13) throw new Error("no 13")
        return { x: v2.x, y: v2.x === 14 ? 0.5 : 0 }
      })
  }))
  const decode = (schemaVersion: number, data: Schema.Json) =>
    EventCodec.make(Point).decode(encodedEvent("Moved", schemaVersion, data))

  it.effect.prop("upcasts every past version to the current event", [Schema.Int], ([x]) =>
    Effect.sync(() => {
      if (x === 13 || x === 14) return
      const expected = { _tag: "Moved" as const, x, y: 0 }
      assert.deepEqual(Result.getOrThrow(decode(1, { to: [x, 1] }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(2, { x }))[0]?.event, expected)
      assert.deepEqual(Result.getOrThrow(decode(3, { x, y: 0 }))[0]?.event, expected)
    }))

  it("encodes the current schema version", () => {
    const codec = EventCodec.make(Point)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Moved", x: 1, y: 1 })).schemaVersion, 3)
    assert.strictEqual(Result.getOrThrow(codec.encode({ _tag: "Stopped" })).schemaVersion, 1)
  })

  it("reports a malformed payload, a failed upcaster or a newer version", () => {
    const problem = (result: ReturnType<typeof decode>) => Result.getOrThrow(Result.flip(result)).problem
    assert.strictEqual(problem(decode(1, { to: 1 })), "Malformed")
    assert.strictEqual(problem(decode(1, { to: [13, 0] })), "UpcasterFailed")
    assert.strictEqual(problem(decode(2, { x: 14 })), "UpcasterFailed")
    assert.strictEqual(problem(decode(4, {})), "NewerVersion")
  })

  it("rejects upcasters of an event that is not in the set", () => {
    const histories = { Jumped: Event.from({}).toCurrent(() => ({})) }
    assert.throws(() => Shape.pipe(Event.upcasters(histories as {})), "Jumped")
  })
})

describe("Event.merge", () => {
  const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } }).pipe(
    Event.upcasters({ Ticked: Event.from({}).toCurrent(() => ({ n: 0 })) })
  )
  const Both = Event.merge(Shape, Tick)

  it("contains the events of all sets, with their upcasters", () => {
    const codec = EventCodec.make(Both)
    assert.deepStrictEqual(codec.types, ["Drawn", "Erased", "Ticked"])
    assert.deepStrictEqual(Result.getOrThrow(codec.decode(encodedEvent("Ticked", 1, {})))[0]?.event, {
      _tag: "Ticked",
      n: 0
    })
    assert.deepStrictEqual(Result.getOrThrow(codec.decode(encodedEvent("Erased", 1, {})))[0]?.event, { _tag: "Erased" })
  })

  it("rejects sets with different events of one name", () => {
    const other = Schema.TaggedUnion({ Erased: {} })
    assert.throws(
      () => Event.merge(Shape, other),
      `Event.merge: two sets have an event "Erased" with different Schemas; names are global to a log, so rename one`
    )
    const renamed = Schema.TaggedUnion({ Moved: {} }).pipe(
      Event.legacy({ Erased: Event.from({}).renamedTo("Moved", (e) => e) })
    )
    assert.throws(() => Event.merge(Shape, renamed), "Erased")
  })

  it("merges sets that share a case", () => {
    const Line = Schema.toTaggedUnion("_tag")(Schema.Union([Shape.cases.Erased, Tick.cases.Ticked]))
    const all = Event.merge(Shape, Line, Schema.TaggedUnion({ Told: {} }), Shape)
    assert.deepStrictEqual(EventCodec.make(all).types, ["Drawn", "Erased", "Ticked", "Told"])
    assert.deepStrictEqual(EventCodec.make(Event.merge(Both, Tick)).types, ["Drawn", "Erased", "Ticked"])
  })

  it("rejects sets whose shared case has other tags or upcasters", () => {
    const One = Schema.TaggedUnion({ Sent: { to: Schema.String, by: Schema.String } })
    const tagged = One.pipe(Event.tags({ to: "to" }))
    assert.throws(() => Event.merge(One, tagged), `two sets have an event "Sent" with different tags`)
    assert.throws(() => Event.merge(tagged, One.pipe(Event.tags({ to: "by" }))), "with different tags")
    const upcast = One.pipe(Event.upcasters({ Sent: Event.from({}).toCurrent(() => ({ to: "", by: "" })) }))
    assert.throws(() => Event.merge(One, upcast), `two sets have an event "Sent" with different upcasters`)
    assert.doesNotThrow(() => Event.merge(tagged, One.pipe(Event.tags({ to: "to" }))))
  })
})

describe("split, renamed and retired events", () => {
  const User = Schema.TaggedUnion({
    Registered: { id: Schema.String, name: Schema.NonEmptyString },
    EmailAdded: { id: Schema.String, email: Schema.String },
    Poked: { id: Schema.String }
  }).pipe(
    Event.upcasters({
      // Version 1 had an email, version 2 a full name and no email. Version 3 is current.
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
          if (v2.name === "boom") throw new Error("bad name")
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
    Result.map(codec.decode(encodedEvent(type, schemaVersion, data)), (decoded) => decoded.map(({ event }) => event))
  const problem = (result: ReturnType<typeof decode>) => Result.getOrThrow(Result.flip(result))

  it("are upcast to current events, each part with its number", () => {
    const versionOne = Result.getOrThrow(
      codec.decode(encodedEvent("Registered", 1, { id: "1", name: "Ann", email: "a@b" }))
    )
    assert.deepEqual(versionOne.map(({ event, id, part }) => [part, id, event]), [
      [0, encodedEvent("", 1, {}).id, { _tag: "Registered", id: "1", name: "Ann" }],
      [1, encodedEvent("", 1, {}).id, { _tag: "EmailAdded", id: "1", email: "a@b" }]
    ])
    const ann = [{ _tag: "Registered" as const, id: "Ann", name: "Ann" }]
    assert.deepEqual(Result.getOrThrow(decode("Registered", 2, { id: "Ann", fullName: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("Registered", 3, { id: "Ann", name: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("SignedUp", 1, { user: "Ann" })), ann)
    assert.deepEqual(Result.getOrThrow(decode("SignedUp", 2, { id: "Ann", name: "Ann" })), ann)
    for (const version of [1, 2, 70]) assert.deepEqual(Result.getOrThrow(decode("Blinked", version, 1)), [])
  })

  it("cannot be encoded", () => {
    for (const _tag of ["SignedUp", "Blinked"]) {
      assert.include(failure(codec.encode({ _tag } as typeof User.Type)), _tag)
    }
    const current = Result.getOrThrow(codec.encode({ _tag: "Registered", id: "1", name: "Ann" }))
    assert.deepEqual([current.type, current.schemaVersion], ["Registered", 3])
  })

  it("report the version whose upcaster throws or returns an invalid event", () => {
    const cases = [
      [
        decode("SignedUp", 1, { user: "boom" }),
        "UpcasterFailed",
        "the upcaster from schema version 2 threw: Error: bad name"
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

  it("are queried by every type that the log may contain", () => {
    assert.deepEqual(Event.storedTypes(User), ["Registered", "EmailAdded", "Poked", "SignedUp", "Knocked", "Stray"])
    assert.deepEqual(Event.storedTypes(User, ["EmailAdded"]), ["EmailAdded", "Registered"])
    assert.deepEqual(Event.storedTypes(User, ["Registered"]), ["Registered", "SignedUp"])
    assert.deepEqual(Event.storedTypes(User, []), [])
    assert.deepEqual(codec.storedTypes, Event.storedTypes(User))
  })

  it("are listed with their number of versions", () => {
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

  it("reject a second use of their names, and keep them when merged", () => {
    const Other = Schema.TaggedUnion({ Other: {} })
    const Gone = Other.pipe(Event.legacy({ Gone: Event.retired }))
    const rejected: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => Event.merge(User, Schema.TaggedUnion({ Blinked: {} })), "Blinked"],
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
    for (const [make, name] of rejected) assert.throws(make, name)
    const both = EventCodec.make(Event.merge(Other, User))
    assert.deepEqual(Result.getOrThrow(both.decodeData({ type: "Blinked", schemaVersion: 1, data: {} })), [])
    assert.deepEqual(both.storedTypes, ["Other", ...codec.storedTypes])
    assert.deepEqual(Event.versions(Event.merge(Other, User)), { Other: 1, ...Event.versions(User) })
  })

  it("compile their Schemas and upcasters once, not per event", () => {
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
