/**
 * Folds a batch of events into the stored documents that it touches; the caller then writes all changed documents at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Outcome } from "../consumer/batch/BatchProcessor.ts"
import type { Failure } from "../consumer/batch/Failure.ts"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type { FormerPartitions } from "../consumer/FormerPartitions.ts"
import * as HandlerError from "../consumer/HandlerError.ts"
import { awaitsNewerCode } from "../consumer/UnknownTypes.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentFold from "./DocumentFold.ts"
import * as DocumentStreams from "./DocumentStreams.ts"
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

interface DecodedEvent extends ConsumerKey.KeyedEvent {
  readonly records: Result.Result<ReadonlyArray<DocumentFold.KeyedRecord>, EventStoreError>
}

type Documents = ReadonlyMap<string, Result.Result<unknown, EventStoreError>>

/**
 * Options of a fold.
 *
 * @since 0.1.0
 * @category options
 */
export interface FoldOptions {
  /**
   * What an event does on which the fold fails. With `"park"` the fold skips the later events of the same key; with `"stop"`, when newer code has written
   * the event, or when its key is unknown, it skips all later events. `"parkAll"` does so only when the key is unknown.
   */
  readonly onFailure: "park" | "parkAll" | "stop"
  /** The partitions before, while one of them is ahead of the checkpoint. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  readonly decode?: ((event: EncodedEvent) => DecodedEvent["records"]) | undefined
}

interface Batch {
  readonly projection: Projection.Any
  readonly events: ReadonlyArray<DecodedEvent>
  /** The stored documents before the batch. */
  readonly stored: Documents
  /** The streams of the documents before the batch. */
  readonly streams: DocumentStreams.DocumentStreams | undefined
  readonly onFailure: FoldOptions["onFailure"]
  readonly encode: ReturnType<typeof DocumentFold.encoder>
}

/**
 * Folds events, in order, into the documents that they touch under the given keys. An event that cannot be decoded, or on which the projection's own
 * code fails, changes no document.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = Effect.fnUntraced(function*(
  projection: Projection.Any,
  events: ReadonlyArray<ConsumerKey.KeyedEvent>,
  load: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>,
  { decode = (event) => DocumentFold.decode(projection, event), former = [], onFailure }: FoldOptions
): Effect.fn.Return<FoldedBatch, EventStoreError> {
  const limits = yield* Limits
  const decoded = events.map((keyed): DecodedEvent => ({ ...keyed, records: decode(keyed.event) }))
  const keys = documentKeysOf(projection, decoded)
  const found = keys.length === 0 ? [] : yield* load(keys)
  const revisions = new Map(found.map(({ key, revision }) => [key, revision]))
  const batch: Batch = {
    projection,
    events: decoded,
    stored: new Map(found.map((stored) => [stored.key, DocumentFold.decodeStored(projection, stored)])),
    streams: DocumentStreams.make(projection, former, found),
    onFailure,
    encode: DocumentFold.encoder(projection, limits)
  }
  const { documents, outcome, streams } = foldEvents(batch)
  const reads = keys.map((key) => ({ key, revision: revisions.get(key) ?? 0n }))
  return { ...outcome, changes: withStreams(documents, streams), reads }
})

const documentKeysOf = (projection: Projection.Any, events: ReadonlyArray<DecodedEvent>): ReadonlyArray<string> =>
  Array.from(
    new Set(
      events.flatMap((event) =>
        event.keys.flatMap((key) =>
          recordsUnder(projection, event, key, Result.getOrElse(event.records, () => [])).flatMap(({ keys }) => keys)
        )
      )
    )
  )

/** Returns what an event means under one of its keys: its records, with the documents that belong to the key. */
const recordsUnder = (
  { partitionBy }: Projection.Any,
  { isSingle }: ConsumerKey.KeyedEvent,
  key: string,
  records: ReadonlyArray<DocumentFold.KeyedRecord>
): ReadonlyArray<DocumentFold.KeyedRecord> => {
  if (partitionBy === "stream" || (partitionBy === "document" && isSingle)) return records
  const document = typeof partitionBy === "string" ? key : valueOf(partitionBy.tag, key)
  return records.flatMap(({ keys, record }) =>
    document !== undefined && keys.includes(document) ? [{ record, keys: [document] }] : []
  )
}

