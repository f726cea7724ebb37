/**
 * What the runtime builds on, behind `store[internals]` of the event store.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import type * as SnapshotStore from "../snapshot/SnapshotStore.ts"
import type { AppendRequest, EventStoreDriver } from "./driver/EventStoreDriver.ts"
import type { AppendContext } from "./EventAppender.ts"
import type { EventStore } from "./EventStore.ts"
import type { CommandUse } from "./FirstReceipt.ts"
import type { QueryResult, ReadStreamOptions } from "./LogReader.ts"

/**
 * The parts of an event store that users do not see.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventStoreInternals {
  /** The driver, wrapped so that the events it reads are decrypted. */
  readonly driver: EventStoreDriver
  /** The key store of personal data. */
  readonly keys: KeyStoreLookup.Keys
  /** The snapshots of aggregate instances. */
  readonly snapshots: SnapshotStore.SnapshotStore
  /** Reads the pages of one stream, as `EventStore.readStreamEncoded` does, until `visit` returns `"end"` or an error. */
  readonly forEachPage: (
    stream: string,
    options: ReadStreamOptions,
    visit: (events: ReadonlyArray<EncodedEvent>) => "continue" | "end" | EventStoreError
  ) => Effect.Effect<void, EventStoreError>
  /** Returns the receipt of a command id that was appended before, or fails with `CommandIdReused` when it was used for something else. */
  readonly firstReceipt: (use: CommandUse) => Effect.Effect<Option.Option<Receipt>, EventStoreError>
  /** What `EventAppender.append` needs, for the commands whose appends are followed. */
  readonly appending: AppendContext
  /**
   * Reads the matches of a query after a position up to which an earlier read has returned every match. The condition is the one that
   * `EventStore.readByQuery` would return. Fails with `LogDiverged` if the log does not have an event of `basis`.
   */
  readonly readByQueryAfter: (
    query: EventQuery,
    after: Position,
    basis?: ReadonlyArray<LogPosition>
  ) => Effect.Effect<QueryResult, EventStoreError>
  /** The driver's reads for callers that read whenever something has changed. Callers that wait for the same share one read. */
  readonly followed: Pick<EventStoreDriver, "head" | "readByQuery">
  /** Returns this event store, except that its appends send the changed request to the driver. Inline projections use it. */
  readonly changeAppends: (change: (request: AppendRequest) => AppendRequest) => EventStore["Service"]
}
