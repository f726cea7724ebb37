/**
 * Leases of partitions on PostgreSQL. `migrations/0002_projections.sql` has the functions.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Assignment, Claim, Continued, LeaseDriver, ReadsChanged } from "../../consumer/LeaseDriver.ts"
import type { RepartitionObstacle } from "../../consumer/RepartitionObstacle.ts"
import * as Position from "../../core/Position.ts"
import type { PgStatement } from "../PgStatement.ts"
import * as PgCheckpoints from "./PgCheckpoints.ts"

interface WorkerRow {
  readonly owner: string
  readonly reads: string | null
  readonly partitions: number
  readonly successor: string | null
  readonly resets: boolean
}

interface ClaimRow {
  readonly generation: string
  readonly partitions: number
  readonly change: NonNullable<Claim["change"]> | null
  readonly continued_by: string | null
  readonly assignment_size: number
  readonly next_lease_ends_in: number | null
  readonly other_reads_alive: boolean | null
  readonly is_taking_over: boolean
  readonly partition: number | null
  readonly epoch: bigint
  readonly position: bigint
  readonly event_id: string | null
  readonly count_since: bigint | null
  readonly count_events: bigint | null
  /** Only in the first row of a partition that is behind them. */
  readonly former: PgCheckpoints.FormerRow
  readonly is_behind: boolean
  readonly requested: boolean
  readonly taken_from: string | null
}

/**
 * Makes the lease driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): LeaseDriver => ({
  claim: claim(query, schema),
  changeReads: changeReads(query, schema),
  repartition: ({ consumer, from, generation, reads, to }) =>
    Effect.map(
      query<{ readonly changed: boolean }>(
        `select ${schema}.repartition($1, $2, $3, $4, $5) as changed`,
        [consumer, generation, from, to, reads],
        { isMaintenance: true }
      ),
      ([row]) => row!.changed
    ),
  continueVersion: ({ consumer, from, lease, owner, partitionedBy, partitions, reads }) =>
    Effect.map(
      query<{ readonly outcome: Continued }>(
        `select ${schema}.continue_version($1, $2, $3, $4::text::interval, $5, $6, $7) as outcome`,
        [consumer, from, owner, `${Duration.toMillis(lease)} milliseconds`, partitions, partitionedBy, reads],
        { isMaintenance: true }
      ),
      ([row]) => row!.outcome
    ),
  drain: (generation, owner, duration) =>
    Effect.map(
      query<{ readonly is_free: boolean }>(
        `select ${schema}.drain($1, $2, $3::text::interval) as is_free`,
        [generation, owner, `${Duration.toMillis(duration)} milliseconds`]
      ),
      ([row]) => row!.is_free
    ),
  repartitionObstacle: (generation) =>
    Effect.map(
      query<{ readonly obstacle: RepartitionObstacle | null }>(
        `select ${schema}.repartition_obstacle($1, null) as obstacle`,
        [generation]
      ),
      ([row]) => row!.obstacle ?? undefined
    ),
  workers: (generation) =>
    Effect.map(
      query<WorkerRow>(
        `select owner, reads, partitions, successor, resets from ${schema}.workers
           where generation = $1 and expires_at >= clock_timestamp() order by owner`,
        [generation]
      ),
      (rows) => rows.map((row) => ({ ...row, reads: row.reads ?? undefined, successor: row.successor ?? undefined }))
    ),
  release: (generation, owner, partition) =>
    Effect.asVoid(query(`select ${schema}.release_partitions($1, $2, $3)`, [generation, owner, partition ?? null]))
})

const changeReads = (query: PgStatement, schema: string): LeaseDriver["changeReads"] => {
  const statement =
    `select ${schema}.change_reads($1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10::bigint[], $11::boolean[]) as changed`
  return ({ drains = false, epoch, from, generation, partition, position, takesOver, to, waiting }) =>
    Effect.map(
      query<{ readonly changed: ReadsChanged }>(statement, [
        generation,
        partition,
        epoch,
        position,
        from,
        to,
        takesOver,
        drains,
        waiting.map(({ key }) => key),
        waiting.map(({ position }) => position),
        waiting.map(({ isFreeing }) => isFreeing)
      ]),
      ([row]) => row!.changed
    )
}

const claim = (query: PgStatement, schema: string): LeaseDriver["claim"] => {
  const statement = `select * from ${schema}.claim_partitions($1, $2, $3, $4, $5, $6, $7::text::interval, $8, $9,
    $10::integer[], $11::bigint[], $12::text[], $13::bigint[])`
  return (
    {
      consumer,
      inHand = [],
      lease,
      owner,
      partitionedBy,
      partitions,
      reads,
      renewOnly = false,
      stops = false,
      generation
    }
  ) =>
    Effect.map(
      query<ClaimRow>(statement, [
        consumer,
        generation ?? null,
        owner,
        partitions,
        partitionedBy,
        reads,
        `${Duration.toMillis(lease)} milliseconds`,
        renewOnly,
        stops,
        inHand.map(({ partition }) => partition),
        inHand.map(({ event }) => event?.position ?? 0n),
        inHand.map(({ event }) => event?.type ?? ""),
        inHand.map(({ millis }) => BigInt(Math.max(0, Math.floor(millis))))
      ]),
      (rows) => claimOf(rows, PgCheckpoints.formerOf(rows.find((row) => row.former !== null)?.former ?? null))
    )
}

const claimOf = (rows: ReadonlyArray<ClaimRow>, former: Assignment["former"]): Claim => ({
  // The function returns at least one row.
  generation: rows[0]!.generation,
  partitions: rows[0]!.partitions,
  change: rows[0]!.change ?? undefined,
  continuedBy: rows[0]!.continued_by ?? undefined,
  assignmentSize: rows[0]!.assignment_size,
  nextLeaseEndsIn: rows[0]!.next_lease_ends_in ?? undefined,
  otherReadsAlive: rows[0]!.other_reads_alive ?? undefined,
  isTakingOver: rows[0]!.is_taking_over,
  assigned: rows.flatMap(({ epoch, event_id, is_behind, partition, position, requested, taken_from, ...counted }) =>
    partition === null
      ? []
      : [{
        partition,
        epoch,
        position: Position.make(position),
        eventId: event_id ?? undefined,
        count: PgCheckpoints.countOf(counted),
        former: is_behind ? former : undefined,
        requested,
        takenFrom: taken_from ?? undefined
      }]
  )
})
