/**
 * The contract that a back end implements for projections and subscriptions: checkpoints, parked events, documents and generations.
 *
 * A consumer is named by its id, `<name>@<version>`. What it writes belongs to one of its generations: the first one, whose name is the
 * consumer's id, or one that a rebuild makes beside it. One generation of a consumer is active: readers read it, and projectors keep it up to
 * date.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { ConsumerDriver, EncodedDocument } from "../consumer/CheckpointDriver.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import type { InlineProjectionsDriver, RegisteredInlineProjection } from "../eventStore/InlineProjectionsDriver.ts"

/**
 * A condition on the index entry of a field; see `IndexEntry`.
 *
 * @since 0.1.0
 * @category models
 */
export type EntryCondition =
  /** The entry is one of these, which are sorted. */
  | { readonly _tag: "OneOf"; readonly field: string; readonly entries: ReadonlyArray<string> }
  /** The entry is at or above `from` and below `to`, by code point. */
  | { readonly _tag: "Range"; readonly field: string; readonly from: string; readonly to: string }

/**
 * The order of a page: by the index entry of a field, then by key; without a field, by key.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageOrder {
  readonly field: string | undefined
  readonly isDescending: boolean
}

/**
 * The place of a document in an order.
 *
 * @since 0.1.0
 * @category models
 */
export interface PagePlace {
  readonly key: string
  /** The index entry of the field that the documents are ordered by. */
  readonly entry?: string | undefined
}

/**
 * A request for a page of documents of a consumer's active generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentPage {
  readonly consumer: string
  /** Conditions that a document must satisfy. */
  readonly where: ReadonlyArray<EntryCondition>
  readonly order: PageOrder
  /** The names of the indexes that the conditions and the order use; see `IndexEntry.indexName`. */
  readonly indexes: ReadonlyArray<string>
  /** The place after which the page starts. */
  readonly after?: PagePlace | undefined
  readonly limit: number
}

/**
 * A page of documents, all read at one point in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundPage {
  readonly generation: string
  /**
   * Whether all documents of the generation have the indexes that the page uses. Otherwise it may lack documents.
   */
  readonly isIndexed: boolean
  /** The lowest checkpoint of the generation. */
  readonly position: LogPosition
  readonly documents: ReadonlyArray<StoredDocument & PagePlace>
}

/**
 * Documents of a consumer's active generation that lack some indexes.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnindexedDocuments {
  readonly generation: string
  readonly documents: ReadonlyArray<StoredDocument>
}

/**
 * The index entries of a document, if it still has the revision.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reindexed {
  readonly key: string
  readonly revision: bigint
  readonly indexed: ReadonlyArray<string>
}

/**
 * A document as a store returns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredDocument {
  readonly key: string
  readonly document: Schema.Json
  /** Changes with every write, and never returns to an earlier value. */
  readonly revision: bigint
  /** The stream that feeds the document, of a projection with several partitions by stream. */
  readonly stream?: string | undefined
  /** Why the personal data could not be decrypted; `document` is then still encrypted. Only the encrypting driver sets it. */
  readonly unreadable?: string | undefined
}

/**
 * Changes to the documents of one generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentChanges {
  readonly generation: string
  readonly changes: ReadonlyArray<EncodedDocument>
}

/**
 * Documents by generation and key. Reads by consumer return documents of its active generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentsDriver {
  /** Returns the documents of a generation that have these keys. */
  readonly load: (
    generation: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Writes changes to several generations, all or nothing, in the transaction of an append. */
  readonly write: (changes: ReadonlyArray<DocumentChanges>) => Effect.Effect<void, EventStoreError>

  /** Returns a document of a consumer's active generation. */
  readonly get: (consumer: string, key: string) => Effect.Effect<Option.Option<StoredDocument>, EventStoreError>

  /** Returns a page of documents of a consumer's active generation. */
  readonly list: (page: DocumentPage) => Effect.Effect<FoundPage, EventStoreError>

  /** Returns documents of a consumer's active generation that lack one of these indexes, at most `limit` of them. */
  readonly unindexed: (
    consumer: string,
    indexes: ReadonlyArray<string>,
    limit: number
  ) => Effect.Effect<UnindexedDocuments, EventStoreError>

  /** Replaces the index entries of documents, which keep their revisions. Documents that have another revision by now stay as they are. */
  readonly reindex: (
    generation: string,
    documents: ReadonlyArray<Reindexed>
  ) => Effect.Effect<void, EventStoreError>
}

