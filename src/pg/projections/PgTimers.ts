/**
 * Claims of timers on PostgreSQL. `migrations/0005_timers.sql` has the functions.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { TimerDriver } from "../../consumer/TimerDriver.ts"
import type { PgStatement } from "../PgStatement.ts"

/**
 * Makes the timer driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): TimerDriver => ({
  now: Effect.map(
    query<{ readonly millis: number }>("select extract(epoch from clock_timestamp()) * 1000::float8 as millis", []),
    ([row]) => DateTime.makeUnsafe(Math.floor(Number(row!.millis)))
  ),
  claimTimers: ({ duration, group, keys, owner }) =>
    Effect.map(
      query<{ readonly key: string }>(
        `select key from ${schema}.claim_timers($1, $2::text[], $3, $4::text::interval) as key`,
        [group, keys, owner, `${Duration.toMillis(duration)} milliseconds`]
      ),
      (rows) => rows.map(({ key }) => key)
    ),
  releaseTimers: ({ group, keys, owner }) =>
    Effect.asVoid(query(`select ${schema}.release_timers($1, $2::text[], $3)`, [group, keys, owner]))
})
