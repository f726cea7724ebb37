/**
 * The HTTP API of the user management example, endpoint by endpoint.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Scope from "effect/Scope"
import { AsOf } from "evsrc"
import { connect } from "node:net"
import { Script } from "node:vm"
import { Api } from "../../examples/http/contract/Api.ts"
import { Email, UserId } from "../../examples/users/contract/User.ts"
import { type Ask, at, client, start } from "./UsersProgram.ts"

const scope = Scope.makeUnsafe()
let url: string
let ask: Ask

beforeAll(async () => {
  url = await Effect.runPromise(Scope.provide(start(), scope))
  ask = client(url)
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

let count = 0
const newId = () => `user-${++count}`

const register = async (userId = newId(), name = "Ann") => {
  const answer = await ask("POST", "/users", { body: { userId, email: "ann@example.com", name } })
  assert.strictEqual(answer.status, 201, answer.text)
  return userId
}

const rename = async (userId: string, name: string) => {
  const answer = await ask("PATCH", `/users/${userId}`, { body: { name } })
  assert.strictEqual(answer.status, 200, answer.text)
  return answer
}

const history = async (userId: string) => {
  const { json, status } = await ask("GET", `/users/${userId}/history`)
  assert.strictEqual(status, 200)
  return json
}

/** Shortens a text for the name of a test. */
const short = (text: string) => text.length <= 60 ? text : `${text.slice(0, 50)}… (${text.length})`

const expectError = async (
  status: number,
  tag: string,
  [method, path, request]: Parameters<Ask>,
  more: Record<string, unknown> = {}
) => {
  const answer = await ask(method, path, request)
  assert.strictEqual(answer.status, status, answer.text)
  assert.deepInclude(answer.json, { _tag: tag, ...more })
  return answer
}

const expectInvalid = async (part: string, field: string, request: Parameters<Ask>) => {
  const { json, text } = await expectError(400, "InvalidInput", request, { in: part })
  const issues = at(json, "issues")
  assert.include(Array.from(Object(issues), (issue) => at(issue, "field")), field, text)
  assert.include(String(at(json, "message")), field)
}

describe("writing", () => {
  it("registers a user under the id given", async () => {
    const answer = await ask("POST", "/users", {
      body: { userId: "given", email: "a.b+c@example.co.uk", name: "Zoë 🦊" }
    })
    assert.strictEqual(answer.status, 201)
    assert.strictEqual(answer.headers.get("etag"), "\"1\"")
    assert.strictEqual(answer.headers.get("location"), "/users/given")
    assert.deepStrictEqual(Object.keys(Object(answer.json)), ["userId", "version", "position", "cursor"])
    assert.deepInclude(answer.json, { userId: "given", version: 1 })
    assert.match(String(at(answer.json, "position")), /^[1-9]\d*$/)
    assert.isString(at(answer.json, "position"))
    const read = await ask("GET", `/users/given?after=${at(answer.json, "position")}`)
    assert.deepStrictEqual(read.json, {
      userId: "given",
      email: "a.b+c@example.co.uk",
      name: "Zoë 🦊",
      status: "active",
      version: 1
    })
  })

  it("generates a new id when none is given", async () => {
    const body = { email: "ann@example.com", name: "Ann" }
    const ids = await Promise.all(
      [1, 2].map(async () => String(at((await ask("POST", "/users", { body })).json, "userId")))
    )
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.notStrictEqual(ids[0], ids[1])
  })

  it("renames a user", async () => {
    const id = await register()
    const { json } = await rename(id, "Ann Lee")
    assert.deepStrictEqual(Object.keys(Object(json)), ["userId", "version", "position", "cursor"])
    assert.deepInclude(json, { userId: id, version: 2 })
    const read = await ask("GET", `/users/${id}?after=${at(json, "position")}`)
    assert.deepInclude(read.json, { name: "Ann Lee", version: 2, status: "active" })
  })

  it("writes nothing when the name stays the same", async () => {
    const id = await register()
    const { json } = await rename(id, "Ann")
    assert.deepInclude(json, { version: 1 })
    assert.lengthOf(Object(at(await history(id), "items")), 1)
  })

  it("deactivates a user once and rejects later changes", async () => {
    const id = await register()
    const { json, status } = await ask("POST", `/users/${id}/deactivate`)
    assert.strictEqual(status, 200)
    assert.deepInclude(json, { userId: id, version: 2 })
    const read = await ask("GET", `/users/${id}?after=${at(json, "position")}`)
    assert.deepInclude(read.json, { status: "deactivated", version: 2 })
    await expectError(409, "UserIsDeactivated", ["POST", `/users/${id}/deactivate`], { userId: id })
    await expectError(409, "UserIsDeactivated", ["PATCH", `/users/${id}`, { body: { name: "X" } }], { userId: id })
  })

  it("rejects an id that is already registered", async () => {
    const userId = await register()
    await expectError(
      409,
      "UserAlreadyRegistered",
      ["POST", "/users", { body: { userId, email: "other@example.com", name: "Other" } }],
      { userId }
    )
  })

  it("accepts ids with any visible characters", async () => {
    const userId = "ann/lee äöü 100% ?&+#"
    await register(userId)
    const path = `/users/${encodeURIComponent(userId)}`
    const renamed = await rename(encodeURIComponent(userId), "Ann Lee")
    const { json } = await ask("GET", `${path}?after=${at(renamed.json, "position")}`)
    assert.deepInclude(json, { userId, name: "Ann Lee" })
    assert.deepInclude(at(await history(encodeURIComponent(userId)), "items", 0, "data"), { userId })
  })
})

