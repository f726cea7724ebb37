/**
 * The append statements on PostgreSQL: one append, or several in one round trip and one commit. The SQL functions that they call, `append_one`
 * and `append`, are in `migrations/0001_event_store.sql`.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as Version from "../../core/Version.ts"
import type { AppendRequest, AppendResult, EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { settingOf } from "../PgDeadlines.ts"
import {
  aheadParameters,
  arrayText,
  conditionParameters,
  documentsParameter,
  documentsParameters,
  expectedParameter,
  inlineParameters,
  nullable,
  type PreparedAppend
} from "./AppendParameters.ts"
import type { Attempted, LockWait } from "./LockWaits.ts"

/**
 * The outcome of an append in the database; `resolve` converts it to a result. `positions` is null if nothing was written.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendRow {
  readonly outcome: "appended" | "closed" | "conflict" | "diverged" | "changed" | "stale" | "duplicate" | "busy"
  readonly stream: string
  /** The version of the stream. Of a `busy` append it is a negative number for the lock that another transaction holds: `heldLock` returns its name. */
  readonly version: bigint
  readonly positions: ReadonlyArray<bigint> | null
  readonly recorded_at: Date | null
}

/**
 * The append statements of a schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgAppend {
  /**
   * Appends. It waits so many milliseconds while another transaction appends to the stream or under the command id, or does not wait, and
   * the outcome may be `busy`. With `limitsTransaction` the server limits the rest of the transaction too. If one of the documents that were computed
   * before has changed, or another transaction may be changing it, the outcome is `stale`, and nothing is written.
   */
  readonly single: (
    request: PreparedAppend,
    wait: LockWait,
    limitsTransaction?: boolean
  ) => Effect.Effect<AppendRow, SqlError>
  /**
   * Runs several appends. No two share a command id. If none has a condition, those to one stream stand one after the other. Returns a row per append, in order. It waits for
   * locks only if the caller asks for it, in a transaction with a limit of its own.
   */
  readonly batch: (
    requests: ReadonlyArray<PreparedAppend>,
    waits?: boolean
  ) => Effect.Effect<ReadonlyArray<AppendRow>, SqlError>
  /** Returns the result of a row. */
  readonly resolve: (request: AppendRequest, row: AppendRow) => Effect.Effect<AppendResult, EventStoreError>
}

/** The row that `append_one` returns. */
interface AppendOneRow extends Pick<AppendRow, "outcome" | "version" | "recorded_at"> {
  readonly position: bigint | null
}

/** The row that `append` returns: outcomes and versions have an element per append, positions one per event. */
interface AppendManyRow extends Pick<AppendRow, "recorded_at"> {
  readonly outcomes: ReadonlyArray<AppendRow["outcome"]>
  readonly versions: ReadonlyArray<bigint>
  readonly positions: ReadonlyArray<bigint> | null
}