/**
 * A generation of a consumer.
 *
 * - `building`: was never active. A consumer's first generation counts as `building`, although readers read it, when a rebuild began it and it
 *   has not reached the position that the log had then
 * - `active`: readers read it, and projectors keep it up to date
 * - `previous`: was active until the last cut-over, and has not changed since
 * - `retired`: was active before the previous one
 * - `discarded`: its documents are removed, or are being removed
 *
 * @since 0.1.0
 * @category models
 */
export interface Generation {
  readonly generation: string
  readonly status: "building" | "active" | "previous" | "retired" | "discarded"
  /** When a rebuild began it; undefined when no rebuild did. */
  readonly startedAt: DateTime.Utc | undefined
  /** When it last became active by a cut-over. */
  readonly activatedAt: DateTime.Utc | undefined
  /** The number of its partitions; 0 before it has run. */
  readonly partitions: number
  /** What they are divided by; undefined before it has run. */
  readonly partitionedBy: string | undefined
  /** The position that all of its partitions have reached. */
  readonly position: Position
  /** The code that a rebuild builds it with, as the caller named it by `build`; undefined if the caller did not. */
  readonly build: string | undefined
}

/**
 * A request to begin a generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface BeginRequest {
  readonly consumer: string
  /** The high-water mark of the log. */
  readonly head: Position
  /** The code that builds a new generation, as the caller names it. */
  readonly build?: string | undefined
  /** Whether to begin one beside the consumer's first generation even if that one is `building`; false by default. */
  readonly isBeside?: boolean | undefined
}

/**
 * A generation that is `building`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BegunGeneration extends Pick<Generation, "generation" | "build"> {
  /** Whether this request began it. */
  readonly isNew: boolean
}

/**
 * A request to make a generation the active one.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutOverRequest {
  readonly consumer: string
  /** The generation that becomes active. */
  readonly to: string
  /**
   * What to do when the generation is behind the active one, so that readers would see older documents. It is behind when one of its partitions
   * has not reached the position of the same partition of the active generation; when the numbers of partitions or their keys differ, of any partition.
   *
   * - `"reject"`: change nothing
   * - `{ hold }`: change nothing, and let no worker advance the active generation for this time, so that the other one can catch up
   * - `"cutOver"`: cut over even so
   */
  readonly ifBehind: "reject" | { readonly hold: Duration.Duration } | "cutOver"
  /**
   * Whether to cut over even if keys are parked in the generation at events that the active one has applied, so that their documents lack these
   * events; false by default.
   */
  readonly evenIfParked?: boolean | undefined
}

/**
 * The outcome of a cut-over.
 *
 * - `CutOver`: the generation is active now; it may have been before
 * - `Behind`: nothing has changed; the generation lacks this many positions
 * - `Parked`: nothing has changed; so many keys are parked in the generation at events that the active one has applied, first of all these
 * - `Unknown`: nothing has changed; the consumer has no such generation, or it has not run, or it was discarded
 *
 * @since 0.1.0
 * @category models
 */
export type CutOverOutcome =
  | { readonly _tag: "CutOver" }
  | { readonly _tag: "Behind"; readonly missing: bigint }
  | { readonly _tag: "Parked"; readonly count: number; readonly keys: ReadonlyArray<string> }
  | { readonly _tag: "Unknown" }

/**
 * A request for a page of documents of a generation, active or not, in key order.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationPage {
  readonly generation: string
  /** The key after which the page starts. */
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * Some documents of a generation, read together with the positions of its partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationView {
  readonly positions: ReadonlyArray<Position>
  /** The highest position of which a document may contain an event: that of a partition, or of a former one that is ahead of it. */
  readonly reached: Position
  readonly documents: ReadonlyMap<string, StoredDocument>
}

/**
 * A reason not to discard a generation.
 *
 * - `active`: it is the active one, or an inline projection
 * - `previous`: a rollback would make it active
 * - `leased`: a worker has leases on it, or waits for some
 *
 * @since 0.1.0
 * @category models
 */
export type AgainstDiscard = "active" | "previous" | "leased"

/**
 * A number of rows, counted up to a maximum.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowCount {
  readonly count: number
  /** Whether there are more. */
  readonly isMore: boolean
}

/**
 * A generation of any consumer, with what it has written.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredGeneration {
  readonly generation: string
  /** The id of the consumer, such as `orders@1` or `subscription:mail@2`. */
  readonly consumer: string
  readonly kind: "projection" | "inline" | "subscription"
  readonly status: Generation["status"]
  /** Whether queries read it and workers write to it. */
  readonly isActive: boolean
  /** Whether `Rebuild.rollback` makes it active. */
  readonly isRollbackTarget: boolean
  /** The workers that have a lease on one of its partitions, or wait for one; empty if none has sent a heartbeat within its lease. */
  readonly owners: ReadonlyArray<string>
  /** The number of its checkpoints; 0 for an inline projection. */
  readonly checkpoints: number
  /** The lowest of its checkpoints; undefined without one. */
  readonly position: Position | undefined
  readonly documents: RowCount
  readonly parked: RowCount
  readonly parkingLog: RowCount
  /** When a worker last sent a heartbeat or applied an event; undefined without checkpoints. */
  readonly lastActivity: DateTime.Utc | undefined
}

