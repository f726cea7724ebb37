/**
 * The event store on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { encodedEventsOf } from "../eventStore/AppendCodec.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AppendRequest, AppendResult, EventStoreDriver, LogFilter } from "../eventStore/EventStoreDriver.ts"
import * as HighWaterMark from "../eventStore/HighWaterMark.ts"
import * as AppendBatcher from "./AppendBatcher.ts"
import * as PgAppend from "./PgAppend.ts"
import { fromAppendError, fromSqlError, mapSqlError } from "./PgErrors.ts"
import { columns, type EventRow, recordedOf as recordedOfRow, storedOf } from "./PgEventRows.ts"
import * as PgMigrations from "./PgMigrations.ts"
import * as PgNotify from "./PgNotify.ts"
import { type PgOptions, schemaOf } from "./PgOptions.ts"
import * as PgRestore from "./PgRestore.ts"
import * as PgSnapshots from "./PgSnapshots.ts"
import * as PgStatement from "./PgStatement.ts"
import * as PgStreams from "./PgStreams.ts"

/**
 * The driver alone. It expects the migrations to have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(options: PgOptions = {}): Effect.fn.Return<EventStoreDriver, never, SqlClient.SqlClient | Scope.Scope> {
    const sql = yield* SqlClient.SqlClient
    const { name: schema, quoted } = schemaOf(options)

    const streamForward =
      `select ${columns} from ${quoted}.log where stream = $1 and version >= $2 order by version limit $3`
    const streamBackward =
      `select ${columns} from ${quoted}.log where stream = $1 and version <= $2 order by version desc limit $3`
    const storedPage = `select * from ${quoted}.read_stored($1, $2, $3)`
    const logPage = `select * from ${quoted}.read_all($1, $2, $3, $4, $5, $6, $7)`
    const lag = `select * from ${quoted}.count_lag($1, $2, $3, $4, $5, $6, $7, $8)`
    const queryPage =
      `select * from ${quoted}.read_query($1::integer, $2::integer[], $3::text[], $4::integer[], $5::text[], $6, $7)`
    const correlation = `select ${columns} from ${quoted}.log
      where ${quoted}.correlation_hash(metadata) = ${quoted}.correlation_hash($1::json) and position > $2
      order by position limit $3`
    const byId = `select ${columns} from ${quoted}.log where id = $1::uuid limit 1`
    const lastEvent = `select max(position) as last from ${quoted}.log`
    const safeHead = `select ${quoted}.high_water_mark() as head`
    const byCommand = `select e.* from ${quoted}.log f
      join ${quoted}.log e on e.stream = f.stream and e.version >= f.version and e.version < f.version + f.command_events
      where f.command_id = $1 order by e.version`

    const head = Effect.map(
      mapSqlError(sql.unsafe<{ readonly head: bigint }>(safeHead).withoutTransform),
      ([row]) => Position.make(row!.head)
    )
    const pageOf =
      <Row extends { readonly position: bigint | null }, A>(of: (row: Row) => A) =>
      (text: string, params: ReadonlyArray<unknown>) =>
        Effect.map(
          mapSqlError(sql.unsafe<Row & { readonly head: bigint }>(text, params).withoutTransform),
          (rows) => ({
            // The one row of an empty page has a head and no event.
            events: rows.length === 1 && rows[0]!.position === null ? [] : rows.map(of),
            head: Position.make(rows[0]!.head)
          })
        )
    const pageWithHead = pageOf(recordedOfRow)
    const storedPageWithHead = pageOf(storedOf)
    const receipt = (commandId: string): Effect.Effect<Option.Option<Receipt.Receipt>, EventStoreError> =>
      Effect.map(mapSqlError(sql.unsafe<EventRow>(byCommand, [commandId]).withoutTransform), (rows) => {
        const events = rows.map(recordedOfRow)
        const [first] = events
        return first === undefined
          ? Option.none()
          : Option.some(Receipt.fromEvents(first.stream, first.metadata.command, events.map(summaryOf)))
      })
    const readCorrelation: EventStoreDriver["readCorrelation"] = ({ after, correlationId, limit }) =>
      Effect.flatMap(
        mapSqlError(
          sql.unsafe<EventRow>(correlation, [JSON.stringify({ correlationId }), after, limit]).withoutTransform
        ),
        (rows) => {
          const found = rows.map(recordedOfRow)
          // Others have the same hash, rarely.
          const events = found.filter(({ metadata }) => metadata.correlationId === correlationId)
          return events.length === limit || found.length < limit
            ? Effect.succeed(events)
            : Effect.map(
              readCorrelation({ correlationId, after: found[limit - 1]!.position, limit: limit - events.length }),
              (rest) => [...events, ...rest]
            )
        }
      )
    const watch = yield* HighWaterMark.make({ head, interval: options.pollInterval ?? "50 millis" })
    const others = options.notify === false
      ? undefined
      : yield* PgNotify.make({ channel: `evsrc_${schema}`, heard: watch.wake })
    const grown = others === undefined ? watch.wake : Effect.andThen(watch.wake, others.grown)
    /** One for all that a statement has committed. */
    const hint = (rows: ReadonlyArray<PgAppend.AppendRow>) =>
      rows.some(({ outcome }) => outcome === "appended") ? grown : Effect.void
    const statements = PgAppend.make(sql, quoted, receipt)
    const grouped = yield* AppendBatcher.make({
      single: (request) => Effect.tap(statements.single(request), (row) => hint([row])),
      singleNow: (request) => Effect.tap(statements.singleNow(request), (row) => hint([row])),
      batch: (requests) => Effect.tap(statements.batch(requests), hint)
    }, options.groupCommit)
    const streams = PgStreams.make(sql, quoted)
    const restore = PgRestore.make(sql, quoted)
    const inTransaction = transactional(sql, statements)

    const append = (request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> =>
      Effect.withFiber((fiber) =>
        request.inTransaction === undefined && request.condition === undefined && request.closes !== true
          && Context.getOrUndefined(fiber.context, sql.transactionService) === undefined
          ? Effect.flatMap(grouped(request), (row) => statements.resolve(request, row))
          : Effect.tap(
            inTransaction(request),
            (result) => result._tag === "Appended" ? sql.afterCommit(grown) : Effect.void
          )
      )

    return {
      transactions: sql.transactionService.key,
      inTransaction: Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome),
      append,
      readStream: ({ direction, from, limit, stream }) =>
        Effect.map(
          mapSqlError(
            sql.unsafe<EventRow>(direction === "forward" ? streamForward : streamBackward, [
              stream,
              BigInt(from),
              limit
            ])
              .withoutTransform
          ),
          (rows) => rows.map(recordedOfRow)
        ),
      readAll: ({ after, limit, ...filter }) => pageWithHead(logPage, [after, limit, ...filterParameters(filter)]),
      readStored: ({ after, limit, links = false }) => storedPageWithHead(storedPage, [after, limit, links]),
      lag: ({ after, limit, to, ...filter }) =>
        Effect.map(
          mapSqlError(
            sql.unsafe<{ readonly events: number; readonly since: Date | null }>(lag, [
              after,
              to,
              limit,
              ...filterParameters(filter)
            ]).withoutTransform
          ),
          ([row]) => ({
            events: row!.events,
            since: Option.map(Option.fromNullOr(row!.since), (since) => DateTime.makeUnsafe(since))
          })
        ),
      readByQuery: ({ after, limit, query }) =>
        pageWithHead(queryPage, [...PgAppend.queryParameters(query), after, limit]),
      readCorrelation,
      event: (id) =>
        uuid.test(id)
          ? Effect.map(
            mapSqlError(sql.unsafe<EventRow>(byId, [id]).withoutTransform),
            ([row]) => Option.map(Option.fromUndefinedOr(row), recordedOfRow)
          )
          : Effect.succeedNone,
      head,
      last: Effect.map(
        mapSqlError(sql.unsafe<{ readonly last: bigint | null }>(lastEvent).withoutTransform),
        ([row]) => Position.make(row?.last ?? 0n)
      ),
      receipt,
      streamStatus: streams.status,
      archive: streams.archive,
      closedStreams: streams.closed,
      restore: (request) => Effect.tap(restore(request), grown),
      changed: watch.changed,
      snapshots: PgSnapshots.make(PgStatement.make(sql), quoted)
    }
  }
)

