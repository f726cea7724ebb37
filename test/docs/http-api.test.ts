/** Compares docs/http-api.md with the OpenAPI document that the example serves, and sends the requests it prints. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Schema } from "effect"
import { type Answer, client, poll, start } from "../examples/UsersProgram.ts"
import { blocksOf, read, section, tableOf } from "./Markdown.ts"

const guide = read("docs/http-api.md")

const Operation = Schema.Struct({
  parameters: Schema.optionalKey(Schema.Array(Schema.Struct({
    name: Schema.String,
    in: Schema.String,
    required: Schema.Boolean
  }))),
  requestBody: Schema.optionalKey(Schema.Struct({
    content: Schema.Struct({
      "application/json": Schema.Struct({
        schema: Schema.Struct({
          properties: Schema.Record(Schema.String, Schema.Unknown),
          required: Schema.Array(Schema.String)
        })
      })
    })
  })),
  responses: Schema.Record(Schema.String, Schema.Struct({ description: Schema.String }))
})

const OpenApi = Schema.Struct({
  paths: Schema.Record(Schema.String, Schema.Record(Schema.String, Operation)),
  components: Schema.Struct({ schemas: Schema.Record(Schema.String, Schema.Unknown) })
})

const operations = ({ paths }: typeof OpenApi.Type) =>
  Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ heading: `## ${method.toUpperCase()} ${path}`, operation }))
  )

const served = Effect.gen(function*() {
  const ask = client(yield* start())
  const { json } = yield* Effect.promise(() => ask("GET", "/openapi.json"))
  return yield* Schema.decodeUnknownEffect(OpenApi)(json)
})

const parametersOf = ({ parameters = [], requestBody }: typeof Operation.Type) => [
  ...parameters.map(({ in: place, name, required }) => `${name} in ${place}${required ? ", required" : ""}`),
  ...Object.keys(requestBody?.content["application/json"].schema.properties ?? {}).map((name) =>
    `${name} in body${requestBody?.content["application/json"].schema.required.includes(name) ? ", required" : ""}`
  )
]

const documentedParameters = (text: string) =>
  text.includes("\n| parameter |")
    ? tableOf(text).map(([name, place, meaning]) =>
      `${name} in ${place}${meaning!.startsWith("required") ? ", required" : ""}`
    )
    : []

/** `400: InvalidInput, InvalidRequest`, one line for each status of an error. */
const documentedErrors = (text: string) =>
  /^20\d, or .*$/m.exec(text)![0].replace(/^20\d, or /, "").split(" · ").map((part) =>
    `${part.slice(0, 3)}: ${Array.from(part.matchAll(/`(\w+)`/g), ([, tag]) => tag!).toSorted().join(", ")}`
  )

const errorsOf = ({ responses }: typeof Operation.Type, components: Readonly<Record<string, unknown>>) =>
  Object.entries(responses).filter(([status]) => Number(status) >= 400).map(([status, { description }]) => {
    const names = description.split(" | ").filter((name) => name in components)
    return `${status}: ${names.length === 0 ? "Unhealthy" : names.toSorted().join(", ")}`
  })

const changing = [
  "message",
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
  it.live("lists every endpoint, parameter and error of the OpenAPI document", () =>
    Effect.gen(function*() {
      const openApi = yield* served
      const all = operations(openApi)
      assert.isAtLeast(all.length, 11)
      assert.sameMembers(
        guide.match(/^## [A-Z]+ \/.*$/gm) ?? [],
        all.map(({ heading }) => heading)
      )
      for (const { heading, operation } of all) {
        const text = section(guide, heading)
        assert.sameMembers(documentedParameters(text), parametersOf(operation), heading)
        assert.sameMembers(documentedErrors(text), errorsOf(operation, openApi.components.schemas), heading)
      }
    }))

  it.live("explains every error with its status", () =>
    Effect.gen(function*() {
      const openApi = yield* served
      const errors = operations(openApi).flatMap(({ operation }) => errorsOf(operation, openApi.components.schemas))
      const pairs = new Set(errors.flatMap((line) => {
        const [status, names] = line.split(": ")
        return names!.split(", ").map((name) => `${name} ${status}`)
      }))
      const documented = tableOf(section(guide, "## Errors")).map(([name, status]) => `${name} ${status}`)
      assert.sameMembers(documented, Array.from(pairs))
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
