/**
 * What an event of the runtime has of a command or a deadline: its name and its payload, by the Schema of that name. What this release does not declare, or
 * cannot decode without a loss, is kept as it is.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * A Schema that encodes and decodes without services, as that of an event must.
 *
 * @since 0.1.0
 * @category models
 */
export type Field = Schema.Codec<unknown, unknown>

/**
 * Content that this release does not understand: a newer one has declared the name, or changed its Schema.
 *
 * @since 0.1.0
 * @category models
 */
export class Undeclared {
  readonly stored: unknown
  constructor(stored: unknown) {
    this.stored = stored
  }
}

/**
 * Returns whether a payload is of content that this release does not understand.
 *
 * @since 0.1.0
 * @category guards
 */
export const isUndeclared = (payload: unknown): payload is Undeclared => payload instanceof Undeclared

const undeclared = Schema.Unknown.pipe(
  Schema.decodeTo(
    Schema.declare(isUndeclared, { expected: "a command or a deadline that is declared" }),
    SchemaTransformation.transform({
      decode: (stored: unknown) => new Undeclared(stored),
      encode: ({ stored }: Undeclared) => stored
    })
  )
)

/** The name of the field that has the payload, or the error. */
type Content = "payload" | "error"

interface Part {
  readonly name: string
  readonly schema: Field
}

/**
 * Returns the Schema of the content of an event: that of one of the names.
 *
 * **Details**
 *
 * A payload with a field that its Schema does not have is not understood either: a newer release has added the field, and this one would lose it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (content: Content, parts: ReadonlyArray<Part>): Field => {
  const members = parts.map(({ name, schema }) => Schema.Struct({ name: Schema.Literal(name), [content]: schema }))
  const encoded = new Map(
    parts.map(({ name, schema }) => [name, SchemaAST.toEncoded(Schema.toCodecJson(schema).ast)] as const)
  )
  const hasUnknownFields = (stored: unknown): boolean => {
    const name = nameOf(stored)
    const ast = name === undefined ? undefined : encoded.get(name)
    return ast !== undefined && !hasOnlyKnownFields(ast, Reflect.get(Object(stored), content))
  }
  const withUnknownFields = undeclared.check(
    Schema.makeFilter(({ stored }) => hasUnknownFields(stored), { expected: "a field that this release does not know" })
  )
  // The first member that decodes is taken.
  const union: Schema.Top = Schema.Union([withUnknownFields, ...members, undeclared])
  return union as Schema.Top & Field
}

const nameOf = (stored: unknown): string | undefined =>
  Predicate.hasProperty(stored, "name") && typeof stored.name === "string" ? stored.name : undefined

/** Returns whether a JSON value has the shape that a Schema encodes to, with no field beyond it. */
const hasOnlyKnownFields = (ast: SchemaAST.AST, json: unknown): boolean => {
  switch (ast._tag) {
    case "Objects": {
      if (!Predicate.isObject(json) || Array.isArray(json)) return false
      const fields = new Map(ast.propertySignatures.map(({ name, type }) => [String(name), type]))
      return Object.entries(json).every(([name, value]) => {
        const types = fields.has(name) ? [fields.get(name)!] : ast.indexSignatures.map(({ type }) => type)
        return types.some((type) => hasOnlyKnownFields(type, value))
      })
    }
    case "Arrays": {
      const { elements, rest: [rest] } = ast
      return Array.isArray(json) && json.every((value, index) => {
        const element = elements[index] ?? rest
        return element !== undefined && hasOnlyKnownFields(element, value)
      })
    }
    case "Union":
      return ast.types.some((type) => hasOnlyKnownFields(type, json))
    case "Suspend":
      return hasOnlyKnownFields(ast.thunk(), json)
    case "Declaration":
    case "Unknown":
    case "Any":
    case "ObjectKeyword":
      return true
    default:
      return !Predicate.isObject(json) && !Array.isArray(json)
  }
}

/**
 * Returns content as the log has it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const toStored = (name: string, content: Content, payload: unknown): unknown =>
  isUndeclared(payload) ? payload : { name, [content]: payload }

/**
 * Returns the name and the payload of content.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fromStored = (stored: unknown, content: Content): Readonly<Record<string, unknown>> =>
  isUndeclared(stored)
    ? { name: nameOf(stored.stored) ?? "", [content]: stored }
    : { ...Object(stored) }