/**
 * The generations of a consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationsDriver {
  /**
   * Returns the generation that a rebuild is building, or begins a new one. The first generation of a consumer that has never run is the
   * consumer's own.
   */
  readonly beginGeneration: (request: BeginRequest) => Effect.Effect<BegunGeneration, EventStoreError>

  /** Returns the generations of a consumer, oldest first. */
  readonly generations: (consumer: string) => Effect.Effect<ReadonlyArray<Generation>, EventStoreError>

  /** Makes a generation the active one, all or nothing. Workers on either generation lose their partitions and can write nothing more. */
  readonly cutOver: (request: CutOverRequest) => Effect.Effect<CutOverOutcome, EventStoreError>

  /**
   * Discards a generation, all or nothing, unless a reason against it holds that `evenIf` does not name. From then on no worker can write to it, no
   * cut-over can make it active, and reads and claims of a consumer whose active generation it is fail with `GenerationDiscarded`.
   * `removeDiscarded` removes its rows.
   */
  readonly discard: (
    consumer: string,
    generation: string,
    evenIf: ReadonlyArray<AgainstDiscard>
  ) => Effect.Effect<"discarded" | "unknown" | AgainstDiscard, EventStoreError>

  /** Removes a part of what a discarded generation has written, in one transaction. Returns whether there may be more. */
  readonly removeDiscarded: (
    generation: string,
    options: { readonly parkingLog: boolean }
  ) => Effect.Effect<boolean, EventStoreError>

  /** Returns a page of the generations of all consumers, by name. */
  readonly allGenerations: (page: {
    /** The name after which the page begins. */
    readonly after: string | undefined
    readonly limit: number
    /** Documents, parked keys and entries of the parking log are counted up to this number. */
    readonly maxCount: number
  }) => Effect.Effect<ReadonlyArray<StoredGeneration>, EventStoreError>

  /** Returns a page of documents of a generation. */
  readonly generationPage: (page: GenerationPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Returns documents of two generations as of one point in time. */
  readonly views: (
    generations: readonly [string, string],
    keys: ReadonlyArray<string>
  ) => Effect.Effect<readonly [GenerationView, GenerationView], EventStoreError>
}

/**
 * The documents of inline projections, and whether they lack events.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineDocumentsDriver {
  /** Returns an inline projection as the log knows it; undefined if no program has registered it. */
  readonly inlineProjection: (
    projection: string
  ) => Effect.Effect<RegisteredInlineProjection | undefined, EventStoreError>

  /** Looks up inline projections in this log from now on. A store that shares the database of its log does so anyway. */
  readonly readInlineFrom: (log: InlineProjectionsDriver) => Effect.Effect<void>

  /** Replaces the documents of one generation by copies of those of another, up to `pageSize` of them at a time. */
  readonly replaceDocuments: (generation: string, by: string, pageSize: number) => Effect.Effect<void, EventStoreError>
}

/**
 * Where a store holds texts made from events: in documents, with parked keys, and in the log of parked events.
 *
 * @since 0.1.0
 * @category models
 */
export type StoredTextSource = "documents" | "parked" | "parkingLog"

/**
 * A text as it is stored, byte for byte.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredText {
  readonly generation: string
  /** The key of the document, or the name of the stream. */
  readonly key: string
  readonly text: string
  /** Where the next page starts. */
  readonly cursor: string
}

/**
 * A request for a page of stored texts.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredTextPage {
  readonly in: StoredTextSource
  /** The last text of the page before. */
  readonly after?: Pick<StoredText, "generation" | "cursor"> | undefined
  readonly limit: number
}

/**
 * All stored texts of all generations; an erasure searches them for personal data.
 *
 * @since 0.1.0
 * @category models
 */
export interface PersonalDataScanDriver {
  readonly storedTexts: (page: StoredTextPage) => Effect.Effect<ReadonlyArray<StoredText>, EventStoreError>
}

/**
 * The driver of a projection store.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStoreDriver
  extends ConsumerDriver, DocumentsDriver, GenerationsDriver, InlineDocumentsDriver, PersonalDataScanDriver
{}
