/**
 * evsrc on PostgreSQL.
 *
 * @since 0.1.0
 */
export * as PgEventStore from "./PgEventStore.ts"
export * as PgKeyStore from "./PgKeyStore.ts"
export * as PgMigrations from "./PgMigrations.ts"
export type { PgOptions } from "./PgOptions.ts"
export * as PgProjectionStore from "./PgProjectionStore.ts"
export * as PgStores from "./PgStores.ts"
