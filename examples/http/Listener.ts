/**
 * Node's HTTP server, made to answer in JSON what is not even HTTP, and to end when it is told to.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Server, type ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import { Ending } from "./Ending.ts"

export interface Address {
  readonly host: string
  readonly port: number
}

/** By the code of Node's error; Node's own answers have no body. */
const refusals: Readonly<Record<string, readonly [status: string, tag: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [
    "431 Request Header Fields Too Large",
    "HeadersTooLarge",
    "The address or the headers of the request are too long"
  ],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "RequestTimeout", "The request took too long to arrive"]
}

const reject = (error: NodeJS.ErrnoException, socket: Duplex): void => {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, _tag, message] = refusals[error.code ?? ""]
    ?? ["400 Bad Request", "MalformedRequest", "This is not a request of HTTP/1.1"]
  const body = JSON.stringify({ _tag, message })
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`
      + `Connection: close\r\n\r\n${body}`
  )
}

/** How long requests may take to their end once the server is told to end. */
const drainSeconds = 10

/**
 * `Server.close` waits for every connection that a client has opened without a word or keeps open for further requests; this one
 * says that there is nothing more to get, and waits for what was asked only.
 */
class EndingServer extends Server {
  readonly #open = new Map<Duplex, Set<ServerResponse>>()
  readonly #onClose: () => void

  constructor(onClose: () => void) {
    super()
    this.#onClose = onClose
    this.on("clientError", reject)
    this.on("connection", (socket) => {
      this.#open.set(socket, new Set())
      socket.once("close", () => this.#open.delete(socket))
    })
    this.on("request", ({ socket }, response: ServerResponse) => {
      const responses = this.#open.get(socket)
      responses?.add(response)
      response.once("close", () => responses?.delete(response))
      if (!this.listening) response.setHeader("connection", "close")
    })
  }

  override close(done?: (error?: Error) => void): this {
    this.#onClose()
    for (const responses of this.#open.values()) {
      for (const response of responses) if (!response.headersSent) response.setHeader("connection", "close")
    }
    const idle = setInterval(() => {
      for (const [socket, responses] of this.#open) if (responses.size === 0) socket.destroy()
    }, 100)
    const late = setTimeout(() => this.closeAllConnections(), (drainSeconds + 2) * 1000)
    this.once("close", () => {
      clearInterval(idle)
      clearTimeout(late)
    })
    return super.close(done)
  }
}

export const layer = (address: Address) =>
  Layer.unwrap(
    Effect.map(Ending, (ending) =>
      NodeHttpServer.layerServer(() =>
        new EndingServer(() => Deferred.doneUnsafe(ending, Effect.void)), {
        ...address,
        gracefulShutdownTimeout: `${drainSeconds} seconds`
      }))
  )