/**
 * Makes the append statements of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (connections: PgConnections, schema: string, receipt: EventStoreDriver["receipt"]): PgAppend => {
  const one = appendOne(connections, schema)
  const many = appendMany(connections, schema)
  const { idleInTransactionTimeout, lockTimeout, statementTimeout, transactionTimeout } = connections.deadlines
  const ofTransaction = [statementTimeout, idleInTransactionTimeout, transactionTimeout].map(settingOf)

  const single = (request: PreparedAppend, wait: LockWait, limitsTransaction = false) => {
    const waits = wait !== "now"
    const limits = waits || limitsTransaction
      ? [settingOf(waits ? wait : lockTimeout), ...limitsTransaction ? ofTransaction : []]
      : null
    return request.condition === undefined && request.events.length === 1 && !(request.events[0]!.tags?.length)
        && request.closes !== true && !(request.documents?.length)
      ? one(waits, request, limits)
      : Effect.map(many(waits, [request], limits, request.closes), ([row]) => row!)
  }

  return {
    single,
    batch: (requests, waits = false) => many(waits, requests, null),
    resolve: (request, row) => {
      switch (row.outcome) {
        case "appended":
          return Effect.succeed(appendedOf(row))
        case "closed":
          return Effect.succeed({ _tag: "Closed", version: Version.make(Number(row.version)) })
        case "conflict":
          return Effect.succeed({ _tag: "Conflict", actual: Version.make(Number(row.version)) })
        case "diverged":
          return Effect.succeed({ _tag: "Diverged" })
        case "changed":
          return Effect.succeed({ _tag: "Changed", position: Position.make(row.positions![0]!) })
        case "stale":
          return Effect.die(new Error("evsrc: an append whose documents have changed must compute them again"))
        case "busy":
          return Effect.die(new Error("evsrc: an append that waits cannot be busy"))
        case "duplicate":
          return duplicate(receipt, request.commandId!)
      }
    }
  }
}

const appendedOf = (
  { positions, recorded_at, version }: AppendRow
): Extract<AppendResult, { readonly _tag: "Appended" }> => ({
  _tag: "Appended",
  version: Version.make(Number(version)),
  // Both functions return these for every append that they wrote.
  positions: positions!.map(Position.make),
  recordedAt: DateTime.makeUnsafe(recorded_at!)
})

/**
 * An append that was committed.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommittedAppend {
  readonly request: AppendRequest
  readonly result: () => Extract<AppendResult, { readonly _tag: "Appended" }>
}

/**
 * Returns those of the appends that were written, given the rows of a statement that was committed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const committedOf = (
  requests: ReadonlyArray<AppendRequest>,
  rows: ReadonlyArray<AppendRow>
): ReadonlyArray<CommittedAppend> =>
  rows.flatMap((row, index) =>
    row.outcome === "appended" ? [{ request: requests[index]!, result: () => appendedOf(row) }] : []
  )

/** The numbers of locks, where those of types and tags begin below. */
const heldStream = -1n
const heldCommand = -2n
const heldDocuments = -3n
const firstKey = -4_294_967_296n

/**
 * Returns the name of the lock for which a `busy` append waits; `undefined` if it is behind another append of its statement.
 *
 * @since 0.1.0
 * @category accessors
 */
export const heldLock = (
  { stream, version }: AppendRow,
  request: AppendRequest
): string | undefined =>
  version === heldStream
    ? lockOfStream(stream)
    : version === heldCommand
    ? lockOfCommand(request.commandId ?? "")
    : version === heldDocuments
    ? lockOfDocuments(request)
    : version < heldDocuments
    ? `name ${firstKey - version}`
    : undefined

/**
 * Returns the name of the lock of a stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lockOfStream = (stream: string): string => `stream ${stream}`

/**
 * Returns the name of the lock of a command id.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lockOfCommand = (id: string): string => `command ${id}`

/**
 * Returns the name of the locks of an append's documents.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lockOfDocuments = ({ touchedDocuments }: AppendRequest): string =>
  `documents ${(documentsParameter(touchedDocuments) ?? []).join(" ")}`

/**
 * Returns the key of a lock that has the name of a type or tag, as `pg_locks` lists it; `undefined` for any other lock.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keyOfName = (lock: string): number | undefined => {
  const key = /^name (\d+)$/.exec(lock)?.[1]
  return key === undefined ? undefined : Number(key)
}

/**
 * Returns a row as the result of an attempt.
 *
 * @since 0.1.0
 * @category accessors
 */
export const attempted = (row: AppendRow, request: AppendRequest): Attempted<AppendRow> =>
  row.outcome === "busy" ? Result.fail(heldLock(row, request)) : Result.succeed(row)

/** Calls `append_one`: one event without tags, on no condition. */
const appendOne = ({ sql, statement: run }: PgConnections, schema: string) => {
  const statement =
    `select * from ${schema}.append_one($1, $2, $3, $4, $5::uuid, $6, $7::integer, $8, $9, $10::uuid, $11::text[], $12::integer[], `
    + `$13::text[])`
  return (
    wait: boolean,
    { commandId, events, expected, inlineProjections, lastEventId, stream, touchedDocuments }: AppendRequest,
    limits: ReadonlyArray<number> | null
  ) => {
    const { data, id, metadata, schemaVersion, type } = events[0]!
    return Effect.map(
      run(
        sql.unsafe<AppendOneRow>(statement, [
          wait,
          stream,
          expectedParameter(expected),
          commandId ?? null,
          id,
          type,
          schemaVersion,
          data,
          metadata,
          lastEventId ?? null,
          inlineProjections?.[0] ?? null,
          limits,
          documentsParameter(touchedDocuments)
        ]).withoutTransform
      ),
      ([row]): AppendRow => ({
        outcome: row!.outcome,
        stream,
        version: row!.version,
        positions: row!.position === null ? null : [row!.position],
        recorded_at: row!.recorded_at
      })
    )
  }
}

