/**
 * The errors of exports and imports.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An export is damaged: a line was changed, lost, duplicated or moved, its end is missing, or it never was an export.
 *
 * @since 0.1.0
 * @category errors
 */
export class DamagedExport extends Schema.TaggedError<DamagedExport>("evsrc/DamagedExport")("DamagedExport", {
  /** The number of the first damaged line, from 1. */
  line: Schema.Int,
  detail: Schema.String
}) {
  override get message(): string {
    return `Line ${this.line} of the export: ${this.detail}`
  }
}

/**
 * The log holds events that the export does not contain. Nothing was written, except if another process appends during the import: then the
 * events written before that stay.
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
