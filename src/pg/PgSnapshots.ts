/**
 * Snapshots on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { retention, type SnapshotDriver } from "../snapshot/SnapshotDriver.ts"
import type { PgStatement } from "./PgStatement.ts"
import { columns, snapshotOf, type SnapshotRow } from "./read/SnapshotReads.ts"

/**
 * Makes the snapshot driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string, read: SnapshotDriver["read"]): SnapshotDriver => {
  const write = `select ${schema}.write_snapshot($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
  const discard = `delete from ${schema}.snapshots
    where stream = $1 and fingerprint = $2 and version = $3 and event_id = $4 and taken_at = $5`
  const drop = `select ${schema}.drop_snapshots($1::text[]) as dropped`
  const page = `select ${columns} from ${schema}.snapshots where $1::text is null or (stream, fingerprint) > ($1, $2)
    order by stream, fingerprint limit $3`

  return {
    read,
    drops: Effect.map(
      query<{ readonly drops: bigint }>(`select ${schema}.snapshot_drops() as drops`, []),
      ([row]) => row!.drops
    ),
    write: ({ eventId, fingerprint, position, signature, state, stream, takenAt, version }, drops) =>
      Effect.asVoid(query(write, [
        stream,
        fingerprint,
        BigInt(version),
        position,
        eventId,
        state,
        DateTime.toDateUtc(takenAt),
        signature ?? null,
        DateTime.toDateUtc(DateTime.subtractDuration(takenAt, retention)),
        drops ?? null
      ])),
    discard: ({ eventId, fingerprint, stream, takenAt, version }) =>
      Effect.asVoid(query(discard, [stream, fingerprint, BigInt(version), eventId, DateTime.toDateUtc(takenAt)])),
    drop: (streams) => Effect.map(query<{ readonly dropped: number }>(drop, [streams]), ([row]) => row!.dropped),
    page: (after, limit) =>
      Effect.map(
        query<SnapshotRow>(page, [after?.stream ?? null, after?.fingerprint ?? null, limit]),
        (rows) => rows.map(snapshotOf)
      )
  }
}
