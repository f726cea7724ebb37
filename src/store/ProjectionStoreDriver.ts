/**
 * What a back end implements for read models: encoded documents by projection and key, and a checkpoint for each projection
 * that moves in one transaction with its documents.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import type { EventStoreError } from "../domain/errors.ts"
import type { Position } from "../domain/Position.ts"

/**
 * The ownership of a projection: `epoch` grows with every change of owner, `position` is the checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly epoch: bigint
  readonly position: Position
}

/**
 * A move of a checkpoint `from` one position `to` another, with the changes of the events between.
 *
 * @since 0.1.0
 * @category models
 */
export interface Advance {
  readonly projection: string
  readonly epoch: bigint
  readonly from: Position
  readonly to: Position
  readonly lease: Duration.Duration
  readonly changes: ReadonlyArray<EncodedDocument>
}

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
  readonly projection: string
  readonly where: ReadonlyArray<string>
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StoredDocument {
  readonly key: string
  readonly document: Schema.Json
}

/**
 * Projections are named by their id (`<name>@<version>`).
 *
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStoreDriver {
  /** What a transaction of this driver is bound to; what shares it can share a transaction. */
  readonly transactions: unknown

  /** Takes ownership for the length of a lease; none while another owner's lease lasts. */
  readonly acquire: (
    projection: string,
    owner: string,
    lease: Duration.Duration
  ) => Effect.Effect<Option.Option<Lease>, EventStoreError>

  /** Gives ownership up, if the epoch is still the current one. Nothing can be written under that epoch any more. */
  readonly release: (projection: string, epoch: bigint) => Effect.Effect<void, EventStoreError>

  /**
   * Writes the changes, moves the checkpoint and renews the lease, all or nothing. Answers false, having written nothing,
   * when the epoch or `from` is no longer the current one.
   */
  readonly advance: (advance: Advance) => Effect.Effect<boolean, EventStoreError>

  /** How far a projection has come; 0 when it never ran. */
  readonly checkpoint: (projection: string) => Effect.Effect<Position, EventStoreError>

  readonly load: (
    projection: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Like `load`, in the transaction of an append: whoever else wants to change these documents waits until it has ended. */
  readonly lock: (
    projection: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Writes changes of several projections, all or nothing, in the transaction of an append. */
  readonly write: (
    changes: ReadonlyArray<{ readonly projection: string; readonly changes: ReadonlyArray<EncodedDocument> }>
  ) => Effect.Effect<void, EventStoreError>

  readonly list: (page: DocumentPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>
}
