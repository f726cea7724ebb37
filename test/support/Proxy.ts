/** A TCP proxy in front of a PostgreSQL server. It can drop a response, so that a client misses the outcome of a statement, and be cut. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"

export interface Proxy {
  /** The URL of the server through the proxy. */
  readonly url: string
  /** Drops the server's next response on any connection, and closes that connection. */
  readonly loseNextAnswer: Effect.Effect<void>
  /** Returns the number of dropped responses. */
  readonly lost: Effect.Effect<number>
  /** While the proxy is cut, it closes every connection, also new ones. */
  readonly cut: (isCut: boolean) => Effect.Effect<void>
}

export const make = (serverUrl: string): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => open(serverUrl)),
    ({ close }) => Effect.promise(close)
  )

const open = async (serverUrl: string): Promise<Proxy & { readonly close: () => Promise<unknown> }> => {
  const url = new URL(serverUrl)
  const target = { host: url.hostname, port: Number(url.port === "" ? 5432 : url.port) }
  const sockets = new Set<Net.Socket>()
  let armed = false
  let lost = 0
  let isCut = false
  const server = Net.createServer((client) => {
    if (isCut) {
      client.on("error", () => {}).destroy()
      return
    }
    const upstream = Net.connect(target)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on("error", () => {}).on("close", () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on("data", (bytes) => upstream.write(bytes))
    upstream.on("data", (bytes) => {
      if (!armed) {
        client.write(bytes)
        return
      }
      armed = false
      lost++
      client.destroy()
    })
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("The proxy did not get a TCP port")
  url.hostname = "127.0.0.1"
  url.port = String(address.port)
  return {
    url: url.href,
    loseNextAnswer: Effect.sync(() => {
      armed = true
    }),
    lost: Effect.sync(() => lost),
    cut: (next) =>
      Effect.sync(() => {
        isCut = next
        if (next) { for (const socket of sockets) socket.destroy() }
      }),
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    }
  }
}
