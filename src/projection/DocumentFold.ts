/**
 * The fold of a projection: applies one event to the documents it touches. Projectors, live reads and time travel all use it.
 *
 * @since 0.1.0
 */
import { identity } from "effect/Function"
import * as Result from "effect/Result"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as HandlerError from "../consumer/HandlerError.ts"
import { type EventStoreError, storeError, UndecodableDocument } from "../core/errors.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type * as Event from "../event/Event.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { Limits } from "../eventStore/Limits.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * A decoded event, and the keys of the documents that it touches.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyedRecord {
  readonly record: RecordedEvent<Event.Tagged>
  readonly keys: ReadonlyArray<string>
}

/**
 * Returns what an event of the log means to a projection: mostly one record, several when an upcaster splits the event. Fails when the event
 * cannot be decoded, and when the projection's `key` throws or returns a key that cannot be stored. `map` changes each record first.
 *
 * @since 0.1.0
 * @category folding
 */
export const decode = (
  projection: Projection.Any,
  event: EncodedEvent,
  map: (record: RecordedEvent<Event.Tagged>) => RecordedEvent<Event.Tagged> = identity
): Result.Result<ReadonlyArray<KeyedRecord>, EventStoreError> =>
  Result.flatMap(
    Result.mapError(ConsumerDefinition.decode(projection, event), storeError),
    (records) =>
      attempt(projection, event, [], () =>
        records.map(map).map((record) => {
          const keys = Array.from(new Set(projection.keysOf(record)))
          const invalid = keys.map(DocumentCodec.validateKey).find((message) => message !== undefined)
          if (invalid !== undefined) throw new Error(invalid)
          return { record, keys }
        }))
  )

/**
 * Returns the keys of the documents that an event touches, each once.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keysOf = (records: ReadonlyArray<KeyedRecord>): ReadonlyArray<string> =>
  Array.from(new Set(records.flatMap(({ keys }) => keys)))

/** Encodes a document after an event. Throws when the document does not satisfy its Schema or is too large. */
type Encode = (key: string, document: unknown) => EncodedDocument

/**
 * Returns the encoder of a projection's documents. It throws when a document does not satisfy its Schema or is too large.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encoder = (projection: Projection.Any, { documentBytes }: Pick<Limits, "documentBytes">): Encode => {
  const codec = DocumentCodec.of(projection)
  return (key, document) => {
    const change = Result.getOrThrowWith(codec.encode(key, document), (message) => new Error(message))
    const size = change.document?.length ?? 0
    if (size > documentBytes) {
      throw new Error(`the document "${key}" has ${size} characters; the limit documentBytes is ${documentBytes}`)
    }
    return change
  }
}

/**
 * Returns a document as a later event sees it: decoded from what was encoded, as if a store had held it meanwhile. Otherwise the result of a
 * Schema that loses something would depend on which events are in one batch.
 *
 * @since 0.1.0
 * @category folding
 */
export const decodeDocument = (
  projection: Projection.Any,
  { document, key }: EncodedDocument
): Result.Result<unknown, EventStoreError> =>
  document === undefined
    ? Result.succeed(undefined)
    // JSON.stringify made the text.
    : decodeStored(projection, { key, document: parseJson(document) })

/**
 * Returns a stored document, decoded.
 *
 * @since 0.1.0
 * @category folding
 */
export const decodeStored = (
  projection: Projection.Any,
  { document, key, unreadable }: Pick<StoredDocument, "document" | "key" | "unreadable">
): Result.Result<unknown, EventStoreError> =>
  Result.mapError(
    unreadable === undefined ? DocumentCodec.of(projection).decode(document) : Result.fail(unreadable),
    (detail) => storeError(new UndecodableDocument({ projection: projection.id, key, detail }))
  )

/**
 * Returns the documents after an event, encoded, by key. An event on which `evolve` fails, or after which a document does not satisfy its Schema,
 * changes no document.
 *
 * @since 0.1.0
 * @category folding
 */
