/**
 * The JSON of parked keys, as `parked` prints them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"
import * as EventReport from "./EventReport.ts"

/**
 * A parked key, and the event at which it is parked.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ParkedKey = Schema.Struct({
  generation: Schema.String,
  partition: Schema.Int,
  /** Empty if the key of the event is unknown. */
  key: Schema.String,
  stream: Schema.String,
  version: Schema.Int,
  position: Position,
  eventId: Schema.String,
  type: Schema.String,
  error: Schema.String,
  attempts: Schema.Int,
  parkedAt: Schema.DateTimeUtc,
  /** A request that a worker has not carried out yet. */
  request: Schema.optional(Schema.Struct({
    id: Schema.String,
    action: Schema.Literals(["retry", "skip"]),
    actor: Schema.optional(Schema.String),
    reason: Schema.optional(Schema.String)
  })),
  isFreeing: Schema.Boolean
})

/**
 * @since 0.1.0
 * @category models
 */
export type ParkedKey = typeof ParkedKey.Type

/**
 * An entry of the parking log.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Entry = Schema.Struct({
  id: Schema.BigInt,
  key: Schema.String,
  stream: Schema.String,
  position: Position,
  action: Schema.Literals(["parked", "failed", "retried", "skipped", "moved"]),
  detail: Schema.optional(Schema.String),
  actor: Schema.optional(Schema.String),
  at: Schema.DateTimeUtc
})

/**
 * A parked key with its event and its history.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Inspection = Schema.Struct({
  parked: ParkedKey,
  event: EventReport.StoredEvent,
  history: Schema.Array(Entry)
})

/**
 * The outcome of a retry or a skip of one key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Outcome = Schema.Struct({
  key: Schema.String,
  /** Whether the event was applied, failed again or was skipped. */
  outcome: Schema.Literals(["retried", "failed", "skipped"]),
  /** The error, if it failed again. */
  detail: Schema.optional(Schema.String),
  /** Where the key is parked now; missing when it is free. */
  parked: Schema.optional(ParkedKey)
})

/**
 * The outcome of a retry or a skip of many keys.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BulkOutcome = Schema.Struct({
  requested: Schema.Int,
  retried: Schema.Int,
  failed: Schema.Int,
  skipped: Schema.Int,
  parkedLater: Schema.Int
})
