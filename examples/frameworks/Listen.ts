/**
 * Listens on this machine.
 */
import { once } from "node:events"
import type { Server, ServerResponse } from "node:http"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { changesAfter, headers } from "./Changes.ts"
import type { UsersApp } from "./UsersApp.ts"

/** A server that listens. */
export interface Listening {
  readonly url: string
  readonly close: () => Promise<void>
}

export const listen = async (server: Server, port: number): Promise<Listening> => {
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : port}`,
    close: async () => {
      const closed = once(server, "close")
      server.close()
      server.closeAllConnections()
      await closed
    }
  }
}

/** Returns the signal that is aborted when the client has left. */
export const signalOf = (response: ServerResponse): AbortSignal => {
  const controller = new AbortController()
  response.once("close", () => controller.abort())
  return controller.signal
}

/** Sends changes until the client leaves. While the client reads slowly, the app reads no further. */
export const sendChanges = async (app: UsersApp, after: string | undefined, response: ServerResponse) => {
  const signal = signalOf(response)
  response.writeHead(200, headers)
  try {
    await pipeline(Readable.from(changesAfter(app, after, signal)), response)
  } catch (error) {
    // The client reconnects, and resumes after the last change that it has received.
    if (!signal.aborted) console.error(error)
  }
}
