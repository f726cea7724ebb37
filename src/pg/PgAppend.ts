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
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { AppendCondition, AppendRequest, AppendResult, EventStoreDriver } from "../eventStore/EventStoreDriver.ts"

/**
 * What the database answers to an append; `resolve` turns it into a result. The stream is the one that was asked for, and the positions
 * are null where nothing was written.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendRow {
  readonly outcome: "appended" | "closed" | "conflict" | "changed" | "duplicate" | "busy"
  readonly stream: string
  readonly version: bigint
  readonly positions: ReadonlyArray<bigint> | null
  readonly recorded_at: Date | null
}

/**
 * - `single`: one append. It waits while another transaction appends to its stream or under its command id
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

/** What `append_one` answers. */
interface OneRow extends Pick<AppendRow, "outcome" | "version" | "recorded_at"> {
  readonly position: bigint | null
}

/** What `append` answers: outcomes and versions one an append, positions one an event. */
interface ManyRow extends Pick<AppendRow, "recorded_at"> {
  readonly outcomes: ReadonlyArray<AppendRow["outcome"]>
  readonly versions: ReadonlyArray<bigint>
  readonly positions: ReadonlyArray<bigint> | null
}

/**
 * The statements for a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sql: SqlClient, schema: string, receipt: EventStoreDriver["receipt"]): PgAppend => {
  const appendOne = `select * from ${schema}.append_one($1, $2, $3, $4, $5::uuid, $6, $7::integer, $8, $9)`
  const append =
    `select * from ${schema}.append($1, $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::uuid[], $7::text[], $8::integer[], `
    + `$9::text[], $10::text[], $11::text[], $12::integer, $13::integer[], $14::text[], $15::integer[], $16::text[], $17::bigint, `
    + `$18::bigint[], $19)`

  const one = (wait: boolean, { commandId, events, expected, stream }: AppendRequest) => {
    const { data, id, metadata, schemaVersion, type } = events[0]!
    return Effect.map(
      sql.unsafe<OneRow>(appendOne, [
        wait,
        stream,
        expectedParameter(expected),
        commandId ?? null,
        id,
        type,
        schemaVersion,
        data,
        metadata
      ]).withoutTransform,
      ([row]): AppendRow => ({
        outcome: row!.outcome,
        stream,
        version: row!.version,
        positions: row!.position === null ? null : [row!.position],
        recorded_at: row!.recorded_at
      })
    )
  }

  const many = (
    wait: boolean,
    requests: ReadonlyArray<AppendRequest>,
    condition: AppendCondition | undefined,
    closes = false
  ): Effect.Effect<ReadonlyArray<AppendRow>, SqlError> => {
    const events = requests.flatMap((request) => request.events)
    return Effect.map(
      sql.unsafe<ManyRow>(append, [
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
        ...condition === undefined
          ? noCondition
          : [...queryParameters(condition.query), condition.after, condition.seen],
        closes
      ]).withoutTransform,
      ([row]) => {
        const { outcomes, positions, recorded_at, versions } = row!
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
    )
  }

  const single = (wait: boolean) => (request: AppendRequest): Effect.Effect<AppendRow, SqlError> =>
    request.condition === undefined && request.events.length === 1 && !(request.events[0]!.tags?.length)
      && request.closes !== true
      ? one(wait, request)
      : Effect.map(many(wait, [request], request.condition, request.closes), ([row]) => row!)

  return {
    single: single(true),
    singleNow: single(false),
    batch: (requests) => many(false, requests, undefined),
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
        case "closed":
          return Effect.succeed({ _tag: "Closed", version: Version.make(Number(row.version)) })
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

/**
 * An array of nulls is a null; the client could not tell its type.
 *
 * @since 0.1.0
 * @category parameters
 */
export const nullable = <A>(values: ReadonlyArray<A | null>): ReadonlyArray<A | null> | null =>
  values.some((value) => value !== null) ? values : null

/**
 * An array as text, to be an element of an array; those of PostgreSQL are of one length in each dimension.
 *
 * @since 0.1.0
 * @category parameters
 */
export const arrayText = (elements: ReadonlyArray<string>): string =>
  `{${elements.map((element) => `"${element.replaceAll(/["\\]/g, "\\$&")}"`).join(",")}}`

const duplicate = (
  receipt: EventStoreDriver["receipt"],
  commandId: string
): Effect.Effect<AppendResult, EventStoreError> =>
  Effect.flatMap(receipt(commandId), (found) =>
    Option.isSome(found)
      ? Effect.succeed({ _tag: "Duplicate", receipt: found.value })
      // Append has just found it, and events are never deleted.
      : Effect.die(new Error(`evsrc: the append of command "${commandId}" has vanished`)))