describe("a request for an unknown user returns 404", () => {
  const requests: ReadonlyArray<Parameters<Ask>> = [
    ["GET", "/users/nobody"],
    ["GET", "/users/nobody?after=0"],
    ["GET", "/users/nobody?atVersion=1"],
    ["GET", "/users/nobody?atTime=2020-01-01T00:00:00Z"],
    ["GET", "/users/nobody/history"],
    ["PATCH", "/users/nobody", { body: { name: "X" } }],
    ["PATCH", "/users/nobody", { body: { name: "X" }, headers: { "if-match": "3" } }],
    ["PATCH", "/users/nobody", { body: { name: "X" }, headers: { "if-match": "*" } }],
    ["POST", "/users/nobody/deactivate"]
  ]
  for (const [method, path, request] of requests) {
    it(`${method} ${path} ${JSON.stringify(request?.headers ?? {})}`, async () => {
      await expectError(404, "UserNotFound", [method, path, request], { userId: "nobody" })
    })
  }
})

describe("malformed requests", () => {
  const user = { email: "ann@example.com", name: "Ann" }
  const bodies: ReadonlyArray<readonly [field: string, body: unknown]> = [
    ["email", { name: "Ann" }],
    ["name", { email: "ann@example.com" }],
    ["email", { ...user, email: "ann" }],
    ["email", { ...user, email: "ann@example.com\n" }],
    ["email", { ...user, email: `${"a".repeat(250)}@example.com` }],
    ["email", { ...user, email: 1 }],
    ["email", { ...user, email: null }],
    ["name", { ...user, name: "" }],
    ["name", { ...user, name: "   " }],
    ["name", { ...user, name: "Ann\u0000" }],
    ["name", { ...user, name: "\ud800" }],
    ["name", { ...user, name: "n".repeat(201) }],
    ["userId", { ...user, userId: "" }],
    ["userId", { ...user, userId: "u".repeat(129) }],
    ["userId", { ...user, userId: 7 }],
    ["userID", { ...user, userID: "ann" }],
    ["role", { ...user, role: "admin" }]
  ]
  for (const [field, body] of bodies) {
    it(`POST /users: ${field} of ${short(JSON.stringify(body))}`, () =>
      expectInvalid("body", field, ["POST", "/users", { body }]))
  }

  it("reports all invalid fields at once", async () => {
    const { json } = await ask("POST", "/users", { body: { email: "x", name: "", more: 1 } })
    const issues = Object(at(json, "issues"))
    assert.sameMembers(Array.from(issues, (issue) => String(at(issue, "field"))), ["email", "name", "more"])
  })

  it("rejects a rename with missing or unknown fields", async () => {
    const id = await register()
    await expectInvalid("body", "name", ["PATCH", `/users/${id}`, { body: {} }])
    await expectInvalid("body", "email", ["PATCH", `/users/${id}`, { body: { name: "X", email: "x@example.com" } }])
    assert.lengthOf(Object(at(await history(id), "items")), 1)
  })

  for (const raw of ["{", "", "null", "[]", "7", "{\"name\": \"Ann\"}}", "\u0000"]) {
    it(`rejects a body that is not a JSON object: ${JSON.stringify(raw)}`, async () => {
      const request = { raw, headers: { "content-type": "application/json" } }
      await expectError(400, "InvalidInput", ["POST", "/users", request], { in: "body" })
    })
  }

  it.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"])(
    "rejects the content type %s",
    async (type) => {
      await expectError(415, "UnsupportedMediaType", ["POST", "/users", {
        raw: JSON.stringify(user),
        headers: { "content-type": type }
      }])
    }
  )

  const paths: ReadonlyArray<readonly [part: string, field: string, path: string]> = [
    ["path", "id", `/users/${"u".repeat(129)}`],
    ["path", "id", `/users/${"u".repeat(1000)}/history`],
    ["path", "id", "/users/%00"],
    ["path", "id", "/users/%20"],
    ["query", "status", "/users?status=asleep"],
    ["query", "status", "/users?status="],
    ["query", "stat", "/users?stat=active"],
    ["query", "limit", "/users?limit=0"],
    ["query", "limit", "/users?limit=1001"],
    ["query", "limit", "/users?limit=1.5"],
    ["query", "limit", "/users?limit=many"],
    ["query", "limit", "/users?limit=1&limit=2"],
    ["query", "cursor", "/users?cursor=%25"],
    ["query", "cursor", "/users/nobody/history?cursor=abc"],
    ["query", "after", "/users?after=-1"],
    ["query", "after", "/users?after=x"],
    ["query", "after", "/users/nobody?after="],
    ["query", "after", "/users/nobody?after=1.5"],
    ["query", "after", "/users/nobody?after=99999999999999999999"],
    ["query", "atVersion", "/users/nobody?atVersion=-1"],
    ["query", "atVersion", "/users/nobody?atVersion=x"],
    ["query", "atTime", "/users/nobody?atTime=yesterday"],
    ["query", "atTime", "/users/nobody?atVersion=1&atTime=2020-01-01"],
    ["query", "atPosition", "/users/nobody?atPosition=-1"],
    ["query", "atPosition", "/users/nobody?atVersion=1&atPosition=1"],
    ["query", "from", "/users/nobody/diff"],
    ["query", "from", "/users/nobody/diff?from=yesterday"],
    ["query", "from", "/users/nobody/diff?from=version:-1"],
    ["query", "from", "/users/nobody/diff?from=position:9223372036854775808"],
    ["query", "to", "/users/nobody/diff?from=now&to=instant:yesterday"]
  ]
  for (const [part, field, path] of paths) {
    it(`${field} in the ${part}: GET ${short(path)}`, () => expectInvalid(part, field, ["GET", path]))
  }

  const headers: ReadonlyArray<readonly [string, string]> = [
    ["if-match", "x"],
    ["if-match", "-1"],
    ["if-match", "1.5"],
    ["if-match", "\"1"],
    ["if-match", "99999999999999999999"],
    ["idempotency-key", ""],
    ["idempotency-key", "k".repeat(257)],
    ["idempotency-key", "schlüssel"],
    ["x-actor", ""],
    ["x-actor", "a".repeat(257)]
  ]
  for (const [name, value] of headers) {
    it(`header ${name}: ${short(value)}`, async () => {
      const id = await register()
      const headers = { [name]: value }
      await expectInvalid("headers", name, ["PATCH", `/users/${id}`, { body: { name: "X" }, headers }])
      await expectInvalid("headers", name, ["POST", `/users/${id}/deactivate`, { headers }])
      assert.lengthOf(Object(at(await history(id), "items")), 1)
    })
  }

  it("rejects invalid percent-encoding", async () => {
    await expectError(400, "InvalidInput", ["GET", "/users/%ff"], { in: "path" })
  })

  it("rejects a body that is too large, with and without a length", async () => {
    const large = JSON.stringify({ ...user, name: "n".repeat(1024 * 1024) })
    const headers = { "content-type": "application/json" }
    await expectError(413, "BodyTooLarge", ["POST", "/users", { raw: large, headers }])
    await expectError(413, "BodyTooLarge", ["POST", "/users", { raw: new Blob([large]).stream(), headers }])
  })

  const overSocket = (bytes: string) =>
    new Promise<string>((resolve, reject) => {
      const { hostname, port } = new URL(url)
      let answer = ""
      const socket = connect(Number(port), hostname, () => socket.write(bytes))
      socket.setEncoding("utf8").on("data", (text: string) => {
        answer += text
      }).on("close", () => resolve(answer)).on("error", reject)
    })

  it.each([
    ["400", "MalformedRequest", "nonsense\r\n\r\n"],
    ["400", "MalformedRequest", "GET /users HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n"],
    ["431", "HeadersTooLarge", `GET /users HTTP/1.1\r\nhost: x\r\nx-long: ${"x".repeat(20_000)}\r\n\r\n`]
  ])("returns a problem for malformed HTTP: %s %s", async (status, tag, bytes) => {
    const answer = await overSocket(bytes)
    const [head = "", body = ""] = answer.split("\r\n\r\n")
    assert.match(head, new RegExp(`^HTTP/1.1 ${status} `))
    assert.match(head, /content-type: application\/problem\+json/i)
    const json: unknown = JSON.parse(body)
    assert.deepInclude(json, { _tag: tag, status: Number(status), type: "about:blank" })
    assert.strictEqual(at(json, "detail"), at(json, "message"))
    assert.isString(at(json, "message"))
  })
})