/** A statement with so many more events and documents may take one more `statementTimeout`. */
const eventsPerTimeout = 1_000

/** Calls `append`. */
const appendMany = ({ deadlines, sql, statement: run }: PgConnections, schema: string) => {
  const statement =
    `select * from ${schema}.append($1, $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::uuid[], $7::text[], $8::integer[], `
    + `$9::text[], $10::text[], $11::text[], $12::integer[], $13::text[], $14::text[], $15::bigint[], $16::text[], $17::text[], `
    + `$18::integer[], $19, $20::uuid[], $21::bigint[], $22::uuid[], $23::text[], $24::integer[], $25::text[]`
  // A function of the select list runs after the function of the from clause has returned its row.
  const withDocuments =
    `select appended.*, ${schema}.write_documents_ahead(appended.outcomes, $26::integer[], $27::text[], $28::text[], $30::text[], $31::text[])`
    + ` from (${statement}, $26::integer[], $27::text[], $28::text[], $29::bigint[]) offset 0) as appended`
  const withoutDocuments = `${statement})`
  return (
    wait: boolean,
    requests: ReadonlyArray<PreparedAppend>,
    limits: ReadonlyArray<number> | null,
    closes = false
  ): Effect.Effect<ReadonlyArray<AppendRow>, SqlError> => {
    const events = requests.flatMap((request) => request.events)
    const { basis, items } = conditionParameters(requests)
    const ahead = aheadParameters(requests)
    return Effect.map(
      run(
        sql.unsafe<AppendManyRow>(ahead === undefined ? withoutDocuments : withDocuments, [
          wait,
          requests.map((request) => request.stream),
          nullable(requests.map((request) => expectedParameter(request.expected))),
          nullable(requests.map((request) => request.commandId ?? null)),
          requests.map((request) => request.events.length),
          events.map((event) => event.id),
          events.map((event) => event.type),
          events.map((event) => event.schemaVersion),
          events.map((event) => event.data),
          events.map((event) => event.metadata),
          nullable(events.map(({ tags }) => tags === undefined || tags.length === 0 ? null : arrayText(tags))),
          ...items,
          basis.appends,
          closes,
          nullable(requests.map(({ lastEventId }) => lastEventId ?? null)),
          basis.positions,
          basis.ids,
          nullable(requests.flatMap(inlineParameters)),
          limits,
          documentsParameters(requests),
          ...ahead === undefined ? [] : [...ahead.unchanged, ...ahead.written]
        ]).withoutTransform,
        deadlines.statementTimeout * (1 + Math.floor((events.length + (ahead?.count ?? 0)) / eventsPerTimeout))
      ),
      ([row]) => rowsOf(requests, row!)
    )
  }
}

/** Divides the row of `append` into a row per append. */
const rowsOf = (
  requests: ReadonlyArray<AppendRequest>,
  { outcomes, positions, recorded_at, versions }: AppendManyRow
): ReadonlyArray<AppendRow> => {
  let next = 0
  return requests.map(({ events, stream }, index): AppendRow => {
    const first = next
    next += events.length
    const outcome = outcomes[index]!
    return {
      outcome,
      stream,
      version: versions[index]!,
      positions: outcome === "appended" || outcome === "changed" ? positions!.slice(first, next) : null,
      recorded_at
    }
  })
}

const duplicate = (
  receipt: EventStoreDriver["receipt"],
  commandId: string
): Effect.Effect<AppendResult, EventStoreError> =>
  Effect.flatMap(receipt(commandId), (found) =>
    Option.isSome(found)
      ? Effect.succeed({ _tag: "Duplicate", first: found.value })
      // The append has found it, and events are never deleted.
      : Effect.die(new Error(`evsrc: the append of command "${commandId}" has vanished`)))
