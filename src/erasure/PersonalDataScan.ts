/**
 * Searches the stores for the personal data of a subject, encrypted and in plaintext.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import type { ProjectionStoreDriver, StoredText, StoredTextSource } from "../projection/ProjectionStoreDriver.ts"
import type { Snapshot } from "../snapshot/SnapshotDriver.ts"
import type { Location, ScanReport } from "./ErasureReport.ts"
import * as PlaintextSearch from "./PlaintextSearch.ts"

/**
 * The largest number of streams and of locations in a report.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxReported = 1_000

/** An event, snapshot, document or parked stream, as the scan reads it. */
interface StoredItem {
  readonly location: Omit<Location, "path">
  /** The stream of an event or snapshot. */
  readonly stream?: StreamId
  /** The JSON text that may contain encrypted values. */
  readonly encryptedText: string
  readonly parts: ReadonlyArray<PlaintextSearch.TextPart>
}

type Items = Stream.Stream<StoredItem, EventStoreError>

/** Reads page after page until one is not full. */
const paginate = <Item, Cursor>(
  limit: number,
  start: Cursor,
  cursorOf: (last: Item) => Cursor,
  read: (after: Cursor) => Effect.Effect<ReadonlyArray<Item>, EventStoreError>
): Stream.Stream<Item, EventStoreError> =>
  Stream.paginate(start, (after: Cursor) =>
    Effect.map(read(after), (page) => {
      const last = page.length < limit ? undefined : page.at(-1)
      return [page, last === undefined ? Option.none<Cursor>() : Option.some(cursorOf(last))] as const
    }))

const eventItems = (driver: EventStoreDriver, limit: number): Items =>
  paginate<StoredEvent, Position.Position>(
    limit,
    Position.start,
    ({ position }) => position,
    // An append in flight may hold back the high-water mark for long, and what was committed above it is personal data as well.
    (after) => Effect.map(driver.readStored({ after, limit, extent: "visible" }), ({ events }) => events)
  ).pipe(Stream.map(({ data, metadata, stream, tags, version }): StoredItem => ({
    location: { source: "events", owner: stream, key: String(version) },
    stream,
    encryptedText: data,
    parts: [
      { name: "data", text: data },
      { name: "metadata", text: metadata },
      { name: "stream", text: JSON.stringify(stream) },
      { name: "tags", text: JSON.stringify(tags) }
    ]
  })))

const snapshotItems = (driver: EventStoreDriver, limit: number): Items =>
  paginate<Snapshot, Snapshot | undefined>(
    limit,
    undefined,
    (last) => last,
    (after) => driver.snapshots.page(after, limit)
  ).pipe(Stream.map(({ state, stream, version }): StoredItem => ({
    location: { source: "snapshots", owner: stream, key: String(version) },
    stream,
    encryptedText: state,
    parts: [{ name: "state", text: state }]
  })))

const storedTextItems = (driver: ProjectionStoreDriver, source: StoredTextSource, limit: number): Items =>
  paginate<StoredText, StoredText | undefined>(
    limit,
    undefined,
    (last) => last,
    (after) => driver.storedTexts({ in: source, after, limit })
  ).pipe(Stream.map(({ generation, key, text }): StoredItem => ({
    location: { source, owner: generation, key },
    encryptedText: text,
    parts: source === "documents"
      ? [{ name: "document", text }, { name: "key", text: JSON.stringify(key) }]
      : [{ name: undefined, text }, { name: undefined, text: JSON.stringify(key) }]
  })))

/** The end of every encrypted value of the subject, as `EncryptedValue` encodes it. */
const annotationOf = (subject: string): string => `"subject":${JSON.stringify(subject)}}`

interface EncryptedData {
  readonly counts: { events: number; snapshots: number; documents: number }
  readonly streams: Set<StreamId>
  readonly values: Set<string>
  /** False once a value could not be decrypted. */
  isComplete: boolean
}

/** Adds a page of items to `found`: which hold encrypted data of the subject, and its decrypted values. */
const addEncrypted = Effect.fnUntraced(function*(
  subject: string,
  source: keyof EncryptedData["counts"],
  items: ReadonlyArray<StoredItem>,
  found: EncryptedData
): Effect.fn.Return<void, EventStoreError, EventStore> {
  const { keys } = (yield* EventStore)[internals]
  const annotation = annotationOf(subject)
  const encrypted: Array<Schema.Json> = []
  for (const { encryptedText, stream } of items) {
    if (!encryptedText.includes(annotation)) continue
    // Snapshots are replaceable hints, so one that is not JSON is no error.
    const parsed = Result.getOrElse(Result.try(() => parseJson(encryptedText)), () => null)
    if (!EncryptedValue.subjectsIn(parsed).has(subject)) continue
    encrypted.push(parsed)
    found.counts[source]++
    if (stream !== undefined) found.streams.add(stream)
  }
  for (const [index, decrypted] of (yield* keys.decrypt(encrypted)).entries()) {
    const isComplete = Result.isSuccess(decrypted)
      && PlaintextSearch.collectValues(encrypted[index], decrypted.success, subject, found.values)
    if (!isComplete) found.isComplete = false
  }
})

/** Adds the locations of a page of items that contain one of the values in plaintext. */
const addPlaintext = (
  items: ReadonlyArray<StoredItem>,
  values: ReadonlySet<string>,
  locations: Array<Location>
): void => {
  for (const { location, parts } of items) {
    if (locations.length >= maxReported) return
    const found = PlaintextSearch.findPlaintext(parts, values)
    if (found !== undefined) locations.push({ ...location, ...found })
  }
}

/**
 * Returns the report of a subject and all streams with encrypted data of it. Reads the stores twice, page by page: first to decrypt the
 * subject's values, then to find these in plaintext. It finds what was committed before it began.
 *
 * @since 0.1.0
 * @category accessors
 */
export const run = Effect.fnUntraced(function*(
  subject: string
): Effect.fn.Return<
  { readonly report: ScanReport; readonly streams: ReadonlySet<StreamId> },
  EventStoreError,
  EventStore | ProjectionStore
> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: projections } = (yield* ProjectionStore)[internals]
  const limit = Math.min(defaultPageSize, (yield* Limits).pageSize)
  const withEncrypted = {
    events: eventItems(log, limit),
    snapshots: snapshotItems(log, limit),
    documents: storedTextItems(projections, "documents", limit)
  }
  const found: EncryptedData = {
    counts: { events: 0, snapshots: 0, documents: 0 },
    streams: new Set(),
    values: new Set(),
    isComplete: true
  }
  for (const source of ["events", "snapshots", "documents"] as const) {
    yield* Stream.runForEachArray(withEncrypted[source], (page) => addEncrypted(subject, source, page, found))
  }
  const { events, snapshots, documents } = withEncrypted
  const [parked, parkingLog] = [
    storedTextItems(projections, "parked", limit),
    storedTextItems(projections, "parkingLog", limit)
  ]
  const plaintext: Array<Location> = []
  for (const items of [events, snapshots, documents, parked, parkingLog]) {
    yield* Stream.runForEachArray(items, (page) => Effect.sync(() => addPlaintext(page, found.values, plaintext)))
  }
  const report: ScanReport = {
    encrypted: found.counts,
    streams: Array.from(found.streams).slice(0, maxReported),
    ...(found.isComplete ? { plaintext } : {})
  }
  return { report, streams: found.streams }
})
