/**
 * Who works on followers of the log, and how far they have come, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Position from "../domain/Position.ts"
import type { Advanced, ProgressDriver } from "../store/ProjectionStoreDriver.ts"
import * as PgDocuments from "./PgDocuments.ts"
import type { PgQuery } from "./PgQuery.ts"

interface ClaimRow {
  readonly target: string
  readonly share: number
  readonly free_in: number | null
  readonly partition: number | null
  readonly epoch: bigint
  readonly position: bigint
  readonly requested: boolean
}

interface ProgressRow {
  readonly target: string
  readonly partition: number
  readonly partitions: number
  readonly position: bigint
  readonly applied: bigint
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | null
  readonly leased_until: Date | null
  readonly seen_at: Date
  readonly applied_at: Date | null
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgQuery, schema: string): ProgressDriver => {
  const claim = `select * from ${schema}.claim_partitions($1, $2, $3, $4, $5::text::interval)`
  const changes = `$6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::integer[], $12::bigint[]`
  const advance = `select ${schema}.advance_partition($1, $2, $3, $4, $5, ${changes}) as advanced`
  const advanceChecked =
    `select ${schema}.advance_partition_if_unchanged($1, $2, $3, $4, $5, $13::text[], $14::bigint[], `
    + `${changes}) as advanced`

  return {
    claim: ({ follower, lease, owner, partitions, target }) =>
      Effect.map(
        query<ClaimRow>(claim, [
          follower,
          target ?? null,
          owner,
          partitions,
          `${Duration.toMillis(lease)} milliseconds`
        ]),
        (rows) => ({
          // The function answers one row at least.
          target: rows[0]!.target,
          share: rows[0]!.share,
          freeIn: rows[0]!.free_in ?? undefined,
          held: rows.flatMap(({ epoch, partition, position, requested }) =>
            partition === null ? [] : [{ partition, epoch, position: Position.make(position), requested }]
          )
        })
      ),
    release: (target, owner, partition) =>
      Effect.asVoid(query(`select ${schema}.release_partitions($1, $2, $3)`, [target, owner, partition ?? null])),
    advance: ({ applied, changes, epoch, from, partition, reads, target, to }) =>
      Effect.map(
        query<{ readonly advanced: Advanced }>(reads === undefined ? advance : advanceChecked, [
          target,
          partition,
          epoch,
          from,
          to,
          ...PgDocuments.changeParameters(changes),
          applied.map((segment) => segment.first),
          applied.map((segment) => segment.events),
          applied.map((segment) => segment.digest),
          ...reads === undefined ? [] : [reads.map((read) => read.key), reads.map((read) => read.revision)]
        ]),
        ([row]) => row!.advanced
      ),
    progress: (target) =>
      Effect.map(
        query<ProgressRow>(`select * from ${schema}.checkpoints where target = $1 order by partition`, [target]),
        (rows) =>
          rows.map(({ applied_at, leased_until, owner, position, seen_at, ...row }) => ({
            ...row,
            position: Position.make(position),
            owner: owner ?? undefined,
            leasedUntil: leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
            seenAt: DateTime.makeUnsafe(seen_at),
            appliedAt: applied_at === null ? undefined : DateTime.makeUnsafe(applied_at)
          }))
      ),
    activeTarget: (follower) =>
      Effect.map(
        query<{ readonly target: string }>(`select ${schema}.active_target($1) as target`, [follower]),
        ([row]) => row!.target
      ),
    checkpoint: (follower) =>
      Effect.map(
        query<{ readonly position: bigint | null }>(
          `select min(position) as position from ${schema}.checkpoints where target = ${schema}.active_target($1)`,
          [follower]
        ),
        ([row]) => Position.make(row?.position ?? 0n)
      ),
    applied: (target, partition) =>
      Effect.map(
        query<{ readonly first: bigint; readonly events: number; readonly digest: bigint }>(
          `select first, events, digest from ${schema}.applied where target = $1 and partition = $2 order by first`,
          [target, partition]
        ),
        (rows) => rows.map((row) => ({ ...row, first: Position.make(row.first) }))
      ),
    applyLate: (target, partition, events) =>
      Effect.asVoid(query(`select ${schema}.apply_late($1, $2, $3::bigint[], $4::bigint[])`, [
        target,
        partition,
        events.map((event) => event.first),
        events.map((event) => event.digest)
      ]))
  }
}
