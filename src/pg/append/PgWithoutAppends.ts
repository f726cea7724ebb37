/**
 * Runs effects while no append of some types, or with some inline projection, is in flight.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import * as Position from "../../core/Position.ts"
import type { EventStoreDriver, KeptOut } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { type PgDeadlines, settingOf } from "../PgDeadlines.ts"
import * as PgStatement from "../PgStatement.ts"
import type * as LockTimeoutError from "./LockTimeoutError.ts"
import * as LockWaits from "./LockWaits.ts"

/**
 * The maximum wait of one attempt for a lock, in milliseconds. Appends queue behind it. It is shorter than PostgreSQL's `deadlock_timeout`, so this
 * attempt gives way in a deadlock with a transaction that appends several times.
 */
const maxWait = 500

/** The pauses between two attempts, in milliseconds, in which appends go on. */
const firstPause = 10
const maxPause = 250

interface InFlightRow {
  readonly last_position: bigint
  readonly in_flight: ReadonlyArray<string>
}

/**
 * Makes the operations of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  connections: PgConnections,
  schema: string,
  lockTimeoutErrors: LockTimeoutError.LockTimeoutErrors
): Pick<EventStoreDriver, "highWaterMarkOf" | "withoutAppends"> => {
  const { deadlines } = connections
  const query = PgStatement.make(connections)
  const wait = Math.ceil(Math.min(maxWait, deadlines.lockTimeout / 4, deadlines.statementTimeout / 2))
  const statement = `select ${schema}.lock_types($1::text[], $2, $3::integer)`
  const attempt = <A, E, R>({ projection, types }: KeptOut, effect: Effect.Effect<A, E, R>) =>
    PgStatement.transactional(
      connections,
      Effect.andThen(
        Effect.catchIf(
          query(statement, [types, projection ?? null, settingOf(wait)]),
          LockWaits.isLockConflict,
          () => Effect.fail(new Held())
        ),
        effect
      )
    )
  const inFlight = (types: ReadonlyArray<string>) =>
    Effect.map(query<InFlightRow>(`select * from ${schema}.in_flight_appends_of($1::text[])`, [types]), ([row]) => row!)

  return {
    withoutAppends: Effect.fnUntraced(function*(keptOut, effect) {
      const { pauseOnce } = yield* retrying(deadlines, lockTimeoutErrors.ofKeptOut(keptOut), keptOut.patience)
      while (true) {
        const result = yield* Effect.result(attempt(keptOut, effect))
        if (result._tag === "Success") return result.success
        if (!(result.failure instanceof Held)) return yield* Effect.fail(result.failure)
        yield* pauseOnce()
      }
    }),
    highWaterMarkOf: Effect.fnUntraced(function*({ types, waiter }) {
      if (types.length === 0) return Position.start
      const first = yield* inFlight(types)
      const { pauseOnce } = yield* retrying(deadlines, lockTimeoutErrors.ofTypes(types, waiter), "long")
      let waitsFor = first.in_flight
      while (waitsFor.length > 0) {
        yield* pauseOnce()
        const { in_flight } = yield* inFlight(types)
        waitsFor = waitsFor.filter((transaction) => in_flight.includes(transaction))
      }
      return Position.make(first.last_position)
    })
  }
}

/** A lock was not free, because an append is in flight. */
class Held extends Data.TaggedError("Held") {}

/**
 * Returns the pause between two attempts. After the `lockTimeout` it logs, once, which session holds the lock. After the timeout of the request it fails
 * with an error that names the session.
 */
const retrying = Effect.fnUntraced(function*(
  { lockTimeout, maintenanceTimeout }: PgDeadlines,
  words: LockTimeoutError.WaitWords,
  patience: KeptOut["patience"]
) {
  const began = yield* monotonicMillis
  const timeout = patience === "long" ? "maintenanceTimeout" : "lockTimeout"
  const limit = timeout === "maintenanceTimeout" ? maintenanceTimeout : lockTimeout
  let pause = firstPause
  let isLogged = false
  const pauseOnce = Effect.fnUntraced(function*(): Effect.fn.Return<void, EventStoreError> {
    const waited = (yield* monotonicMillis) - began
    if (waited >= limit) return yield* Effect.flatMap(words.failed(timeout), Effect.fail)
    if (!isLogged && waited >= lockTimeout) {
      isLogged = true
      yield* Effect.logWarning(yield* words.waiting)
    }
    yield* Effect.sleep(Math.min(pause, limit - waited))
    pause = Math.min(pause * 2, maxPause)
  })
  return { pauseOnce }
})