describe("If-Match", () => {
  it.each(["1", "\"1\"", "*"])("accepts %s as the expected version", async (match) => {
    const id = await register()
    const { json, status } = await ask("PATCH", `/users/${id}`, { body: { name: "X" }, headers: { "if-match": match } })
    assert.strictEqual(status, 200)
    assert.deepInclude(json, { version: 2 })
  })

  it("rejects another version, names both, and writes nothing", async () => {
    const id = await register()
    await rename(id, "Ann Lee")
    const stale = { headers: { "if-match": "1" } }
    await expectError(409, "ConcurrencyConflict", ["PATCH", `/users/${id}`, { body: { name: "X" }, ...stale }], {
      expected: 1,
      actual: 2
    })
    await expectError(409, "ConcurrencyConflict", ["POST", `/users/${id}/deactivate`, stale], {
      expected: 1,
      actual: 2
    })
    assert.lengthOf(Object(at(await history(id), "items")), 2)
  })

  it("lets one of many writers with the same expected version win", async () => {
    const id = await register()
    const answers = await Promise.all(
      Array.from(
        { length: 20 },
        (_, i) => ask("PATCH", `/users/${id}`, { body: { name: `Name ${i}` }, headers: { "if-match": "1" } })
      )
    )
    const statuses = answers.map(({ status }) => status).toSorted()
    assert.deepStrictEqual(statuses, [200, ...Array.from({ length: 19 }, () => 409)])
    assert.lengthOf(Object(at(await history(id), "items")), 2)
  })

  it("accepts all concurrent writers without an expected version", async () => {
    const id = await register()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => ask("PATCH", `/users/${id}`, { body: { name: `Name ${i}` } }))
    )
    assert.deepStrictEqual(answers.map(({ status }) => status), Array.from({ length: 10 }, () => 200))
    assert.sameMembers(
      answers.map(({ json }) => at(json, "version")),
      Array.from({ length: 10 }, (_, i) => i + 2)
    )
  })
})

