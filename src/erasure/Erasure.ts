/**
 * The erasure of a person's data: deletes the key under which it is encrypted, waits until nobody uses that key any more, and says what was
 * found.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as KeyStore from "../personalData/KeyStore.ts"
import * as PersonalData from "../personalData/PersonalData.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import type { StoredText, StoredTextSource } from "../projection/ProjectionStoreDriver.ts"
import type { Snapshot } from "../snapshot/SnapshotDriver.ts"

/**
 * A place where something was found.
 *
 * - `in`: the log, snapshots, documents of projections, or streams that are parked and the record of these
 * - `of`: the stream of an event or snapshot; the target of a projection
 * - `key`: the version of an event or snapshot; the key of a document; the stream that is parked
 * - `path`: the part of it, and the first field in that, as `data.address.city`, `metadata.actor` or `tags.0`. What is found in the name of a field
 *   is told by what holds that field, and a name that is more than a word is told as `*`. Missing for what is parked, which is plain text
 *
 * @since 0.1.0
 * @category schemas
 */
export const Place = Schema.Struct({
  in: Schema.Literals(["events", "snapshots", "documents", "parked", "parkingLog"]),
  of: Schema.String,
  key: Schema.String,
  path: Schema.optionalKey(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Place = typeof Place.Type

/**
 * What there is of a subject.
 *
 * - `encrypted`: how many events, snapshots and documents have encrypted data of the subject
 * - `streams`: the streams of these events, at most 1,000 of them
 * - `plain`: where the same values stand unencrypted as well, at most 1,000 places: in a field that was not marked, in metadata, in the text of
 *   an error. No erasure reaches them. Missing when the key was deleted before, as then nobody knows what to look for
 *
 * @since 0.1.0
 * @category schemas
 */
export const Findings = Schema.Struct({
  encrypted: Schema.Struct({ events: Schema.Int, snapshots: Schema.Int, documents: Schema.Int }),
  streams: Schema.Array(Schema.String),
  plain: Schema.optionalKey(Schema.Array(Place))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Findings = typeof Findings.Type

/**
 * What an erasure has come to. It names no personal data, and can be kept.
 *
 * - `erasedAt`: when the key was deleted, for the first time
 * - `doneAt`: since when no process can read the data any more
 * - `found`: what was erased, and what was not
 *
 * @since 0.1.0
 * @category schemas
 */
export const ErasureReceipt = Schema.Struct({
  subject: Schema.String,
  erasedAt: Schema.DateTimeUtc,
  doneAt: Schema.DateTimeUtc,
  found: Findings
})

/**
 * @since 0.1.0
 * @category models
 */
export type ErasureReceipt = typeof ErasureReceipt.Type

type Stores = EventStore | ProjectionStore | KeyStore.KeyStore

/** So many places and streams are named. */
const named = 1_000

/** A shorter value would be found everywhere. */
const shortest = 4

/**
 * Looks for what there is of a subject, encrypted or not, without changing anything. Reads all that the stores keep, twice, in pages.
 *
 * **Gotchas**
 *
 * Tables of one's own that handlers write are not looked through, nor what was handed on to others. A value is looked for as JSON writes it,
 * when it has 4 characters or more.
 *
 * @since 0.1.0
 * @category erasing
 */
export const scan = Effect.fn("Erasure.scan")(function*(
  subject: string
): Effect.fn.Return<Findings, EventStoreError, Stores> {
  const { findings } = yield* search(subject)
  return findings
})

const search = Effect.fnUntraced(function*(
  subject: string
): Effect.fn.Return<
  { readonly findings: Findings; readonly streams: ReadonlySet<StreamId> },
  EventStoreError,
  Stores
> {
  yield* reject(subject)
  const { driver: log, keys } = (yield* EventStore)[internals]
  const { driver: projections } = (yield* ProjectionStore)[internals]
  const limits = yield* Limits
  const limit = Math.min(defaultPageSize, limits.pageSize)
  const annotation = annotationOf(subject)

  const events = Stream.paginate(
    Position.start,
    (after) =>
      Effect.map(log.readStored({ after, limit }), ({ events }) => {
        const last = events.length < limit ? undefined : events.at(-1)?.position
        return [events, Option.fromUndefinedOr(last)] as const
      })
  )
  const storedTexts = (place: StoredTextSource) =>
    Stream.paginate(
      undefined,
      (after: StoredText | undefined) =>
        Effect.map(projections.storedTexts({ in: place, after, limit }), (texts) => {
          const last = texts.length < limit ? undefined : texts.at(-1)
          return [texts, Option.fromUndefinedOr(last)] as const
        })
    )

  const snapshots = Stream.paginate(
    undefined,
    (after: Snapshot | undefined) =>
      Effect.map(log.snapshots.page(after, limit), (page) => {
        const last = page.length < limit ? undefined : page.at(-1)
        return [page, Option.fromUndefinedOr(last)] as const
      })
  )

  const values = new Set<string>()
  const encrypted = { events: 0, snapshots: 0, documents: 0 }
  const streams = new Set<StreamId>()
  let isUnreadable = false
  /** Counts what is encrypted of the subject, and remembers what it says. */
  const read = Effect.fnUntraced(
    function*(place: keyof typeof encrypted, texts: ReadonlyArray<readonly [string, StreamId | undefined]>) {
      const found: Array<Schema.Json> = []
      for (const [text, stream] of texts) {
        if (!text.includes(annotation)) continue
        // A snapshot is a hint, and may be anything.
        const parsed = Result.getOrElse(Result.try(() => JSON.parse(text) as Schema.Json), () => null)
        if (!EncryptedValue.subjectsIn(parsed).has(subject)) continue
        found.push(parsed)
        encrypted[place]++
        if (stream !== undefined) streams.add(stream)
      }
      for (const [index, decrypted] of (yield* keys.decrypt(found)).entries()) {
        if (Result.isFailure(decrypted)) isUnreadable = true
        else if (collect(found[index], decrypted.success, subject, values)) isUnreadable = true
      }
    }
  )
  yield* Stream.runForEachArray(events, (page) => read("events", page.map(({ data, stream }) => [data, stream])))
  yield* Stream.runForEachArray(
    snapshots,
    (page) => read("snapshots", page.map(({ state, stream }) => [state, stream]))
  )
  yield* Stream.runForEachArray(
    storedTexts("documents"),
    (page) => read("documents", page.map(({ text }) => [text, undefined]))
  )

  const plain: Array<Place> = []
  const look = (place: Omit<Place, "path">, parts: ReadonlyArray<Part>) => {
    if (plain.length >= named) return
    for (const [name, text] of parts) {
      for (const value of values) {
        if (!text.includes(value)) continue
        plain.push(name === undefined ? place : { ...place, path: pathOf(name, text, value, values) })
        return
      }
    }
  }
  yield* Stream.runForEachArray(events, (page) =>
    Effect.sync(() => {
      for (const event of page) {
        look({ in: "events", of: event.stream, key: String(event.version) }, partsOf(event))
      }
    }))
  yield* Stream.runForEachArray(snapshots, (page) =>
    Effect.sync(() => {
      for (const { state, stream, version } of page) {
        look({ in: "snapshots", of: stream, key: String(version) }, [["state", state]])
      }
    }))
  for (const place of ["documents", "parked", "parkingLog"] as const) {
    yield* Stream.runForEachArray(storedTexts(place), (page) =>
      Effect.sync(() => {
        for (const { key, generation, text } of page) {
          const isDocument = place === "documents"
          look({ in: place, of: generation, key }, [
            [isDocument ? "document" : undefined, text],
            [isDocument ? "key" : undefined, JSON.stringify(key)]
          ])
        }
      }))
  }
  const findings: Findings = {
    encrypted,
    streams: Array.from(streams).slice(0, named),
    ...(isUnreadable ? {} : { plain })
  }
  return { findings, streams }
})

/** How encrypted data of a subject ends, as `EncryptedValue.sealed` makes it. */
const annotationOf = (subject: string): string => `"subject":${JSON.stringify(subject)}}`

/** A text that is looked through; one that has a name is JSON. */
type Part = readonly [name: string | undefined, text: string]

const partsOf = ({ data, metadata, stream, tags }: StoredEvent): ReadonlyArray<Part> => [
  ["data", data],
  ["metadata", metadata],
  ["stream", JSON.stringify(stream)],
  ["tags", JSON.stringify(tags)]
]

/** How deep a path leads. */
const deepest = 8

/**
 * Where in a JSON text a value stands first. It goes into receipts, which are kept, and so must tell nothing personal: not the name of a field
 * that is a value itself, nor one that may be anything, as the mail address of somebody else.
 */
const pathOf = (part: string, text: string, value: string, values: ReadonlySet<string>): string => {
  const path = [part]
  const has = (json: unknown, value: string) => JSON.stringify(json).includes(value)
  const descend = (json: unknown): void => {
    if (!Predicate.isObjectOrArray(json) || path.length >= deepest) return
    for (const [field, inner] of Object.entries(json)) {
      if (!has(inner, value)) continue
      for (const other of values) if (has(field, other)) return
      path.push(/^\w{1,64}$/.test(field) ? field : "*")
      return descend(inner)
    }
  }
  // Not everything that a database takes is JSON to JavaScript, as a nesting of any depth.
  Result.try(() => descend(JSON.parse(text)))
  return path.join(".")
}

/** Adds the values, as JSON writes them, of what is encrypted of a subject. Answers whether something of it is no longer readable. */
const collect = (stored: unknown, decrypted: unknown, subject: string, values: Set<string>): boolean => {
  if (EncryptedValue.isEncrypted(stored)) {
    if (stored.subject !== subject) return false
    if (PersonalData.isErased(decrypted)) return true
    leaves(decrypted, values)
    return false
  }
  if (!Predicate.isObjectOrArray(stored) || !Predicate.isObjectOrArray(decrypted)) return false
  let isUnreadable = false
  for (const [field, value] of Object.entries(stored)) {
    isUnreadable = collect(value, Reflect.get(decrypted, field), subject, values) || isUnreadable
  }
  return isUnreadable
}

/** Adds what can be looked for, of texts and numbers: a truth value would be found everywhere. */
const leaves = (decrypted: unknown, values: Set<string>): void => {
  for (const value of EncryptedValue.leavesOf(decrypted)) {
    if (typeof value !== "string" && typeof value !== "number") continue
    const bare = typeof value === "string" ? JSON.stringify(value).slice(1, -1) : String(value)
    if (bare.length >= shortest) values.add(bare)
  }
}

const reject = (subject: string): Effect.Effect<void, EventStoreError> => {
  const problem = KeyStore.validateSubject(subject)
  return problem === undefined ? Effect.void : Effect.fail(invalidRequest(problem))
}

/**
 * Erases the personal data of a subject. Its key is deleted, and with that it is unreadable in events, documents, snapshots, caches and every
 * backup of them; what is decoded from then on has `Erased` in its place. Nothing else changes, and nothing about other subjects.
 *
 * **Details**
 *
 * Looks first for what there is, since afterwards it cannot be read; then deletes the key, waits for as long as other processes may still
 * have it (`maxAge` of the key store), and removes the snapshots of the streams that it has found. It may be repeated, as after an interruption: `erasedAt` stays, but `plain` is no longer known.
 *
 * **Gotchas**
 *
 * Within a transaction of the caller it would wait for what the others cannot see yet: erase outside of one. A backup of the key store that is
 * restored brings the key back.
 *
 * @since 0.1.0
 * @category erasing
 */
export const erase = Effect.fn("Erasure.erase")(function*(
  subject: string
): Effect.fn.Return<ErasureReceipt, EventStoreError, Stores> {
  const store = yield* EventStore
  const keys = yield* KeyStore.KeyStore
  if (yield* store[internals].driver.inTransaction) {
    return yield* invalidRequest(
      "an erasure cannot be part of a transaction: it waits until other processes have noticed it"
    )
  }
  const { plain } = yield* scan(subject)
  const erasedAt = yield* keys.erase(subject)
  yield* Effect.sleep(Duration.sum(keys.maxAge, Duration.millis(1)))
  // What was written in the meantime is counted, too.
  const { findings, streams } = yield* search(subject)
  // A state may have something that was made of personal data and was not marked; it is folded again.
  for (let from = 0; from < streams.size; from += named) {
    yield* store[internals].driver.snapshots.drop(Array.from(streams).slice(from, from + named))
  }
  const doneAt = yield* DateTime.now
  const found: Findings = { ...findings, ...(plain === undefined ? {} : { plain }) }
  return { subject, erasedAt, doneAt, found }
})
