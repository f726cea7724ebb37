/**
 * Closed and archived streams on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type { ClosedStream, EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { PgStatement } from "./PgStatement.ts"

/**
 * The part of the driver that concerns closed and archived streams.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgStreams {
  readonly status: EventStoreDriver["streamStatus"]
  readonly archive: EventStoreDriver["archive"]
  readonly closed: EventStoreDriver["closedStreams"]
}

interface ClosedRow {
  readonly stream: string
  readonly version: bigint
  readonly position: bigint
  readonly closed_at: Date
  readonly archived_at: Date | null
}

/** The stream's name was validated when it was written. */
const closedOf = ({ archived_at, closed_at, position, stream, version }: ClosedRow): ClosedStream => ({
  stream: stream as StreamId,
  version: Version.make(Number(version)),
  position: Position.make(position),
  closedAt: DateTime.makeUnsafe(closed_at),
  ...(archived_at === null ? {} : { archivedAt: DateTime.makeUnsafe(archived_at) })
})

/**
 * Makes the statements of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): PgStreams => {
  const columns = `stream, version, "position", closed_at, archived_at`
  const find = `select ${columns} from ${schema}.closed_streams where stream = $1`
  const page = `select ${columns} from ${schema}.closed_streams where "position" > $1 order by "position" limit $2`
  const version =
    `select coalesce((select version from ${schema}.events where stream = $1 order by version desc limit 1), 0) as version`
  const archive =
    `select ${schema}.archive($1, coalesce($2::timestamptz, date_trunc('milliseconds', clock_timestamp()))) as moved`

  return {
    status: Effect.fnUntraced(
      function*(stream): Effect.fn.Return<Effect.Success<ReturnType<PgStreams["status"]>>, EventStoreError> {
        // The version first: a stream that is closed in between is returned as closed, with the version of its end.
        const [open] = yield* query<{ readonly version: bigint }>(version, [stream])
        const [row] = yield* query<ClosedRow>(find, [stream])
        const closed = Option.map(Option.fromUndefinedOr(row), closedOf)
        return {
          closed,
          version: Option.match(closed, {
            onNone: () => Version.make(Number(open!.version)),
            onSome: (end) => end.version
          })
        }
      }
    ),
    archive: (stream, at) =>
      Effect.map(
        query<{ readonly moved: bigint | null }>(archive, [stream, at === undefined ? null : DateTime.formatIso(at)], {
          isMaintenance: true
        }),
        ([row]) => Option.map(Option.fromNullOr(row!.moved), Number)
      ),
    closed: ({ after, limit }) => Effect.map(query<ClosedRow>(page, [after, limit]), (rows) => rows.map(closedOf))
  }
}
