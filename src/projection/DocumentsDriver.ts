/**
 * What a back end implements for documents: reads by key and by page, and writes.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument, GenerationPosition } from "../consumer/CheckpointDriver.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { LogPosition } from "../core/LogPosition.ts"

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
 * A document of a generation, if it has one.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundDocument {
  readonly generation: string
  readonly document: Option.Option<StoredDocument>
  /** The checkpoint of the generation as of the same point in time, if the caller has given `after`. */
  readonly reached?: GenerationPosition | undefined
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
  /**
   * Runs a read of a caller that reads whenever something has changed. However many such callers there are, their reads leave connections to
   * others. Without it, they need no turn.
   */
  readonly asFollower?:
    | (<A, E, R>(read: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>)
    | undefined
  /** Returns the documents of a generation that have these keys. */
  readonly load: (
    generation: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Returns the documents of several generations, in the order of the requests. */
  readonly loadAll: (
    wanted: ReadonlyArray<{ readonly generation: string; readonly keys: ReadonlyArray<string> }>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<StoredDocument>>, EventStoreError>

  /** Returns changes as `write` stores them. */
  readonly toStored: (
    changes: ReadonlyArray<EncodedDocument>
  ) => Effect.Effect<ReadonlyArray<EncodedDocument>, EventStoreError>

  /** Writes changes to several generations, all or nothing, in the transaction of an append. */
  readonly write: (changes: ReadonlyArray<DocumentChanges>) => Effect.Effect<void, EventStoreError>

  /** Returns a document of a consumer's active generation; with `after` also what `checkpoint` returns. */
  readonly get: (
    consumer: string,
    key: string,
    after?: LogPosition
  ) => Effect.Effect<FoundDocument, EventStoreError>

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
