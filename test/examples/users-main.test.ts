/**
 * `npm start` as a process, on the embedded PostgreSQL and on a PostgreSQL server.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtemp, readdir, rm } from "node:fs/promises"
import * as Net from "node:net"
import { join } from "node:path"
import { freshDatabase } from "../support/Database.ts"
import * as Folders from "../support/Folders.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { isLong } from "../support/scale.ts"
import { end, launch, type Running, running } from "./MainProgram.ts"
import { at, poll } from "./UsersProgram.ts"

/** Waits until a page is available, and returns its JSON. The health is 503 while the workers are behind, as on a busy machine. */
const untilAvailable = ({ ask }: Running, page: string) =>
  Effect.promise(() => poll(() => ask("GET", `/${page}`), ({ status }) => status === 200).then(({ json }) => json))

/** Expects that the program does not start and prints the reason in one line. */
const expectRefusal = Effect.fnUntraced(function*(env: Readonly<Record<string, string>>, why: RegExp) {
  const script = yield* launch(env)
  const { code } = yield* script.exited
  const stderr = yield* script.stderr
  assert.strictEqual(code, 1, stderr)
  // Lines of the log are JSON. Nothing else may stand beside the error, such as a stack trace.
  const written = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("{"))
  assert.strictEqual(written.length, 1, stderr)
  assert.match(written[0]!, /^evsrc: /)
  // On a busy machine a start waits for its own migrations for longer than a second, which it logs.
  const log = stderr.split("\n").filter((line) => !line.includes("The start waits for a lock"))
  assert.notMatch(log.join("\n"), /"level":"(WARN|ERROR|FATAL)"/)
  assert.match(stderr, why)
}, Effect.scoped)

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(Folders.forDatabases(), "evsrc-example-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

/** A new embedded database takes seconds, and much longer on a busy machine. */
const slow = 180_000

const ann = { body: { userId: "ann", email: "ann@example.com", name: "Ann" } }
const json = <A>(answer: Promise<{ readonly json: A }>) => Effect.promise(() => answer.then(({ json }) => json))

describe("on the embedded PostgreSQL", () => {
  it.live("keeps its data over a restart, and stops on SIGTERM and SIGINT", () =>
    Effect.gen(function*() {
      const EVSRC_DATA = join(yield* folder, "new", "data")
      const first = yield* running({ EVSRC_DATA })
      assert.match(first.url, /^http:\/\/localhost:\d+$/)
      for (const what of ["docs", "health", "metrics"]) {
        const line = yield* first.waitFor(new RegExp(`^ +${what} `))
        assert.strictEqual(line.trim().split(/ +/)[1], `${first.url}/${what}`)
        yield* untilAvailable(first, what)
      }
      for (const tried of [/curl -i .*\/users /, /curl .*\/users\/ann$/, /curl .*-X PATCH/, /curl .*\/history$/]) {
        assert.include(yield* first.waitFor(tried), first.url)
      }
      assert.deepInclude(yield* json(first.ask("POST", "/users", ann)), {
        userId: "ann",
        version: 1,
        position: "1"
      })
      const order = {
        orderId: "o-1",
        product: "lamp",
        quantity: 1,
        amount: 900,
        address: "Main Street 1",
        payWithin: 2
      }
      yield* json(first.ask("POST", "/stock/lamp/deliveries", { body: { quantity: 1 } }))
      assert.deepInclude(yield* json(first.ask("POST", "/orders", { body: order })), { orderId: "o-1" })
      yield* end(first, "SIGTERM")

      const second = yield* running({ EVSRC_DATA })
      const user = { userId: "ann", email: "ann@example.com", name: "Ann", status: "active", version: 1 }
      assert.deepStrictEqual(yield* json(second.ask("GET", "/users/ann?after=1")), user)
      assert.deepInclude(yield* json(second.ask("POST", "/users", ann)), { _tag: "UserAlreadyRegistered" })
      assert.deepInclude(yield* json(second.ask("PATCH", "/users/ann", { body: { name: "Ann Lee" } })), { version: 2 })
      assert.deepInclude(yield* json(second.ask("GET", "/users/ann?atVersion=1")), user)
      const isCancelled = (order: unknown) =>
        at(order, "reason") === "not paid in time" && at(order, "isReserved") === false
      yield* Effect.promise(() => poll(() => second.ask("GET", "/orders/o-1"), ({ json }) => isCancelled(json)))
      assert.deepInclude(yield* untilAvailable(second, "health"), { status: "ok" })
      yield* end(second, "SIGINT")
    }), slow)

  it.live("reports a port or folder in use, or a foreign folder, in one line", () =>
    Effect.gen(function*() {
      const EVSRC_DATA = yield* folder
      const program = yield* running({ EVSRC_DATA })
      const { port } = new URL(program.url)
      const { url: DATABASE_URL } = yield* freshDatabase
      yield* Effect.all([
        expectRefusal({ EVSRC_DATA }, /folder .* in use by process \d+/),
        expectRefusal({ DATABASE_URL, PORT: port }, new RegExp(`port ${port} .* in use.*PORT`)),
        expectRefusal({ EVSRC_DATA: import.meta.dirname }, /is not empty/),
        ...isLong
          ? [
            expectRefusal(
              { EVSRC_DATA, PROVOKE: "outage" },
              /PROVOKE=outage needs a PostgreSQL server; set DATABASE_URL/
            ),
            expectRefusal({ EVSRC_DATA, PROVOKE: "fire" }, /PROVOKE must be one of held-back, .*, not "fire"/),
            expectRefusal({ EVSRC_DATA: join(import.meta.filename, "x") }, /Cannot use the folder/)
          ]
          : []
      ], { concurrency: 2 })
      // The first program is not affected.
      assert.deepInclude(yield* json(program.ask("POST", "/users", ann)), { version: 1 })
      yield* end(program, "SIGTERM")
      assert.notInclude(yield* Effect.promise(() => readdir(EVSRC_DATA)), "evsrc.lock")
    }), slow)
})

describe("on a PostgreSQL server", () => {
  it.live("lets several programs migrate a new database together and share it", () =>
    Effect.gen(function*() {
      const { url: DATABASE_URL } = yield* freshDatabase
      // The migrations of one may take longer than the lockTimeout of another, whose message says to start it again.
      const started = Effect.retry(running({ DATABASE_URL }), {
        while: ({ message }) => message.includes("was not free within the lockTimeout"),
        times: 5
      })
      const programs = yield* Effect.all([started, started, started], { concurrency: "unbounded" })
      const [a, b, c] = programs as [Running, Running, Running]
      const written = yield* json(a.ask("POST", "/users", ann))
      const position = at(written, "position")
      assert.deepInclude(yield* json(b.ask("GET", `/users/ann?after=${position}`)), { name: "Ann" })
      const renames = [a, b, c].map(({ ask }, i) =>
        ask("PATCH", "/users/ann", { body: { name: `Name ${i}` }, headers: { "if-match": "1" } })
      )
      const statuses = (yield* Effect.promise(() => Promise.all(renames))).map(({ status }) => status)
      assert.deepStrictEqual(statuses.toSorted(), [200, 409, 409])
      for (const program of programs) yield* end(program, "SIGTERM")

      const again = yield* running({ DATABASE_URL })
      assert.deepInclude(yield* json(again.ask("GET", "/users/ann?after=2")), { version: 2 })
      assert.deepInclude(yield* untilAvailable(again, "health"), { status: "ok" })
    }))

  it.live("reports an unusable database or address in one line", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const changed = (change: (url: URL) => void) => {
        const other = new URL(url)
        change(other)
        return { DATABASE_URL: other.href }
      }
      const nothing = changed((other) => {
        other.port = "1"
        other.password = "secret"
      })
      yield* Effect.all([
        expectRefusal(nothing, /^(?!.*secret).*DATABASE_URL.*:1\/.*ECONNREFUSED/),
        expectRefusal({ DATABASE_URL: "mysql://localhost/x" }, /DATABASE_URL must be a URL such as postgres:/),
        ...isLong
          ? [
            expectRefusal(changed((other) => other.pathname = "/nope"), /DATABASE_URL.*\/nope.*does not exist/),
            expectRefusal({ DATABASE_URL: "nonsense" }, /DATABASE_URL must be a URL such as postgres:/)
          ]
          : [],
        expectRefusal({ DATABASE_URL: url, HOST: "192.0.2.1" }, /cannot listen on 192\.0\.2\.1/)
      ], { concurrency: 2 })
    }))

  it.live("reports a wrong password in one line, without the password", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.callback<Net.Server>((resume) => {
          const server = Net.createServer((socket) => {
            socket.on("error", () => {}).on("data", (data) => {
              // Declines TLS, then rejects the startup message as PostgreSQL does.
              if (data.length === 8) return socket.write("N")
              const fields = "SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"ann\"\0\0"
              const message = Buffer.alloc(5 + fields.length)
              message.write("E")
              message.writeInt32BE(4 + fields.length, 1)
              message.write(fields, 5)
              return socket.end(message)
            })
          }).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = server.address() as Net.AddressInfo
      yield* expectRefusal(
        { DATABASE_URL: `postgres://ann:secret@127.0.0.1:${port}/x` },
        /^(?!.*secret).*password authentication failed/
      )
    }))

  it.live("returns 503 while the database server is down, and recovers", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ settings: { fsync: "off" } })
      const { ask, ...program } = yield* running({ DATABASE_URL: server.url })
      const key = { headers: { "idempotency-key": "k" } }
      assert.deepInclude(yield* json(ask("POST", "/users", ann)), { version: 1 })
      yield* json(ask("GET", "/users/ann?after=1"))
      yield* server.stop
      yield* Effect.promise(async () => {
        for (const path of ["/users/ann", "/users/ann/history", "/health"]) {
          assert.strictEqual((await ask("GET", path)).status, 503)
        }
        assert.strictEqual((await ask("PATCH", "/users/ann", { body: { name: "X" }, ...key })).status, 503)
      })
      yield* server.start
      const renamed = yield* Effect.promise(() =>
        poll(() => ask("PATCH", "/users/ann", { body: { name: "X" }, ...key }), ({ status }) => status === 200)
      )
      assert.deepInclude(renamed.json, { version: 2 })
      yield* Effect.promise(() => poll(() => ask("GET", "/health"), ({ status }) => status === 200))
      assert.deepInclude(yield* json(ask("GET", `/users/ann?after=${at(renamed.json, "position")}`)), { name: "X" })
      yield* program.signal("SIGTERM")
      assert.deepStrictEqual(yield* program.exited, { code: 0, signal: null })
    }))
})

it.live("reports an invalid PORT in one line", () =>
  Effect.forEach(
    isLong ? ["abc", "65536"] : ["abc"],
    (PORT) => expectRefusal({ EVSRC_DATA: "/nowhere", PORT }, /PORT must be a whole number from 0 to 65535/),
    { concurrency: 2 }
  ))
