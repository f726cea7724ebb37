/**
 * The fold of a projection: applies one event to the documents it touches. Projectors, live reads and time travel all use it.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as HandlerError from "../consumer/HandlerError.ts"
import { type EventStoreError, storeError } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import type * as Projection from "./ProjectionDefinition.ts"

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
 * cannot be decoded, and when the projection's `key` throws or returns a key that cannot be stored.
 *
 * @since 0.1.0
 * @category folding
 */
export const decode = (
  projection: Projection.Any,
  event: EncodedEvent
): Result.Result<ReadonlyArray<KeyedRecord>, EventStoreError> =>
  Result.flatMap(
    Result.mapError(ConsumerDefinition.decode(projection, event), storeError),
    (records) =>
      attempt(projection, event, [], () =>
        records.map((record) => {
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

/**
 * Returns the documents after an event, by key; `undefined` for a document that the event removes. An event on which `evolve` fails changes no
 * document.
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
    /** Called with every document after the event; throws when the document is invalid. */
    readonly check?: ((key: string, document: unknown) => void) | undefined
  }
): Result.Result<ReadonlyMap<string, unknown>, EventStoreError> => {
  const read: Array<unknown> = []
  return attempt(projection, event, read, () => {
    const after = new Map<string, unknown>()
    for (const { keys, record } of records) {
      for (const key of keys) {
        const document = after.has(key) ? after.get(key) : Result.getOrThrow(options.before(key))
        read.push(document)
        const next = projection.evolve(document, record, key)
        options.check?.(key, next)
        after.set(key, next)
      }
    }
    return after
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
 * A document in memory, before it is encoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoldedDocument {
  readonly document: unknown
  /** The last event that changed the document. */
  readonly by: EncodedEvent
  /** The document before that event. */
  readonly before: unknown
}

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
  readonly documents: ReadonlyMap<string, FoldedDocument>
  /** Applies the next event of the log. */
  readonly fold: (event: EncodedEvent) => Result.Result<Touched, EventStoreError>
  /** Encodes a folded document. Fails when the document does not satisfy its Schema. */
  readonly encode: (key: string, folded: FoldedDocument) => Result.Result<EncodedDocument, EventStoreError>
}

/**
 * Returns an empty fold of a projection, or with `only` of the one document of that key. It ignores events that the projection does not handle.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inMemory = (projection: Projection.Any, only?: string): MemoryFold => {
  const isFollowed = EventFilter.matcher({ types: projection.reads, ...projection.where })
  const codec = DocumentCodec.of(projection)
  const documents = new Map<string, FoldedDocument>()
  const documentOf = (key: string): unknown => documents.get(key)?.document
  const wanted = ({ keys, record }: KeyedRecord): KeyedRecord => ({
    record,
    keys: only === undefined ? keys : keys.filter((key) => key === only)
  })
  return {
    documents,
    encode: (key, { before, by, document }) =>
      Result.mapError(
        codec.encode(key, document),
        (message) => failed(projection, by, new Error(message), [before])
      ),
    fold: (event) => {
      if (!isFollowed(event)) return Result.succeed({ keys: new Set(), records: [] })
      return Result.flatMap(decode(projection, event), (all) => {
        const applied = apply(projection, event, all.map(wanted), { before: (key) => Result.succeed(documentOf(key)) })
        return Result.map(applied, (after) => {
          for (const [key, document] of after) {
            if (document === undefined) documents.delete(key)
            else documents.set(key, { document, by: event, before: documentOf(key) })
          }
          return { keys: new Set(after.keys()), records: all.map(({ record }) => record) }
        })
      })
    }
  }
}