/** Returns the value of a tag; `undefined` for another text. */
const valueOf = (name: string, tag: string): string | undefined =>
  tag.startsWith(`${name}:`) ? tag.slice(name.length + 1) : undefined

/** Returns the records. Fails for an event that touches a document of another key, as the order of that document could not be kept. */
const validate = (
  projection: Projection.Any,
  streams: DocumentStreams.DocumentStreams | undefined,
  event: EncodedEvent,
  records: ReadonlyArray<DocumentFold.KeyedRecord>
): Result.Result<ReadonlyArray<DocumentFold.KeyedRecord>, EventStoreError> => {
  const by = projection.partitionBy
  if (typeof by === "string") {
    return Result.map(DocumentStreams.validate(streams, projection, event, DocumentFold.keysOf(records)), () => records)
  }
  const values = new Set(event.tags.flatMap((tag) => valueOf(by.tag, tag) ?? []))
  const other = records.flatMap(({ keys }) => keys).find((key) => !values.has(key))
  const tagged = values.size === 0
    ? `the event has no tag "${by.tag}", but touches the document "${other}"`
    : `the event touches the document "${other}", which is not a value of its tag "${by.tag}"`
  return other === undefined ? Result.succeed(records) : Result.fail(HandlerError.failed(
    projection,
    event,
    new Error(
      `${tagged}; return the values of the tag from \`key\`, or leave out \`partitionBy\``
    )
  ))
}

interface Folded {
  readonly outcome: Outcome
  readonly documents: ReadonlyMap<string, EncodedDocument>
  readonly streams: DocumentStreams.DocumentStreams | undefined
}

const foldEvents = ({ encode, events, onFailure, projection, stored, streams }: Batch): Folded => {
  const documents = new Map<string, EncodedDocument>()
  const before = (key: string) => {
    const changed = documents.get(key)
    return changed === undefined
      ? stored.get(key) ?? Result.succeed(undefined)
      : DocumentFold.decodeDocument(projection, changed)
  }
  const applied: Array<ConsumerKey.Delivery> = []
  const failures: Array<Failure> = []
  const parked = new Set<string>()
  for (const keyed of events) {
    const { event, isSingle, keys, records } = keyed
    const valid = Result.flatMap(records, (records) => validate(projection, streams, event, records))
    // The keys have different documents. When one of them stops the consumer, none is applied: the event is the next to be read.
    const results = keys.filter((key) => !parked.has(key)).map((key) => ({
      key,
      after: Result.flatMap(
        valid,
        (records) =>
          DocumentFold.apply(projection, event, recordsUnder(projection, keyed, key, records), { before, encode })
      )
    }))
    for (const { after, key } of results) {
      if (Result.isSuccess(after)) continue
      const stops = onFailure === "stop" || key === ConsumerKey.unknownKey
        || (onFailure === "park" && awaitsNewerCode(projection, after.failure))
      if (!stops) continue
      failures.push({ event, key, error: after.failure })
      return { outcome: { applied, failures }, documents, streams }
    }
    for (const { after, key } of results) {
      if (Result.isFailure(after)) {
        failures.push({ event, key, error: after.failure })
        parked.add(key)
        continue
      }
      for (const [key, document] of after.success) documents.set(key, document)
      DocumentStreams.record(streams, event, after.success)
      applied.push(ConsumerKey.delivery(event, key, isSingle))
    }
  }
  return { outcome: { applied, failures }, documents, streams }
}

/** Returns the documents, each with the stream that feeds it, where that matters. */
const withStreams = (
  documents: ReadonlyMap<string, EncodedDocument>,
  streams: DocumentStreams.DocumentStreams | undefined
): ReadonlyArray<EncodedDocument> =>
  Array.from(documents, ([key, document]) => {
    const stream = streams?.byKey.get(key)
    return stream === undefined ? document : { ...document, stream }
  })
