/**
 * Checkpoints and delivery logs of consumers on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Advanced, CheckpointDriver, DeliveryState, Progress } from "../../consumer/CheckpointDriver.ts"
import type { FormerPartitions } from "../../consumer/FormerPartitions.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import type { PgStatement } from "../PgStatement.ts"
import * as PgDocuments from "./PgDocuments.ts"
import * as PgReached from "./PgReached.ts"

/**
 * Former partitions as they are stored: positions as text, because JSON numbers are not exact beyond 53 bits.
 *
 * @since 0.1.0
 * @category models
 */
export type FormerRow =
  | ReadonlyArray<{
    readonly by: string
    readonly positions: ReadonlyArray<string>
    readonly ids: ReadonlyArray<string | null>
  }>
  | null

interface ProgressRow {
  readonly generation: string
  readonly partition: number
  readonly partitions: number
  readonly partitioned_by: string
  readonly reads: string
  readonly taken_by: string | null
  readonly position: bigint
  readonly event_id: string | null
  readonly count_since: bigint | null
  readonly count_events: bigint | null
  readonly applied: bigint
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | null
  readonly leased_until: Date | null
  readonly heartbeat_at: Date
  readonly advanced_at: Date | null
  readonly in_hand_position: bigint | null
  readonly in_hand_type: string | null
  readonly in_hand_since: Date | null
  readonly delivery_from: bigint
  readonly starts_after: bigint
  /** Only in the first row. */
  readonly former: FormerRow
  readonly continued_by: string | null
  readonly read_at: Date
}

/** Positions and digests as text, because JSON numbers are not exact beyond 53 bits. */
interface DeliveryStateRow {
  readonly position: bigint
  readonly delivery_from: bigint
  readonly reads: string
  readonly earlier_reads: ReadonlyArray<{
    readonly reads: string
    readonly position: string
    readonly parked: ReadonlyArray<readonly [key: string, position: string]>
  }>
  readonly applied: bigint
  readonly digest: bigint
  readonly parked: ReadonlyArray<readonly [key: string, position: string]>
  readonly former: FormerRow
  readonly moved: ReadonlyArray<readonly [key: string, position: string]>
  readonly skipped: ReadonlyArray<readonly [key: string, position: string]>
  readonly segments: ReadonlyArray<readonly [first: string, events: number, digest: string]>
}

/**
 * Returns the number of events before a checkpoint, from its columns.
 *
 * @since 0.1.0
 * @category accessors
 */
export const countOf = (
  { count_events, count_since }: { readonly count_events: bigint | null; readonly count_since: bigint | null }
): LogPosition.EventCount | undefined =>
  count_since === null || count_events === null
    ? undefined
    : { since: Position.make(count_since), events: Number(count_events) }

/**
 * Returns the former partitions of a checkpoint, from their stored form.
 *
 * @since 0.1.0
 * @category accessors
 */
export const formerOf = (former: FormerRow): ReadonlyArray<FormerPartitions> | undefined =>
  former?.map(({ by, ids, positions }) => ({
    partitionedBy: by,
    positions: positions.map((position) => Position.make(BigInt(position))),
    eventIds: ids.map((id) => id ?? undefined)
  }))

