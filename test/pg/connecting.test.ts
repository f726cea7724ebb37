/** What a store reports when the client cannot connect: whether the append may have been written, and whether a retry may help. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { EventStoreError, StreamId } from "evsrc"
import { PgEventStore, PgMigrations } from "evsrc/pg"
import { once } from "node:events"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { inject } from "vitest"
import { freshDatabase } from "../support/Database.ts"
import * as Pgbouncer from "../support/Pgbouncer.ts"

/** A self-signed certificate of `other.example`, which serves these tests only. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ0D+i6oinP6gE1tr
ONO2rjc/0GurWzqp5I71goIQc62hRANCAASioTdbr7Zp7al/ohM/cEDZrw7pkbO+
LSmiEUl/AggcFp3bnTozYYi10GwzAz6z1mpXVyI1Bys9FobRnX8n019E
-----END PRIVATE KEY-----`
const cert = `-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUEAMuVnoSA4PiCSWrcAowhNuV+FMwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTAgFw0yNjExMjkwNTI5NTRaGA8yMTI2
MTEwNTA1Mjk1NFowGDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABKKhN1uvtmntqX+iEz9wQNmvDumRs74tKaIRSX8CCBwW
ndudOjNhiLXQbDMDPrPWaldXIjUHKz0WhtGdfyfTX0SjbTBrMB0GA1UdDgQWBBR9
g+nYziham8FyU65rSv9dgEeOgjAfBgNVHSMEGDAWgBR9g+nYziham8FyU65rSv9d
gEeOgjAPBgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+CDW90aGVyLmV4YW1wbGUw
CgYIKoZIzj0EAwIDSAAwRQIhAK+66kK/wMdYoYQIWKvgKSmwWRKyj5skpouWqhT6
zGgFAiAaoHzvr/cZhcdCJnyUVtFBuCGWZgAg4t+SG9RWNiY2/g==
-----END CERTIFICATE-----`

const responseOf = (fields: Readonly<Record<string, string>>): Buffer => {
  const body = Buffer.from(`${Object.entries(fields).map(([name, value]) => `${name}${value}\0`).join("")}\0`)
  const head = Buffer.alloc(5)
  head.write("E")
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** Starts a TCP server that handles each connection, and returns its URL. */
const serverThat = (handle: (socket: Net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const sockets = new Set<Net.Socket>()
      const server = Net.createServer((socket) => {
        sockets.add(socket.on("error", () => {}))
        handle(socket)
      }).listen(0, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      assert(address !== null && typeof address === "object")
      return { port: address.port, server, sockets }
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  ).pipe(Effect.map(({ port }) => `postgres://someone:secret@127.0.0.1:${port}/somewhere`))

/** A server that rejects every session with a SQLSTATE. */
const rejecting = (code: string, message: string) =>
  serverThat((socket) =>
    socket.on("data", () => socket.end(responseOf({ S: "FATAL", V: "FATAL", C: code, M: message })))
  )

/** A server that completes a TLS handshake with the certificate above. */
const withCertificate = serverThat((socket) =>
  socket.once("data", () => {
    socket.write("S")
    new Tls.TLSSocket(socket, { isServer: true, key, cert }).on("error", () => {})
  })
)

const appendTo = (config: PgClient.PgPoolConfig) =>
  Effect.gen(function*() {
    const driver = yield* PgEventStore.makeDriver({ notify: false })
    return yield* Effect.flip(driver.append({
      stream: StreamId.StreamId.make("s"),
      expected: "any",
      events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: "{}", metadata: "{}" }]
    }))
  }).pipe(
    Effect.scoped,
    Effect.map((error) => {
      assert.instanceOf(error, EventStoreError)
      return error
    }),
    Effect.provide(PgClient.layer(config))
  )

const appendAt = (url: string) => appendTo({ url: Redacted.make(url) })

const onTestServer = (change: (url: URL) => void): string => {
  const url = new URL(inject("postgresUrl"))
  change(url)
  return url.href
}

const isMisconfigured = (error: EventStoreError, words: string) => {
  assert.strictEqual(error.reason._tag, "StoreMisconfigured", error.message)
  assert.isFalse(error.isRetryable)
  assert.include(error.message, words)
}

