/**
 * The runtime suite of the scan: it finds every kind of value in every column that holds text, however the column escapes it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Case, equal, isAtLeast, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import type { Fingerprint } from "../../src/core/SchemaFingerprint.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import type { NewEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { Limits } from "../../src/eventStore/Limits.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { Stores } from "../personalData/PersonalDataFixtures.ts"

const Anything = Schema.TaggedUnion({
  Noted: { person: Schema.String, of: PersonalData.field(Schema.Json, { subject: "person" }) },
  Dated: { person: Schema.String, of: PersonalData.field(Schema.DateTimeUtc, { subject: "person" }) },
  Said: { of: Schema.Json }
})

/** A value, and the text by which a careless program writes it elsewhere. */
interface Sample {
  readonly personal: Schema.Json
  readonly text: string
}

const sample = (text: string): Sample => ({ personal: text, text })

const samples: Readonly<Record<string, Sample>> = {
  "a quotation mark": sample(`O"Brien`),
  "a backslash": sample("C:\\new\\table"),
  "a backslash at the end": sample("Ends in \\"),
  "backslashes before a quotation mark": sample(`a\\\\"b"`),
  "a line break and a tab": sample("Main Street 1\n\t12345 Town"),
  "control characters": sample("bell\u0007 escape\u001b delete\u007f"),
  "characters outside the BMP": sample("👩‍🚀 Ada 𝒜"),
  "the escape of NUL as text": sample("Zed \\u0000 Zed"),
  "an escape of a letter as text": sample("Zo\\u00eb"),
  "NUL": sample("Ann\u0000Archer"),
  "half of a surrogate pair": sample("Ada\ud83dByron"),
  "line separators": sample("Ann\u2028Archer\u2029"),
  "a slash and letters with marks": sample("Zoë / Müller / Zoe\u0308"),
  "characters of patterns": sample("100%_of (.*)+$&[^]"),
  "JSON within JSON": sample(JSON.stringify({ a: JSON.stringify({ b: `c "d"` }) })),
  "a number": { personal: 1234.5625, text: "1234.5625" },
  "a large number": { personal: 1e21, text: "1e+21" },
  "a negative number": { personal: -98765, text: "-98765" },
  "an element of an array": { personal: [true, ["Ann's \"nick\""]], text: `Ann's "nick"` },
  "a field of a struct": { personal: { a: { street: "Main \\ Street" } }, text: "Main \\ Street" },
  "a name in a record": { personal: { "ann@example.com": true }, text: "ann@example.com" }
}

const stored = { id: "", schemaVersion: 1, type: "Stored", metadata: "{}", tags: [] } as const

/** Writes a text into every column, JSON and raw, and returns the locations that a scan must name. */
const spread = Effect.fnUntraced(function*(text: string) {
  const store = yield* EventStore.EventStore
  const { driver } = store[internals]
  const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
  const [stream, generation, retried] = [StreamId.make(unique("copies")), unique("copies"), unique("retried")]
  const mixed = `He said: ${text}, again.`
  const said = Anything.cases.Said.make({ of: mixed })
  const metadata = { attributes: { note: mixed }, ...text.isWellFormed() ? { actor: mixed } : {} }
  yield* store.append(Anything, stream, [said])
  yield* store.append(Anything, stream, [Anything.cases.Said.make({ of: 1 })], { metadata })
  // Another writer may escape what it can: PostgreSQL keeps the text as it is.
  const escaped = Array.from(
    { length: mixed.length },
    (_, i) => `\\u${mixed.charCodeAt(i).toString(16).padStart(4, "0")}`
  )
  const event: NewEvent = { ...stored, id: globalThis.crypto.randomUUID(), data: `{"of":"${escaped.join("")}"}` }
  const { positions: [position] } = yield* Effect.flatMap(
    driver.append({ stream, expected: "any", events: [event] }),
    (result) => result._tag === "Appended" ? Effect.succeed(result) : Effect.die("not appended")
  )
  yield* documents.write([{
    generation,
    changes: [{ key: "k", document: JSON.stringify({ deep: [{ note: mixed }] }), indexed: [] }]
  }])
  const parked = (name: string, error: string) => ({
    key: name,
    stream: StreamId.make(name),
    version: Version.make(1),
    position: position!,
    eventId: event.id,
    type: "Stored",
    error
  })
  yield* documents.park(generation, 0, [parked(stream, mixed), parked(retried, "no copy")])
  // The API of parking rejects such texts; a program of another kind may write them.
  const reason = mixed.replaceAll("\u0000", "\ufffd").toWellFormed()
  const places = yield* documents.parkedPlaces(generation, { key: retried })
  yield* documents.request(generation, { id: "test", action: "retry", reason }, places)
  const eventId = globalThis.crypto.randomUUID()
  yield* driver.snapshots.write({
    stream,
    fingerprint: unique("print") as Fingerprint,
    version: Version.make(1),
    position: Position.make(1n),
    eventId,
    state: JSON.stringify({ note: mixed }),
    takenAt: yield* DateTime.now
  })
  return [
    ["documents", generation, "k", "document.deep.0.note"],
    ["events", stream, "1", "data.of"],
    ["events", stream, "2", "metadata.attributes.note"],
    ["events", stream, "3", "data.of"],
    ["parked", generation, stream, undefined],
    ["parked", generation, retried, undefined],
    ["parkingLog", generation, stream, undefined],
    ["snapshots", stream, "1", "state.note"]
  ]
})

