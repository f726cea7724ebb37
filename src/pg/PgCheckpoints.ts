/**
 * Who works on consumers of the log, and how far they have come, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Advanced, CheckpointDriver } from "../consumer/CheckpointDriver.ts"
import * as Position from "../core/Position.ts"
import * as PgDocuments from "./PgDocuments.ts"
import type { PgStatement } from "./PgStatement.ts"

interface ClaimRow {
  readonly generation: string
  readonly assignment_size: number
  readonly next_lease_ends_in: number | null
  readonly partition: number | null
  readonly epoch: bigint
  readonly position: bigint
  readonly requested: boolean
}

interface ProgressRow {
  readonly generation: string
  readonly partition: number
  readonly partitions: number
  readonly position: bigint
  readonly applied: bigint
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | null
  readonly leased_until: Date | null
  readonly heartbeat_at: Date
  readonly applied_at: Date | null
  readonly read_at: Date
}

/** Positions and digests as text, as JSON has no whole numbers of 64 bits. */
interface DeliveryStateRow {
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
export const make = (query: PgStatement, schema: string): CheckpointDriver => {
  const claim = `select * from ${schema}.claim_partitions($1, $2, $3, $4, $5::text::interval, $6)`
  const changes = `$6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::integer[], $12::bigint[]`
  const advance = `select ${schema}.advance_partition($1, $2, $3, $4, $5, ${changes}) as advanced`
  const advanceChecked =
    `select ${schema}.advance_partition_if_unchanged($1, $2, $3, $4, $5, $13::text[], $14::bigint[], `
    + `${changes}) as advanced`

  // One statement, so that all of it is of one moment.
  const deliveryState = `select c.position, c.applied, c.digest,
    coalesce((select json_agg(json_build_array(p.stream, p.position::text)) from ${schema}.parked p
      where p.generation = c.generation and p.partition = c.partition), '[]') as parked,
    coalesce((select json_agg(distinct l.position::text) from ${schema}.parking_log l
      where l.generation = c.generation and l.partition = c.partition and l.action = 'skipped'), '[]') as skipped,
    coalesce((select json_agg(json_build_array(a.first::text, a.events, a.digest::text) order by a.first) from ${schema}.delivery_log a
      where a.generation = c.generation and a.partition = c.partition and $3), '[]') as segments
    from ${schema}.checkpoints c where c.generation = $1 and c.partition = $2`

  return {
    claim: ({ consumer, lease, owner, partitions, renewOnly = false, generation }) =>
      Effect.map(
        query<ClaimRow>(claim, [
          consumer,
          generation ?? null,
          owner,
          partitions,
          `${Duration.toMillis(lease)} milliseconds`,
          renewOnly
        ]),
        (rows) => ({
          // The function answers one row at least.
          generation: rows[0]!.generation,
          assignmentSize: rows[0]!.assignment_size,
          nextLeaseEndsIn: rows[0]!.next_lease_ends_in ?? undefined,
          assigned: rows.flatMap(({ epoch, partition, position, requested }) =>
            partition === null ? [] : [{ partition, epoch, position: Position.make(position), requested }]
          )
        })
      ),
    release: (generation, owner, partition) =>
      Effect.asVoid(query(`select ${schema}.release_partitions($1, $2, $3)`, [generation, owner, partition ?? null])),
    advance: ({ applied, changes, epoch, from, partition, reads, generation, to }) =>
      Effect.map(
        query<{ readonly advanced: Advanced }>(reads === undefined ? advance : advanceChecked, [
          generation,
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
    progress: (generation) =>
      Effect.map(
        query<ProgressRow>(
          `select *, clock_timestamp() as read_at from ${schema}.checkpoints where generation = $1 order by partition`,
          [generation]
        ),
        (rows) =>
          rows.map(({ applied_at, leased_until, owner, position, read_at, heartbeat_at, ...row }) => ({
            ...row,
            position: Position.make(position),
            owner: owner ?? undefined,
            leasedUntil: owner === null || leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
            heldUntil: owner !== null || leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
            heartbeatAt: DateTime.makeUnsafe(heartbeat_at),
            appliedAt: applied_at === null ? undefined : DateTime.makeUnsafe(applied_at),
            readAt: DateTime.makeUnsafe(read_at)
          }))
      ),
    activeGeneration: (consumer) =>
      Effect.map(
        query<{ readonly generation: string }>(`select ${schema}.active_generation($1) as generation`, [consumer]),
        ([row]) => row!.generation
      ),
    checkpoint: (consumer) =>
      Effect.map(
        query<{ readonly position: bigint | null }>(
          `select min(position) as position from ${schema}.checkpoints where generation = ${schema}.active_generation($1)`,
          [consumer]
        ),
        ([row]) => Position.make(row?.position ?? 0n)
      ),
    applied: (generation, partition) =>
      Effect.map(
        query<{ readonly first: bigint; readonly events: number; readonly digest: bigint }>(
          `select first, events, digest from ${schema}.delivery_log where generation = $1 and partition = $2 order by first`,
          [generation, partition]
        ),
        (rows) => rows.map((row) => ({ ...row, first: Position.make(row.first) }))
      ),
    deliveryState: (generation, partition, segments) =>
      Effect.map(
        query<DeliveryStateRow>(deliveryState, [generation, partition, segments]),
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
    recordLateDelivery: (generation, partition, events) =>
      Effect.asVoid(query(`select ${schema}.record_late_delivery($1, $2, $3::bigint[], $4::bigint[])`, [
        generation,
        partition,
        events.map((event) => event.first),
        events.map((event) => event.digest)
      ]))
  }
}
