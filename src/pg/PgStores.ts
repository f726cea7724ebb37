/**
 * Both stores on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStoreError } from "../core/errors.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import * as PgEventStore from "./PgEventStore.ts"
import * as PgMigrations from "./PgMigrations.ts"
import type { PgOptions } from "./PgOptions.ts"
import * as PgProjectionStore from "./PgProjectionStore.ts"

/**
 * The event store and the projection store in one database; runs the migrations first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: PgOptions = {}
): Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> =>
  Layer.unwrap(Effect.as(PgMigrations.run(options), layerWithoutMigrations(options)))

/**
 * Both, without running migrations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutMigrations = (
  options: PgOptions = {}
): Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> =>
  Layer.merge(PgEventStore.layerWithoutMigrations(options), PgProjectionStore.layerWithoutMigrations(options))

/**
 * `layerWith` the default options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore | ProjectionStore, EventStoreError, SqlClient> = layerWith()
