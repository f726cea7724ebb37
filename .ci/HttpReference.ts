/**
 * Writes the generated parts of docs/http-api.md from an OpenAPI document: of each endpoint the description, the parameters, the status and the
 * errors, and the tables of errors. The requests and their responses, and the other sections, stay as they are.
 */
import * as Schema from "effect/Schema"

const Json = Schema.Record(Schema.String, Schema.Unknown)

const Body = Schema.Struct({
  properties: Schema.Record(Schema.String, Json),
  required: Schema.optionalKey(Schema.Array(Schema.String))
})

const Operation = Schema.Struct({
  summary: Schema.String,
  description: Schema.optionalKey(Schema.String),
  parameters: Schema.optionalKey(
    Schema.Array(Schema.Struct({
      name: Schema.String,
      in: Schema.String,
      required: Schema.Boolean,
      description: Schema.optionalKey(Schema.String),
      schema: Json
    }))
  ),
  requestBody: Schema.optionalKey(
    Schema.Struct({ content: Schema.Struct({ "application/json": Schema.Struct({ schema: Body }) }) })
  ),
  responses: Schema.Record(
    Schema.String,
    Schema.Struct({ content: Schema.optionalKey(Schema.Record(Schema.String, Schema.Struct({ schema: Json }))) })
  )
})

/** The parts of an OpenAPI document from which the page is made. */
export const Document = Schema.Struct({
  paths: Schema.Record(Schema.String, Schema.Record(Schema.String, Operation)),
  components: Schema.Struct({ schemas: Json })
})
export type Document = typeof Document.Type

interface Failure {
  readonly status: string
  readonly tag: string
  readonly meaning: string
}

interface Endpoint {
  readonly heading: string
  readonly operation: typeof Operation.Type
  readonly errors: ReadonlyArray<Failure>
}

const at = (json: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce((value, key) => value === undefined || value === null ? undefined : Reflect.get(Object(value), key), json)

const prefix = "#/components/schemas/"

/** Returns the errors that a Schema is a union of. */
const failuresOf = (document: Document, status: string, schema: unknown): ReadonlyArray<Failure> => {
  const reference = at(schema, "$ref")
  if (typeof reference === "string") {
    const name = reference.slice(prefix.length).replaceAll("~1", "/").replaceAll("~0", "~")
    return failuresOf(document, status, document.components.schemas[name])
  }
  const members = at(schema, "anyOf") ?? at(schema, "oneOf")
  if (Array.isArray(members)) return members.flatMap((member) => failuresOf(document, status, member))
  return [{
    status,
    tag: String(at(schema, "properties", "_tag", "enum", 0) ?? at(schema, "properties", "_tag", "const")),
    meaning: String(at(schema, "properties", "_tag", "description") ?? "")
  }]
}

const endpointsOf = (document: Document): ReadonlyArray<Endpoint> =>
  Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      heading: `## ${method.toUpperCase()} ${path}`,
      operation,
      errors: Object.entries(operation.responses).filter(([status]) => Number(status) >= 400).flatMap((
        [status, { content = {} }]
      ) => Object.values(content).flatMap(({ schema }) => failuresOf(document, status, schema)))
    }))
  )

const keyOf = ({ status, tag }: Failure) => `${status} ${tag}`

/** Returns the errors that all of these endpoints have. */
const sharedBy = (endpoints: ReadonlyArray<Endpoint>): ReadonlyArray<Failure> =>
  (endpoints[0]?.errors ?? []).filter((error) =>
    endpoints.every(({ errors }) => errors.some((other) => keyOf(other) === keyOf(error)))
  )

const without = (errors: ReadonlyArray<Failure>, others: ReadonlyArray<Failure>) => {
  const known = new Set(others.map(keyOf))
  return errors.filter((error) => !known.has(keyOf(error)))
}

const hasParameter = (name: string) => ({ operation }: Endpoint) =>
  operation.parameters?.some((parameter) => parameter.name === name) === true

const isCommand = hasParameter("idempotency-key")
const isQuery = (endpoint: Endpoint) => hasParameter("after")(endpoint) && !hasParameter("last-event-id")(endpoint)

/** The errors by the endpoints that have them. */
const groupsOf = (endpoints: ReadonlyArray<Endpoint>) => {
  const all = sharedBy(endpoints)
  const commands = without(sharedBy(endpoints.filter(isCommand)), all)
  const queries = without(sharedBy(endpoints.filter(isQuery)), all)
  const ownOf = (endpoint: Endpoint) =>
    without(endpoint.errors, [...all, ...(isCommand(endpoint) ? commands : isQuery(endpoint) ? queries : [])])
  return { all, commands, queries, ownOf }
}

const number = (value: unknown) => Number(value).toLocaleString("en-US")

