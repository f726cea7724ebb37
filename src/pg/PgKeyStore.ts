/**
 * The key store on PostgreSQL. It needs its own schema, preferably in its own database.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { type EventStoreError, KeyStoreUnavailable, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as KeyStore from "../personalData/KeyStore.ts"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "../personalData/KeyStoreDriver.ts"
import * as PgConnections from "./connections/PgConnections.ts"
import * as PgMigrations from "./migrations/PgMigrations.ts"
import * as PgDeadlines from "./PgDeadlines.ts"
import { schemaOf } from "./PgOptions.ts"
import * as PgStatement from "./PgStatement.ts"

/**
 * Options of the key store on PostgreSQL.
 *
 * @since 0.1.0
 * @category options
 */
export interface PgKeyStoreOptions
  extends
    KeyStore.KeyStoreOptions,
    Pick<PgDeadlines.PgDeadlineOptions, "connectionTimeout" | "statementTimeout" | "maintenanceTimeout">
{
  /** The database schema with the keys. `evsrc_keys` by default. */
  readonly schema?: string | undefined
}

interface ErasureRow {
  readonly last_erasure: string
  readonly isolation: string
}

interface KeyRow extends ErasureRow {
  readonly subject: string | null
  readonly key: Uint8Array | null
  readonly erased_at: Date | null
}

/**
 * Makes the driver. It expects that the migrations have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(options: PgKeyStoreOptions = {}): Effect.fn.Return<KeyStoreDriver, EventStoreError, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    const { quoted } = yield* schemaOf(optionsOf(options))
    const statement = PgStatement.make(PgConnections.make(sql, yield* PgDeadlines.make(options)))
    const query: PgStatement.PgStatement = (text, params) => Effect.mapError(statement(text, params), unavailable)

    const isInTransaction = Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome)
    /** A transaction of another level reads what the key store had when it began: this process would not notice the erasures since. */
    const requireCurrent = ([row]: ReadonlyArray<ErasureRow>) =>
      Effect.flatMap(isInTransaction, (isInTransaction) =>
        isInTransaction && row!.isolation !== "read committed"
          ? Effect.fail(wrongIsolation(row!.isolation))
          : Effect.void)

    const found = (rows: Effect.Effect<ReadonlyArray<KeyRow>, EventStoreError>) =>
      Effect.gen(function*(): Effect.fn.Return<FoundKeys, EventStoreError> {
        // A key that a transaction has created may be rolled back with it.
        const durable = !(yield* isInTransaction)
        const all = yield* Effect.tap(rows, requireCurrent)
        const keys = new Map<string, SubjectKey>()
        for (const { erased_at, key, subject } of all) {
          if (subject === null) continue
          // A constraint guarantees that a row has either a key or the time of its erasure.
          keys.set(
            subject,
            key !== null ? { _tag: "Key", key } : { _tag: "Erased", at: DateTime.makeUnsafe(erased_at!) }
          )
        }
        return { keys, lastErasure: all[0]!.last_erasure, durable }
      })

    const isolation = "current_setting('transaction_isolation') as isolation"
    const columns = `last_erasure, subject, key, erased_at, ${isolation}`
    return {
      find: (subjects) => found(query<KeyRow>(`select ${columns} from ${quoted}.find_keys($1::text[])`, [subjects])),
      findOrCreate: (offered) => {
        const all = Array.from(offered).toSorted(([a], [b]) => a < b ? -1 : 1)
        return found(
          query<KeyRow>(`select ${columns} from ${quoted}.find_or_create_keys($1::text[], $2::bytea[])`, [
            all.map(([subject]) => subject),
            all.map(([, key]) => key)
          ])
        )
      },
      lastErasure: Effect.map(
        Effect.tap(
          query<ErasureRow>(`select last_erasure::text, ${isolation} from ${quoted}.erasures`, []),
          requireCurrent
        ),
        ([row]) => row!.last_erasure
      ),
      erase: (subject) =>
        Effect.map(
          query<{ readonly at: Date }>(`select ${quoted}.erase_key($1) as at`, [subject]),
          ([row]) => DateTime.makeUnsafe(row!.at)
        )
    }
  }
)

/**
 * Provides the key store after it has run its migrations.
 *
 * **Example** (Keys in a database of their own)
 *
 * ```ts
 * const Keys = PgKeyStore.layer.pipe(Layer.provide(PgClient.layer({ url: keysUrl })))
 * const Stores = PgStores.layer.pipe(Layer.provideMerge(Keys), Layer.provide(PgClient.layer({ url })))
 * ```
 *
 * **Gotchas**
 *
 * Provide it to the layers of the stores, which look it up when they are built. If it shares their client, a key that is created within
 * a transaction of the caller is committed or rolled back with it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(() =>
  layerWith()
)

/**
 * Provides the key store with options, after it has run its migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgKeyStoreOptions = {}
): Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> =>
  KeyStore.layer(Effect.andThen(PgMigrations.runKeys(optionsOf(options)), makeDriver(options)), options)

/**
 * Provides the key store with options from the configuration, after it has run its migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<PgKeyStoreOptions>
): Layer.Layer<KeyStore.KeyStore, EventStoreError | Config.ConfigError, SqlClient.SqlClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))

/**
 * Runs the migrations of the key store, and provides nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMigrations = (
  options: Pick<PgKeyStoreOptions, "schema"> = {}
): Layer.Layer<never, EventStoreError, SqlClient.SqlClient> =>
  Layer.effectDiscard(PgMigrations.runKeys(optionsOf(options)))

/**
 * Provides the key store without running migrations. The layer checks them, and fails with `StoreMisconfigured` if they are not those of
 * this version.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgKeyStoreOptions = {}
): Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> =>
  KeyStore.layer(Effect.andThen(PgMigrations.checkKeys(optionsOf(options)), makeDriver(options)), options)

const optionsOf = (options: PgKeyStoreOptions) => ({ ...options, schema: options.schema ?? PgMigrations.keysSchema })

const wrongIsolation = (isolation: string): EventStoreError =>
  storeError(
    new StoreMisconfigured({
      message:
        `The key store is used in a transaction with isolation ${isolation.toUpperCase()}, in which erasures since its begin are not seen; use READ `
        + "COMMITTED, or give the key store a client of its own",
      cause: undefined
    })
  )

const unavailable = (error: EventStoreError): EventStoreError =>
  error.reason._tag === "StoreUnavailable"
    ? storeError(new KeyStoreUnavailable({ message: `The key store is unavailable: ${error.message}`, cause: error }))
    : error
