/**
 * The error of an embedded PostgreSQL that could not be opened.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An embedded PostgreSQL could not be opened. The `reason` is one of:
 *
 * - `InUse`: another process, or another layer of this one, has the database open, or it cannot be checked whether one has
 * - `Folder`: the directory cannot be created, read or written, or contains something else
 * - `Start`: PGlite did not start; `cause` has its error
 *
 * @since 0.1.0
 * @category errors
 */
export class PgliteError extends Schema.TaggedError<PgliteError>("evsrc/pglite/PgliteError")("PgliteError", {
  reason: Schema.Literals(["InUse", "Folder", "Start"]),
  message: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {}
