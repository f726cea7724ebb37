/**
 * Reads snapshots on PostgreSQL, several by one statement.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import type { StreamId } from "../../core/StreamId.ts"
import * as Version from "../../core/Version.ts"
import type { Snapshot, SnapshotDriver, SnapshotKey } from "../../snapshot/SnapshotDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { inWords } from "../PgDeadlines.ts"
import type { PgStatement } from "../PgStatement.ts"
import * as ReadBatcher from "./ReadBatcher.ts"

/**
 * A row of a snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotRow {
  readonly stream: string
  readonly fingerprint: string
  readonly version: bigint
  readonly position: bigint
  readonly event_id: string
  readonly state: string
  readonly taken_at: Date
  readonly signature: string | null
}

/**
 * The columns of a `SnapshotRow`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const columns = "stream, fingerprint, version, position, event_id, state, taken_at, signature"

/**
 * Returns the snapshot of a row.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshotOf = (row: SnapshotRow): Snapshot => ({
  // The name was validated before the first append to the stream.
  stream: row.stream as StreamId,
  fingerprint: row.fingerprint,
  version: Version.make(Number(row.version)),
  position: Position.make(row.position),
  eventId: row.event_id,
  state: row.state,
  takenAt: DateTime.makeUnsafe(row.taken_at),
  ...(row.signature === null ? {} : { signature: row.signature })
})

/**
 * How long a read waits, in milliseconds. Nothing needs a snapshot: when a session holds the table, the state is folded from the events instead.
 */
const timeout = 2_000

const noAnswer = (): Effect.Effect<never, EventStoreError> =>
  Effect.fail(storeError(
    new StoreUnavailable({
      message: `the database has not answered within ${
        inWords(timeout)
      }; a session may hold a lock on the table "snapshots"`,
      cause: undefined
    })
  ))

/** How many bytes the states of a statement have together, without the last one. */
const maxBytes = 4 * 1024 * 1024

interface FoundRow extends Omit<SnapshotRow, "state"> {
  /** The index of the key, from 1. */
  readonly ordinal: number
  /** Null if the states before it have reached the number of bytes. */
  readonly state: string | null
}

const hasState = (row: FoundRow): row is FoundRow & SnapshotRow => row.state !== null

/** The row of a key, if there is one; `"cut"` if its state has to be read by another statement. */
type Found = SnapshotRow | "cut" | undefined

/**
 * Makes the function that reads a snapshot, of a schema given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  { deadlines, sql }: PgConnections,
  query: PgStatement,
  schema: string,
  options?: ReadBatcher.ReadBatcherOptions
): Effect.fn.Return<SnapshotDriver["read"], never, Scope.Scope> {
  const one = `select ${columns} from ${schema}.snapshots where stream = $1 and fingerprint = $2`
  const several = `select ordinal::integer, stream, fingerprint, version, position, event_id, taken_at, signature,
      case when sum(octet_length(state)) over (order by ordinal rows unbounded preceding) - octet_length(state) < $3 then state end as state
    from unnest($1::text[], $2::text[]) with ordinality as wanted(wanted_stream, wanted_fingerprint, ordinal)
      cross join lateral (
        select ${columns} from ${schema}.snapshots where stream = wanted_stream and fingerprint = wanted_fingerprint limit 1
      ) snapshot`

  const rowOf = ({ fingerprint, stream }: SnapshotKey) =>
    Effect.map(query<SnapshotRow>(one, [stream, fingerprint]), ([row]): Found => row)

  const read = yield* ReadBatcher.make<SnapshotKey, Found>({
    timeout: deadlines.connectionTimeout,
    one: rowOf,
    many: (wanted) =>
      Effect.map(
        query<FoundRow>(several, [
          wanted.map(({ stream }) => stream),
          wanted.map(({ fingerprint }) => fingerprint),
          maxBytes
        ]),
        (rows) => {
          const byOrdinal = new Map(rows.map((row) => [row.ordinal, row]))
          return wanted.map((_, index): Found => {
            const row = byOrdinal.get(index + 1)
            return row === undefined || hasState(row) ? row : "cut"
          })
        }
      )
  }, options)

  return (key) =>
    Effect.withFiber(({ context }) => {
      const isAlone = Context.getOrUndefined(context, sql.transactionService) !== undefined
      // An interruption would end the transaction of the caller.
      const found = isAlone ?
        rowOf(key) :
        Effect.timeoutOrElse(
          Effect.flatMap(read(key), (row) => row === "cut" ? rowOf(key) : Effect.succeed(row)),
          { duration: timeout, orElse: noAnswer }
        )
      return Effect.map(
        found,
        (row) => row === undefined || row === "cut" ? Option.none() : Option.some(snapshotOf(row))
      )
    })
})
