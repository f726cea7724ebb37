/**
 * The database and the stores that a command works on.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStore } from "../../eventStore/EventStore.ts"
import type { KeyStore } from "../../personalData/KeyStore.ts"
import type { PgOptions } from "../../pg/PgOptions.ts"
import * as PgStores from "../../pg/PgStores.ts"
import type { ProjectionStore } from "../../projection/ProjectionStore.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Root from "../Root.ts"
import * as Secrets from "../Secrets.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as WithheldData from "./WithheldData.ts"

/** A few connections: a command waits for its own work only, and the stores leave two of them to leases and reads. */
const poolSize = 6

const clientOf = (url: Redacted.Redacted): Layer.Layer<SqlClient, unknown> =>
  Layer.unwrap(Effect.as(
    Secrets.remember(Redacted.value(url)),
    PgClient.layer({
      url,
      applicationName: "evsrc",
      maxConnections: poolSize,
      connectTimeout: "10 seconds",
      keepAlive: "30 seconds"
    })
  ))

/**
 * The database of a command, with the options of the stores in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly client: Layer.Layer<SqlClient, unknown>
  readonly options: PgOptions
  readonly loaded: Option.Option<ConfigFile.Loaded>
}

/**
 * Returns the configuration, if there is one, and the options of the stores.
 *
 * @since 0.1.0
 * @category accessors
 */
export const settings = Effect.gen(function*() {
  const { schema } = yield* Root.root
  const loaded = yield* ConfigFile.optional
  const options: PgOptions = {
    ...Option.getOrUndefined(loaded)?.config.options,
    ...Option.isSome(schema) ? { schema: schema.value } : {},
    // Polling is enough for a command, and a listener would hold a connection.
    notify: false
  }
  return { loaded, options }
})

/**
 * Returns the database: that of `--url`, of the configuration, or of `DATABASE_URL`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const target = Effect.gen(function*() {
  const { url } = yield* Root.root
  const { loaded, options } = yield* settings
  const database = Option.getOrUndefined(loaded)?.config.database
  if (Option.isNone(url) && database !== undefined) return { client: database, options, loaded }
  const found = Option.isSome(url) ? url : yield* Config.option(Config.Redacted("DATABASE_URL"))
  if (Option.isNone(found)) {
    return yield* new WrongUse({
      detail: "There is no database; set DATABASE_URL, give --url, or write an evsrc.config.ts with a database"
    })
  }
  return { client: clientOf(found.value), options, loaded }
})

/**
 * Provides the client of the database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = Layer.unwrap(Effect.map(target, ({ client }) => client))

/** Runs no migrations. */
const layerWith = (
  { client, options }: Target,
  keys: Layer.Layer<KeyStore, unknown, SqlClient> | undefined
) => {
  const stores: Layer.Layer<EventStore | ProjectionStore, unknown, SqlClient> = PgStores.layerWithoutMigrations(options)
  return Layer.provideMerge(keys === undefined ? stores : Layer.provide(stores, keys), client)
}

/**
 * Provides the stores, which have the keys of the configuration, and the client of the database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.unwrap(
  Effect.map(target, (target) => layerWith(target, Option.getOrUndefined(target.loaded)?.config.keys))
)

/**
 * Provides the stores, which read all personal data as erased, and the client of the database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithheld = Layer.unwrap(Effect.map(target, (target) => layerWith(target, WithheldData.layer)))
