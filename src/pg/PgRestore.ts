/**
 * Writes events of another log byte for byte, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver, RestoreRequest, RestoreResult } from "../eventStore/driver/EventStoreDriver.ts"
import { arrayText, nullable } from "./append/AppendParameters.ts"
import type { PgStatement } from "./PgStatement.ts"

interface RestoreRow {
  readonly outcome: "restored" | "wrong_end" | "in_use" | "rejected"
  readonly position: bigint
  readonly detail: string | null
}

/**
 * Returns a function that writes events to a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): EventStoreDriver["restore"] => {
  const restore =
    `select * from ${schema}.restore($1, $2::bigint[], $3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::integer[], `
    + `$8::text[], $9::integer[], $10::text[], $11::text[], $12::text[]::timestamptz[], $13::text[], $14::text[], $15::boolean[])`
  return ({ after, events }: RestoreRequest) =>
    Effect.map(
      query<RestoreRow>(restore, [
        after,
        events.map(({ position }) => position),
        events.map(({ stream }) => stream),
        events.map(({ version }) => BigInt(version)),
        events.map(({ id }) => id),
        events.map(({ type }) => type),
        events.map(({ schemaVersion }) => schemaVersion),
        nullable(events.map(({ commandId = null }) => commandId)),
        nullable(events.map(({ commandEvents = null }) => commandEvents)),
        events.map(({ data }) => data),
        events.map(({ metadata }) => metadata),
        events.map(({ recordedAt, recordedMicros = 0 }) =>
          DateTime.formatIso(recordedAt).replace("Z", `${String(recordedMicros).padStart(3, "0")}Z`)
        ),
        nullable(events.map(({ tags }) => tags.length === 0 ? null : arrayText(tags))),
        nullable(events.map(({ hash = null }) => hash)),
        nullable(events.map(({ closes = null }) => closes))
      ], { isMaintenance: true }),
      ([row]): RestoreResult => {
        const { detail, outcome, position } = row!
        switch (outcome) {
          case "restored":
            return { _tag: "Restored" }
          case "wrong_end":
            return { _tag: "WrongEnd", last: Position.make(position) }
          case "in_use":
            return { _tag: "InUse" }
          case "rejected":
            return { _tag: "Rejected", position: Position.make(position), detail: detail! }
        }
      }
    )
}
