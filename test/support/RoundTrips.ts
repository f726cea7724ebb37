/**
 * A TCP proxy in front of a PostgreSQL server that counts the round trips of its clients: how often a client sends something that it could
 * not send before it had the response to what it sent earlier.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"

/** A statement that a client has sent. */
export interface Sent {
  /** The number of round trips that the clients had begun when they sent it, with its own. */
  readonly trip: number
  readonly sql: string
}

export interface RoundTrips {
  /** The URL of the server through the proxy. */
  readonly url: string
  /** Returns the number of round trips so far, one after the other: statements on several connections at the same time count once. */
  readonly count: () => number
  /** Returns the statements so far. */
  readonly sent: () => ReadonlyArray<Sent>
  readonly close: () => Promise<unknown>
}

/** Opens a proxy that holds back each response for so many milliseconds, so that what is sent at the same time counts as one round trip. */
export const open = async (serverUrl: string, delay = 10): Promise<RoundTrips> => {
  const url = new URL(serverUrl)
  const target = { host: url.hostname, port: Number(url.port === "" ? 5432 : url.port) }
  const sockets = new Set<Net.Socket>()
  const sent: Array<Sent> = []
  // A logical clock: a response brings the clients to the end of the round trip in which its request was sent.
  let ended = 0
  const server = Net.createServer((client) => {
    const upstream = Net.connect(target)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay()
      socket.on("error", () => {}).on("close", () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    const statementsIn = statements()
    let trip = 0
    client.on("data", (bytes) => {
      trip = ended + 1
      for (const sql of statementsIn(bytes)) sent.push({ trip, sql })
      upstream.write(bytes)
    })
    upstream.on("data", (bytes) => {
      const of = trip
      setTimeout(() => {
        ended = Math.max(ended, of)
        client.write(bytes)
      }, delay)
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
    count: () => ended,
    sent: () => sent,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    }
  }
}

/** Opens a proxy for as long as the scope lasts. */
export const make = (serverUrl: string, delay?: number): Effect.Effect<RoundTrips, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.promise(() => open(serverUrl, delay)), ({ close }) => Effect.promise(close))

/** Returns a function that takes the bytes of one client and returns the texts of the statements that they execute. */
const statements = () => {
  const prepared = new Map<string, string>()
  let rest = Buffer.alloc(0)
  let isStarted = false
  return (bytes: Buffer): ReadonlyArray<string> => {
    rest = Buffer.concat([rest, bytes])
    const found: Array<string> = []
    while (true) {
      const head = isStarted ? 1 : 0
      if (rest.length < head + 4) return found
      const end = head + rest.readInt32BE(head)
      if (rest.length < end) return found
      const type = String.fromCharCode(isStarted ? rest[0]! : 0)
      const [first = "", second = ""] = rest.toString("utf8", head + 4, end).split("\0")
      rest = rest.subarray(end)
      isStarted = true
      if (type === "P") prepared.set(first, second)
      else if (type === "B") found.push(prepared.get(second) ?? "")
      else if (type === "Q") found.push(first)
    }
  }
}
