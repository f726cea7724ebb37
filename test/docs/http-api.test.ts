/** Compares docs/http-api.md with what the script writes from the OpenAPI document that the example serves, and sends the requests it prints. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Schema } from "effect"
import * as HttpReference from "../../.ci/HttpReference.ts"
import { type Answer, client, poll, start } from "../examples/UsersProgram.ts"
import { blocksOf, read } from "./Markdown.ts"

const guide = read("docs/http-api.md")

const served = Effect.gen(function*() {
  const ask = client(yield* start())
  const { json } = yield* Effect.promise(() => ask("GET", "/openapi.json"))
  return yield* Schema.decodeUnknownEffect(HttpReference.Document)(json)
})

const changing = [
  "message",
  "detail",
  "recordedAt",
  "traceparent",
  "cursor",
  "placedAt",
  "startedAt",
  "updatedAt",
  "nextDueAt",
  "PaymentDue"
]

/** Replaces what differs from run to run. The process manager appends by itself, so positions of the shop differ too. */
const normalised = (json: unknown, path: string): unknown => {
  const names = path.startsWith("/users") ? changing : [...changing, "position"]
  return JSON.parse(JSON.stringify(json, (key, value: unknown) => names.includes(key) ? "…" : value))
}

/** Repeats a request until the response is as wanted, and returns the last one. */
const pollOr = (send: () => Promise<Answer>, isWanted: (answer: Answer) => boolean) => poll(send, isWanted).catch(send)

const requestOf = (code: string) => {
  const [head, body] = code.trim().split("\n\n")
  const [first, ...lines] = head!.split("\n")
  const [method, path] = first!.split(" ")
  const headers = Object.fromEntries(lines.map((line) => line.split(": ") as [string, string]))
  return { method: method!, path: path!, headers, ...(body === undefined ? {} : { body: JSON.parse(body) as unknown }) }
}

describe("docs/http-api.md", () => {
  it.live("is what `npm run build:http-api` writes from the OpenAPI document", () =>
    Effect.gen(function*() {
      const document = yield* served
      const headings = HttpReference.headingsOf(document)
      assert.isAtLeast(headings.length, 11)
      assert.sameMembers(guide.match(/^## [A-Z]+ \/.*$/gm) ?? [], Array.from(headings))
      assert.strictEqual(HttpReference.write(guide, document), guide)
      assert.notMatch(guide, /^\| `[^|]*\|[^|]*\| (Required\. )?\|$/m, "a parameter has no meaning")
    }))

  it.live("prints the responses that its requests get", () =>
    Effect.gen(function*() {
      const ask = client(yield* start())
      const blocks = blocksOf(guide)
      const requests = blocks.flatMap(({ code, language }, i) =>
        language === "http" ? [{ ...requestOf(code), expected: JSON.parse(blocks[i + 1]!.code) as unknown }] : []
      )
      assert.isAtLeast(requests.length, 10)
      for (const { expected, method, path, ...request } of requests) {
        const wanted = normalised(expected, path)
        const send = () => ask(method, path, request)
        // What the process manager does follows within milliseconds.
        const isWanted = ({ json }: Answer) => Equal.equals(normalised(json, path), wanted)
        const answer = yield* Effect.promise(() => method === "GET" ? pollOr(send, isWanted) : send())
        assert.deepStrictEqual(normalised(answer.json, path), wanted, `${method} ${path}`)
      }
    }))
})
