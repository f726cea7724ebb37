/**
 * The changes of users, read from the log. A reader that remembers a position can resume after it without gaps.
 */
import * as Stream from "effect/Stream"
import { EventStore, type EventStoreError, LogPosition, type RecordedEvent } from "evsrc"
import type { UserChange } from "./contract/UserChange.ts"
import { UserEvent } from "./contract/UserEvent.ts"

/** A change, and the cursor after which the next one follows. */
interface Item {
  readonly change: UserChange
  readonly cursor: LogPosition.LogPosition
}

const itemOf = (recorded: RecordedEvent<typeof UserEvent.Type>): Item => {
  const { event, position, recordedAt, version } = recorded
  return {
    change: { userId: event.userId, version, position, recordedAt, change: event },
    cursor: LogPosition.ofEvent(recorded)
  }
}

/** Returns every change after a position, past and future. */
export const changesAfter = (
  after: LogPosition.LogPosition
): Stream.Stream<Item, EventStoreError, EventStore.EventStore> =>
  Stream.map(EventStore.subscribe(UserEvent, { after }), itemOf)

/** Returns every change after a position that has happened. */
export const changesUpToNow = (
  after: LogPosition.LogPosition
): Stream.Stream<Item, EventStoreError, EventStore.EventStore> =>
  Stream.map(EventStore.readAll(UserEvent, { after }), itemOf)
