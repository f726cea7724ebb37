/**
 * Why an embedded PostgreSQL could not be opened.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * - `InUse`: another process, or another layer of this one, has the database open.
 * - `Folder`: the folder cannot be made, read or written, or holds something else.
 * - `Start`: PGlite itself did not start; `cause` tells why.
 *
 * @since 0.1.0
 * @category errors
 */
export class PgliteError extends Schema.TaggedError<PgliteError>("evsrc/pglite/PgliteError")("PgliteError", {
  reason: Schema.Literals(["InUse", "Folder", "Start"]),
  message: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {}
