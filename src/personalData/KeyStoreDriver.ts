/**
 * What a back end implements for the keys of personal data.
 *
 * Store the keys apart from the log, in a database of their own with backups of their own: restoring an old backup of the keys brings back those that
 * were erased since.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"

/**
 * The key of a subject, 32 bytes for AES-256-GCM; or when it was erased.
 *
 * @since 0.1.0
 * @category models
 */
export type SubjectKey =
  | { readonly _tag: "Key"; readonly key: Uint8Array }
  | { readonly _tag: "Erased"; readonly at: DateTime.Utc }

/**
 * The result of a lookup of keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundKeys {
  /** The keys, by subject. */
  readonly keys: ReadonlyMap<string, SubjectKey>
  /** The id of the last erasure, read no later than the keys. */
  readonly lastErasure: string
  /** Whether new keys are committed. Within a transaction of the caller they are not, because it may be rolled back. */
  readonly durable: boolean
}

/**
 * The store of keys, as a back end implements it. It fails with an `EventStoreError`, preferably with the reason `KeyStoreUnavailable`.
 *
 * @since 0.1.0
 * @category services
 */
export interface KeyStoreDriver {
  /** Returns the keys of those subjects that have one. */
  readonly find: (subjects: ReadonlyArray<string>) => Effect.Effect<FoundKeys, EventStoreError>

  /** Returns the keys of subjects; a subject without one gets the offered key. Concurrent callers all receive the same key. */
  readonly findOrCreate: (
    offered: ReadonlyMap<string, Uint8Array>
  ) => Effect.Effect<FoundKeys, EventStoreError>

  /**
   * Returns the id of the last erasure. Each erasure draws a random one, and so does an empty store: after an older backup was restored, no
   * erasure comes to the same id again, as it would to the same number.
   */
  readonly lastErasure: Effect.Effect<string, EventStoreError>

  /** Deletes the key of a subject for good, and returns when that was. A second call returns the time of the first. */
  readonly erase: (subject: string) => Effect.Effect<DateTime.Utc, EventStoreError>
}
