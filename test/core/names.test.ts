import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Aggregate, Command, ConcurrencyConflict, Event, Position, Projection, StreamId, Version } from "evsrc"

describe("StreamId", () => {
  it.effect.prop(
    "accepts exactly the names that survive UTF-8 and fit the limit",
    [Schema.String],
    ([name]) =>
      Effect.sync(() => {
        const survives = new TextDecoder().decode(new TextEncoder().encode(name)) === name
        const valid = name.length > 0 && name.length <= 512 && survives && !name.includes("\0")
        assert.strictEqual(StreamId.validate(name) === undefined, valid)
        assert.strictEqual(Schema.is(StreamId.StreamId)(name), valid)
      })
  )

  it("names the fault in the error", () => {
    assert.include(StreamId.validate(""), "empty")
    assert.include(StreamId.validate("x".repeat(10_000)), "at most 512")
    assert.include(StreamId.validate("\0"), "NUL")
    assert.include(StreamId.validate("\ud800"), "surrogate")
  })

  it("consists of category and id", () => {
    assert.strictEqual(StreamId.nameOf("User", "a-b"), "User-a-b")
    assert.strictEqual(StreamId.category("User-a-b"), "User")
    assert.strictEqual(StreamId.category("lonely"), "lonely")
  })
})

describe("Version and Position", () => {
  it("accepts whole numbers from 0 as versions", () => {
    for (const bad of [-1, 1.5, NaN, Infinity, 2 ** 53]) assert.throws(() => Version.make(bad))
  })

  it("accepts positions from 0 to 2^63 - 1, as strings in JSON", () => {
    for (const bad of [-1n, 2n ** 63n]) assert.throws(() => Position.make(bad))
    const json = Schema.encodeSync(Schema.toCodecJson(Position.Position))(Position.make(2n ** 63n - 1n))
    assert.strictEqual(json, "9223372036854775807")
  })

  it.effect.prop(
    "a stream meets an expected version as documented",
    [Schema.Literals([0, 1, 2, 3]), Schema.Literals(["any", "noStream", "streamExists", 0, 1, 2, 3])],
    ([actual, expected]) =>
      Effect.sync(() => {
        const met = { any: true, noStream: actual === 0, streamExists: actual > 0 }
        const expectation = typeof expected === "number" ? Version.make(expected) : expected
        const should = typeof expected === "number" ? actual === expected : met[expected]
        assert.strictEqual(Version.meets(actual, expectation), should)
      })
  )

  it("shortens a long stream name in the message of a conflict", () => {
    const conflict = (stream: string, expected: Version.Expected) =>
      new ConcurrencyConflict({ stream, expected, actual: Version.make(3) }).message
    assert.strictEqual(
      conflict("User-1", Version.make(2)),
      `Stream "User-1" is at version 3, but the append expected version 2; read it again and retry`
    )
    assert.strictEqual(
      conflict("User-1", "noStream"),
      `Stream "User-1" is at version 3, but the append expected "noStream"; read it again and retry`
    )
    assert.isBelow(conflict("x".repeat(10_000), "any").length, 300)
  })
})

describe("definitions", () => {
  const events = Schema.TaggedUnion({ Happened: { id: Schema.String } })
  const state = Schema.Struct({})
  const Do = Command.make("Do", { payload: { id: Schema.String } })

  it("reject an aggregate with an invalid name or two commands of one name", () => {
    const make = (name: string, commands: ReadonlyArray<typeof Do>) =>
      Aggregate.make(name, { id: "id", state, events, commands })
    assert.throws(() => make("", [Do]), "empty")
    assert.throws(() => make("a-b", [Do]), `"-"`)
    assert.throws(() => make("A", [Do, Do]), "have the same name")
  })

  it("reject a projection with an invalid name or version", () => {
    const make = (name: string, version: number) =>
      Projection.make(name, {
        events,
        document: state,
        key: (event) => event.id,
        evolve: { Happened: Projection.ignore },
        version
      })
    assert.throws(() => make("", 1), "name")
    assert.throws(() => make("users; drop", 1), "name")
    assert.throws(() => make("users", 0), "version")
    assert.throws(() => make("users", 1.5), "version")
    assert.strictEqual(make("users", 2).id, "users@2")
  })

  it("reject a projection with unknown tags or without partitions", () => {
    const make = (tags: ReadonlyArray<string>, partitions = 1) =>
      Projection.make("users", {
        events: events.pipe(Event.tags({ user: "id" })),
        document: state,
        key: (event) => event.id,
        evolve: { Happened: Projection.ignore },
        where: { tags: tags as ReadonlyArray<`user:${string}`> },
        partitions
      })
    for (const tag of ["", "x", "user", "user:", "usr:ann"]) {
      assert.throws(() => make([Event.tag("user", "ann"), tag]), "declares the tags: user")
    }
    assert.throws(() => make([], 0), "partitions")
    assert.throws(() => make([], 257), "partitions")
    assert.deepStrictEqual(make([Event.tag("user", "ann")], 256).where.tags, ["user:ann"])
  })
})
