/**
 * What a back end implements to store snapshots: encoded states beside their streams. A lost snapshot is only folded again.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { Fingerprint } from "../core/SchemaFingerprint.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"

/**
 * The key of a snapshot. Each stream has one for each fingerprint, so that old and new programs side by side do not overwrite each other's.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotKey {
  readonly stream: StreamId
  readonly fingerprint: Fingerprint
}

/**
 * The state of a stream after one of its events, whose `version`, `position` and `eventId` it has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends SnapshotKey {
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  /** The state as JSON text, by the Schema that the fingerprint covers. */
  readonly state: string
  readonly takenAt: DateTime.Utc
  /** The signature by `SnapshotSigning`; undefined when the program that wrote it has no keys. */
  readonly signature?: string | undefined
}

/**
 * A write removes the snapshots of the same stream under other fingerprints that are older than the new one by this much.
 *
 * @since 0.1.0
 * @category constants
 */
export const retention = Duration.days(7)

/**
 * The store of snapshots, as a back end implements it.
 *
 * @since 0.1.0
 * @category services
 */
export interface SnapshotDriver {
  /** Returns the snapshot of a key, if there is one. */
  readonly read: (key: SnapshotKey) => Effect.Effect<Option.Option<Snapshot>, EventStoreError>
  /** Returns whether the signature of a snapshot is valid. `SnapshotSigning` adds it; without it every snapshot is used. */
  readonly isAuthentic?: ((snapshot: Snapshot) => Effect.Effect<boolean>) | undefined
  /** Returns how often `drop` was called on this log. */
  readonly drops: Effect.Effect<bigint, EventStoreError>
  /**
   * Writes a snapshot, unless there is one of the same or a later version. Removes those of the stream under other fingerprints that are older by
   * `retention`. With `drops`, writes nothing if that is not the number of drops any more, however late the write arrives: an erasure has dropped
   * the snapshots of the streams of a subject, and none that was taken before may come after.
   */
  readonly write: (snapshot: Snapshot, drops?: bigint) => Effect.Effect<void, EventStoreError>
  /** Removes this snapshot, unless another has replaced it. */
  readonly discard: (snapshot: Snapshot) => Effect.Effect<void, EventStoreError>
  /** Removes all snapshots of these streams, and returns how many there were. */
  readonly drop: (streams: ReadonlyArray<StreamId>) => Effect.Effect<number, EventStoreError>
  /** Returns up to `limit` snapshots after a key, by stream and fingerprint. */
  readonly page: (
    after: SnapshotKey | undefined,
    limit: number
  ) => Effect.Effect<ReadonlyArray<Snapshot>, EventStoreError>
}
