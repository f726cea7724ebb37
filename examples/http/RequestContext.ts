/**
 * What the headers and parameters of a request say about the command or the query that it becomes.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type { CommandContext } from "evsrc"
import { createHash } from "node:crypto"
import type { WriteHeaders } from "./contract/Requests.ts"

/** The time that `?after=` waits for the read model. */
export const ReadTimeout = Context.Reference<Duration.Input>("evsrc/examples/http/ReadTimeout", {
  defaultValue: () => "5 seconds"
})

/** Trusts `X-Actor` as sent. A program of your own authenticates the request, and takes the actor from its credentials here. */
export const commandContext = (headers: WriteHeaders): CommandContext.CommandContext => ({
  commandId: headers["idempotency-key"],
  actor: headers["x-actor"],
  expected: headers["if-match"]
})

/** Derives an id from the idempotency key, so that a repeated request without an id means the same user or order. */
export const idFromKey = (key: string): string => {
  const hash = createHash("sha256").update(key).digest("hex")
  // A UUID of version 8, the version for custom formats.
  return [hash.slice(0, 8), hash.slice(8, 12), `8${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`, hash.slice(20, 32)]
    .join("-")
}
