/**
 * Options of the layers on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"
import type { AppendQueueOptions } from "./append/AppendQueue.ts"
import type { PgDeadlineOptions } from "./PgDeadlines.ts"
import type { ReadBatcherOptions } from "./read/ReadBatcher.ts"

/**
 * Options of the layers on PostgreSQL.
 *
 * @since 0.1.0
 * @category options
 */
export interface PgOptions extends PgDeadlineOptions {
  /**
   * The database schema with the tables and functions. `evsrc` by default. Two stores in one database need two schemas.
   */
  readonly schema?: string | undefined
  /**
   * Whether processes notify each other of appends, and of the progress of projections, by `NOTIFY`, after the commit. `true` by default. Each process holds
   * one connection for it. A lost notification only delays a reader until its next poll.
   */
  readonly notify?: boolean | undefined
  /**
   * How often a waiting reader polls for new events. 50 milliseconds by default. Appends of the same process wake it at once. A caller that waits for a
   * projection polls once a second at most while notifications arrive.
   */
  readonly pollInterval?: Duration.Input | undefined
  /** How group commit batches concurrent appends. */
  readonly groupCommit?: AppendQueueOptions | undefined
  /**
   * How group read batches concurrent reads of streams, of snapshots, by queries, and of the documents that inline projections change. By default, only one
   * read of documents at a time is sent alone (`alone`), because group commit sends the appends behind these reads together.
   */
  readonly groupRead?: ReadBatcherOptions | undefined
  /**
   * Links every event to the preceding one in its stream by a hash, so that `HashChain.verify` detects changes made outside the store.
   * Migrations enable it for all processes that append to the schema, and it stays enabled.
   */
  readonly hashChain?: boolean | undefined
  /**
   * The keys that sign snapshots, each at least 32 random bytes in Base64. The first one signs; a snapshot that none of them has signed is not
   * used. Without keys, a role that may write the table of snapshots decides which states commands see.
   */
  readonly snapshotKeys?: ReadonlyArray<Redacted.Redacted> | undefined
  /**
   * Adds the indexes with which `Causation.of` finds the events of a correlation id without a scan of the log. Migrations create them,
   * and appends wait meanwhile. For a large log, create them before, as docs/audit.md describes.
   */
  readonly causationIndex?: boolean | undefined
}

/**
 * The name of a schema, plain and quoted for SQL.
 *
 * @since 0.1.0
 * @category models
 */
export interface SchemaName {
  readonly name: string
  readonly quoted: string
}

const misconfigured = (message: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(storeError(new StoreMisconfigured({ message, cause: undefined })))

/**
 * Returns the name of the schema. Fails with `StoreMisconfigured` when an option is invalid.
 *
 * @since 0.1.0
 * @category accessors
 */
export const schemaOf = (
  { pollInterval, schema: name = "evsrc" }: Pick<PgOptions, "schema" | "pollInterval">
): Effect.Effect<SchemaName, EventStoreError> => {
  // The name becomes part of SQL text, so only characters that need no escaping are allowed.
  if (typeof name !== "string" || !/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(name)) {
    return misconfigured(
      `The schema "${name}" is invalid: it must have 1 to 63 of the characters A-Z a-z 0-9 _ and must not start with a digit; `
        + "change the option `schema`"
    )
  }
  const interval = pollInterval === undefined ? Option.some(Duration.millis(50)) : Duration.fromInput(pollInterval)
  if (Option.isNone(interval) || !Duration.isGreaterThan(interval.value, Duration.zero)) {
    return misconfigured(
      `The option \`pollInterval\` is ${String(pollInterval)}; it must be a duration above zero, such as "50 millis"`
    )
  }
  return Effect.succeed({ name, quoted: `"${name}"` })
}
