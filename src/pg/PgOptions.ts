/**
 * Options of the layers on PostgreSQL.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { AppendQueueOptions } from "./AppendQueue.ts"

/**
 * Options of the layers on PostgreSQL.
 *
 * @since 0.1.0
 * @category options
 */
export interface PgOptions {
  /**
   * The database schema with the tables and functions. `evsrc` by default. Two stores in one database need two schemas.
   */
  readonly schema?: string | undefined
  /**
   * Whether processes notify each other of appends by `NOTIFY`, after the commit. `true` by default. Each process holds one connection
   * for it. A lost notification only delays a reader until its next poll.
   */
  readonly notify?: boolean | undefined
  /** How often a waiting reader polls for new events. 50 milliseconds by default. Appends of the same process wake it at once. */
  readonly pollInterval?: Duration.Input | undefined
  /** How group commit batches concurrent appends. */
  readonly groupCommit?: AppendQueueOptions | undefined
  /**
   * Links every event to the preceding one in its stream by a hash, so that `HashChain.verify` detects changes made outside the store.
   * Migrations enable it for all processes that append to the schema, and it stays enabled.
   */
  readonly hashChain?: boolean | undefined
  /**
   * Adds the indexes with which `Causation.of` finds the events of a correlation id without a scan of the log. Migrations create them,
   * and appends wait meanwhile. For a large log, create them before, as docs/audit.md describes.
   */
  readonly causationIndex?: boolean | undefined
}

/**
 * Returns the name of the schema, plain and quoted for SQL.
 *
 * @since 0.1.0
 * @category accessors
 */
export const schemaOf = (options: PgOptions): { readonly name: string; readonly quoted: string } => {
  const name = options.schema ?? "evsrc"
  // The name becomes part of SQL text, so only characters that need no escaping are allowed.
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(name)) {
    throw new Error(
      `evsrc: the schema "${name}" must have 1 to 63 of the characters A-Z a-z 0-9 _ and must not start with a digit`
    )
  }
  return { name, quoted: `"${name}"` }
}
