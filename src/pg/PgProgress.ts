/**
 * Who works on followers of the log, and how far they have come, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
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
  readonly read_at: Date
}

/** Positions and digests as text, as JSON has no whole numbers of 64 bits. */
interface LedgerRow {
  readonly position: bigint
  readonly applied: bigint
  readonly digest: bigint
  readonly parked: ReadonlyArray<readonly [stream: string, position: string]>
  readonly skipped: ReadonlyArray<string>
  readonly segments: ReadonlyArray<readonly [first: string, events: number, digest: string]>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgQuery, schema: string): ProgressDriver => {
  const claim = `select * from ${schema}.claim_partitions($1, $2, $3, $4, $5::text::interval, $6)`
  const changes = `$6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::integer[], $12::bigint[]`
  const advance = `select ${schema}.advance_partition($1, $2, $3, $4, $5, ${changes}) as advanced`
  const advanceChecked =
    `select ${schema}.advance_partition_if_unchanged($1, $2, $3, $4, $5, $13::text[], $14::bigint[], `
    + `${changes}) as advanced`

  // One statement, so that all of it is of one moment.
  const ledger = `select c.position, c.applied, c.digest,
    coalesce((select json_agg(json_build_array(p.stream, p.position::text)) from ${schema}.parked p
      where p.target = c.target and p.partition = c.partition), '[]') as parked,
    coalesce((select json_agg(distinct l.position::text) from ${schema}.parking_log l
      where l.target = c.target and l.partition = c.partition and l.action = 'skipped'), '[]') as skipped,
    coalesce((select json_agg(json_build_array(a.first::text, a.events, a.digest::text) order by a.first) from ${schema}.applied a
      where a.target = c.target and a.partition = c.partition and $3), '[]') as segments
    from ${schema}.checkpoints c where c.target = $1 and c.partition = $2`

  return {
    claim: ({ follower, lease, owner, partitions, standBack = false, target }) =>
      Effect.map(
        query<ClaimRow>(claim, [
          follower,
          target ?? null,
          owner,
          partitions,
          `${Duration.toMillis(lease)} milliseconds`,
          standBack
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
        query<ProgressRow>(
          `select *, clock_timestamp() as read_at from ${schema}.checkpoints where target = $1 order by partition`,
          [target]
        ),
        (rows) =>
          rows.map(({ applied_at, leased_until, owner, position, read_at, seen_at, ...row }) => ({
            ...row,
            position: Position.make(position),
            owner: owner ?? undefined,
            leasedUntil: leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
            seenAt: DateTime.makeUnsafe(seen_at),
            appliedAt: applied_at === null ? undefined : DateTime.makeUnsafe(applied_at),
            readAt: DateTime.makeUnsafe(read_at)
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
    ledger: (target, partition, segments) =>
      Effect.map(
        query<LedgerRow>(ledger, [target, partition, segments]),
        ([row]) =>
          row === undefined ? Option.none() : Option.some({
            position: Position.make(row.position),
            applied: row.applied,
            digest: row.digest,
            parked: row.parked.map(([stream, position]) => ({ stream, position: Position.make(BigInt(position)) })),
            skipped: row.skipped.map((position) => Position.make(BigInt(position))),
            segments: row.segments.map(([first, events, digest]) => ({
              first: Position.make(BigInt(first)),
              events,
              digest: BigInt(digest)
            }))
          })
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
