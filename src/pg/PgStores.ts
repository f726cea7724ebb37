/**
 * The event store and the projection store on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStoreError } from "../core/errors.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import * as PgMigrations from "./migrations/PgMigrations.ts"
import * as PgEventStore from "./PgEventStore.ts"
import type { PgOptions } from "./PgOptions.ts"
import * as PgProjectionStore from "./projections/PgProjectionStore.ts"

/**
 * Provides both stores in one schema with options, after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> =>
  Layer.unwrap(Effect.as(PgMigrations.run(options), layerWithoutMigrations(options)))

/**
 * Provides both stores with options from the configuration, after it has run the migrations.
 *
 * **Example** (The schema from an environment variable)
 *
 * ```ts
 * const Stores = PgStores.layerConfig({ schema: Config.String("EVENTS_SCHEMA") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<PgOptions>
): Layer.Layer<EventStore | ProjectionStore, EventStoreError | Config.ConfigError, SqlClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))

/**
 * Runs the migrations, and provides nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMigrations: (options?: PgOptions) => Layer.Layer<never, EventStoreError, SqlClient> =
  PgMigrations.layer

/**
 * Provides both stores without running migrations. The layer checks them, and fails with `StoreMisconfigured` if they are not those of
 * this version.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> =>
  Layer.merge(PgEventStore.layerWithoutMigrations(options), PgProjectionStore.layerWithoutMigrations(options))

/**
 * Provides both stores in the schema `evsrc`, after it has run the migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> = layerWith()
