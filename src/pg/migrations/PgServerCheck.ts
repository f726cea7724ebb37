/**
 * Checks that a server and a database are fit for the stores: the version, the encoding, and the hashes that the database has stored.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { type EventStoreError, storeError, StoreMisconfigured } from "../../core/errors.ts"
import { mapSqlError } from "../PgErrors.ts"

const misconfigured = (message: string): EventStoreError =>
  storeError(new StoreMisconfigured({ message, cause: undefined }))

const prototypeOf = (value: object): unknown => Object.getPrototypeOf(value)

/**
 * Fails with `StoreMisconfigured` if the program that runs it, or its SQL client, uses another copy of the package `effect` than evsrc does.
 * Two copies do not recognize each other's errors and classes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkCopies = (sql: SqlClient.SqlClient): Effect.Effect<void, EventStoreError> =>
  Effect.withFiber((fiber) => {
    const who = [
      prototypeOf(fiber) === prototypeOf(Effect.runFork(Effect.void)) ? [] : ["the program"],
      prototypeOf(sql.transactionService) === prototypeOf(Context.Service("evsrc/copies")) ? [] : ["@effect/sql-pg"]
    ].flat()
    return who.length === 0 ? Effect.void : Effect.fail(misconfigured(
      `Two copies of the package effect are loaded: ${who.join(" and ")} and evsrc do not use the same one. `
        + "List them with \"npm ls effect\", give all packages the same version, and run \"npm dedupe\"; a bundle must not contain effect "
        + "while other packages load it from node_modules"
    ))
  })

/**
 * Fails with `StoreMisconfigured` if the server is older than PostgreSQL 14, or if the database has another encoding than UTF8 although
 * the stores need that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkServer = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  { needsUtf8 }: { readonly needsUtf8: boolean }
): Effect.fn.Return<void, EventStoreError> {
  const [row] = yield* mapSqlError(
    sql.unsafe<{ readonly encoding: string; readonly number: number; readonly version: string }>(
      `select current_setting('server_encoding') as encoding, current_setting('server_version') as version,
        current_setting('server_version_num')::integer as number`
    ).withoutTransform
  )
  const { encoding, number, version } = row!
  if (number < 140_000) {
    return yield* misconfigured(
      `evsrc needs PostgreSQL 14 or later, but this server has ${version}; upgrade the server`
    )
  }
  if (needsUtf8 && encoding !== "UTF8") {
    return yield* misconfigured(
      `The event store needs a database with encoding UTF8, but this one has ${encoding}; `
        + "create one with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0. "
        + "To move data, restore it there, and call rebuild_event_tags()"
    )
  }
})

/**
 * Fails with `StoreMisconfigured` if this server computes another hash of a text than the one by which the schema was created. A dump
 * of a database with another encoding, and a server with another hash function, lead to that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkHashes = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  schema: string
): Effect.fn.Return<void, EventStoreError> {
  const rows = yield* mapSqlError(
    sql.unsafe<{ readonly same: boolean }>(
      `select hash = hashtextextended(sample, 0) as same from ${schema}.hash_check`
    ).withoutTransform
  )
  if (rows.length === 1 && rows[0]!.same) return
  const name = schema.replaceAll("\"", "")
  return yield* misconfigured(
    `The tags in schema "${name}" were hashed by another server or in another encoding, so events are not found by their tags. As the `
      + `owner of the tables, run "select ${name}.rebuild_event_tags()"; then rebuild the projections that it names when they start`
  )
})

/**
 * Fails with `StoreMisconfigured` if the sequence of positions is behind the events, as after a restore of data alone, and on a subscriber of
 * logical replication. An append would then come before events that readers have seen.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkSequence = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  schema: string
): Effect.fn.Return<void, EventStoreError> {
  // The snapshot of the statement is older than the value of the sequence, so appends in flight do not matter. A role that may not read the
  // sequence gets null; its appends fail with an error of their own.
  const [row] = yield* mapSqlError(
    sql.unsafe<{ readonly assigned: bigint | null; readonly last: bigint }>(
      `select coalesce(max(event.position), 0) as last, pg_sequence_last_value('${schema}.positions') as assigned from ${schema}.log event`
    ).withoutTransform
  )
  const { assigned, last } = row!
  if (assigned === null || assigned >= last) return
  return yield* misconfigured(
    `The sequence ${schema}.positions is at ${assigned}, and the last event at ${last}, so an append could come before events that readers have `
      + `seen. The data was restored or replicated without its sequences. As the owner of the tables, run `
      + `"select setval('${schema}.positions', ${last})"`
  )
})
