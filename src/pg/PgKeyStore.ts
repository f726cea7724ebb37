/**
 * The key store on PostgreSQL: a schema of its own, best in a database of its own.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { type EventStoreError, KeyStoreUnavailable, storeError } from "../core/errors.ts"
import * as KeyStore from "../personalData/KeyStore.ts"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "../personalData/KeyStoreDriver.ts"
import * as PgMigrations from "./PgMigrations.ts"
import { schemaOf } from "./PgOptions.ts"
import * as PgStatement from "./PgStatement.ts"

/**
 * - `schema`: the database schema that holds the keys; `evsrc_keys` by default
 *
 * @since 0.1.0
 * @category options
 */
export interface PgKeyStoreOptions extends KeyStore.KeyStoreOptions {
  readonly schema?: string | undefined
}

interface KeyRow {
  readonly erased: bigint
  readonly subject: string | null
  readonly key: Uint8Array | null
  readonly erased_at: Date | null
}

/**
 * The driver alone. It expects the migrations to have run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDriver = Effect.fnUntraced(
  function*(options: PgKeyStoreOptions = {}): Effect.fn.Return<KeyStoreDriver, never, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    const { quoted } = schemaOf(optionsOf(options))
    const query: PgStatement.PgStatement = (text, params) =>
      Effect.mapError(PgStatement.make(sql)(text, params), unavailable)

    const found = (rows: Effect.Effect<ReadonlyArray<KeyRow>, EventStoreError>) =>
      Effect.gen(function*(): Effect.fn.Return<FoundKeys, EventStoreError> {
        // What a transaction has made may be rolled back with it.
        const durable = Option.isNone(yield* Effect.serviceOption(sql.transactionService))
        const all = yield* rows
        const keys = new Map<string, SubjectKey>()
        for (const { erased_at, key, subject } of all) {
          if (subject === null) continue
          // One of the two is there, by a constraint.
          keys.set(
            subject,
            key !== null ? { _tag: "Key", key } : { _tag: "Erased", at: DateTime.makeUnsafe(erased_at!) }
          )
        }
        return { keys, erasures: all[0]!.erased, durable }
      })

    return {
      find: (subjects) => found(query<KeyRow>(`select * from ${quoted}.find_keys($1::text[])`, [subjects])),
      findOrCreate: (offered) => {
        const all = Array.from(offered).toSorted(([a], [b]) => a < b ? -1 : 1)
        return found(
          query<KeyRow>(`select * from ${quoted}.find_or_create_keys($1::text[], $2::bytea[])`, [
            all.map(([subject]) => subject),
            all.map(([, key]) => key)
          ])
        )
      },
      erasures: Effect.map(
        query<{ readonly erased: bigint }>(`select erased from ${quoted}.erasures`, []),
        ([row]) => row!.erased
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
 * The key store on Postgres; runs its migrations first.
 *
 * **Example** (keys in a database of their own)
 *
 * ```ts
 * const Keys = PgKeyStore.layer.pipe(Layer.provide(PgClient.layer({ url: keysUrl })))
 * const Stores = PgStores.layer.pipe(Layer.provideMerge(Keys), Layer.provide(PgClient.layer({ url })))
 * ```
 *
 * **Gotchas**
 *
 * Provide it to the layers of the stores: they look for it when they are built. Where it shares their client, a key that is made within a
 * transaction of the caller is made or rolled back with it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> = Layer.suspend(() =>
  layerWith()
)

/**
 * Like `layer`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgKeyStoreOptions = {}
): Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> =>
  KeyStore.layer(Effect.andThen(PgMigrations.runKeys(optionsOf(options)), makeDriver(options)), options)

/**
 * The key store without running migrations: they are checked, and it fails when they are not what this version needs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgKeyStoreOptions = {}
): Layer.Layer<KeyStore.KeyStore, EventStoreError, SqlClient.SqlClient> =>
  KeyStore.layer(Effect.andThen(PgMigrations.checkKeys(optionsOf(options)), makeDriver(options)), options)

const optionsOf = ({ schema }: PgKeyStoreOptions) => ({ schema: schema ?? PgMigrations.keysSchema })

const unavailable = (error: EventStoreError): EventStoreError =>
  error.reason._tag === "StoreUnavailable"
    ? storeError(new KeyStoreUnavailable({ message: `The key store is unavailable: ${error.message}`, cause: error }))
    : error
