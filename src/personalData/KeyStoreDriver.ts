/**
 * What a back end implements for the keys of personal data.
 *
 * It is best kept apart from the log, in a database of its own with backups of its own: who restores an old backup of the keys gets back
 * those that were erased since.
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
 * - `keys`: by subject
 * - `erasures`: how many subjects were erased so far, as of no later than the keys
 * - `durable`: whether new keys are there for good. Not within a transaction of the caller, which may be rolled back
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundKeys {
  readonly keys: ReadonlyMap<string, SubjectKey>
  readonly erasures: bigint
  readonly durable: boolean
}

/**
 * Every failure is an `EventStoreError`, best with the reason `KeyStoreUnavailable`.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyStoreDriver {
  /** The keys of subjects, as far as there are any. */
  readonly find: (subjects: ReadonlyArray<string>) => Effect.Effect<FoundKeys, EventStoreError>

  /** The keys of subjects; those without one get the one that is offered. Of several that offer one at once, all are answered the same. */
  readonly findOrCreate: (
    offered: ReadonlyMap<string, Uint8Array>
  ) => Effect.Effect<FoundKeys, EventStoreError>

  /** How many subjects were erased so far. */
  readonly erasures: Effect.Effect<bigint, EventStoreError>

  /** Deletes the key of a subject for good, and remembers when. Once erased, a subject keeps its first time. */
  readonly erase: (subject: string) => Effect.Effect<DateTime.Utc, EventStoreError>
}
