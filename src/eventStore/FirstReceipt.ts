/**
 * The first receipt of a command id that comes again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { CommandIdReused, type EventStoreError, storeError } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { Keys } from "../personalData/KeyStoreLookup.ts"
import type { CommandRecord } from "./driver/EventStoreDriver.ts"
import * as PayloadHash from "./payload/PayloadHash.ts"

/**
 * What a command id is used for.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandUse {
  readonly commandId: string
  readonly stream: string
  /** The name of the command, if it has one. */
  readonly command: string | undefined
  readonly content: PayloadHash.Content
}

/**
 * Returns the first receipt of a command id. Fails with `CommandIdReused` when the id belongs to another command, another stream or another
 * payload.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireSame = Effect.fnUntraced(function*(
  keys: Pick<Keys, "decrypt">,
  { metadata, receipt: first }: CommandRecord,
  { command, commandId, content, stream }: CommandUse
): Effect.fn.Return<Receipt, EventStoreError> {
  const differs = first.command !== command
    ? "command"
    : first.stream !== stream
    ? "stream"
    : (yield* PayloadHash.matches(keys, metadata, content))
    ? undefined
    : "payload"
  if (differs === undefined) return first
  return yield* storeError(
    new CommandIdReused({
      commandId,
      differs,
      stream,
      firstStream: first.stream,
      ...(command === undefined ? {} : { command }),
      ...(first.command === undefined ? {} : { firstCommand: first.command })
    })
  )
})
