/**
 * The descriptions of the fields of a request in the OpenAPI document.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/** The fields of a request by their place, as OpenAPI names it. */
export interface Parts {
  readonly path?: Schema.Struct.Fields | undefined
  readonly query?: Schema.Struct.Fields | undefined
  readonly header?: Schema.Struct.Fields | undefined
  readonly body?: Schema.Struct.Fields | undefined
}

const descriptionOf = (fields: Schema.Struct.Fields | undefined, name: string): string | undefined => {
  const field = fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined
  return field && SchemaAST.resolveDescription(field.ast)
}

const place = Schema.Literals(["path", "query", "header"])
const isParameter = Schema.is(Schema.Struct({ name: Schema.String, in: place }))

/** Adds a description to a part of the document that has none. */
const describe = (json: unknown, description: string | undefined): unknown =>
  description === undefined || !Predicate.isObject(json) || "description" in json ? json : { ...json, description }

/** Returns a copy of a JSON object with another value at a path, or the same object if it has nothing there. */
const update = (
  json: Readonly<Record<string, unknown>>,
  [key, ...rest]: readonly [string, ...ReadonlyArray<string>],
  change: (value: unknown) => unknown
): Readonly<Record<string, unknown>> => {
  const value = json[key]
  if (value === undefined) return json
  const [next, ...others] = rest
  if (next === undefined) return { ...json, [key]: change(value) }
  return Predicate.isObject(value) ? { ...json, [key]: update({ ...value }, [next, ...others], change) } : json
}

const ofParameters = (parts: Parts) => (parameters: unknown): unknown =>
  Array.isArray(parameters)
    ? parameters.map((json: unknown) =>
      isParameter(json) ? describe(json, descriptionOf(parts[json.in], json.name)) : json
    )
    : parameters

const ofProperties = (fields: Schema.Struct.Fields | undefined) => (properties: unknown): unknown =>
  Object.fromEntries(
    Object.entries(Object(properties)).map(([name, json]) => [name, describe(json, descriptionOf(fields, name))])
  )

const inBody = ["requestBody", "content", "application/json", "schema", "properties"] as const

/**
 * Returns the annotation of an endpoint that adds the description of each field to the OpenAPI document. Effect takes a description from the encoded
 * form of a field, but a field such as a point in time has it on the decoded form.
 *
 * @since 0.1.0
 * @category constructors
 */
export const annotation = (parts: Parts): Context.Context<OpenApi.Transform> =>
  Context.make(
    OpenApi.Transform,
    (operation) => update(update(operation, ["parameters"], ofParameters(parts)), inBody, ofProperties(parts.body))
  )
