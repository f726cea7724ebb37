/** A TCP proxy before a PostgreSQL server that can lose an answer, so that the statement is done and nobody is told, and can be cut. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"

export interface Proxy {
  /** The server's URL, by way of the proxy. */
  readonly url: string
  /** The next answer of the server on any connection ends that connection instead of being passed on. */
  readonly loseNextAnswer: Effect.Effect<void>
  /** How many answers were lost. */
  readonly lost: Effect.Effect<number>
  /** As long as it is cut, every connection is ended, also new ones. */
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
  if (address === null || typeof address === "string") throw new Error("The proxy has no port")
  url.hostname = "127.0.0.1"
  url.port = String(address.port)
  return {
    url: url.href,
    loseNextAnswer: Effect.sync(() => {
      armed = true
    }),
    lost: Effect.sync(() => lost),
    cut: (is) =>
      Effect.sync(() => {
        isCut = is
        if (is) { for (const socket of sockets) socket.destroy() }
      }),
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    }
  }
}
