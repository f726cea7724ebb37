/**
 * The append statement.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { CommandIdReused, type EventStoreError, storeError } from "../domain/errors.ts"
import { record, type RecordedEvent } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import * as Version from "../domain/Version.ts"
import type { AppendRequest, AppendResult, EventStoreDriver } from "../store/EventStoreDriver.ts"
import { fromAppendError } from "./PgErrors.ts"

/**
 * The row that `append` of 0001_event_store.sql answers.
 *
 * @since 0.1.0
 * @category models
 */
interface AppendRow {
  readonly outcome: "appended" | "conflict" | "duplicate"
  readonly stream: string
  readonly version: bigint
  readonly positions: ReadonlyArray<bigint> | null
  readonly recorded_at: Date | null
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

/**
 * The append of the driver: one statement, one round trip; in the user's transaction if one is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly sql: SqlClient
  /** The quoted name of the schema. */
  readonly schema: string
  readonly receipt: EventStoreDriver["receipt"]
  /** Told once an append is committed. */
  readonly committed: Effect.Effect<void>
}): EventStoreDriver["append"] => {
  const { committed, receipt, schema, sql } = options
  const statement =
    `select * from ${schema}.append($1, $2, $3, $4::uuid[], $5::text[], $6::integer[], $7::text[], $8::text[])`

  /** The receipt of a command id that the database knows. */
  const duplicate = (commandId: string, stream: string): Effect.Effect<AppendResult, EventStoreError> =>
    Effect.flatMap(receipt(commandId), (found) => {
      const first = Option.getOrUndefined(found)
      // Append has just found it, and events are never deleted.
      if (first === undefined) return Effect.die(new Error(`evsrc: the append of command "${commandId}" has vanished`))
      return first.stream === stream
        ? Effect.succeed<AppendResult>({ _tag: "Duplicate", receipt: first })
        : Effect.fail(storeError(new CommandIdReused({ commandId, stream, firstStream: first.stream })))
    })

  const execute = ({ commandId, events, expected, stream }: AppendRequest) =>
    sql.unsafe<AppendRow>(statement, [
      stream,
      expectedParameter(expected),
      commandId ?? null,
      events.map((event) => event.id),
      events.map((event) => event.type),
      events.map((event) => event.schemaVersion),
      events.map((event) => event.data),
      events.map((event) => event.metadata)
    ]).withoutTransform

  const resultOf = (request: AppendRequest, row: AppendRow): Effect.Effect<AppendResult, EventStoreError> => {
    switch (row.outcome) {
      case "appended":
        return Effect.as(
          committed,
          {
            _tag: "Appended",
            version: Version.make(Number(row.version)),
            // The function answers both with every append that it wrote.
            positions: row.positions!.map(Position.make),
            recordedAt: DateTime.makeUnsafe(row.recorded_at!)
          } satisfies AppendResult
        )
      case "conflict":
        return Effect.succeed({ _tag: "Conflict", actual: Version.make(Number(row.version)) })
      case "duplicate":
        return duplicate(request.commandId!, request.stream)
    }
  }

  const appendOnce = (request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> =>
    Effect.matchEffect(execute(request), {
      onSuccess: ([row]) => resultOf(request, row!),
      onFailure: (error) => Effect.fail(fromAppendError(error, request.stream))
    })

  return (request) => {
    const { inTransaction } = request
    if (inTransaction === undefined) return appendOnce(request)
    return appendOnce(request).pipe(
      Effect.tap((result) => result._tag === "Appended" ? inTransaction(recordedOf(request, result)) : Effect.void),
      sql.withTransaction,
      // A connection lost within a transaction cannot be rolled back either, which the client reports as a defect.
      Effect.catchDefect((defect) => isSqlError(defect) ? Effect.fail(defect) : Effect.die(defect)),
      Effect.catchTag("SqlError", (error) => Effect.fail(fromAppendError(error, request.stream)))
    )
  }
}

const recordedOf = (
  { events, stream }: AppendRequest,
  { positions, recordedAt, version }: Extract<AppendResult, { readonly _tag: "Appended" }>
): ReadonlyArray<RecordedEvent> =>
  events.map((event, index) =>
    record(event, {
      position: positions[index]!,
      stream,
      version: Version.make(version - events.length + 1 + index),
      recordedAt
    })
  )
