/**
 * The event store on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { EventStoreError } from "../core/errors.ts"
import * as AppendedEvents from "../eventStore/AppendedEvents.ts"
import type { AppendRequest, AppendResult, EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as ReaderWakeups from "../eventStore/ReaderWakeups.ts"
import * as SnapshotSigning from "../snapshot/SnapshotSigning.ts"
import * as AppendBatcher from "./append/AppendBatcher.ts"
import * as LockTimeoutError from "./append/LockTimeoutError.ts"
import * as LockWaits from "./append/LockWaits.ts"
import * as PgAppend from "./append/PgAppend.ts"
import * as PgTransactionalAppend from "./append/PgTransactionalAppend.ts"
import * as PgWithoutAppends from "./append/PgWithoutAppends.ts"
import * as ReadableEvents from "./append/ReadableEvents.ts"
import * as StreamLocks from "./append/StreamLocks.ts"
import { checkKeepAlive, isEmbedded } from "./connections/ClientPool.ts"
import * as FollowerTurns from "./connections/FollowerTurns.ts"
import * as PgConnections from "./connections/PgConnections.ts"
import * as PoolGauges from "./connections/PoolGauges.ts"
import * as PgLockHolders from "./locks/PgLockHolders.ts"
import * as PgMigrations from "./migrations/PgMigrations.ts"
import * as PgDeadlines from "./PgDeadlines.ts"
import * as PgInlineProjections from "./PgInlineProjections.ts"
import * as PgLogReader from "./PgLogReader.ts"
import * as PgNotify from "./PgNotify.ts"
import { type PgOptions, schemaOf } from "./PgOptions.ts"
import * as PgRestore from "./PgRestore.ts"
import * as PgSnapshots from "./PgSnapshots.ts"
import * as PgStatement from "./PgStatement.ts"
import * as PgStreams from "./PgStreams.ts"
import * as LogPages from "./read/LogPages.ts"
import * as QueryReads from "./read/QueryReads.ts"
import * as SnapshotReads from "./read/SnapshotReads.ts"
import * as StreamReads from "./read/StreamReads.ts"

/**
 * Makes the driver. It expects that the migrations have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(
    options: PgOptions = {}
  ): Effect.fn.Return<EventStoreDriver, EventStoreError, SqlClient.SqlClient | Scope.Scope> {
    const sql = yield* SqlClient.SqlClient
    const { name: schema, quoted } = yield* schemaOf(options)
    const connections = PgConnections.make(sql, yield* PgDeadlines.make(options))
    yield* checkKeepAlive(sql)
    yield* PoolGauges.register(sql)
    const query = PgStatement.make(connections)
    const reader = yield* logReader(connections, query, quoted, options)
    const readStream = yield* StreamReads.make(connections, query, quoted, options.groupRead)
    const streams = PgStreams.make(query, quoted)
    const restore = PgRestore.make(query, quoted)

    const highWaterMark = yield* ReaderWakeups.make({
      head: reader.head,
      interval: options.pollInterval ?? "50 millis",
      endsBelow: true
    })
    const channel = options.notify === false ? undefined : PgNotify.channelOf(schema)
    const { appended, committed, wakeReaders } = yield* announcements(channel, connections, highWaterMark.wake)

    const statements = PgAppend.make(connections, quoted, reader.receipt)
    const waits = LockWaits.make(connections)
    const lockTimeoutErrors = yield* LockTimeoutError.make(connections, quoted)
    const groupCommit = AppendBatcher.make(
      { ...announcing(statements, committed), waits, lockTimeoutErrors, deadlines: connections.deadlines },
      options.groupCommit
    )
    const appendInBatch = yield* groupCommit
    // By themselves, so that a session which locks the table of documents holds up no append without documents.
    const appendWithDocuments = yield* groupCommit
    const readSnapshot = yield* SnapshotReads.make(connections, query, quoted, options.groupRead)
    const snapshots = yield* SnapshotSigning.withKeys(
      PgSnapshots.make(query, quoted, readSnapshot),
      options.snapshotKeys
    )
    const appendAlone = PgTransactionalAppend.make({
      connections,
      statements,
      waits,
      lockTimeoutErrors,
      committed,
      inBatch: appendWithDocuments
    })
    const locks = yield* StreamLocks.make({ connections, statements, waits, lockTimeoutErrors, committed }, quoted)
    const appendUnlocked = (request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> =>
      Effect.withFiber((fiber) =>
        request.inTransaction === undefined && request.closes !== true
          && Context.getOrUndefined(fiber.context, sql.transactionService) === undefined
          ? Effect.flatMap(appendInBatch(request), (row) => statements.resolve(request, row))
          : appendAlone(request)
      )

    return {
      ...reader,
      lockHolders: PgLockHolders.withWaitingAppends(reader.lockHolders, waits, lockTimeoutErrors),
      readStream,
      schema,
      ...transactions(connections),
      asFollower: FollowerTurns.make(connections),
      appended: { ...appended, after: (position, limit) => Effect.sync(() => appended.after(position, limit)) },
      append: ReadableEvents.rejectOthers(sql, (request) =>
        request.lock === undefined
          ? appendUnlocked(request)
          : Effect.flatMap(
            locks.append(request),
            Option.match({ onNone: () => appendUnlocked(request), onSome: Effect.succeed })
          )),
      lockStream: locks.lockStream,
      ...PgWithoutAppends.make(connections, quoted, lockTimeoutErrors),
      streamStatus: streams.status,
      archive: streams.archive,
      closedStreams: streams.closed,
      restore: (request) => Effect.tap(restore(request), wakeReaders),
      changed: highWaterMark.changed,
      snapshots,
      inlineProjections: PgInlineProjections.make(query, quoted, connections.deadlines.maintenanceTimeout)
    }
  }
)

/** Makes the reader of the log, which reads by several queries in one statement. */
const logReader = Effect.fnUntraced(function*(
  connections: PgConnections.PgConnections,
  query: PgStatement.PgStatement,
  schema: string,
  { groupRead }: PgOptions
): Effect.fn.Return<PgLogReader.PgLogReader, never, Scope.Scope> {
  const mark = LogPages.lastMark()
  const reader = PgLogReader.make(query, schema, mark)
  const { readByQuery } = reader
  return {
    ...reader,
    readByQuery: yield* QueryReads.make(connections, query, schema, { mark, readByQuery }, groupRead)
  }
})

