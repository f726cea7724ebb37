/**
 * The conformance suite of event stores with hash chains.
 *
 * @since 0.1.0
 */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { internals } from "../core/internals.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import * as EventHash from "../event/EventHash.ts"
import { ofStoredTypes } from "../event/EventQuery.ts"
import type { NewEvent, StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as HashChain from "../history/HashChain.ts"
import { append, appendStored, race, storedEvent, upTo } from "./EventStoreFixtures.ts"
import { readStored } from "./StoredEventSuite.ts"
import { type Case, equal, isAbove, test, unique } from "./Suite.ts"

/** Computes the hashes of each stream from the events alone. */
const expectedOf = Effect.fnUntraced(function*(events: ReadonlyArray<StoredEvent>) {
  const { digestHex } = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
  const last = new Map<string, string>()
  const hashes: Array<string> = []
  for (const event of events) {
    const hash = yield* digestHex(Digest.sha256, EventHash.encode(event, last.get(event.stream)))
    last.set(event.stream, hash)
    hashes.push(hash)
  }
  return hashes
})

/**
 * The cases. Run them last, on a store whose rows were changed only through its interface.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<EventStore>> = [
  test("links every event to the event before it in its stream", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const [a, b, c] = [unique("Cart"), unique("Cart €💶"), unique("Decided")]
    const tag = unique("tag:é")
    const tagged: NewEvent = {
      ...storedEvent("Tägged", 3, { text: "\u0000é💶" }),
      tags: [tag, `x:{"a",\\ b}`, "e:", "NULL"],
      metadata: `{ "actor":"\\u0000" }`
    }
    yield* appendStored(a, [tagged])
    yield* append(a, [1, 2, 3], "any", unique("command"))
    yield* append(a, [4], "any", unique("command"))
    const { condition } = yield* store.readByQuery(ofStoredTypes([{ tags: [tag] }]))
    yield* store[internals].driver.append({
      stream: StreamId.make(c),
      expected: "any",
      events: [1, 2].map((n) => ({ ...storedEvent("Decided", 1, { n }), tags: [tag] })),
      condition,
      commandId: unique("command")
    })
    // Concurrent appends, so that one group commit writes several.
    yield* race(upTo(20).flatMap((n) => [append(a, upTo(n % 3 + 1)), append(b, [n], "any", unique("command"))]))
    const events = yield* readStored(after, [a, b, c])
    equal(events.length, 5 + 2 + 20 + 41, "all events")
    equal(events.map(({ hash }) => hash), yield* expectedOf(events), "the hashes")
  }),

  test("returns the predecessors of stored events on request", function*() {
    const { head, [internals]: { driver } } = yield* EventStore
    const after = yield* head
    const stream = unique("Cart")
    yield* append(stream, [1, 2])
    yield* append(stream, [3])
    const { events } = yield* driver.readStored({ after, limit: 500, links: true })
    const own = events.filter((event) => event.stream === stream)
    equal(own.map(({ previous }) => previous), [
      undefined,
      { version: Version.make(1), hash: own[0]!.hash! },
      { version: Version.make(2), hash: own[1]!.hash! }
    ], "the links")
    const plain = yield* driver.readStored({ after, limit: 500 })
    isAbove(plain.events.length, 0, "events without links")
    equal(plain.events.filter((event) => "previous" in event), [], "not when it is not asked for")
  }),

  test("verifies an intact log with any anchor and page size", function*() {
    const store = yield* EventStore
    const first = yield* HashChain.verify()
    const total = yield* Stream.runCount(store.readAllEncoded())
    equal(first.faults, [], "faults")
    equal([first.isIntact, first.unchained, first.verified], [true, 0, total], "all events are verified")
    isAbove(total, 300, "events")
    equal(first.anchor.events, total, "the anchor counts them")
    equal(first.anchor.position, yield* store.head, "up to the head")
    yield* append(unique("Cart"), [1, 2, 3])
    const second = yield* HashChain.verify({ against: first.anchor, pageSize: 97 })
    equal([second.isIntact, second.verified], [true, total + 3], "more events do not matter to an anchor")
    const third = yield* HashChain.verify({ against: second.anchor, pageSize: 256 })
    equal(third, second, "the same again")
    const wrong = { ...first.anchor, digest: second.anchor.digest }
    const { faults, isIntact } = yield* HashChain.verify({ against: wrong })
    equal(
      faults,
      [{ kind: "anchor", position: first.anchor.position, expected: wrong, found: first.anchor }],
      "another"
    )
    equal(isIntact, false, "is a fault")
  })
]
