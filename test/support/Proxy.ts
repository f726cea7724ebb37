/** A TCP proxy in front of a PostgreSQL server. It can drop a response, drop all packets, delay them, and be cut. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"

export interface Proxy {
  /** The URL of the server through the proxy. */
  readonly url: string
  /** Drops the server's next response on any connection, and closes that connection. */
  readonly loseNextAnswer: Effect.Effect<void>
  /** Returns the number of dropped responses, and of connections that {@link loseNextConnection} has lost. */
  readonly lost: Effect.Effect<number>
  /** While the proxy is cut, it closes every connection, also new ones. */
  readonly cut: (isCut: boolean) => Effect.Effect<void>
  /**
   * While the proxy is a black hole, it drops all packets and closes nothing. It accepts connections. Those that existed meanwhile stay
   * half-open for ever.
   */
  readonly blackhole: (isOn: boolean) => Effect.Effect<void>
  /** Drops the server's next response and all later packets of that connection, and closes nothing. */
  readonly loseNextConnection: Effect.Effect<void>
  /** Delays the server's responses by so many milliseconds. */
  readonly delay: (millis: number) => Effect.Effect<void>
  /** Returns the number of connections that are open to the proxy. */
  readonly connections: Effect.Effect<number>
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
  let isBlackhole = false
  let losesNext = false
  let delay = 0
  const clients = new Set<Net.Socket>()
  const losers = new Set<() => void>()
  const server = Net.createServer((client) => {
    if (isCut) {
      client.on("error", () => {}).destroy()
      return
    }
    clients.add(client)
    client.on("close", () => clients.delete(client))
    const upstream = Net.connect(target)
    let isLost = isBlackhole
    const lose = () => {
      isLost = true
    }
    losers.add(lose)
    client.on("close", () => losers.delete(lose))
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on("error", () => {}).on("close", () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on("data", (bytes) => {
      if (!isLost) upstream.write(bytes)
    })
    upstream.on("data", (bytes) => {
      if (losesNext) {
        losesNext = false
        isLost = true
        lost++
      }
      if (isLost) return
      if (delay > 0) {
        setTimeout(() => client.write(bytes), delay)
        return
      }
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
    blackhole: (isOn) =>
      Effect.sync(() => {
        isBlackhole = isOn
        // Their packets are lost in between, whether or not any were sent.
        if (isOn) { for (const lose of losers) lose() }
      }),
    loseNextConnection: Effect.sync(() => {
      losesNext = true
    }),
    delay: (millis) =>
      Effect.sync(() => {
        delay = millis
      }),
    connections: Effect.sync(() => clients.size),
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    }
  }
}