export const apply = (
  projection: Projection.Any,
  event: EncodedEvent,
  records: ReadonlyArray<KeyedRecord>,
  options: {
    /** The document of a key before the event. */
    readonly before: (key: string) => Result.Result<unknown, EventStoreError>
    readonly encode: Encode
  }
): Result.Result<ReadonlyMap<string, EncodedDocument>, EventStoreError> => {
  const read: Array<unknown> = []
  return attempt(projection, event, read, () => {
    const after = new Map<string, unknown>()
    for (const { keys, record } of records) {
      for (const key of keys) {
        const document = after.has(key) ? after.get(key) : Result.getOrThrow(options.before(key))
        read.push(document)
        after.set(key, projection.evolve(document, record, key))
      }
    }
    return new Map(Array.from(after, ([key, document]) => [key, options.encode(key, document)]))
  })
}

/** Runs a projection's own code, which may throw. `read` holds the documents whose personal data its errors may quote. */
const attempt = <A>(
  projection: Projection.Any,
  event: EncodedEvent,
  read: ReadonlyArray<unknown>,
  run: () => A
): Result.Result<A, EventStoreError> => {
  try {
    return Result.succeed(run())
  } catch (cause) {
    return Result.fail(failed(projection, event, cause, read))
  }
}

/** Returns the error of a projection on an event, without the personal data of the event and of the documents that were read for it. */
const failed = (
  projection: Projection.Any,
  event: EncodedEvent,
  cause: unknown,
  read: ReadonlyArray<unknown>
): EventStoreError => {
  const { secretsOf } = DocumentCodec.of(projection)
  const secrets: Array<unknown> = []
  for (const document of read) {
    const found = secretsOf(document)
    if (found === undefined) return HandlerError.failed(projection, event, new Error(withheld))
    secrets.push(...found)
  }
  return HandlerError.failed(projection, event, cause, secrets)
}

const withheld =
  "the cause is withheld, because it may quote personal data of a document that does not satisfy its Schema"

/**
 * The documents that an event touches, and what the event means to the projection.
 *
 * @since 0.1.0
 * @category models
 */
export interface Touched {
  readonly keys: ReadonlySet<string>
  readonly records: ReadonlyArray<RecordedEvent<Event.Tagged>>
}

/**
 * Documents in memory, folded event by event.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryFold {
  /** The documents, encoded. */
  readonly documents: ReadonlyMap<string, EncodedDocument & { readonly document: string }>
  /** Applies the next event of the log. */
  readonly fold: (event: EncodedEvent) => Result.Result<Touched, EventStoreError>
}

/**
 * Returns an empty fold of a projection, or with `only` of the one document of that key. It ignores events that the projection does not handle.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inMemory = (
  projection: Projection.Any,
  limits: Pick<Limits, "documentBytes">,
  only?: string
): MemoryFold => {
  const isFollowed = EventFilter.matcher({ types: projection.reads, ...projection.where })
  const encode = encoder(projection, limits)
  const documents = new Map<string, EncodedDocument & { readonly document: string }>()
  const before = (key: string): Result.Result<unknown, EventStoreError> => {
    const found = documents.get(key)
    return found === undefined ? Result.succeed(undefined) : decodeDocument(projection, found)
  }
  const wanted = ({ keys, record }: KeyedRecord): KeyedRecord => ({
    record,
    keys: only === undefined ? keys : keys.filter((key) => key === only)
  })
  return {
    documents,
    fold: (event) => {
      if (!isFollowed(event)) return Result.succeed({ keys: new Set(), records: [] })
      return Result.flatMap(
        decode(projection, event),
        (all) =>
          Result.map(apply(projection, event, all.map(wanted), { before, encode }), (after) => {
            for (const [key, { document, ...encoded }] of after) {
              if (document === undefined) documents.delete(key)
              else documents.set(key, { ...encoded, document })
            }
            return { keys: new Set(after.keys()), records: all.map(({ record }) => record) }
          })
      )
    }
  }
}
