/** The encoding of hashed events, and the verifier over a log that was tampered with. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { EventStore, HashChain, type StoredEvent, StreamId, Version } from "evsrc"
import { createHash } from "node:crypto"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as EventHash from "../../src/event/EventHash.ts"

const Said = Schema.TaggedUnion({ Said: { text: Schema.String } })

const event: StoredEvent = {
  position: Position.make(258n),
  stream: StreamId.StreamId.make("é"),
  version: Version.make(2),
  id: "0b7e3f2c-5c0f-4f6e-9d0a-000000000001",
  type: "T",
  schemaVersion: 3,
  data: "{}",
  metadata: " {}",
  tags: ["a:b", ""],
  recordedAt: DateTime.makeUnsafe(1000)
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

/** Encodes length-prefixed texts, independently of the code under test. */
const text = (value: string) => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]).toString("hex")
}
const none = "ffffffff"

describe("the encoding of a hashed event", () => {
  it("stays the same bytes", () => {
    const expected = [
      text("evsrc/1"),
      none,
      text("é"),
      "0000000000000002",
      "0000000000000102",
      text(event.id),
      text("T"),
      "00000003",
      "00000000000f4240",
      none,
      none,
      "00000002",
      text("a:b"),
      text(""),
      text("{}"),
      text(" {}"),
      "00000000"
    ].join("")
    assert.strictEqual(hex(EventHash.encode(event, undefined)), expected)
    const linked = EventHash.encode(
      { ...event, commandId: "", commandEvents: 2, recordedMicros: 1, closes: true },
      "00ff"
    )
    assert.strictEqual(
      hex(linked),
      expected.replace(text("evsrc/1") + none, `${text("evsrc/1")}0000000200ff`)
        .replace(/0{8}$/, "00000001")
        .replace(`00000000000f4240${none}${none}`, "00000000000f42410000000000000002")
    )
  })

  it("differs for different events, also when text moves to the next field", () => {
    const others: ReadonlyArray<Partial<StoredEvent>> = [
      {},
      { stream: StreamId.StreamId.make("éT"), type: "" },
      { type: "T{", data: "}" },
      { data: "{} ", metadata: "{}" },
      { tags: ["a:b"] },
      { tags: ["a:", "b"] },
      { tags: ["a:b", "", ""] },
      { tags: [] },
      { commandId: "x" },
      { commandEvents: 1 },
      { recordedAt: DateTime.makeUnsafe(1001) },
      { recordedMicros: 1 },
      { schemaVersion: 4 },
      { version: Version.make(258), position: Position.make(2n) }
    ]
    const encodings = others.map((other) => hex(EventHash.encode({ ...event, ...other }, undefined)))
    assert.strictEqual(new Set(encodings).size, others.length)
  })
})

const write = Effect.flatMap(
  EventStore.EventStore,
  (store) =>
    Effect.forEach(
      ["one", "two", "three", "four"],
      (text, n) =>
        store.append(Said, n === 3 ? "b" : "a", [{ _tag: "Said", text }], { metadata: { commandId: `c-${n}` } })
    )
)

/** Provides a store whose reads return tampered events. */
const reading = (tamper: (events: ReadonlyArray<StoredEvent>) => ReadonlyArray<StoredEvent>) =>
  Effect.updateService(EventStore.EventStore, (store) => ({
    ...store,
    [internals]: {
      ...store[internals],
      driver: {
        ...store[internals].driver,
        readStored: (page) =>
          Effect.map(store[internals].driver.readStored(page), ({ events, head }) => ({ events: tamper(events), head }))
      }
    }
  }))

const kinds = ({ faults }: HashChain.Report) =>
  faults.map((fault) => "stream" in fault ? `${fault.kind} ${fault.stream} ${fault.version}` : fault.kind)

describe("the hash chain verifier", () => {
  it.effect("recomputes every hash instead of trusting the stored ones", () =>
    Effect.gen(function*() {
      yield* write
      const { anchor, ...report } = yield* HashChain.verify()
      assert.deepInclude(report, { isIntact: true, verified: 4, unchained: 0 })
      const first = (change: Partial<StoredEvent>) => (events: ReadonlyArray<StoredEvent>) =>
        events.map((one, index) => index === 0 ? { ...one, ...change } : one)
      const cases: ReadonlyArray<readonly [Parameters<typeof reading>[0], ReadonlyArray<string>, boolean]> = [
        [(events) => events, [], true],
        [first({ data: `{"text":"onf"}` }), ["changed a 1"], false],
        [first({ metadata: "{ }" }), ["changed a 1"], false],
        [first({ commandId: "other" }), ["changed a 1"], false],
        [first({ tags: ["x"] }), ["changed a 1"], false],
        [first({ hash: "00".repeat(32) }), ["changed a 1"], true],
        // Without the last event of the page, the stream ends earlier.
        [(events) => events.slice(0, -1), [], false],
        // The event that is now first in its stream has no predecessor.
        [
          (events) =>
            events.slice(1).map(({ previous, ...one }, index) =>
              index === 0 || previous === undefined ? one : { ...one, previous }
            ),
          ["missing a 1"],
          false
        ]
      ]
      for (const [tamper, faults, isAnchorMet] of cases) {
        const alone = yield* reading(tamper)(HashChain.verify())
        assert.deepStrictEqual(kinds(alone), faults)
        const against = yield* reading(tamper)(HashChain.verify({ against: anchor }))
        assert.strictEqual(kinds(against).includes("anchor"), !isAnchorMet)
      }
    }).pipe(Effect.provide(EventStore.layerMemoryWith({ hashChain: true }))))

  it.effect("returns anchors of a log without hashes", () =>
    Effect.gen(function*() {
      yield* write
      const { anchor, ...report } = yield* HashChain.verify()
      assert.deepInclude(report, { isIntact: true, verified: 0, unchained: 4 })
      yield* write.pipe(Effect.andThen(HashChain.verify({ against: anchor })))
      const tamper = (events: ReadonlyArray<StoredEvent>) =>
        events.map((one) => one.stream === "b" ? { ...one, data: "{}" } : one)
      assert.deepStrictEqual(kinds(yield* reading(tamper)(HashChain.verify({ against: anchor }))), ["anchor"])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("hashes with SHA-256 and digests blocks of 256 hashes", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sha256 = (...parts: ReadonlyArray<Uint8Array>) => createHash("sha256").update(Buffer.concat(parts)).digest()
      yield* store.append(Said, "a", Array.from({ length: 600 }, (_, n) => ({ _tag: "Said", text: `${n}` })))
      const { events } = yield* store[internals].driver.readStored({ after: Position.start, limit: 1000, links: true })
      const hashes = events.map(({ previous, ...one }) => sha256(EventHash.encode(one, previous?.hash)))
      assert.deepStrictEqual(events.map(({ hash }) => hash), hashes.map(hex))
      const first = sha256(Buffer.alloc(32), ...hashes.slice(0, 256))
      const second = sha256(first, ...hashes.slice(256, 512))
      const { anchor } = yield* HashChain.verify()
      assert.deepStrictEqual(anchor, {
        position: events[599]!.position,
        events: 600,
        digest: hex(sha256(second, ...hashes.slice(512)))
      })
    }).pipe(Effect.provide(EventStore.layerMemoryWith({ hashChain: true }))))
})
