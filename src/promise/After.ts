/**
 * Where a read starts, or what it waits for.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as LogPosition from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"

/**
 * A receipt, a position of the log, or a cursor: the text that `dispatch` returns beside the receipt, or that `LogPosition.format` makes.
 *
 * @since 0.1.0
 * @category models
 */
export type After = Receipt | LogPosition.LogPosition | Position | string

/**
 * Returns the position of the log. Fails with a message if a text is not a cursor.
 *
 * @since 0.1.0
 * @category accessors
 */
export const toLogPosition = (after: After): Result.Result<LogPosition.LogPosition, string> => {
  if (typeof after === "string") {
    return Result.fromOption(
      LogPosition.parse(after),
      () =>
        `\`after\` is not a cursor: ${
          JSON.stringify(after.slice(0, 80))
        }; pass a receipt, the cursor of a receipt, or the cursor of an event, such as 42_<id of the event>`
    )
  }
  return Result.succeed(
    typeof after === "object" && "events" in after ? LogPosition.ofReceipt(after) : LogPosition.from(after)
  )
}

/**
 * Returns the text of the position of a receipt, which a client can pass as `after`.
 *
 * @since 0.1.0
 * @category formatting
 */
export const cursorOf = (receipt: Receipt): string => LogPosition.format(LogPosition.ofReceipt(receipt))
