/**
 * Waits for the high-water mark, which an append in flight holds back, and may even move back for a moment.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, LogDiverged, storeError, StoreUnavailable } from "../core/errors.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver } from "./driver/EventStoreDriver.ts"
import * as LockHolders from "./driver/LockHolders.ts"

/** How many seconds a reader waits for appends in flight. PostgreSQL ends a transaction of evsrc after that time, unless an option says otherwise. */
const maxWait = 30

/**
 * Waits until the high-water mark has reached the position of an event, so that no further event can appear at or below it. Fails with `LogDiverged`
 * when the log ends before it, because it was set back, and after 30 seconds with a `StoreUnavailable` that names the transaction. Within a transaction
 * of the caller it fails at once, because the caller's own append may hold the mark back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const awaitReached = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  { eventId = "", position }: LogPosition.LogPosition,
  /** The reader, as the subject of a sentence. */
  reader: string
): Effect.fn.Return<void, EventStoreError> {
  const isInTransaction = driver.inTransaction(yield* Effect.context<never>())
  const reached = Effect.gen(function*() {
    while ((yield* driver.head) < position) {
      if ((yield* driver.last) < position) return yield* storeError(new LogDiverged({ eventId, position }))
      if (isInTransaction) return yield* Effect.flatMap(heldBack(driver, position, reader, 0), Effect.fail)
      yield* driver.changed(Position.make(position - 1n))
    }
  })
  yield* Effect.timeoutOrElse(reached, {
    duration: `${maxWait} seconds`,
    orElse: () => Effect.flatMap(heldBack(driver, position, reader, maxWait), Effect.fail)
  })
})

/** Returns the error of a reader that has waited for a number of seconds. */
const heldBack = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  position: Position.Position,
  reader: string,
  seconds: number
): Effect.fn.Return<EventStoreError, EventStoreError> {
  const head = yield* driver.head
  const holder = yield* Effect.map(LockHolders.observe(driver), LockHolders.describeAppend)
  return storeError(
    new StoreUnavailable({
      message:
        `${reader} must read the log up to position ${position}, and an append in flight has held the high-water mark at ${head}`
        + `${seconds === 0 ? "" : ` for ${seconds} s`}: ${holder}; then try again`,
      cause: undefined
    })
  )
})