/**
 * The event store on Postgres; runs the migrations first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(() =>
  layerWith()
)

/**
 * Like `layer`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> =>
  EventStore.layer(Effect.andThen(PgMigrations.run(options), makeDriver(options)))

/**
 * The event store without running migrations: they are checked, and it fails when they are not what this version needs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> =>
  EventStore.layer(Effect.andThen(PgMigrations.check(options), makeDriver(options)))

/**
 * An append in the user's transaction, or in one of its own when something is to happen in it; or one that goes alone, because it has a
 * condition or closes its stream.
 */
const transactional = (sql: SqlClient.SqlClient, statements: PgAppend.PgAppend) => (request: AppendRequest) => {
  const { inTransaction } = request
  const append = Effect.flatMap(statements.single(request), (row) => statements.resolve(request, row))
  if (inTransaction === undefined) {
    return Effect.catchTag(
      append,
      "SqlError",
      (error) =>
        Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) =>
          Effect.fail(
            // The user's transaction has not been committed, so a lost connection has written nothing.
            Option.isSome(transaction) ? fromSqlError(error) : fromAppendError(error, request.stream)
          ))
    )
  }
  return append.pipe(
    Effect.tap((result) => result._tag === "Appended" ? inTransaction(encodedEventsOf(request, result)) : Effect.void),
    sql.withTransaction,
    // A connection lost within a transaction cannot be rolled back either, of which the client makes a defect beside whatever else
    // went wrong.
    Effect.catchCause((cause) => {
      const errors = cause.reasons.map((reason) =>
        Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
      )
      const sqlError = errors.find(isSqlError)
      return sqlError === undefined ? Effect.failCause(cause) : Effect.fail(fromAppendError(sqlError, request.stream))
    }),
    Effect.catchTag("SqlError", (error) => Effect.fail(fromAppendError(error, request.stream)))
  )
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

const filterParameters = ({ partition, streamPrefix, tags, types }: LogFilter): ReadonlyArray<unknown> => [
  types ?? null,
  tags ?? null,
  streamPrefix ?? null,
  partition?.index ?? 0,
  partition?.of ?? 1
]

const summaryOf = ({ id, position, type, version }: EncodedEvent): Receipt.Receipt["events"][number] => ({
  id,
  type,
  version,
  position
})
