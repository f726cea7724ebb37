/**
 * The changes of users as the text of server-sent events.
 */
import { LogPosition } from "evsrc"
import { AppClosed } from "evsrc/promise"
import { UserEvent } from "../users/contract/UserEvent.ts"
import type { UsersApp } from "./UsersApp.ts"

/**
 * Returns the changes after a cursor, past and future. A generator that waits ends only when its event arrives, so the caller passes a signal
 * that is aborted when the client has left.
 */
export async function* changesAfter(
  app: UsersApp,
  after: string | undefined,
  signal: AbortSignal
): AsyncGenerator<string> {
  // The response begins at once, and not with the first event.
  yield ": connected\n\n"
  try {
    for await (const recorded of app.events(UserEvent, { after, signal })) {
      const cursor = LogPosition.format(LogPosition.ofEvent(recorded))
      yield `event: change\nid: ${cursor}\ndata: ${JSON.stringify(recorded.event)}\n\n`
    }
  } catch (error) {
    // The program ends, and so does the response. The client reconnects.
    if (!(error instanceof AppClosed)) throw error
  }
}

/** Proxies neither cache nor buffer the stream. */
export const headers = { "content-type": "text/event-stream", "cache-control": "no-cache, no-transform" }
