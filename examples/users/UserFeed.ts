/**
 * The users as they change, from the log: whoever remembers a position misses nothing after it.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { EventStore, type EventStoreError, type Position } from "evsrc"
import type { UserChange } from "./contract/UserChange.ts"
import { UserEvent } from "./contract/UserEvent.ts"

/** Every change after a position, by now and from now on. */
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
