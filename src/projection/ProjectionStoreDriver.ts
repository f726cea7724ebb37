/**
 * The contract that a back end implements for projections and subscriptions: checkpoints, parked events, documents and generations.
 *
 * A consumer is named by its id, `<name>@<version>`. What it writes belongs to one of its generations: the first one, whose name is the
 * consumer's id, or one that a rebuild makes beside it. One generation of a consumer is active: readers read it, and projectors keep it up to
 * date.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import type { TimerDriver } from "../consumer/TimerDriver.ts"
import type { EventStoreError } from "../core/errors.ts"
import type {
  InlineProjectionsDriver,
  RegisteredInlineProjection
} from "../eventStore/driver/InlineProjectionsDriver.ts"
import type { DocumentsDriver } from "./DocumentsDriver.ts"
import type { GenerationsDriver } from "./GenerationsDriver.ts"
import type { PersonalDataScanDriver } from "./PersonalDataScanDriver.ts"

export type {
  DocumentChanges,
  DocumentPage,
  DocumentsDriver,
  EntryCondition,
  FoundDocument,
  FoundPage,
  PageOrder,
  PagePlace,
  Reindexed,
  StoredDocument,
  UnindexedDocuments
} from "./DocumentsDriver.ts"
export type {
  AgainstDiscard,
  BeginRequest,
  BegunGeneration,
  CutOverOutcome,
  CutOverRequest,
  Generation,
  GenerationPage,
  GenerationsDriver,
  GenerationView,
  RowCount,
  StoredGeneration
} from "./GenerationsDriver.ts"
export type { PersonalDataScanDriver, StoredText, StoredTextPage, StoredTextSource } from "./PersonalDataScanDriver.ts"

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

  /** Returns the next keys of documents after a key, in the order of the keys, of either generation. */
  readonly keysPage: (page: {
    readonly generations: readonly [string, string]
    readonly after: string
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<string>, EventStoreError>

  /**
   * Replaces the documents with these keys in one generation by copies of those in another, and removes those that the other does not have. It leaves
   * documents that are the same.
   */
  readonly copyDocuments: (
    generation: string,
    from: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<void, EventStoreError>
}

/**
 * The driver of a projection store.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStoreDriver
  extends ConsumerDriver, TimerDriver, DocumentsDriver, GenerationsDriver, InlineDocumentsDriver, PersonalDataScanDriver
{}
