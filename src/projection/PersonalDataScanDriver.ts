/**
 * What a back end implements for an erasure: all stored texts, which it searches for personal data.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"

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
