/**
 * The JSON of generations, as `generations list`, `consumers` and `status` print them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"
import type { RowCount } from "../../operations/Generations.ts"
import type { Cell, Column } from "../output/Table.ts"

const Rows = Schema.Struct({ count: Schema.Int, isMore: Schema.Boolean })

/**
 * A generation of a consumer, with what it has written.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Generation = Schema.Struct({
  generation: Schema.String,
  consumer: Schema.String,
  kind: Schema.Literals(["projection", "inline", "subscription"]),
  status: Schema.Literals(["building", "active", "previous", "retired", "discarded"]),
  isActive: Schema.Boolean,
  isRollbackTarget: Schema.Boolean,
  /** The workers that run it. */
  owners: Schema.Array(Schema.String),
  checkpoints: Schema.Int,
  position: Schema.optional(Position),
  documents: Rows,
  parked: Rows,
  parkingLog: Rows,
  lastActivity: Schema.optional(Schema.DateTimeUtc),
  newerVersion: Schema.optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Generation = typeof Generation.Type

const rowsOf = ({ count, isMore }: RowCount): string => `${count}${isMore ? "+" : ""}`

/**
 * The columns of a table of generations.
 *
 * @since 0.1.0
 * @category constants
 */
export const columns: ReadonlyArray<Column> = [
  { heading: "GENERATION" },
  { heading: "KIND" },
  { heading: "STATUS" },
  { heading: "POSITION", isNumber: true },
  { heading: "DOCUMENTS", isNumber: true },
  { heading: "PARKED", isNumber: true },
  { heading: "WORKERS", isNumber: true },
  { heading: "LAST ACTIVITY" },
  { heading: "NOTE" }
]

const noteOf = ({ isRollbackTarget, newerVersion }: Generation): string =>
  [
    ...isRollbackTarget ? ["rollback target"] : [],
    ...newerVersion === undefined ? [] : [`newer: ${newerVersion}`]
  ].join(", ")

/**
 * Returns the row of a generation.
 *
 * @since 0.1.0
 * @category combinators
 */
export const row = (one: Generation): ReadonlyArray<Cell> => [
  one.generation,
  one.kind,
  { text: one.status, look: one.isActive ? "green" : "dim" },
  one.position === undefined ? "" : String(one.position),
  rowsOf(one.documents),
  one.parked.count === 0 ? "0" : { text: rowsOf(one.parked), look: "red" },
  String(one.owners.length),
  one.lastActivity === undefined ? "" : DateTime.formatIso(one.lastActivity),
  noteOf(one)
]
