/**
 * Personal data on its way into the stores and out of them: encrypted before a driver sees it, decrypted as soon as it was read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import {
  type EventStoreError,
  invalidRequest,
  storeError,
  StoreMisconfigured,
  UndecodableDocument
} from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import type { NewEvent, RecordedEvent } from "../domain/EventRecord.ts"
import type { Metadata } from "../domain/Metadata.ts"
import * as PersonalEvents from "../domain/PersonalEvents.ts"
import type * as PersonalFields from "../domain/PersonalFields.ts"
import * as SealedData from "../domain/SealedData.ts"
import type { EventStoreDriver } from "./EventStoreDriver.ts"
import { fieldProblem, KeyStore } from "./KeyStore.ts"
import type { ProjectionStoreDriver, StoredDocument, TargetView } from "./ProjectionStoreDriver.ts"

/**
 * What a store does with a key store.
 *
 * @since 0.1.0
 * @category models
 */
export type Keys = Pick<KeyStore["Service"], "open" | "seal" | "erasures">

/**
 * The key store that a store was built with. Without one, whatever has personal data fails: it is never kept in the clear.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyStore: Effect.Effect<Keys> = Effect.map(
  Effect.serviceOption(KeyStore),
  Option.getOrElse(() => {
    const missing = Effect.fail(storeError(
      new StoreMisconfigured({
        message:
          "These events or documents have personal data, and the store was built without a KeyStore; provide one "
          + "to its layer, as PgKeyStore.layer or KeyStore.layerMemory",
        cause: undefined
      })
    ))
    return { open: () => missing, seal: () => missing, erasures: missing }
  })
)

/**
 * New events with their personal data encrypted. What it was in the clear stays with them, for those who project them at once.
 *
 * @since 0.1.0
 * @category sealing
 */
export const sealEvents = Effect.fnUntraced(function*(
  keys: Pick<Keys, "seal">,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>,
  metadata: Metadata
): Effect.fn.Return<ReadonlyArray<NewEvent>, EventStoreError> {
  const located = PersonalEvents.of(events)
  const open = batch.map((event) => {
    const locate = located.get(event.type)
    const data = locate === undefined ? null : parse(event.data)
    return { event, data, fields: locate?.(data) ?? [] }
  })
  for (const { event, fields } of open) {
    if (fields.length === 0) continue
    yield* refuseSealed(`event "${event.type}"`, event.data)
    yield* refuseSubjects(`event "${event.type}"`, fields)
  }
  const all = open.flatMap(({ fields }) => fields)
  // What has none does not depend on the key store.
  if (all.length === 0) return batch
  yield* keys.seal(all, "refuse")
  return open.map(({ data, event, fields }): NewEvent =>
    // Some have none any more: their personal data was erased before they were written again.
    fields.length === 0 ? event : {
      ...event,
      data: JSON.stringify(data),
      metadata: JSON.stringify({ ...metadata, subjects: subjectsOf(fields) }),
      opened: event.data
    }
  )
})

const subjectsOf = (fields: ReadonlyArray<PersonalFields.Located>): Schema.Json =>
  // Each is a string, or it could not have been sealed.
  Array.from(new Set(fields.map(({ subject }) => subject as string)))

const refuseSealed = (what: string, text: string): Effect.Effect<void, EventStoreError> =>
  SealedData.looksSealed(text)
    ? invalidRequest(`${what}: a field named "~sealed" is what encrypted data is told by`)
    : Effect.void

/** The key store would refuse them too, but does not know whose they are. */
const refuseSubjects = (what: string, fields: Fields): Effect.Effect<void, EventStoreError> => {
  const wrong = fields.map(fieldProblem).find((problem) => problem !== undefined)
  return wrong === undefined ? Effect.void : invalidRequest(`${what}: ${wrong}`)
}

/** The text was made by JSON.stringify. */
const parse = (text: string): Schema.Json => JSON.parse(text) as Schema.Json

/**
 * An event that was read some time ago, with as much of its personal data as can be read now.
 *
 * @since 0.1.0
 * @category opening
 */
export const reopen = (
  keys: Pick<Keys, "open">,
  { opened: _, ...event }: RecordedEvent
): Effect.Effect<RecordedEvent, EventStoreError> =>
  Effect.map(openEvents<RecordedEvent>(keys, [event]), ([reopened]) => reopened!)

const openEvents = <E extends RecordedEvent>(
  keys: Pick<Keys, "open">,
  events: ReadonlyArray<E>
): Effect.Effect<ReadonlyArray<E>, EventStoreError> => {
  const isClosed = ({ metadata, opened }: E) =>
    metadata.subjects !== undefined && (opened === undefined || Result.isFailure(opened))
  const closed = events.filter(isClosed)
  if (closed.length === 0) return Effect.succeed(events)
  return Effect.map(keys.open(closed.map(({ data }) => data)), (opened) => {
    let next = 0
    return events.map((event) => isClosed(event) ? { ...event, opened: opened[next++]! } : event)
  })
}

/**
 * A driver whose events, where they are read to be decoded, can be: those that have personal data carry it decrypted, too.
 *
 * @since 0.1.0
 * @category opening
 */
