/**
 * evsrc on PostgreSQL.
 *
 * @since 0.1.0
 */
export * as PgMigrations from "./migrations/PgMigrations.ts"
export * as PgEventStore from "./PgEventStore.ts"
export * as PgKeyStore from "./PgKeyStore.ts"
export type { PgOptions } from "./PgOptions.ts"
export * as PgStores from "./PgStores.ts"
export * as PgProjectionStore from "./projections/PgProjectionStore.ts"