describe("Idempotency-Key", () => {
  const keyed = (key: string) => ({ headers: { "idempotency-key": key } })

  it("returns the same response for the same key, and writes one event", async () => {
    const userId = newId()
    const requests: ReadonlyArray<Parameters<Ask>> = [
      ["POST", "/users", { body: { userId, email: "a@example.com", name: "Ann" }, ...keyed(`${userId}-1`) }],
      ["PATCH", `/users/${userId}`, { body: { name: "Ann Lee" }, ...keyed(`${userId}-2`) }],
      ["POST", `/users/${userId}/deactivate`, keyed(`${userId}-3`)]
    ]
    for (const request of requests) {
      const first = await ask(...request)
      assert.isBelow(first.status, 300, first.text)
      const again = await ask(...request)
      assert.deepStrictEqual([again.status, again.text], [first.status, first.text])
    }
    // The responses stay the same after later changes.
    for (const request of requests) assert.isBelow((await ask(...request)).status, 300)
    assert.lengthOf(Object(at(await history(userId), "items")), 3)
  })

  it("registers one user for repeated requests without an id", async () => {
    const request = { body: { email: "a@example.com", name: "Ann" }, ...keyed(newId()) }
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask("POST", "/users", request)))
    assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([201]))
    assert.lengthOf(Array.from(new Set(answers.map(({ text }) => text))), 1)
    await expectError(422, "IdempotencyKeyReused", ["POST", "/users", {
      ...request,
      body: { email: "a@example.com", name: "Bob" }
    }])
    assert.lengthOf(Object(at(await history(String(at(answers[0]?.json, "userId"))), "items")), 1)
  })

  it("works together with If-Match", async () => {
    const id = await register()
    const request = { body: { name: "X" }, headers: { "idempotency-key": newId(), "if-match": "1" } }
    const first = await ask("PATCH", `/users/${id}`, request)
    const again = await ask("PATCH", `/users/${id}`, request)
    assert.strictEqual(first.status, 200)
    assert.deepStrictEqual([again.status, again.text], [200, first.text])
  })

  it("rejects a key that was used for another user", async () => {
    const [ann, bob] = [await register(), await register()]
    const key = newId()
    assert.strictEqual((await ask("PATCH", `/users/${ann}`, { body: { name: "X" }, ...keyed(key) })).status, 200)
    await expectError(422, "IdempotencyKeyReused", ["PATCH", `/users/${bob}`, { body: { name: "X" }, ...keyed(key) }])
    assert.lengthOf(Object(at(await history(bob), "items")), 1)
  })

  it("rejects a key that was used for another request of the same user", async () => {
    const id = newId()
    await ask("POST", "/users", { body: { userId: id, email: "a@example.com", name: "Ann" }, ...keyed(id) })
    const rename: Parameters<Ask> = ["PATCH", `/users/${id}`, { body: { name: "X" }, ...keyed(id) }]
    await expectError(422, "IdempotencyKeyReused", rename)
    await expectError(422, "IdempotencyKeyReused", ["POST", `/users/${id}/deactivate`, keyed(id)])
    assert.lengthOf(Object(at(await history(id), "items")), 1)
  })

  it("rejects a key that was used with another body, and keeps the first", async () => {
    const id = newId()
    const registration = { userId: id, email: "a@example.com", name: "Ann" }
    const post = (
      body: object
    ): Parameters<Ask> => ["POST", "/users", { body: { ...registration, ...body }, ...keyed(id) }]
    const first = await ask(...post({}))
    await expectError(422, "IdempotencyKeyReused", post({ email: "b@example.com" }))
    await expectError(422, "IdempotencyKeyReused", post({ name: "Bob" }))
    const rename = (name: string): Parameters<Ask> => ["PATCH", `/users/${id}`, { body: { name }, ...keyed(`${id}-2`) }]
    const renamed = await ask(...rename("Ann Lee"))
    await expectError(422, "IdempotencyKeyReused", rename("Ann Roe"))
    await ask("POST", `/users/${id}/deactivate`)
    // Whatever the user is by now, the key decides.
    await expectError(422, "IdempotencyKeyReused", rename("Ann Roe"))
    for (const [request, answer] of [[post({}), first], [rename("Ann Lee"), renamed]] as const) {
      const again = await ask(...request)
      assert.deepStrictEqual([again.status, again.text], [answer.status, answer.text])
    }
    assert.lengthOf(Object(at(await history(id), "items")), 3)
  })

  it("stores key and actor in the event's metadata", async () => {
    const id = await register()
    const key = newId()
    await ask("PATCH", `/users/${id}`, { body: { name: "X" }, headers: { "idempotency-key": key, "x-actor": "bob" } })
    const items = at(await history(id), "items")
    assert.deepInclude(at(items, 1, "metadata"), { commandId: key, correlationId: key, causationId: key, actor: "bob" })
    assert.strictEqual(at(items, 0, "metadata", "actor"), "anonymous")
    assert.isString(at(items, 0, "metadata", "commandId"))
  })
})

