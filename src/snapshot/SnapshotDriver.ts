/**
 * What a back end implements to keep snapshots: encoded states beside their streams. What is lost here is only folded again.
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
 * One is kept for each stream and fingerprint, so that old and new programs that run side by side do not take turns in undoing each other's.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotKey {
  readonly stream: StreamId
  readonly fingerprint: Fingerprint
}

/**
 * The state of a stream after one of its events.
 *
 * - `version`, `position`, `eventId`: of the last event in it
 * - `state`: JSON text, of the Schema that `fingerprint` stands for
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends SnapshotKey {
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  readonly state: string
  readonly takenAt: DateTime.Utc
}

/**
 * How much older than the one that is written a snapshot of the same stream under another fingerprint must be to be removed.
 *
 * @since 0.1.0
 * @category constants
 */
export const retention = Duration.days(7)

/**
 * - `write`: unless one of the same or a later version is there. Removes those of the stream under other fingerprints that are older by
 *   `retention`
 * - `discard`: removes this one, unless another has taken its place
 * - `drop`: removes all of these streams; answers how many there were
 * - `page`: up to `limit`, by stream and fingerprint, after one of them
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotDriver {
  readonly read: (key: SnapshotKey) => Effect.Effect<Option.Option<Snapshot>, EventStoreError>
  readonly write: (snapshot: Snapshot) => Effect.Effect<void, EventStoreError>
  readonly discard: (snapshot: Snapshot) => Effect.Effect<void, EventStoreError>
  readonly drop: (streams: ReadonlyArray<StreamId>) => Effect.Effect<number, EventStoreError>
  readonly page: (
    after: SnapshotKey | undefined,
    limit: number
  ) => Effect.Effect<ReadonlyArray<Snapshot>, EventStoreError>
}
