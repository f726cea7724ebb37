/**
 * The deadline of a key store: a driver that does not respond in time has failed.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type EventStoreError, KeyStoreUnavailable, storeError } from "../core/errors.ts"
import type { KeyStoreDriver } from "./KeyStoreDriver.ts"

/**
 * Returns a driver each of whose calls fails with `KeyStoreUnavailable` after the timeout.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (driver: KeyStoreDriver, timeout: Duration.Duration): KeyStoreDriver => {
  const inTime = <A>(call: Effect.Effect<A, EventStoreError>, ending = ""): Effect.Effect<A, EventStoreError> =>
    Effect.timeoutOrElse(call, {
      duration: timeout,
      orElse: () =>
        Effect.fail(storeError(
          new KeyStoreUnavailable({
            message: `The key store did not respond within ${Duration.format(timeout)} (timeout)${ending}`,
            cause: undefined
          })
        ))
    })
  return {
    find: (subjects) => inTime(driver.find(subjects)),
    findOrCreate: (offered) => inTime(driver.findOrCreate(offered)),
    lastErasure: inTime(driver.lastErasure),
    erase: (subject) =>
      inTime(
        driver.erase(subject),
        `; the key of "${subject}" may or may not have been erased, so repeat the erasure`
      )
  }
}