/** Returns the effects that announce committed appends to the readers, to other processes, and to the buffer of this process. */
const announcements = Effect.fnUntraced(function*(
  channel: string | undefined,
  connections: PgConnections.PgConnections,
  wake: Effect.Effect<void>
) {
  const notifications = channel === undefined ? undefined : yield* PgNotify.make({ channel, connections, onLog: wake })
  const wakeReaders = notifications === undefined ? wake : Effect.andThen(wake, notifications.notify)
  const appended = AppendedEvents.make()
  return {
    appended,
    wakeReaders,
    committed: (appends: ReadonlyArray<PgAppend.CommittedAppend>): Effect.Effect<void> =>
      Effect.suspend(() => {
        for (const { request, result } of appends) appended.record(request, result)
        return appends.length === 0 ? Effect.void : wakeReaders
      })
  }
})

const transactions = (
  connections: PgConnections.PgConnections
): Pick<EventStoreDriver, "transactions" | "inTransaction" | "outsideTransaction"> => {
  const { transactionService } = connections.sql
  return {
    transactions: transactionService.key,
    inTransaction: (caller) => Context.getOrUndefined(caller, transactionService) !== undefined,
    outsideTransaction: connections.size === 1 || isEmbedded(connections.sql)
      ? undefined
      : <A, E, R>(self: Effect.Effect<A, E, R>) =>
        // The transaction is no service that the effect requires.
        Effect.updateContext(
          self,
          (context: Context.Context<R>) => Context.omit(transactionService)(context) as Context.Context<R>
        )
  }
}

/** The statements of group commit. After each, `committed` gets the appends that it has written. */
const announcing = (
  statements: PgAppend.PgAppend,
  committed: (appends: ReadonlyArray<PgAppend.CommittedAppend>) => Effect.Effect<void>
) =>
  ({
    single: (request, wait) =>
      Effect.tap(statements.single(request, wait), (row) => committed(PgAppend.committedOf([request], [row]))),
    batch: (requests) =>
      Effect.tap(statements.batch(requests), (rows) => committed(PgAppend.committedOf(requests, rows)))
  }) satisfies Partial<PgAppend.PgAppend>

/**
 * Provides the event store after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(() =>
  layerWith()
)

/**
 * Provides the event store with options, after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> =>
  EventStore.layer(Effect.andThen(PgMigrations.run(options), makeDriver(options)))

/**
 * Provides the event store with options from the configuration, after it has run the migrations.
 *
 * **Example** (The schema from an environment variable)
 *
 * ```ts
 * const Events = PgEventStore.layerConfig({ schema: Config.String("EVENTS_SCHEMA") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<PgOptions>
): Layer.Layer<EventStore.EventStore, EventStoreError | Config.ConfigError, SqlClient.SqlClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))

/**
 * Provides the event store without running migrations. The layer checks them, and fails with `StoreMisconfigured` if they are not those
 * of this version.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<EventStore.EventStore, EventStoreError, SqlClient.SqlClient> =>
  EventStore.layer(Effect.andThen(PgMigrations.check(options), makeDriver(options)))

/**
 * Runs the migrations, and provides nothing. They are those of all stores in the schema except the key store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMigrations: (options?: PgOptions) => Layer.Layer<never, EventStoreError, SqlClient.SqlClient> =
  PgMigrations.layer