/**
 * Makes the checkpoint driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): CheckpointDriver => {
  const progress =
    `select generation, partition, partitions, partitioned_by, reads, taken_by, position, event_id, count_since, count_events, applied, digest, epoch, owner,
      leased_until, heartbeat_at, advanced_at, in_hand_position, in_hand_type, in_hand_since, delivery_from, starts_after,
      case when partition = 0 then former end as former, continued_by,
      clock_timestamp() as read_at from ${schema}.checkpoints where generation = $1 order by partition`

  return {
    advance: advance(query, schema),
    deliveryState: deliveryState(query, schema),
    startAfter: ({ epoch, generation, partition, to, toEventId }) =>
      Effect.asVoid(query(
        `update ${schema}.checkpoints set position = $4, event_id = $5::uuid, delivery_from = $4, starts_after = $4, advanced_at = clock_timestamp()
          where generation = $1 and partition = $2 and epoch = $3 and position = 0`,
        [generation, partition, epoch, to, toEventId ?? null]
      )),
    resetCheckpoints: ({ consumer, evenIfLeased = false, generation, lost, reads, to: { eventId, position } }) =>
      Effect.map(
        query<{ readonly former_position: bigint; readonly former_id: string | null }>(
          `select * from ${schema}.reset_checkpoints($1, $2, $3, $4::uuid, $5::uuid[], $6, $7)`,
          [consumer, generation, position, eventId ?? null, lost, reads, evenIfLeased],
          { isMaintenance: true }
        ),
        (rows) =>
          rows.length === 0 ?
            undefined :
            rows.map(({ former_id, former_position }) =>
              LogPosition.make(Position.make(former_position), former_id ?? undefined)
            )
      ),
    progress: (generation) =>
      Effect.map(
        query<ProgressRow>(progress, [generation]),
        (rows) => rows.map(progressOf(formerOf(rows[0]?.former ?? null)))
      ),
    activeGeneration: (consumer) =>
      Effect.map(
        query<{ readonly generation: string }>(`select ${schema}.active_generation($1) as generation`, [consumer]),
        ([row]) => row!.generation
      ),
    checkpoint: (consumer, after) =>
      Effect.map(
        query<PgReached.ReachedRow>(
          `select active.generation, reached.*${
            after === undefined ? "" : ", lost.*"
          } from (select ${schema}.active_generation($1) as generation offset 0) as active
            cross join ${after === undefined ? PgReached.now(schema) : PgReached.after(schema, 2)}`,
          [consumer, ...PgReached.parametersOf(after)]
        ),
        ([row]) => PgReached.reachedOf(row!)
      ),
    applied: (generation, partition) =>
      Effect.map(
        query<{ readonly first: bigint; readonly events: number; readonly digest: bigint }>(
          `select first, events, digest from ${schema}.delivery_log where generation = $1 and partition = $2 order by first`,
          [generation, partition]
        ),
        (rows) => rows.map((row) => ({ ...row, first: Position.make(row.first) }))
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

const advance = (query: PgStatement, schema: string): CheckpointDriver["advance"] => {
  const writes =
    `$6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::integer[], $12::bigint[], $13::uuid, $14, $15`
  const unconditionally =
    `select ${schema}.advance_partition($1, $2, $3, $4, $5, ${writes}, p_taken_by => $16, p_of_log => $17) as advanced`
  const ifUnchanged =
    `select ${schema}.advance_partition_if_unchanged($1, $2, $3, $4, $5, $16::text[], $17::bigint[], ${writes},
      $18::text[], $19) as advanced`
  return (
    { applied, changes, epoch, from, isOfLog = false, partition, reads, generation, takenBy, to, toCount, toEventId }
  ) =>
    Effect.map(
      query<{ readonly advanced: Advanced }>(reads === undefined ? unconditionally : ifUnchanged, [
        generation,
        partition,
        epoch,
        from,
        to,
        ...PgDocuments.changeParameters(changes),
        applied.map((segment) => segment.first),
        applied.map((segment) => segment.events),
        applied.map((segment) => segment.digest),
        toEventId ?? null,
        toCount?.since ?? null,
        toCount?.events ?? null,
        ...reads === undefined ? [takenBy ?? null] : [
          reads.map((read) => read.key),
          reads.map((read) => read.revision),
          changes.flatMap(({ document, stream }) => document === undefined ? [] : [stream ?? ""])
        ],
        isOfLog
      ]),
      ([row]) => row!.advanced
    )
}

const deliveryState = (query: PgStatement, schema: string): CheckpointDriver["deliveryState"] => {
  // One statement, so that all parts are of the same point in time.
  const statement =
    `select checkpoint.position, checkpoint.delivery_from, checkpoint.reads, checkpoint.earlier_reads, checkpoint.applied, checkpoint.digest,
    checkpoint.former,
    coalesce((select json_agg(json_build_array(entry.key, entry.position::text)) from ${schema}.parking_log entry
      where entry.generation = checkpoint.generation and entry.partition = checkpoint.partition
        and entry.action = 'moved' and entry.id > checkpoint.logged_after), '[]') as moved,
    coalesce((select json_agg(json_build_array(parked.key, (parked.position + parked.freeing::integer)::text)) from ${schema}.parked
      where parked.generation = checkpoint.generation and parked.partition = checkpoint.partition), '[]') as parked,
    coalesce((select json_agg(json_build_array(entry.key, entry.position::text)) from ${schema}.parking_log entry
      where entry.generation = checkpoint.generation and entry.partition = checkpoint.partition
        and entry.action = 'skipped' and entry.id > checkpoint.logged_after), '[]') as skipped,
    coalesce((select json_agg(json_build_array(segment.first::text, segment.events, segment.digest::text) order by segment.first)
      from ${schema}.delivery_log segment
      where segment.generation = checkpoint.generation and segment.partition = checkpoint.partition and $3), '[]') as segments
    from ${schema}.checkpoints checkpoint where checkpoint.generation = $1 and checkpoint.partition = $2`
  return (generation, partition, segments) =>
    Effect.map(
      query<DeliveryStateRow>(statement, [generation, partition, segments]),
      ([row]) => Option.map(Option.fromUndefinedOr(row), deliveryStateOf)
    )
}

const placesOf = (places: DeliveryStateRow["parked"]): DeliveryState["parked"] =>
  places.map(([key, position]) => ({ key, position: Position.make(BigInt(position)) }))

const deliveryStateOf = (
  { applied, delivery_from, digest, earlier_reads, former, moved, parked, position, reads, segments, skipped }:
    DeliveryStateRow
): DeliveryState => ({
  position: Position.make(position),
  deliveryFrom: Position.make(delivery_from),
  reads,
  earlierReads: earlier_reads.map(({ parked, position, reads }) => ({
    reads,
    position: Position.make(BigInt(position)),
    parked: placesOf(parked)
  })),
  applied,
  digest,
  parked: placesOf(parked),
  former: formerOf(former),
  moved: placesOf(moved),
  skipped: placesOf(skipped),
  segments: segments.map(([first, events, digest]) => ({
    first: Position.make(BigInt(first)),
    events,
    digest: BigInt(digest)
  }))
})

const progressOf = (former: Progress["former"]) =>
(
  {
    advanced_at,
    continued_by,
    count_events,
    count_since,
    delivery_from,
    event_id,
    former: _,
    heartbeat_at,
    in_hand_position,
    in_hand_since,
    in_hand_type,
    leased_until,
    owner,
    partitioned_by,
    position,
    read_at,
    starts_after,
    taken_by,
    ...row
  }: ProgressRow
): Progress => ({
  ...row,
  partitionedBy: partitioned_by,
  takenBy: taken_by ?? undefined,
  position: Position.make(position),
  deliveryFrom: Position.make(delivery_from),
  startsAfter: Position.make(starts_after),
  eventId: event_id ?? undefined,
  count: countOf({ count_events, count_since }),
  owner: owner ?? undefined,
  // A lease without an owner is the hold of a cut-over.
  leasedUntil: owner === null || leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
  heldUntil: owner !== null || leased_until === null ? undefined : DateTime.makeUnsafe(leased_until),
  heartbeatAt: DateTime.makeUnsafe(heartbeat_at),
  former,
  continuedBy: continued_by ?? undefined,
  advancedAt: advanced_at === null ? undefined : DateTime.makeUnsafe(advanced_at),
  inHand: owner === null || in_hand_since === null || (advanced_at !== null && advanced_at > in_hand_since)
    ? undefined
    : {
      event: in_hand_position === null
        ? undefined
        : { position: Position.make(in_hand_position), type: in_hand_type ?? "" },
      since: DateTime.makeUnsafe(in_hand_since)
    },
  readAt: DateTime.makeUnsafe(read_at)
})
