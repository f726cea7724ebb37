/**
 * Whether positions that were read before belong to this log, or to one that it was before a restore or a failover set it back.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, LogDiverged, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "./driver/EventStoreDriver.ts"

/**
 * Fails when a position is above every event of the log. The position then comes from another log, or from this one before an older backup was
 * restored. A reader that waited there would skip every event that is appended until then.
 *
 * @since 0.1.0
 * @category guards
 */
export const withinLog = (
  driver: EventStoreDriver,
  after: Position.Position,
  events: ReadonlyArray<EncodedEvent>,
  head: Position.Position
): Effect.Effect<void, EventStoreError> =>
  // The high-water mark may step back to before an append in flight; the last event does not.
  events.length > 0 || head >= after ?
    Effect.void :
    Effect.flatMap(driver.last, (last) =>
      last >= after ? Effect.void : Effect.fail(storeError(
        new StoreMisconfigured({
          message:
            `Position ${after} is beyond the end of the log, whose last event has position ${last}. If an older backup of the log was restored, reset `
            + `the reader to a position of this log`,
          cause: undefined
        })
      )))

/**
 * Fails with `LogDiverged` when the log does not have one of these events at its position. A position without an id is not checked.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireEvents = (
  driver: Pick<EventStoreDriver, "eventIds">,
  positions: ReadonlyArray<LogPosition.LogPosition>
): Effect.Effect<void, EventStoreError> => {
  const known = positions.flatMap(({ eventId, position }) => eventId === undefined ? [] : [{ eventId, position }])
  if (known.length === 0) return Effect.void
  return Effect.flatMap(driver.eventIds(known.map(({ position }) => position)), (ids) => {
    const lost = known.find(({ eventId }, index) => ids[index]?.toLowerCase() !== eventId.toLowerCase())
    return lost === undefined ? Effect.void : Effect.fail(storeError(new LogDiverged(lost)))
  })
}

/**
 * Runs a read of several pages again, at most twice, if the log was set back between two of them.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ofOneLog = <A, R>(
  read: Effect.Effect<A, EventStoreError, R>,
  times = 2
): Effect.Effect<A, EventStoreError, R> =>
  times === 0
    ? read
    : Effect.catchReason(read, "EventStoreError", "LogDiverged", () => ofOneLog(read, times - 1))

/**
 * Returns the position of an event with its id. The log may be set back between the two reads; then it looks again.
 *
 * @since 0.1.0
 * @category accessors
 */
export const withEventId = (
  { eventIds }: Pick<EventStoreDriver, "eventIds">,
  read: Effect.Effect<Position.Position, EventStoreError>
): Effect.Effect<LogPosition.LogPosition, EventStoreError> =>
  ofOneLog(
    Effect.flatMap(read, (position) =>
      Effect.flatMap(eventIds([position]), ([id]) =>
        id === undefined && position > Position.start
          ? Effect.fail(storeError(new LogDiverged({ eventId: "", position })))
          : Effect.succeed(LogPosition.make(position, id))))
  )

/**
 * Returns the high-water mark with the id of the event there.
 *
 * @since 0.1.0
 * @category accessors
 */
export const headPosition = (
  driver: Pick<EventStoreDriver, "eventIds" | "head">
): Effect.Effect<LogPosition.LogPosition, EventStoreError> => withEventId(driver, driver.head)

/**
 * Returns whether the log does not have one of these events at its position, because it was set back or is another log.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasDiverged = (
  driver: Pick<EventStoreDriver, "eventIds">,
  positions: ReadonlyArray<LogPosition.LogPosition>
): Effect.Effect<boolean, EventStoreError> =>
  requireEvents(driver, positions).pipe(
    Effect.as(false),
    Effect.catchReason("EventStoreError", "LogDiverged", () => Effect.succeed(true))
  )

/**
 * Returns whether a store has its tables in the schema of the log, and shares its client.
 *
 * @since 0.1.0
 * @category guards
 */
export const isInDatabaseOf = (
  log: Pick<EventStoreDriver, "schema" | "transactions">,
  store: Pick<EventStoreDriver, "schema" | "transactions">
): boolean => log.schema !== undefined && log.schema === store.schema && log.transactions === store.transactions
