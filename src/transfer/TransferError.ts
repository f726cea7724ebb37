/**
 * Why a log cannot be exported or imported.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An export is not as it was written: a line was changed, lost, doubled or moved, its end is missing, or it never was an export.
 *
 * - `line`: the first line that is not as it should be, from 1
 *
 * @since 0.1.0
 * @category errors
 */
export class DamagedExport extends Schema.TaggedError<DamagedExport>("evsrc/DamagedExport")("DamagedExport", {
  line: Schema.Int,
  detail: Schema.String
}) {
  override get message(): string {
    return `Line ${this.line} of the export: ${this.detail}`
  }
}

/**
 * An export and a log do not belong together: the log has events that the export has not, or others. Nothing was written, unless somebody else
 * writes to the log while it is imported: then what was written by then stays.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransferRejected
  extends Schema.TaggedError<TransferRejected>("evsrc/TransferRejected")("TransferRejected", {
    detail: Schema.String
  })
{
  override get message(): string {
    return this.detail
  }
}
