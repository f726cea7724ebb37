/**
 * Node's HTTP server, with problem details for malformed HTTP and a graceful shutdown.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Server, type ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import { ShutdownSignal } from "./ShutdownSignal.ts"

export interface Address {
  readonly host: string
  readonly port: number
}

/** Responses by the code of Node's error, because Node's own have no body. */
const clientErrors: Readonly<Record<string, readonly [status: number, title: string, tag: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [
    431,
    "Request Header Fields Too Large",
    "HeadersTooLarge",
    "The URL or the headers of the request are too long"
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout", "RequestTimeout", "The request took too long to arrive"]
}

const reject = (error: NodeJS.ErrnoException, socket: Duplex): void => {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, title, _tag, message] = clientErrors[error.code ?? ""]
    ?? [400, "Bad Request", "MalformedRequest", "The request is not valid HTTP/1.1"]
  const body = JSON.stringify({ type: "about:blank", title, status, detail: message, message, _tag })
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\n`
      + `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

/** The time that requests in progress get to finish once the server shuts down. */
const drainSeconds = 10

/**
 * Node's `Server.close` waits until clients close idle connections. This server closes idle connections itself and waits only for requests in
 * progress.
 */
class GracefulServer extends Server {
  readonly #responses = new Map<Duplex, Set<ServerResponse>>()
  readonly #onClose: () => void

  constructor(onClose: () => void) {
    super()
    this.#onClose = onClose
    this.on("clientError", reject)
    this.on("connection", (socket) => {
      this.#responses.set(socket, new Set())
      socket.once("close", () => this.#responses.delete(socket))
    })
    this.on("request", ({ socket }, response: ServerResponse) => {
      const responses = this.#responses.get(socket)
      responses?.add(response)
      response.once("close", () => responses?.delete(response))
      if (!this.listening) response.setHeader("connection", "close")
    })
  }

  override close(done?: (error?: Error) => void): this {
    this.#onClose()
    for (const responses of this.#responses.values()) {
      for (const response of responses) if (!response.headersSent) response.setHeader("connection", "close")
    }
    const idle = setInterval(() => {
      for (const [socket, responses] of this.#responses) if (responses.size === 0) socket.destroy()
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
    Effect.map(ShutdownSignal, (shutdown) =>
      NodeHttpServer.layerServer(() =>
        new GracefulServer(() => Deferred.doneUnsafe(shutdown, Effect.void)), {
        ...address,
        gracefulShutdownTimeout: `${drainSeconds} seconds`
      }))
  )
