/**
 * The projection store on PostgreSQL.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as ProjectionStore from "../../projection/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../../projection/ProjectionStoreDriver.ts"
import { isEmbedded } from "../connections/ClientPool.ts"
import * as FollowerTurns from "../connections/FollowerTurns.ts"
import * as PgConnections from "../connections/PgConnections.ts"
import * as PoolGauges from "../connections/PoolGauges.ts"
import * as PgLockObserver from "../locks/PgLockObserver.ts"
import * as PgMigrations from "../migrations/PgMigrations.ts"
import * as PgDeadlines from "../PgDeadlines.ts"
import * as PgNotify from "../PgNotify.ts"
import { type PgOptions, schemaOf } from "../PgOptions.ts"
import * as PgStatement from "../PgStatement.ts"
import * as DocumentReads from "../read/DocumentReads.ts"
import * as PgCheckpoints from "./PgCheckpoints.ts"
import * as PgDocuments from "./PgDocuments.ts"
import * as PgGenerations from "./PgGenerations.ts"
import * as PgInlineDocuments from "./PgInlineDocuments.ts"
import * as PgLeases from "./PgLeases.ts"
import * as PgParking from "./PgParking.ts"
import * as PgPersonalDataScan from "./PgPersonalDataScan.ts"
import * as PgTimers from "./PgTimers.ts"

/**
 * Makes the driver. It expects that the migrations have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(
    options: PgOptions = {}
  ): Effect.fn.Return<ProjectionStoreDriver, EventStoreError, SqlClient.SqlClient | Scope.Scope> {
    const sql = yield* SqlClient.SqlClient
    const { name, quoted } = yield* schemaOf(options)
    const connections = PgConnections.make(sql, yield* PgDeadlines.make(options))
    yield* PoolGauges.register(sql)
    const query = PgStatement.make(connections)
    const observe = PgLockObserver.make(connections)
    const handlers = Semaphore.makeUnsafe(maxHandlerTransactions(connections))
    const client = yield* Effect.serviceOption(PgClient.PgClient)
    return {
      ...PgLeases.make(query, quoted),
      ...PgCheckpoints.make(query, quoted),
      ...PgParking.make(query, quoted),
      ...PgDocuments.make(query, quoted),
      loadAll: yield* DocumentReads.make(connections, query, quoted, options.groupRead),
      ...PgGenerations.make(query, quoted),
      ...PgInlineDocuments.make(query, quoted, connections.deadlines.maintenanceTimeout),
      ...PgPersonalDataScan.make(query, quoted),
      ...PgTimers.make(query, quoted),
      transactions: sql.transactionService.key,
      schema: name,
      asFollower: FollowerTurns.make(connections),
      uncommittedAbove: Effect.flatMap(
        Effect.serviceOption(sql.transactionService),
        (transaction) =>
          Option.isNone(transaction) ? Effect.succeedNone : Effect.map(
            query<{ readonly mark: bigint | null }>(`select ${quoted}.own_low_water_mark() as mark`, []),
            ([row]) => Option.map(Option.fromNullishOr(row?.mark), Position.make)
          )
      ),
      ...options.notify === false || Option.isNone(client) ? {} : {
        notifications: (onProgress) =>
          Effect.provideService(
            PgNotify.make({ channel: PgNotify.channelOf(name), connections, onProgress }),
            PgClient.PgClient,
            client.value
          )
      },
      isInTransaction: Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome),
      transaction: (effect, { runsHandlers = false } = {}) => {
        if (!runsHandlers) return PgStatement.transactional(connections, effect)
        return handlers.withPermit(connections.occupations.withPermit(
          PgStatement.transactional(connections, effect, { observe, reads: `${quoted}.checkpoints` })
        ))
      }
    }
  }
)

/** Claims, heartbeats and health must find a connection while handlers occupy theirs. A PGlite has one connection, which all take in turn. */
const maxHandlerTransactions = ({ size, sql }: PgConnections.PgConnections): number =>
  isEmbedded(sql) ? 1 : Math.max(1, Math.floor(size / 2))

/**
 * Provides the projection store after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(
  () => layerWith()
)

/**
 * Provides the projection store with options, after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> =>
  fromDriver(Effect.andThen(PgMigrations.run(options), makeDriver(options)), options)

/**
 * Provides the projection store with options from the configuration, after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<PgOptions>
): Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError | Config.ConfigError, SqlClient.SqlClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))

/**
 * Runs the migrations, and provides nothing. They are those of all stores in the schema except the key store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMigrations: (options?: PgOptions) => Layer.Layer<never, EventStoreError, SqlClient.SqlClient> =
  PgMigrations.layer

/**
 * Provides the projection store without running migrations. The layer checks them, and fails with `StoreMisconfigured` if they are not
 * those of this version.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<ProjectionStore.ProjectionStore, EventStoreError, SqlClient.SqlClient> =>
  fromDriver(Effect.andThen(PgMigrations.check(options), makeDriver(options)), options)

const fromDriver = <R>(driver: Effect.Effect<ProjectionStoreDriver, EventStoreError, R>, options: PgOptions) =>
  ProjectionStore.layer(driver, { pollInterval: options.pollInterval ?? "50 millis" })