export const openLog = (keys: Pick<Keys, "open">, driver: EventStoreDriver): EventStoreDriver => {
  const openPage = <P extends { readonly events: ReadonlyArray<RecordedEvent> }>(page: P) =>
    Effect.map(openEvents(keys, page.events), (events): P => events === page.events ? page : { ...page, events })
  return {
    ...driver,
    readStream: (page) => Effect.flatMap(driver.readStream(page), (events) => openEvents(keys, events)),
    readAll: (page) => Effect.flatMap(driver.readAll(page), openPage),
    readQuery: (page) => Effect.flatMap(driver.readQuery(page), openPage),
    readConversation: (page) =>
      Effect.flatMap(driver.readConversation(page), (events) => orSealed(openEvents(keys, events), events)),
    event: (id) =>
      Effect.flatMap(driver.event(id), (found) =>
        Effect.map(
          orSealed(openEvents(keys, Option.toArray(found)), Option.toArray(found)),
          ([event]) => Option.fromUndefinedOr(event)
        ))
  }
}

/** A trail may be read by somebody who has no key store: who did what is told all the same. */
const orSealed = <A>(opened: Effect.Effect<A, EventStoreError>, sealed: A): Effect.Effect<A, EventStoreError> =>
  Effect.catchIf(opened, ({ reason }) => reason._tag === "StoreMisconfigured", () => Effect.succeed(sealed))

const subjectsKey = "~subjects"

const isSealedDocument = ({ document }: StoredDocument): boolean => namesSubjects(document)

const namesSubjects = (document: Schema.Json): document is Schema.JsonObject =>
  Predicate.isObject(document) && Object.hasOwn(document, subjectsKey)

/**
 * A driver whose documents are in the clear for whoever reads and writes them, while it keeps their personal data encrypted. A document that
 * has any names its subjects in a field `~subjects`.
 *
 * @since 0.1.0
 * @category opening
 */
export const openDocuments = (
  keys: Pick<Keys, "open" | "seal">,
  driver: ProjectionStoreDriver
): ProjectionStoreDriver => {
  const open = (documents: ReadonlyArray<StoredDocument>) => {
    const closed = documents.filter(isSealedDocument)
    if (closed.length === 0) return Effect.succeed(documents)
    return Effect.map(keys.open(closed.map(({ document }) => document)), (opened) => {
      let next = 0
      return documents.map((stored): StoredDocument => {
        if (!isSealedDocument(stored)) return stored
        const document = opened[next++]!
        // It is the only one that suffers by that.
        if (Result.isFailure(document)) return { ...stored, unreadable: document.failure }
        const { [subjectsKey]: _, ...fields } = document.success as Schema.JsonObject
        return { ...stored, document: fields }
      })
    })
  }
  const openView = Effect.fnUntraced(function*(
    projection: string,
    { documents, positions }: TargetView
  ): Effect.fn.Return<TargetView, EventStoreError> {
    const opened = yield* open(Array.from(documents.values()))
    for (const { key, unreadable } of opened) {
      // Nobody can compare it.
      if (unreadable !== undefined) {
        return yield* storeError(new UndecodableDocument({ projection, key, detail: unreadable }))
      }
    }
    return { positions, documents: new Map(opened.map((stored) => [stored.key, stored])) }
  })
  return {
    ...driver,
    load: (target, wanted) => Effect.flatMap(driver.load(target, wanted), open),
    lock: (target, wanted) => Effect.flatMap(driver.lock(target, wanted), open),
    list: (page) => Effect.flatMap(driver.list(page), open),
    get: (projection, key) =>
      Effect.flatMap(
        driver.get(projection, key),
        (found) => Effect.map(open(Option.toArray(found)), ([stored]) => Option.fromUndefinedOr(stored))
      ),
    targetPage: (page) => Effect.flatMap(driver.targetPage(page), open),
    views: ([a, b], wanted) =>
      Effect.flatMap(
        driver.views([a, b], wanted),
        ([first, second]) => Effect.all([openView(a, first), openView(b, second)])
      ),
    advance: (request) =>
      Effect.flatMap(sealDocuments(keys, request.changes), (changes) => driver.advance({ ...request, changes })),
    write: (writes) =>
      Effect.flatMap(
        Effect.forEach(writes, ({ changes, projection }) =>
          Effect.map(sealDocuments(keys, changes), (changes) => ({ projection, changes }))),
        driver.write
      )
  }
}

const sealDocuments = Effect.fnUntraced(function*(
  keys: Pick<Keys, "seal">,
  changes: ReadonlyArray<EncodedDocument>
): Effect.fn.Return<ReadonlyArray<EncodedDocument>, EventStoreError> {
  const sealed: Array<{ readonly index: number; readonly document: Schema.Json; readonly fields: Fields }> = []
  for (const [index, { document: text, key, locate }] of changes.entries()) {
    if (text === undefined) continue
    const what = `document "${key}"`
    if (text.includes(`"${subjectsKey}":`) && namesSubjects(parse(text))) {
      return yield* invalidRequest(
        `${what}: a field named "${subjectsKey}" is what documents with encrypted data are told by`
      )
    }
    if (locate === undefined) continue
    const document = parse(text)
    const fields = locate(document)
    if (fields.length === 0) continue
    yield* refuseSealed(what, text)
    yield* refuseSubjects(what, fields)
    sealed.push({ index, document, fields })
  }
  if (sealed.length === 0) return changes
  yield* keys.seal(sealed.flatMap(({ fields }) => fields), "erase")
  const result = Array.from(changes)
  for (const { document, fields, index } of sealed) {
    const { locate: _, ...change } = changes[index]!
    const text = JSON.stringify({ ...document as Schema.JsonObject, [subjectsKey]: subjectsOf(fields) })
    result[index] = { ...change, document: text }
  }
  return result
})

type Fields = ReadonlyArray<PersonalFields.Located>
