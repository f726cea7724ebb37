/**
 * What the Postgres layers can be told.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { AppendQueueOptions } from "./AppendQueue.ts"

/**
 * - `groupCommit`: how concurrent appends are sent together
 * - `schema`: the database schema that holds the tables and functions; `evsrc` by default. Two stores in one database have two
 *   schemas
 * - `notify`: whether processes tell each other of their appends by `NOTIFY`, for which each holds one more connection; true by
 *   default. Sent after the commit, as a hint; correctness does not depend on it
 * - `pollInterval`: how often a waiting subscriber looks for itself; 50 milliseconds by default. Appends of this process wake it
 *   at once
 *
 * - `hashChain`: links every event to the one before it in its stream by a hash, so that `HashChain.verify` finds what was changed behind
 *   the store's back. Switched on by migrations; from then on for all who append to this schema, whether they ask for it or not, and for good
 * - `causationIndex`: indexes by which `Causation.of` finds the events of a conversation without a look at the whole log. Made by migrations, while which
 *   appends wait; for a log that is large already, make them before, as docs/audit.md says
 *
 * @since 0.1.0
 * @category options
 */
export interface PgOptions {
  readonly causationIndex?: boolean | undefined
  readonly hashChain?: boolean | undefined
  readonly groupCommit?: AppendQueueOptions | undefined
  readonly schema?: string | undefined
  readonly notify?: boolean | undefined
  readonly pollInterval?: Duration.Input | undefined
}

/**
 * The schema's name, and its name as SQL writes it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const schemaOf = (options: PgOptions): { readonly name: string; readonly quoted: string } => {
  const name = options.schema ?? "evsrc"
  // It becomes part of SQL text, so it is held to what needs no escaping at all.
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(name)) {
    throw new Error(
      `evsrc: the schema "${name}" must be 1 to 63 of the characters A-Z a-z 0-9 _ and not start with a digit`
    )
  }
  return { name, quoted: `"${name}"` }
}
