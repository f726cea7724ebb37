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
import * as Personal from "../domain/Personal.ts"
import * as PersonalEvents from "../domain/PersonalEvents.ts"
import type { EventStoreDriver } from "./EventStoreDriver.ts"
import { KeyStore } from "./KeyStore.ts"
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
  if (located.size === 0) return batch
  return yield* Effect.forEach(batch, (event) => {
    const locate = located.get(event.type)
    return locate === undefined ? Effect.succeed(event) : sealEvent(keys, locate, event, metadata)
  })
})

const sealEvent = Effect.fnUntraced(function*(
  keys: Pick<Keys, "seal">,
  locate: Personal.Locate,
  event: NewEvent,
  metadata: Metadata
): Effect.fn.Return<NewEvent, EventStoreError> {
  if (Personal.looksSealed(event.data)) {
    return yield* invalidRequest(`event "${event.type}": a field named "~sealed" is what encrypted data is told by`)
  }
  const data = parse(event.data)
  const fields = locate(data)
  // Also of an event whose personal data was erased before it was written again.
  if (fields.length === 0) return event
  const subjects = yield* keys.seal(fields, "refuse")
  return {
    ...event,
    data: JSON.stringify(data),
    metadata: JSON.stringify({ ...metadata, subjects }),
    opened: event.data
  }
})

/** The text was made by JSON.stringify. */
const parse = (text: string): Schema.Json => JSON.parse(text) as Schema.Json

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
    readQuery: (page) => Effect.flatMap(driver.readQuery(page), openPage)
  }
}

const subjectsKey = "~subjects"

const isSealedDocument = ({ document }: StoredDocument): boolean =>
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
  const open = (projection: string) => (documents: ReadonlyArray<StoredDocument>) => {
    const closed = documents.filter(isSealedDocument)
    if (closed.length === 0) return Effect.succeed(documents)
    return Effect.flatMap(
      keys.open(closed.map(({ document }) => document)),
      Effect.fnUntraced(function*(opened): Effect.fn.Return<ReadonlyArray<StoredDocument>, EventStoreError> {
        let next = 0
        const result: Array<StoredDocument> = []
        for (const stored of documents) {
          if (!isSealedDocument(stored)) {
            result.push(stored)
            continue
          }
          const document = opened[next++]!
          if (Result.isFailure(document)) {
            const { key } = stored
            return yield* storeError(new UndecodableDocument({ projection, key, detail: document.failure }))
          }
          const { [subjectsKey]: _, ...fields } = document.success as Schema.JsonObject
          result.push({ ...stored, document: fields })
        }
        return result
      })
    )
  }
  const openView = (target: string, { documents, positions }: TargetView) =>
    Effect.map(open(target)(Array.from(documents.values())), (opened): TargetView => ({
      positions,
      documents: new Map(opened.map((stored) => [stored.key, stored]))
    }))
  const sealAll = (changes: ReadonlyArray<EncodedDocument>) =>
    changes.every(({ locate }) => locate === undefined)
      ? Effect.succeed(changes)
      : Effect.forEach(changes, (change) => sealDocument(keys, change))
  return {
    ...driver,
    load: (target, wanted) => Effect.flatMap(driver.load(target, wanted), open(target)),
    lock: (target, wanted) => Effect.flatMap(driver.lock(target, wanted), open(target)),
    list: (page) => Effect.flatMap(driver.list(page), open(page.projection)),
    get: (projection, key) =>
      Effect.flatMap(
        driver.get(projection, key),
        (found) => Effect.map(open(projection)(Option.toArray(found)), ([stored]) => Option.fromUndefinedOr(stored))
      ),
    targetPage: (page) => Effect.flatMap(driver.targetPage(page), open(page.target)),
    views: ([a, b], wanted) =>
      Effect.flatMap(
        driver.views([a, b], wanted),
        ([first, second]) => Effect.all([openView(a, first), openView(b, second)])
      ),
    advance: (request) =>
      Effect.flatMap(sealAll(request.changes), (changes) => driver.advance({ ...request, changes })),
    write: (writes) =>
      Effect.flatMap(
        Effect.forEach(writes, ({ changes, projection }) =>
          Effect.map(sealAll(changes), (changes) => ({ projection, changes }))),
        driver.write
      )
  }
}

const sealDocument = Effect.fnUntraced(function*(
  keys: Pick<Keys, "seal">,
  change: EncodedDocument
): Effect.fn.Return<EncodedDocument, EventStoreError> {
  const { document: text, locate, ...others } = change
  if (text === undefined || locate === undefined) return change
  const document = parse(text)
  const fields = locate(document)
  if (fields.length === 0) return change
  if (Personal.looksSealed(text)) {
    return yield* invalidRequest(`document "${change.key}": a field named "~sealed" is what encrypted data is told by`)
  }
  const subjects = yield* keys.seal(fields, "erase")
  return { ...others, document: JSON.stringify({ ...document as Schema.JsonObject, [subjectsKey]: subjects }) }
})
