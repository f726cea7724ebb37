/**
 * What the runtime builds on, behind `store[internals]` of the event store.
 *
 * @since 0.1.0
 */
import type * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import type * as SnapshotStore from "../snapshot/SnapshotStore.ts"
import type { EventStore } from "./EventStore.ts"
import type { AppendRequest, EventStoreDriver } from "./EventStoreDriver.ts"

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
  /** Returns this event store, except that its appends send the changed request to the driver. Inline projections use it. */
  readonly changeAppends: (change: (request: AppendRequest) => AppendRequest) => EventStore["Service"]
}
