/**
 * What a back end implements for consumers of the log, projections and subscriptions: who works on them, how far they have come, what they
 * have applied and parked, and the documents of projections.
 *
 * A consumer is named by its id (`<name>@<version>`). What it writes belongs to a target: the id itself, or a build of it that is made
 * beside. One target is active: it is read, and kept up to date.
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
import type { Position } from "../core/Position.ts"

/**
 * A page of documents in key order.
 *
 * - `where`: index entries that a document must all have
 * - `after`: the key after which the page starts
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentPage {
  readonly consumer: string
  readonly where: ReadonlyArray<string>
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * - `revision`: another with every write, and never one that was there before
 * - `unreadable`: why its personal data could not be decrypted, where a driver of the store above says so; `document` is then as it is kept
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredDocument {
  readonly key: string
  readonly document: Schema.Json
  readonly revision: bigint
  readonly unreadable?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface DocumentChanges {
  readonly generation: string
  readonly changes: ReadonlyArray<EncodedDocument>
}

/**
 * Documents by target and key. `get` and `list` are for readers, and take the consumer's id.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentsDriver {
  readonly load: (
    generation: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Like `load`, in the transaction of an append: whoever else wants to change these documents waits until it has ended. */
  readonly lock: (
    generation: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Writes changes of several projections, all or nothing, in the transaction of an append. */
  readonly write: (
    changes: ReadonlyArray<DocumentChanges>
  ) => Effect.Effect<void, EventStoreError>

  readonly get: (consumer: string, key: string) => Effect.Effect<Option.Option<StoredDocument>, EventStoreError>
  readonly list: (page: DocumentPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>
}

/**
 * A target of a consumer.
 *
 * - `building`: never was active; or it is the consumer's own id, which had never run when its build was begun, and has not come as far as the
 *   log went then
 * - `active`: is read, and kept up to date
 * - `previous`: was active before it, and stays as it was then
 * - `retired`: was active before that
 * - `discarded`: is gone, or is going
 *
 * @since 0.1.0
 * @category models
 */
export interface Generation {
  readonly generation: string
  readonly status: "building" | "active" | "previous" | "retired" | "discarded"
  /** Missing for one that was not begun as a build. */
  readonly startedAt: DateTime.Utc | undefined
  /** When it last became the active one by a switch. */
  readonly switchedAt: DateTime.Utc | undefined
  /** 0 before it has run. */
  readonly partitions: number
  /** How far all of its partitions have come. */
  readonly position: Position
}

/**
 * - `to`: the target that is to be active
 * - `ifBehind`: what to do when a reader would then see documents older than those it may have seen, as not each partition has come as far
 *   as the active generation's same one or, where their numbers differ, as far as any: to refuse; to refuse, and let nobody move the active
 *   target for a while, so that the other can reach it; or to switch even so
 *
 * @since 0.1.0
 * @category models
 */
export interface CutOverRequest {
  readonly consumer: string
  readonly to: string
  readonly ifBehind: "refuse" | { readonly hold: Duration.Duration } | "switch"
}

/**
 * - `CutOverOutcome`: the target is active; also when it was before
 * - `Behind`: nothing has changed, as so many positions are missing
 * - `Unknown`: the consumer has no such target that has run and was not discarded
 *
 * @since 0.1.0
 * @category models
 */
export type CutOverOutcome =
  | { readonly _tag: "Switched" }
  | { readonly _tag: "Behind"; readonly missing: bigint }
  | { readonly _tag: "Unknown" }

/**
 * A page of what a target itself holds, in key order, active or not.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationPage {
  readonly generation: string
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * What a target holds of some documents, and how far each of its partitions had come with them.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationView {
  readonly positions: ReadonlyArray<Position>
  readonly documents: ReadonlyMap<string, StoredDocument>
}

/**
 * Targets of a consumer beside the active one.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationsDriver {
  /**
   * The build of a consumer that is not finished, or a new one. A consumer that has never run is its own first build. `head` is how far the
   * log goes now.
   */
  readonly beginGeneration: (consumer: string, head: Position) => Effect.Effect<string, EventStoreError>

  /** The targets of a consumer, in the order in which they came to be. */
  readonly generations: (consumer: string) => Effect.Effect<ReadonlyArray<Generation>, EventStoreError>

  /** All of it, or nothing. Whoever works on either target has lost its partitions then, and can write nothing more. */
  readonly cutOver: (request: CutOverRequest) => Effect.Effect<CutOverOutcome, EventStoreError>

  /**
   * Removes a target that is not active, with everything it has written, in several transactions; can be repeated when it was cut off. From
   * the first on nobody can write to it, or switch to it. What became of its parked events stays on record.
   */
  readonly discard: (
    consumer: string,
    generation: string
  ) => Effect.Effect<"discarded" | "active" | "unknown", EventStoreError>

  readonly generationPage: (page: GenerationPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Two targets as they are at one moment. */
  readonly views: (
    generations: readonly [string, string],
    keys: ReadonlyArray<string>
  ) => Effect.Effect<readonly [GenerationView, GenerationView], EventStoreError>
}

/**
 * Where a store keeps what events have said: in documents, with parked streams, and in the record of these.
 *
 * @since 0.1.0
 * @category models
 */
export type StoredTextSource = "documents" | "parked" | "parkingLog"

/**
 * A text as it is kept, byte for byte.
 *
 * - `key`: of the document; else the stream
 * - `cursor`: after which the next page starts
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredText {
  readonly generation: string
  readonly key: string
  readonly text: string
  readonly cursor: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StoredTextPage {
  readonly in: StoredTextSource
  readonly after?: Pick<StoredText, "generation" | "cursor"> | undefined
  readonly limit: number
}

/**
 * All that is kept, of whatever target, for those who look for something in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface PersonalDataScanDriver {
  readonly storedTexts: (page: StoredTextPage) => Effect.Effect<ReadonlyArray<StoredText>, EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStoreDriver
  extends ConsumerDriver, DocumentsDriver, GenerationsDriver, PersonalDataScanDriver
{}
