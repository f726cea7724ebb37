/**
 * The JSON of health, as `status` prints it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"

/**
 * A status and its reasons.
 *
 * @since 0.1.0
 * @category schemas
 */
export const assessment = {
  status: Schema.Literals(["green", "yellow", "red"]),
  /** Sentences for the operator; none when the status is green. */
  reasons: Schema.Array(Schema.String)
}

const Lag = Schema.Struct({ events: Schema.Int, isMore: Schema.Boolean, seconds: Schema.Finite })

const holder = {
  pid: Schema.optional(Schema.Int),
  role: Schema.optional(Schema.String),
  application: Schema.optional(Schema.String),
  prepared: Schema.optional(Schema.String),
  state: Schema.optional(Schema.String),
  since: Schema.optional(Schema.DateTimeUtc)
}

/**
 * The health of the log.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Log = Schema.Struct({
  ...assessment,
  /** The high-water mark, above which no reader gets. */
  head: Position,
  /** The position of the last committed event. */
  last: Position,
  lag: Lag,
  /** The transactions that hold back the high-water mark. */
  inFlight: Schema.Array(Schema.Struct({
    ...holder,
    lowWaterMark: Position,
    waitingSince: Schema.optional(Schema.DateTimeUtc)
  })),
  /** The transactions that hold locks of the store. */
  lockHolders: Schema.Array(Schema.Struct({
    ...holder,
    querySince: Schema.optional(Schema.DateTimeUtc),
    locks: Schema.Array(Schema.String),
    waiting: Schema.Int
  }))
})

/**
 * The health of a consumer.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Consumer = Schema.Struct({
  consumer: Schema.String,
  generation: Schema.String,
  ...assessment,
  position: Position,
  lag: Lag,
  parked: Schema.Int,
  requested: Schema.Int,
  heartbeatAge: Schema.optional(Schema.Finite),
  unknownTypes: Schema.Array(Schema.Struct({ type: Schema.String, first: Position, events: Schema.Int }))
})

/**
 * The health of a process manager. Its consumers are in it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Process = Schema.Struct({
  process: Schema.String,
  ...assessment,
  consumers: Schema.Array(Consumer),
  /** The instance whose deadline is overdue; `null` if none is. */
  overdue: Schema.NullOr(Schema.String),
  /** How many instances wait for a newer release; 100 at most. */
  deferred: Schema.Int
})