describe("reading", () => {
  it("pages through users in the order of their ids, filtered by status", async () => {
    const prefix = `page-${newId()}`
    const ids = ["a", "b", "c", "d", "e"].map((letter) => `${prefix}-${letter}`)
    for (const id of ids.toReversed()) await register(id)
    await ask("POST", `/users/${ids[1]}/deactivate`)
    const { json } = await ask("POST", `/users/${ids[3]}/deactivate`)
    const after = String(at(json, "position"))

    const all = async (query: string) => {
      const found: Array<unknown> = []
      let cursor: unknown = ""
      while (cursor !== undefined) {
        const page = await ask(
          "GET",
          `/users?${query}&after=${after}&limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`
        )
        assert.strictEqual(page.status, 200, page.text)
        const items = Object(at(page.json, "items"))
        assert.isAtMost(items.length, 2)
        found.push(...items)
        cursor = at(page.json, "next")
        const [, link] = /^<\?(.*)>; rel="next"$/.exec(page.headers.get("link") ?? "") ?? []
        const [linked, asked] = [new URLSearchParams(link), new URLSearchParams(query)]
        assert.strictEqual(linked.get("cursor"), cursor ?? null)
        if (link !== undefined) assert.strictEqual(linked.get("status"), asked.get("status"))
        assert.deepStrictEqual(Object.keys(Object(page.json)), cursor === undefined ? ["items"] : ["items", "next"])
      }
      return found.filter((user) => String(at(user, "userId")).startsWith(prefix))
    }
    assert.deepStrictEqual((await all("")).map((user) => at(user, "userId")), ids)
    assert.deepStrictEqual((await all("status=active")).map((user) => at(user, "userId")), [ids[0], ids[2], ids[4]])
    assert.deepStrictEqual(
      await all("status=deactivated"),
      [1, 3].map((i) => ({
        userId: ids[i],
        email: "ann@example.com",
        name: "Ann",
        status: "deactivated",
        version: 2
      }))
    )
  })

  it("lists users by the time of their registration, newest first, from one instant to another", async () => {
    const ids: Array<string> = []
    const times: Array<string> = []
    for (const letter of ["c", "a", "b"]) {
      const id = await register(`newest-${letter}-${newId()}`)
      ids.push(id)
      const { json } = await ask("GET", `/users/${id}/history`)
      times.push(String(at(json, "items", 0, "recordedAt")))
      // A clock of milliseconds must tell them apart.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const { json } = await ask("POST", `/users/${ids[0]}/deactivate`)
    const range = `order=newest&registeredFrom=${times[0]}&registeredBefore=${times[2]}&after=${at(json, "position")}`
    const first = await ask("GET", `/users?${range}&limit=1`)
    assert.strictEqual(first.status, 200, first.text)
    assert.strictEqual(at(first.json, "items", 0, "userId"), ids[1])
    assert.notProperty(at(first.json, "items", 0), "registeredAt")
    const cursor = at(first.json, "next")
    const second = await ask("GET", `/users?${range}&limit=1&cursor=${cursor}`)
    assert.strictEqual(at(second.json, "items", 0, "userId"), ids[0])
    assert.notProperty(second.json, "next")
    const other = await ask("GET", `/users?cursor=${cursor}`)
    assert.strictEqual(other.status, 400)
    assert.strictEqual(at(other.json, "_tag"), "InvalidRequest")
    assert.include(String(at(other.json, "message")), "the cursor of another")
  })

  it("returns the history with every event, in pages too", async () => {
    const before = Date.now()
    const id = await register()
    await rename(id, "Ann Lee")
    await ask("POST", `/users/${id}/deactivate`)
    const whole = await history(id)
    const items = Object(at(whole, "items"))
    assert.isUndefined(at(whole, "next"))
    assert.deepStrictEqual(Array.from(items, (item) => [at(item, "version"), at(item, "type"), at(item, "data")]), [
      [1, "UserRegistered", { userId: id, email: "ann@example.com", name: "Ann" }],
      [2, "UserRenamed", { userId: id, name: "Ann Lee" }],
      [3, "UserDeactivated", { userId: id }]
    ])
    for (const item of items) {
      assert.sameMembers(Object.keys(item), [
        "version",
        "position",
        "type",
        "schemaVersion",
        "recordedAt",
        "data",
        "metadata"
      ])
      assert.match(String(at(item, "position")), /^\d+$/)
      assert.strictEqual(at(item, "schemaVersion"), at(item, "type") === "UserRegistered" ? 2 : 1)
      assert.match(String(at(item, "recordedAt")), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      assert.isAtLeast(Date.parse(String(at(item, "recordedAt"))), before)
    }

    const first = await ask("GET", `/users/${id}/history?limit=2`)
    const second = await ask("GET", `/users/${id}/history?limit=2&cursor=${at(first.json, "next")}`)
    assert.deepStrictEqual([...Object(at(first.json, "items")), ...Object(at(second.json, "items"))], [...items])
    assert.deepStrictEqual(Object.keys(Object(second.json)), ["items"])
  })

  it("returns the state as of a version", async () => {
    const id = await register()
    await rename(id, "Ann Lee")
    await ask("POST", `/users/${id}/deactivate`)
    const user = { userId: id, email: "ann@example.com" }
    const asOf = async (version: number) => (await ask("GET", `/users/${id}?atVersion=${version}`)).json
    assert.deepStrictEqual(await asOf(1), { ...user, name: "Ann", status: "active", version: 1 })
    assert.deepStrictEqual(await asOf(2), { ...user, name: "Ann Lee", status: "active", version: 2 })
    assert.deepStrictEqual(await asOf(3), { ...user, name: "Ann Lee", status: "deactivated", version: 3 })
    await expectError(404, "UserNotYetRegistered", ["GET", `/users/${id}?atVersion=0`])
    await expectError(404, "AsOfNotReached", ["GET", `/users/${id}?atVersion=4`], {
      asOf: "version:4",
      reached: "version:3"
    })
    await expectError(404, "AsOfNotReached", ["GET", `/users/${id}?atVersion=${Number.MAX_SAFE_INTEGER}`])
    await expectError(404, "UserNotFound", ["GET", "/users/nobody?atVersion=4"])
  })

  it("returns the state as of a position", async () => {
    const id = await register()
    const { json } = await rename(id, "Ann Lee")
    const other = await register()
    const position = BigInt(String(at(json, "position")))
    const asOf = async (position: bigint) => at((await ask("GET", `/users/${id}?atPosition=${position}`)).json, "name")
    assert.deepStrictEqual([await asOf(position - 1n), await asOf(position)], ["Ann", "Ann Lee"])
    await expectError(404, "UserNotYetRegistered", ["GET", `/users/${other}?atPosition=${position}`])
    await expectError(404, "AsOfNotReached", ["GET", `/users/${id}?atPosition=9000000000000000`], {
      asOf: "position:9000000000000000"
    })
  })

  it("returns the timeline: every event and the state after it, in pages too", async () => {
    const id = await register()
    await rename(id, "Ann Lee")
    await ask("POST", `/users/${id}/deactivate`)
    const { json } = await ask("GET", `/users/${id}/timeline`)
    const items = Array.from(Object(at(json, "items")))
    const ann = { _tag: "Registered", email: "ann@example.com", name: "Ann Lee", status: "active" }
    assert.deepStrictEqual(items.map((item) => [at(item, "version"), at(item, "events"), at(item, "state")]), [
      [1, [{ _tag: "UserRegistered", userId: id, email: "ann@example.com", name: "Ann" }], { ...ann, name: "Ann" }],
      [2, [{ _tag: "UserRenamed", userId: id, name: "Ann Lee" }], ann],
      [3, [{ _tag: "UserDeactivated", userId: id }], { ...ann, status: "deactivated" }]
    ])
    const first = await ask("GET", `/users/${id}/timeline?limit=2`)
    const second = await ask("GET", `/users/${id}/timeline?limit=2&cursor=${at(first.json, "next")}`)
    assert.deepStrictEqual([...Object(at(first.json, "items")), ...Object(at(second.json, "items"))], items)
    assert.deepStrictEqual(Object.keys(Object(second.json)), ["items"])
    await expectError(404, "UserNotFound", ["GET", "/users/nobody/timeline"])
  })

  it("compares a user as of two points in time", async () => {
    const id = await register()
    const registered = at((await ask("GET", `/users/${id}/timeline`)).json, "items", 0)
    await rename(id, "Ann Lee")
    await ask("POST", `/users/${id}/deactivate`)
    const diff = async (query: string) => (await ask("GET", `/users/${id}/diff?${query}`)).json
    const whole = await diff("from=version:1")
    assert.deepStrictEqual(at(whole, "changes"), [
      { op: "replace", path: "/name", old: "Ann", value: "Ann Lee" },
      { op: "replace", path: "/status", old: "active", value: "deactivated" }
    ])
    assert.deepStrictEqual(Array.from(Object(at(whole, "events")), (event) => at(event, "change")), [
      { _tag: "UserRenamed", userId: id, name: "Ann Lee" },
      { _tag: "UserDeactivated", userId: id }
    ])
    assert.deepInclude(at(whole, "from"), { version: 1, state: at(registered, "state") })
    assert.deepStrictEqual(await diff(`from=position:${at(registered, "position")}&to=version:3`), whole)
    assert.deepStrictEqual(at(await diff("from=version:2&to=version:1"), "changes"), [
      { op: "replace", path: "/name", old: "Ann Lee", value: "Ann" }
    ])
    const before = new Date(Date.parse(String(at(registered, "recordedAt"))) - 1).toISOString()
    assert.deepInclude(at(await diff(`from=instant:${before}&to=version:1`), "from"), {
      version: 0,
      state: { _tag: "Absent" }
    })
    await expectError(404, "AsOfNotReached", ["GET", `/users/${id}/diff?from=version:1&to=version:4`])
    for (const query of ["from=now", "from=version:1"]) {
      await expectError(404, "UserNotFound", ["GET", `/users/nobody/diff?${query}`])
    }
  })

  it("tries a command as of a point in time, without writing", async () => {
    const id = await register()
    await ask("POST", `/users/${id}/deactivate`)
    const path = `/users/${id}/what-if`
    const command = { _tag: "RenameUser", name: "Ann Lee" }
    const { json, status } = await ask("POST", path, { body: { at: "version:1", command } })
    assert.strictEqual(status, 200)
    const ann = { _tag: "Registered", email: "ann@example.com", name: "Ann", status: "active" }
    assert.deepStrictEqual(json, {
      version: 1,
      before: ann,
      events: [{ _tag: "UserRenamed", userId: id, name: "Ann Lee" }],
      after: { ...ann, name: "Ann Lee" }
    })
    await expectError(409, "UserIsDeactivated", ["POST", path, { body: { command } }])
    await expectError(404, "UserNotFound", ["POST", path, { body: { at: "version:0", command } }])
    await expectError(404, "AsOfNotReached", ["POST", path, { body: { at: "version:3", command } }])
    const registration = { _tag: "RegisterUser", email: "ann@example.com", name: "Ann" }
    await expectError(409, "UserAlreadyRegistered", ["POST", path, { body: { command: registration } }])
    const absent = await ask("POST", "/users/nobody/what-if", { body: { command: registration } })
    assert.deepStrictEqual(at(absent.json, "after"), ann)
    await expectInvalid("body", "at", ["POST", path, { body: { at: "version:x", command } }])
    await expectInvalid("body", "command.name", ["POST", path, { body: { command: { ...command, name: "" } } }])
    assert.lengthOf(Object(at(await history(id), "items")), 2)
  })

  it("returns the state as of an instant", async () => {
    const id = await register()
    const registeredAt = String(at(await history(id), "items", 0, "recordedAt"))
    // The log records milliseconds.
    while (Date.now() <= Date.parse(registeredAt)) await new Promise((resolve) => setTimeout(resolve, 1))
    await rename(id, "Ann Lee")
    const asOf = (time: string) => ["GET", `/users/${id}?atTime=${encodeURIComponent(time)}`] as const
    assert.deepInclude((await ask(...asOf(registeredAt))).json, { name: "Ann", version: 1 })
    assert.deepInclude((await ask(...asOf("2999-12-31T23:59:59+02:00"))).json, { name: "Ann Lee", version: 2 })
    const before = new Date(Date.parse(registeredAt) - 1).toISOString()
    await expectError(404, "UserNotYetRegistered", [...asOf(before)], { registeredAt })
  })

  it("responds to HEAD as to GET, without a body", async () => {
    const id = await register()
    const answer = await ask("HEAD", `/users/${id}/history`)
    assert.deepStrictEqual([answer.status, answer.text], [200, ""])
  })
})

describe("the server", () => {
  it("returns 404 for unknown routes", async () => {
    for (const path of ["/", "/nope", "/users/x/y/z", "/user", "/users/x/deactivated"]) {
      await expectError(404, "RouteNotFound", ["GET", path])
    }
    await expectError(404, "RouteNotFound", ["POST", "/nope", { body: {} }])
  })

  it.each([
    ["PUT", "/users", "POST, GET, HEAD, OPTIONS"],
    ["DELETE", "/users/x", "GET, PATCH, HEAD, OPTIONS"],
    ["POST", "/users/x", "GET, PATCH, HEAD, OPTIONS"],
    ["GET", "/users/x/deactivate", "POST, OPTIONS"],
    ["POST", "/users/x/history", "GET, HEAD, OPTIONS"],
    ["POST", "/health", "GET, HEAD, OPTIONS"],
    ["POST", "/docs", "GET, HEAD, OPTIONS"],
    ["DELETE", "/metrics", "GET, HEAD, OPTIONS"]
  ])("returns 405 for %s %s", async (method, path, allow) => {
    const { headers } = await expectError(405, "MethodNotAllowed", [method, path])
    assert.strictEqual(headers.get("allow"), allow)
    const options = await ask("OPTIONS", path)
    assert.deepStrictEqual([options.status, options.text, options.headers.get("allow")], [204, "", allow])
  })

  it("reports health and the position of the read model", async () => {
    const id = await register()
    const { json: written } = await rename(id, "X")
    await ask("GET", `/users/${id}?after=${at(written, "position")}`)
    const { json, status } = await ask("GET", "/health")
    assert.strictEqual(status, 200)
    assert.deepInclude(json, { status: "ok", store: "reachable" })
    assert.deepInclude(at(json, "workers", 0), { consumer: "users@1", state: "live", lag: "0" })
    assert.isAtLeast(Number(at(json, "workers", 0, "position")), Number(at(written, "position")))
  })

  it("exports metrics in the text format of Prometheus", async () => {
    const value = (text: string, name: string) =>
      Number(new RegExp(`^${name}(?:{[^}]*})? (\\d+)$`, "m").exec(text)?.[1])
    const id = await register()
    const before = await ask("GET", "/metrics")
    assert.match(before.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
    await rename(id, "X")
    await expectError(409, "ConcurrencyConflict", [
      "PATCH",
      `/users/${id}`,
      { body: { name: "Y" }, headers: { "if-match": "1" } }
    ])
    const { text } = await ask("GET", "/metrics")
    for (const name of ["evsrc_appends_total", "evsrc_appended_events_total"]) {
      assert.strictEqual(value(text, name), value(before.text, name) + 1, name)
    }
    assert.match(text, /^# TYPE evsrc_appends_total counter$/m)
    assert.match(text, /^evsrc_consumer_lag_positions\{consumer="users@1"\} \d+$/m)
    assert.match(text, /^evsrc_consumer_stuck\{consumer="users@1"\} 0$/m)
  })

  it("serves a documentation page without external resources", async () => {
    const { headers, status, text } = await ask("GET", "/docs")
    assert.strictEqual(status, 200)
    assert.match(headers.get("content-type") ?? "", /^text\/html/)
    assert.include(text, "SwaggerUIBundle({")
    assert.include(text, "/users/{id}/deactivate")
    // Scripts and styles are embedded, so the page fetches nothing.
    const scripts = text.match(/<script\b[^>]*>/g) ?? []
    assert.deepStrictEqual(scripts.filter((tag) => tag.includes("src=")), [])
    assert.isEmpty(text.match(/<link\b[^>]*>/g) ?? [])
    for (const [, attributes = "", content = ""] of text.matchAll(/<script\b([^>]*)>(.*?)<\/script>/gs)) {
      if (attributes.includes("application/json")) assert.strictEqual(at(JSON.parse(content), "openapi"), "3.1.0")
      // Parsing throws on a script that no browser could run.
      else assert.instanceOf(new Script(content), Script)
    }
    assert.isEmpty(text.match(/@import|url\(\s*["']?(https?:)?\/\//g) ?? [])
  })

  it("describes all responses in its OpenAPI document", async () => {
    const { json } = await ask("GET", "/openapi.json")
    assert.strictEqual(at(json, "openapi"), "3.1.0")
    const operations = Object.entries(Object(at(json, "paths"))).flatMap(([path, methods]) =>
      Object.entries(Object(methods)).map(([method, operation]) =>
        [`${method} ${path}`, Object.keys(Object(at(operation, "responses")))] as const
      )
    )
    const query = ["200", "400", "410", "413", "415", "500", "503"]
    const found = ["200", "400", "404", "410", "413", "415", "500", "503"]
    const changed = ["200", "400", "404", "409", "410", "412", "413", "415", "422", "500", "503"]
    const created = changed.filter((status) => status !== "404").with(0, "201")
    assert.deepStrictEqual(Object.fromEntries(operations), {
      "post /users": created,
      "get /users": query,
      "get /users/events": query,
      "get /users/{id}": found,
      "patch /users/{id}": changed,
      "post /users/{id}/deactivate": changed,
      "get /users/{id}/history": found,
      "get /users/{id}/timeline": found,
      "get /users/{id}/diff": found,
      "post /users/{id}/what-if": ["200", "400", "404", "409", "410", "413", "415", "500", "503"],
      "post /orders": created,
      "get /orders": query,
      "get /orders/{id}": found,
      "post /orders/{id}/payment": changed,
      "post /orders/{id}/shipment": changed,
      "post /orders/{id}/failed-shipment": changed,
      "get /orders/{id}/fulfilment": found,
      "get /fulfilments": query,
      "post /stock/{product}/deliveries": created.with(0, "200"),
      "get /health": ["200", "400", "413", "415", "500", "503"]
    })
  })

  it.live("works with a typed client of its contract", () =>
    Effect.gen(function*() {
      const api = yield* HttpApiClient.make(Api, { baseUrl: url })
      const userId = UserId.make(newId())
      const written = yield* api.users.register({
        headers: { "x-actor": "bob" },
        payload: { userId, email: Email.make("ann@example.com"), name: "Ann" }
      })
      const user = yield* api.users.get({ params: { id: userId }, query: { after: written.cursor } })
      assert.deepStrictEqual([user.name, user.version], ["Ann", 1])
      const conflict = yield* Effect.flip(
        api.users.rename({ params: { id: userId }, headers: { "if-match": written.version }, payload: { name: "X" } })
          .pipe(
            Effect.andThen(
              api.users.rename({
                params: { id: userId },
                headers: { "if-match": written.version },
                payload: { name: "Y" }
              })
            )
          )
      )
      assert(conflict._tag === "ConcurrencyConflict", conflict._tag)
      assert.strictEqual(conflict.actual, 2)
      const { items, next } = yield* api.users.history({ params: { id: userId }, query: { limit: 1 } })
      assert.isDefined(next)
      const rest = yield* api.users.history({ params: { id: userId }, query: { cursor: next! } })
      assert.deepStrictEqual([...items, ...rest.items].map(({ type }) => type), ["UserRegistered", "UserRenamed"])
      const unreached = yield* Effect.flip(
        api.users.diff({ params: { id: userId }, query: { from: AsOf.version(3) } })
      )
      assert(unreached._tag === "AsOfNotReached", unreached._tag)
      assert.strictEqual(AsOf.format(unreached.reached), "version 2")
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})