describe("an append without a connection", () => {
  for (
    const [code, message] of [
      ["57P03", "the database system is starting up"],
      ["57P01", "terminating connection due to administrator command"],
      ["57P02", "terminating connection because of crash of another server process"],
      ["53300", "sorry, too many clients already"],
      ["08001", "cannot establish a connection"],
      ["08006", "connection failure"]
    ] as const
  ) {
    it.live(`is StoreUnavailable and retryable when the server rejects the session: ${code}`, () =>
      Effect.gen(function*() {
        const error = yield* appendAt(yield* rejecting(code, message))
        assert.strictEqual(error.reason._tag, "StoreUnavailable", error.message)
        assert.isTrue(error.isRetryable)
        assert.include(error.message, message)
      }))
  }

  for (
    const [what, url] of [
      ["a refused connection", "postgres://someone@127.0.0.1:1/none"],
      ["a host name without an address", "postgres://someone@unknown.invalid/none"]
    ] as const
  ) {
    it.live(`is StoreUnavailable and retryable after ${what}`, () =>
      Effect.gen(function*() {
        const error = yield* appendAt(url)
        assert.strictEqual(error.reason._tag, "StoreUnavailable", error.message)
        assert.isTrue(error.isRetryable)
      }))
  }

  it.live("is StoreUnavailable and retryable when the server closes the connection", () =>
    Effect.gen(function*() {
      const error = yield* appendAt(yield* serverThat((socket) => socket.destroy()))
      assert.strictEqual(error.reason._tag, "StoreUnavailable", error.message)
    }))

  it.live("is StoreUnavailable and retryable when the server does not respond", () =>
    Effect.gen(function*() {
      const url = yield* serverThat(() => {})
      const error = yield* appendTo({ url: Redacted.make(url), connectTimeout: "100 millis" })
      assert.strictEqual(error.reason._tag, "StoreUnavailable", error.message)
      assert.isTrue(error.isRetryable)
    }))
})

describe("a lasting error of the configuration is StoreMisconfigured:", () => {
  for (
    const [what, url, words] of [
      ["a URL that cannot be parsed", "postgres://someone:p%40ss word@[bad", "Invalid URL"],
      ["another protocol", "mysql://127.0.0.1/none", "Unsupported connection URL protocol"],
      ["a port that is not a number", "postgres://127.0.0.1/none?port=abc", "Invalid port"],
      ["an unknown sslmode", "postgres://127.0.0.1/none?sslmode=requires", "Unrecognized sslmode"]
    ] as const
  ) {
    it.live(what, () => Effect.map(appendAt(url), (error) => isMisconfigured(error, words)))
  }

  for (
    const [what, change, words] of [
      ["a server without TLS", (url: URL) => url.searchParams.set("sslmode", "require"), "does not support TLS"],
      ["a wrong password", (url: URL) => url.password = "wrong", "password authentication failed"],
      ["an unknown role", (url: URL) => url.username = "nobody_of_this_name", "password authentication failed"],
      ["an unknown database", (url: URL) => url.pathname = "/no_such_database", "no_such_database"],
      [
        "an unknown server setting",
        (url: URL) => url.searchParams.set("options", "-c no_such_setting=1"),
        "no_such_setting"
      ]
    ] as const
  ) {
    it.live(what, () => Effect.map(appendAt(onTestServer(change)), (error) => isMisconfigured(error, words)))
  }

  it.live("a certificate that nobody vouches for", () =>
    Effect.gen(function*() {
      isMisconfigured(yield* appendAt(`${yield* withCertificate}?sslmode=require`), "self-signed certificate")
    }))

  it.live("a certificate for another host", () =>
    Effect.gen(function*() {
      const url = (yield* withCertificate).replace("127.0.0.1", "localhost")
      isMisconfigured(yield* appendTo({ url: Redacted.make(url), ssl: { ca: cert } }), "localhost")
    }))

  it.live("the password is in neither the error nor its cause", () =>
    Effect.gen(function*() {
      const error = yield* appendAt("postgres://someone:Zw9secret@[bad")
      assert.notInclude(JSON.stringify(error, Object.getOwnPropertyNames(error)), "Zw9secret")
      assert.notInclude(String(error.reason._tag === "StoreMisconfigured" ? error.reason.cause : ""), "Zw9secret")
    }))
})

describe("pgbouncer in statement mode", Pgbouncer.needed, () => {
  it.live("is named as StoreMisconfigured, with and without migrations", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), PgClient.layer({ url: Redacted.make(url) }))
      const pooler = yield* Pgbouncer.make(url, 5, "statement")
      for (const store of [PgEventStore.layer, PgEventStore.layerWithoutMigrations()]) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(store))).pipe(
          Effect.provide(PgClient.layer({ url: Redacted.make(pooler), prepare: false }))
        )
        assert.instanceOf(error, EventStoreError)
        isMisconfigured(error, "statement mode")
      }
    }))
})

describe("connections that are lost while a program starts", () => {
  /** A server in front of another that closes the connections of the first transactions. */
  const losing = (url: string, lost: number) => {
    let left = lost
    const { hostname: host, port } = new URL(url)
    return Effect.map(
      serverThat((client) => {
        const upstream = Net.connect({ host, port: Number(port) })
        const end = () => {
          client.destroy()
          upstream.destroy()
        }
        upstream.on("error", end).on("close", end).on("data", (bytes) => client.write(bytes))
        client.on("close", end).on("data", (bytes) => {
          if (/begin/i.test(bytes.toString("latin1")) && left-- > 0) return end()
          upstream.write(bytes)
        })
      }),
      (proxy) => url.replace(/127\.0\.0\.1:\d+/, new URL(proxy).host)
    )
  }

  it.live("are not taken for a pooler in statement mode", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), PgClient.layer({ url: Redacted.make(url) }))
      yield* Effect.scoped(Layer.build(PgEventStore.layerWithoutMigrations())).pipe(
        Effect.provide(PgClient.layer({ url: Redacted.make(yield* losing(url, 3)) }))
      )
    }))
})
