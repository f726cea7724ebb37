/**
 * The changes of users, as subscribers receive them.
 */
import type { RecordedEvent } from "evsrc"
import type { UserChange } from "./contract/UserChange.ts"
import type { UserEvent } from "./contract/UserEvent.ts"

type Recorded = Pick<RecordedEvent<typeof UserEvent.Type>, "event" | "position" | "recordedAt" | "version">

/** Returns the change that an event is. */
export const changeOf = ({ event, position, recordedAt, version }: Recorded): UserChange => ({
  userId: event.userId,
  version,
  position,
  recordedAt,
  change: event
})
