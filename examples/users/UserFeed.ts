/**
 * The changes of users, read from the log. A reader that remembers a position can resume after it without gaps.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { EventStore, type EventStoreError, type Position } from "evsrc"
import type { UserChange } from "./contract/UserChange.ts"
import { UserEvent } from "./contract/UserEvent.ts"

/** Returns every change after a position, past and future. */
export const changesAfter = (
  after: Position.Position
): Stream.Stream<UserChange, EventStoreError, EventStore.EventStore> =>
  Stream.unwrap(Effect.map(EventStore.EventStore, (store) =>
    store.subscribe(UserEvent, { after }).pipe(
      Stream.map(({ event, position, recordedAt, version }) => ({
        userId: event.userId,
        version,
        position,
        recordedAt,
        change: event
      }))
    )))