const locationsOf = (report: Erasure.ScanReport) =>
  (report.plaintext ?? []).map(({ key, owner, path, source }) => [source, owner, key, path]).toSorted(byText)

const byText = (a: unknown, b: unknown): number => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1

/** The values that a search must find, whatever the column holds. */
const found = Object.entries(samples).map(([what, { personal, text }]) =>
  test(`a scan finds a value with ${what} in every column`, function*() {
    const store = yield* EventStore.EventStore
    const person = unique("p")
    yield* store.append(Anything, unique("s"), [Anything.cases.Noted.make({ person, of: personal })])
    equal(locationsOf(yield* Erasure.scan(person)), [], "the locations before there is a copy")
    const expected = yield* spread(text)
    equal(locationsOf(yield* Erasure.scan(person)), expected.toSorted(byText), "the locations")
  })
)

/**
 * The cases of the scan.
 *
 * @since 0.1.0
 * @category suites
 */
export const scans: ReadonlyArray<Case<Stores>> = [
  ...found,

  test("a scan finds a date as its Schema encodes it", function*() {
    const store = yield* EventStore.EventStore
    const [person, of] = [unique("p"), DateTime.makeUnsafe("1815-12-10T07:30:15.123Z")]
    yield* store.append(Anything, unique("s"), [Anything.cases.Dated.make({ person, of })])
    const expected = yield* spread("1815-12-10T07:30:15.123Z")
    equal(locationsOf(yield* Erasure.scan(person)), expected.toSorted(byText), "the locations")
  }),

  test("a scan finds a parked key that moves to another partition meanwhile", function*() {
    const store = yield* EventStore.EventStore
    const { [internals]: { driver } } = yield* ProjectionStore.ProjectionStore
    const [person, name, consumer] = [unique("p"), unique("Ann Archer"), unique("moving")]
    yield* store.append(Anything, unique("s"), [Anything.cases.Noted.make({ person, of: name })])
    const owner = unique("owner")
    yield* driver.claim({
      consumer,
      owner,
      partitions: 4,
      partitionedBy: "document",
      reads: "",
      lease: Duration.minutes(1)
    })
    yield* driver.release(consumer, owner)
    // The keys of partition 3 are before those of partition 0.
    for (const [partition, keys] of [[3, ["a1", "a2"]], [0, ["b1", "b2", "b3"]]] as const) {
      yield* driver.park(
        consumer,
        partition,
        keys.map((key, index) => ({
          key,
          stream: StreamId.make(key),
          version: Version.make(1),
          position: Position.make(BigInt(partition + index + 1)),
          eventId: globalThis.crypto.randomUUID(),
          type: "Stored",
          error: "no copy"
        }))
      )
    }
    const places = yield* driver.parkedPlaces(consumer, { key: "a1" })
    yield* driver.request(consumer, { id: "test", action: "retry", reason: name }, places)
    let isMoved = false
    const moving = ProjectionStore.make({
      ...driver,
      storedTexts: (page) =>
        Effect.tap(driver.storedTexts(page), (texts) =>
          Effect.gen(function*() {
            if (isMoved || page.in !== "parked" || !texts.some(({ generation }) => generation === consumer)) return
            isMoved = true
            equal(
              yield* driver.repartition({ consumer, generation: consumer, from: 4, to: 1, reads: "" }),
              true,
              "the move"
            )
          }))
    })
    const report = yield* Erasure.scan(person).pipe(
      Effect.provideServiceEffect(ProjectionStore.ProjectionStore, moving),
      Effect.updateService(Limits, (limits) => ({ ...limits, pageSize: 2 })),
      Effect.scoped
    )
    equal(isMoved, true, "whether it has moved")
    equal(locationsOf(report), [["parked", consumer, "a1", undefined]], "the locations")
  }),

  test("a scan finds no values of others, and none that is shorter than four characters", function*() {
    const store = yield* EventStore.EventStore
    const [person, other] = [unique("p"), unique("p")]
    const noted = (person: string, of: Schema.Json) => Anything.cases.Noted.make({ person, of })
    yield* store.append(Anything, unique("s"), [noted(person, ["abc", 123, true, null]), noted(other, "C:\\others")])
    yield* spread("abc 123 true null C:\\others")
    const report = yield* Erasure.scan(person)
    equal(report.plaintext, [], "the locations")
    isAtLeast(report.encrypted.events, 1, "the number of events with encrypted data")
  })
]
