/**
 * The append statements: one append, or several in one round trip and one commit.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../domain/errors.ts"
import type { EventQuery } from "../domain/EventQuery.ts"
import type { NewEvent } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import * as Version from "../domain/Version.ts"
import type { AppendRequest, AppendResult, EventStoreDriver } from "../store/EventStoreDriver.ts"

/**
 * What the database answers to an append; `resolve` turns it into a result.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendRow {
  readonly outcome: "appended" | "conflict" | "changed" | "duplicate" | "busy"
  readonly stream: string
  readonly version: bigint
  readonly positions: ReadonlyArray<bigint> | null
  readonly recorded_at: Date | null
}

/**
 * - `single`: one append, by the leaner statement. It waits while another transaction appends to its stream or under its command id
 * - `singleNow`: the same, but it does not wait: its outcome may be `busy`
 * - `batch`: several, of which no two share a stream or a command id; a row an append, in order. None of them waits
 * - `resolve`: the result that a row stands for
 *
 * @since 0.1.0
 * @category models
 */
export interface PgAppend {
  readonly single: (request: AppendRequest) => Effect.Effect<AppendRow, SqlError>
  readonly singleNow: (request: AppendRequest) => Effect.Effect<AppendRow, SqlError>
  readonly batch: (requests: ReadonlyArray<AppendRequest>) => Effect.Effect<ReadonlyArray<AppendRow>, SqlError>
  readonly resolve: (request: AppendRequest, row: AppendRow) => Effect.Effect<AppendResult, EventStoreError>
}

/**
 * The statements for a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sql: SqlClient, schema: string, receipt: EventStoreDriver["receipt"]): PgAppend => {
  const single =
    `select * from ${schema}.append($1, $2, $3, $4, $5::uuid[], $6::text[], $7::integer[], $8::text[], $9::text[], `
    + `$10::integer[], $11::text[], $12::integer, $13::integer[], $14::text[], $15::integer[], $16::text[], $17::bigint, `
    + `$18::bigint[])`
  const batch = `select * from ${schema}.append_batch($1::text[], $2::bigint[], $3::text[], $4::integer[], $5::uuid[], `
    + `$6::text[], $7::integer[], $8::text[], $9::text[], $10::integer[], $11::text[])`

  const one = (wait: boolean) => ({ commandId, condition, events, expected, stream }: AppendRequest) =>
    Effect.map(
      sql.unsafe<AppendRow>(single, [
        wait,
        stream,
        expectedParameter(expected),
        commandId ?? null,
        ...eventParameters(events),
        ...condition === undefined
          ? noCondition
          : [...queryParameters(condition.query), condition.after, condition.seen]
      ]).withoutTransform,
      ([row]) => row!
    )

  return {
    single: one(true),
    singleNow: one(false),
    batch: (requests) =>
      sql.unsafe<AppendRow>(batch, [
        requests.map((request) => request.stream),
        nullable(requests.map((request) => expectedParameter(request.expected))),
        nullable(requests.map((request) => request.commandId ?? null)),
        requests.flatMap((request, index) => request.events.map(() => index + 1)),
        ...eventParameters(requests.flatMap((request) => request.events))
      ]).withoutTransform,
    resolve: (request, row) => {
      switch (row.outcome) {
        case "appended":
          return Effect.succeed({
            _tag: "Appended",
            version: Version.make(Number(row.version)),
            // The functions answer both with every append that they wrote.
            positions: row.positions!.map(Position.make),
            recordedAt: DateTime.makeUnsafe(row.recorded_at!)
          })
        case "conflict":
          return Effect.succeed({ _tag: "Conflict", actual: Version.make(Number(row.version)) })
        case "changed":
          return Effect.succeed({ _tag: "Changed", position: Position.make(row.positions![0]!) })
        case "busy":
          return Effect.die(new Error("evsrc: an append that waits cannot be busy"))
        case "duplicate":
          return duplicate(receipt, request.commandId!)
      }
    }
  }
}

const expectedParameter = (expected: Version.Expected): bigint | null => {
  switch (expected) {
    case "any":
      return null
    case "streamExists":
      return -1n
    case "noStream":
      return 0n
    default:
      return BigInt(expected)
  }
}

const eventParameters = (events: ReadonlyArray<NewEvent>): ReadonlyArray<unknown> => [
  events.map((event) => event.id),
  events.map((event) => event.type),
  events.map((event) => event.schemaVersion),
  events.map((event) => event.data),
  events.map((event) => event.metadata),
  ...pairs(events.map((event) => event.tags ?? []))
]

/** Lists as pairs of a list's number, from 1, and an element. */
const pairs = (
  lists: ReadonlyArray<ReadonlyArray<string>>
): readonly [ReadonlyArray<number>, ReadonlyArray<string>] => {
  const numbers: Array<number> = []
  const elements: Array<string> = []
  for (const [index, list] of lists.entries()) {
    for (const element of list) {
      numbers.push(index + 1)
      elements.push(element)
    }
  }
  return [numbers, elements]
}

/**
 * A query as the parameters `q_items`, `q_type_of`, `q_type`, `q_tag_of`, `q_tag`.
 *
 * @since 0.1.0
 * @category parameters
 */
export const queryParameters = (query: EventQuery): ReadonlyArray<unknown> => [
  query.length,
  ...pairs(query.map((item) => item.types ?? [])),
  ...pairs(query.map((item) => item.tags ?? []))
]

const noCondition: ReadonlyArray<unknown> = [null, null, null, null, null, null, null]

/** The client cannot tell the type of an array that holds nothing but nulls; as an array literal it is left to the statement. */
const nullable = (values: ReadonlyArray<unknown>): unknown =>
  values.every((value) => value === null) ? `{${values.map(() => "NULL").join(",")}}` : values

const duplicate = (
  receipt: EventStoreDriver["receipt"],
  commandId: string
): Effect.Effect<AppendResult, EventStoreError> =>
  Effect.flatMap(receipt(commandId), (found) =>
    Option.isSome(found)
      ? Effect.succeed({ _tag: "Duplicate", receipt: found.value })
      // Append has just found it, and events are never deleted.
      : Effect.die(new Error(`evsrc: the append of command "${commandId}" has vanished`)))
