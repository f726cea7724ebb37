/**
 * Read models on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import type { EventStoreError } from "../domain/errors.ts"
import * as Position from "../domain/Position.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { ProjectionStoreDriver, StoredDocument } from "../store/ProjectionStoreDriver.ts"
import { mapSqlError } from "./PgErrors.ts"
import * as PgMigrations from "./PgMigrations.ts"
import { type PgOptions, schemaOf } from "./PgOptions.ts"

/** Between the entries of one document's index; JSON escapes it, so no entry contains it. */
const unitSeparator = "\u001f"

/**
 * The driver alone. It expects the migrations to have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(options: PgOptions = {}): Effect.fn.Return<ProjectionStoreDriver, never, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    const { quoted } = schemaOf(options)

    const query = <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
      mapSqlError(sql.unsafe<Row>(text, params).withoutTransform)
    const documents = (text: string, params: ReadonlyArray<unknown>) =>
      // Only `write_documents` writes the column, from text that JSON.stringify made.
      Effect.map(query<{ readonly key: string; readonly document: unknown }>(text, params), (rows) =>
        rows.map((row): StoredDocument => ({ key: row.key, document: row.document as Schema.Json })))

    return {
      transactions: sql.transactionService.key,
      acquire: (projection, owner, lease) =>
        Effect.map(
          query<{ readonly epoch: bigint; readonly position: bigint }>(
            `select * from ${quoted}.acquire_projection($1, $2, $3::text::interval)`,
            [projection, owner, intervalOf(lease)]
          ),
          ([row]) =>
            row === undefined
              ? Option.none()
              : Option.some({ epoch: row.epoch, position: Position.make(row.position) })
        ),
      release: (projection, epoch) =>
        Effect.asVoid(query(
          `update ${quoted}.checkpoints set epoch = epoch + 1, owner = null, leased_until = null where projection = $1 and epoch = $2`,
          [projection, epoch]
        )),
      advance: ({ changes, epoch, from, lease, projection, to }) =>
        Effect.map(
          query<{ readonly advanced: boolean }>(
            `select ${quoted}.advance_projection($1, $2, $3, $4, $5::text::interval, $6::text[], $7::text[], $8::text[], `
              + `$9::text[]) as advanced`,
            [projection, epoch, from, to, intervalOf(lease), ...changeParameters(changes)]
          ),
          ([row]) => row!.advanced
        ),
      checkpoint: (projection) =>
        Effect.map(
          query<{ readonly position: bigint }>(`select position from ${quoted}.checkpoints where projection = $1`, [
            projection
          ]),
          ([row]) => row === undefined ? Position.start : Position.make(row.position)
        ),
      load: (projection, keys) =>
        documents(`select key, document from ${quoted}.documents where projection = $1 and key = any ($2::text[])`, [
          projection,
          keys
        ]),
      lock: (projection, keys) =>
        documents(`select * from ${quoted}.lock_documents($1, $2::text[])`, [projection, keys]),
      write: (writes) =>
        Effect.forEach(
          writes,
          ({ changes, projection }) =>
            query(`select ${quoted}.write_documents($1, $2::text[], $3::text[], $4::text[], $5::text[])`, [
              projection,
              ...changeParameters(changes)
            ]),
          { discard: true }
        ),
      list: ({ after, limit, projection, where }) =>
        where.length === 0
          ? documents(
            `select key, document from ${quoted}.documents where projection = $1 and key > $2 order by key limit $3`,
            [projection, after ?? "", limit]
          )
          : documents(
            // The second condition lets the planner use the partial index.
            `select key, document from ${quoted}.documents where projection = $1 and key > $2 and indexed @> $4::text[] `
              + `and indexed <> '{}' order by key limit $3`,
            [projection, after ?? "", limit, where]
          )
    }
  }
)

/**
 * Read models on Postgres; runs the migrations first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(
  () => layerWith()
)

/**
 * Like `layer`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> =>
  fromDriver(Effect.andThen(PgMigrations.run(options), makeDriver(options)), options)

/**
 * Read models without running migrations: they are checked, and the layer fails when they are not what this version needs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> =>
  fromDriver(Effect.andThen(PgMigrations.check(options), makeDriver(options)), options)

const fromDriver = <R>(driver: Effect.Effect<ProjectionStoreDriver, EventStoreError, R>, options: PgOptions) =>
  ProjectionStore.layer(driver, { pollInterval: options.pollInterval ?? "50 millis" })

const intervalOf = (lease: Duration.Duration): string => `${Duration.toMillis(lease)} milliseconds`

const changeParameters = (changes: ReadonlyArray<EncodedDocument>): ReadonlyArray<unknown> => {
  const put = changes.filter((change) => change.document !== undefined)
  const removed = changes.filter((change) => change.document === undefined)
  return [
    put.map((change) => change.key),
    put.map((change) => change.document),
    put.map((change) => change.indexed.join(unitSeparator)),
    removed.map((change) => change.key)
  ]
}
