/**
 * How long the stores on PostgreSQL wait: for a connection, for a statement, for a lock.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"

/**
 * The deadlines of a store. `"Infinity"` disables one.
 *
 * @since 0.1.0
 * @category options
 */
export interface PgDeadlineOptions {
  /**
   * How long a statement or a transaction waits for a connection of the client's pool. 10 seconds by default. Then it fails with
   * `StoreUnavailable`, and nothing is written.
   */
  readonly connectionTimeout?: Duration.Input | undefined
  /**
   * How long a statement may run until its response has arrived. 10 seconds by default. Then the caller gets `StoreUnavailable`, or
   * `OutcomeUnknown` for an append; the server is asked to cancel the statement, and a connection that does not respond is closed.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /**
   * How long an append, a migration, or a statement of the store's own transactions waits for a lock of another transaction. 5 seconds by
   * default. Then it fails with `StoreUnavailable`, and nothing is written.
   */
  readonly lockTimeout?: Duration.Input | undefined
  /**
   * How long a transaction of the store may wait for the next statement of its program. 10 seconds by default. Then the server ends the
   * session and rolls back. So a program that has vanished within a transaction does not hold its locks for longer.
   */
  readonly idleInTransactionTimeout?: Duration.Input | undefined
  /**
   * How long an append may take whose transaction also runs inline projections. 30 seconds by default. Then the server ends the session
   * and rolls back. It needs PostgreSQL 17.
   */
  readonly transactionTimeout?: Duration.Input | undefined
  /**
   * How long a statement may run whose work grows with the data: migrations, archiving, an import, removal of a generation. And how long a program that
   * makes the documents of an inline projection waits for another one that does, and for appends in flight. 10 minutes by default.
   */
  readonly maintenanceTimeout?: Duration.Input | undefined
}

/**
 * The deadlines in milliseconds; `Infinity` if disabled.
 *
 * @since 0.1.0
 * @category models
 */
export type PgDeadlines = { readonly [Name in keyof PgDeadlineOptions]-?: number }

const defaults: PgDeadlines = {
  connectionTimeout: 10_000,
  statementTimeout: 10_000,
  lockTimeout: 5_000,
  idleInTransactionTimeout: 10_000,
  transactionTimeout: 30_000,
  maintenanceTimeout: 600_000
}

const names = Object.keys(defaults) as ReadonlyArray<keyof PgDeadlines>

/** PostgreSQL's own limit of a timeout, and that of a timer in JavaScript. */
const maxMillis = 2 ** 31 - 1

const millisOf = (input: Duration.Input): number | undefined => {
  const millis = Option.map(Duration.fromInput(input), Duration.toMillis)
  return Option.isSome(millis) && millis.value >= 1
      && (millis.value <= maxMillis || millis.value === Infinity)
    ? Math.round(millis.value)
    : undefined
}

/**
 * Returns the deadlines in milliseconds. Fails with `StoreMisconfigured` when one is invalid.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: PgDeadlineOptions = {}): Effect.Effect<PgDeadlines, EventStoreError> =>
  Effect.suspend(() => {
    const deadlines: { -readonly [Name in keyof PgDeadlines]: number } = { ...defaults }
    for (const name of names) {
      const input = options[name]
      if (input === undefined) continue
      const millis = millisOf(input)
      if (millis === undefined) {
        return Effect.fail(storeError(
          new StoreMisconfigured({
            message:
              `The option \`${name}\` is ${
                String(input)
              }; it must be a duration from 1 millisecond to 24 days, such as `
              + `"${defaults[name] / 1000} seconds", or "Infinity" for none`,
            cause: undefined
          })
        ))
      }
      deadlines[name] = millis
    }
    return Effect.succeed(deadlines)
  })

/**
 * Returns a timeout as a setting of PostgreSQL, where 0 means none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const settingOf = (millis: number): number => millis === Infinity ? 0 : millis

/**
 * Returns a duration in words.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inWords = (millis: number): string => Duration.format(Duration.millis(millis))