/** Returns what a Schema says about its values: its description, or else its limits. */
const meaningOf = (schema: unknown): string => {
  const parts = [schema, ...[at(schema, "allOf")].flat()]
  const find = (key: string) => parts.map((part) => at(part, key)).find((value) => value !== undefined)
  const [description, values, minimum, maximum] = ["description", "enum", "minimum", "maximum"].map(find)
  return typeof description === "string"
    ? description
    : Array.isArray(values)
    ? `${values.map((value) => `\`${String(value)}\``).join(", ")}.`
    : minimum !== undefined && maximum !== undefined
    ? `${number(minimum)} to ${number(maximum)}.`
    : ""
}

const table = (names: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  [names, names.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ").replace(/ +$/, "")} |`).join("\n")

const parametersOf = ({ parameters = [], requestBody }: typeof Operation.Type) => {
  const body = requestBody?.content["application/json"].schema
  const all = [
    ...parameters,
    ...Object.entries(body?.properties ?? {}).map(([name, schema]) => ({
      name,
      in: "body",
      description: undefined,
      required: body?.required?.includes(name) === true,
      schema
    }))
  ]
  return all.map(({ description, in: place, name, required, schema }) => [
    `\`${name}\``,
    place,
    [required ? "Required." : "", description ?? meaningOf(schema)].filter((part) => part !== "").join(" ")
  ])
}

const byStatus = (errors: ReadonlyArray<Failure>) =>
  Object.entries(Object.groupBy(errors, ({ status }) => status)).map(([status, same = []]) =>
    `${status} ${same.map(({ tag }) => `\`${tag}\``).join(", ")}`
  )

const describe = (endpoint: Endpoint, own: ReadonlyArray<Failure>): string => {
  const { heading, operation } = endpoint
  const kind = isCommand(endpoint) ? " or command" : isQuery(endpoint) ? " or query" : ""
  const status = Object.keys(operation.responses).find((status) => status.startsWith("2")) ?? "200"
  const parameters = parametersOf(operation)
  return [
    heading,
    operation.description ?? `${operation.summary}.`,
    ...parameters.length === 0 ? [] : [table(["parameter", "in", "meaning"], parameters)],
    `${[`${status}, or an [error](#errors) of every endpoint${kind}`, ...byStatus(own)].join(", or ")}.`
  ].join("\n\n")
}

/** Returns the start and the end of the section with a heading. */
const sectionOf = (page: string, heading: string): readonly [start: number, end: number] | undefined => {
  const start = page.indexOf(`\n${heading}\n`)
  if (start === -1) return undefined
  const level = /^#+/.exec(heading)?.[0].length ?? 1
  const rest = page.slice(start + heading.length + 1)
  const length = rest.search(new RegExp(`\n#{1,${level}} `))
  return [start + 1, length === -1 ? page.length : start + heading.length + 1 + length + 1]
}

const withEndpoint = (page: string, text: string, heading: string): string => {
  const [start, end] = sectionOf(page, heading) ?? [page.length, page.length]
  const section = page.slice(start, end)
  const requests = section.indexOf("```http")
  const before = page.slice(0, start)
  return `${before}${start === page.length ? "\n" : ""}${text}\n${
    requests === -1 ? "" : `\n${section.slice(requests).trimEnd()}\n`
  }${end === page.length ? "" : "\n"}${page.slice(end)}`
}

const withErrors = (page: string, heading: string, errors: ReadonlyArray<Failure>): string => {
  const [start, end] = sectionOf(page, heading) ?? [0, 0]
  if (end === 0) throw new Error(`docs/http-api.md has no heading "${heading}"`)
  const sorted = errors.toSorted((a, b) => a.status.localeCompare(b.status))
  const rows = sorted.map(({ meaning, status, tag }) => [`\`${tag}\``, status, meaning])
  return page.slice(0, start) +
    page.slice(start, end).replace(/^\|.*\n(\|.*\n)+/m, `${table(["error", "status", "meaning"], rows)}\n`)
    + page.slice(end)
}

/** Returns the page with its generated parts. */
export const write = (page: string, document: Document): string => {
  const endpoints = endpointsOf(document)
  const { all, commands, ownOf, queries } = groupsOf(endpoints)
  const own = new Map(endpoints.flatMap((endpoint) => ownOf(endpoint).map((error) => [keyOf(error), error])))
  const described = endpoints.reduce(
    (page, endpoint) => withEndpoint(page, describe(endpoint, ownOf(endpoint)), endpoint.heading),
    page
  )
  return [
    ["### Errors of every endpoint", all] as const,
    ["### Errors of commands", commands] as const,
    ["### Errors of queries", queries] as const,
    ["### Errors of single endpoints", Array.from(own.values())] as const
  ].reduce((page, [heading, errors]) => withErrors(page, heading, errors), described)
}

/** Returns the headings of the endpoints. */
export const headingsOf = (document: Document): ReadonlyArray<string> =>
  endpointsOf(document).map(({ heading }) => heading)
