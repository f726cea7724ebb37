/**
 * The SQL of how far a consumer has processed the log, and whether the log still has the events there.
 *
 * @since 0.1.0
 */
import type { GenerationPosition } from "../../consumer/CheckpointDriver.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"

/**
 * The columns of a checkpoint. `lost_position` is that of an event that the log lacks; null if it lacks none.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReachedRow {
  readonly generation: string
  readonly reached: bigint | null
  readonly lost_position?: bigint | null
  readonly lost_id?: string | null
}

/**
 * Returns the SQL of the checkpoint of the generation `active.generation`. A partition that waits at an event of unknown key has not applied it. `least` leaves
 * out null.
 *
 * @since 0.1.0
 * @category constructors
 */
export const now = (schema: string): string =>
  `lateral (
    select min(least(checkpoint.position, waits.position - 1)) as reached from ${schema}.checkpoints checkpoint
      left join ${schema}.parked waits on waits.generation = checkpoint.generation
        and waits.partition = checkpoint.partition and waits.key = ''
      where checkpoint.generation = active.generation
  ) as reached`

/**
 * Returns the SQL of a `ReachedRow` of the generation `active.generation`, with the event that the log lacks. Its parameters from a number on are `parametersOf`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const after = (schema: string, parameter: number): string =>
  `${now(schema)} left join lateral (
    select known.position as lost_position, known.event_id as lost_id
      from (
        select $${parameter}::bigint as position, lower($${parameter + 1}::text) as event_id
        union all
        select checkpoint.position, checkpoint.event_id::text from ${schema}.checkpoints checkpoint where checkpoint.generation = active.generation
      ) as known
      where known.event_id is not null
        and (select event.id::text from ${schema}.log event where event.position = known.position limit 1) is distinct from known.event_id
      limit 1
  ) as lost on true`

/**
 * Returns the parameters of `after`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const parametersOf = (after: LogPosition.LogPosition | undefined): ReadonlyArray<unknown> =>
  after === undefined ? [] : [after.position, after.eventId ?? null]

/**
 * Returns the checkpoint of a row.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reachedOf = ({ generation, lost_id, lost_position, reached }: ReachedRow): GenerationPosition => ({
  generation,
  position: Position.make(reached ?? 0n),
  ...lost_position === undefined ? {} : {
    lost: lost_position === null ? "none" : LogPosition.make(Position.make(lost_position), lost_id ?? undefined)
  }
})
