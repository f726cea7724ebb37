/**
 * Folds a batch of events into the stored documents that it touches; the caller then writes all changed documents at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Failure, Outcome } from "../consumer/BatchProcessor.ts"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import { type EventStoreError, isOfNewerCode, storeError, UndecodableDocument } from "../core/errors.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import * as DocumentFold from "./DocumentFold.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface FoldedBatch extends Outcome {
  /** The documents after the events that could be applied. */
  readonly changes: ReadonlyArray<EncodedDocument>
  /** The revisions of the documents that were loaded. */
  readonly reads: ReadonlyArray<{ readonly key: string; readonly revision: bigint }>
}

interface DecodedEvent {
  readonly event: EncodedEvent
  readonly records: Result.Result<ReadonlyArray<DocumentFold.KeyedRecord>, EventStoreError>
}

type Documents = ReadonlyMap<string, Result.Result<unknown, EventStoreError>>

interface Batch {
  readonly projection: Projection.Any
  readonly events: ReadonlyArray<DecodedEvent>
  /** The stored documents before the batch. */
  readonly stored: Documents
  readonly onFailure: "park" | "stop"
  /** Throws when the document does not satisfy its Schema or is too large. */
  readonly encode: (key: string, document: unknown) => EncodedDocument
}

/**
 * Folds events, in order, into the documents they touch. An event that cannot be decoded, or on which the projection's own code fails, changes
 * no document. With the policy `"park"` the fold then skips the later events of the same stream; with `"stop"`, or when newer code has
 * written the event, it skips all later events.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = Effect.fnUntraced(function*(
  projection: Projection.Any,
  events: ReadonlyArray<EncodedEvent>,
  load: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>,
  onFailure: "park" | "stop"
): Effect.fn.Return<FoldedBatch, EventStoreError> {
  const { documentBytes } = yield* Limits
  const decoded = events.map((event): DecodedEvent => ({ event, records: DocumentFold.decode(projection, event) }))
  const keys = keysOf(decoded)
  const found = keys.length === 0 ? [] : yield* load(keys)
  const revisions = new Map(found.map(({ key, revision }) => [key, revision]))
  const batch: Batch = {
    projection,
    events: decoded,
    stored: decodeDocuments(projection, found),
    onFailure,
    encode: encoder(projection, documentBytes)
  }
  const folded = foldEvents(batch)
  const changes = Result.getOrUndefined(encodeChanges(batch, folded.documents))
  const reads = keys.map((key) => ({ key, revision: revisions.get(key) ?? 0n }))
  if (changes !== undefined) return { ...folded.outcome, changes, reads }
  // A document breaks its Schema: fold again, and encode after every event to find the event that breaks it.
  const checked = foldEvents(batch, batch.encode)
  return { ...checked.outcome, changes: Result.getOrThrow(encodeChanges(batch, checked.documents)), reads }
})

const keysOf = (events: ReadonlyArray<DecodedEvent>): ReadonlyArray<string> =>
  Array.from(new Set(events.flatMap(({ records }) => Result.getOrElse(records, () => []).flatMap(({ keys }) => keys))))

const decodeDocuments = (projection: Projection.Any, found: ReadonlyArray<StoredDocument>): Documents => {
  const codec = DocumentCodec.of(projection)
  return new Map(found.map(({ document, key, unreadable }) => [
    key,
    Result.mapError(
      unreadable === undefined ? codec.decode(document) : Result.fail(unreadable),
      (detail) => storeError(new UndecodableDocument({ projection: projection.id, key, detail }))
    )
  ]))
}

const encoder = (projection: Projection.Any, documentBytes: number): Batch["encode"] => {
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

const foldEvents = (
  { events, onFailure, projection, stored }: Batch,
  check?: (key: string, document: unknown) => void
): { readonly outcome: Outcome; readonly documents: ReadonlyMap<string, unknown> } => {
  const documents = new Map<string, unknown>()
  const before = (key: string) =>
    documents.has(key) ? Result.succeed(documents.get(key)) : stored.get(key) ?? Result.succeed(undefined)
  const applied: Array<EncodedEvent> = []
  const failures: Array<Failure> = []
  const parked = new Set<string>()
  for (const { event, records } of events) {
    if (parked.has(event.stream)) continue
    const after = Result.flatMap(
      records,
      (records) => DocumentFold.apply(projection, event, records, { before, check })
    )
    if (Result.isFailure(after)) {
      failures.push({ event, error: after.failure })
      if (onFailure === "stop" || isOfNewerCode(after.failure)) break
      parked.add(event.stream)
      continue
    }
    for (const [key, document] of after.success) documents.set(key, document)
    applied.push(event)
  }
  return { outcome: { applied, failures }, documents }
}

const encodeChanges = (
  { encode }: Batch,
  documents: ReadonlyMap<string, unknown>
): Result.Result<ReadonlyArray<EncodedDocument>, unknown> =>
  Result.try(() => Array.from(documents, ([key, document]) => encode(key, document)))
