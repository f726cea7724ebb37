/**
 * Checks tags and queries against the tags that a set of events declares, so that a misspelt name does not match nothing.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type * as Event from "./Event.ts"
import { legacyOf, tagFieldsOf, upcastersOf } from "./EventAnnotations.ts"
import type { QueryItem, QueryItems } from "./EventQuery.ts"

/**
 * Returns whether events of a Schema can have a field; yes where the Schema does not say.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasField = (schema: Schema.Constraint, field: string): boolean => {
  const ast = SchemaAST.toType(schema.ast)
  return ast._tag !== "Objects" || ast.propertySignatures.some(({ name }) => name === field)
}

/**
 * Returns the names of the tags that an event type of the set can have.
 *
 * @since 0.1.0
 * @category accessors
 */
export const namesOf = (events: Event.Any, type: string): ReadonlyArray<string> => {
  const schema = events.cases[type]
  return schema === undefined
    ? []
    : Object.entries(tagFieldsOf(events)[type] ?? {}).flatMap(([name, field]) => hasField(schema, field) ? [name] : [])
}

/**
 * Returns whether every event of a type in the set gets a tag of the given name when it is written: the field of the tag is never missing.
 *
 * @since 0.1.0
 * @category guards
 */
export const isAlwaysTagged = (events: Event.Any, type: string, name: string): boolean => {
  const schema = Object.hasOwn(events.cases, type) ? events.cases[type] : undefined
  const field = tagFieldsOf(events)[type]?.[name]
  if (schema === undefined || field === undefined) return false
  const ast = SchemaAST.toType(schema.ast)
  const fields = ast._tag === "Declaration" ? ast.typeParameters[0] : ast
  const property = fields?._tag === "Objects" ? fields.propertySignatures.find((one) => one.name === field) : undefined
  return property !== undefined && property.type.context?.isOptional !== true && isString(property.type)
}

const isString = (ast: SchemaAST.AST, suspended: ReadonlyArray<SchemaAST.AST> = []): boolean => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
      return true
    case "Literal":
      return typeof ast.literal === "string"
    case "Enum":
      return ast.enums.every(([, value]) => typeof value === "string")
    case "Union":
      return ast.types.every((one) => isString(one, suspended))
    case "Suspend":
      // A value is of another member of the Schema that contains itself.
      return suspended.includes(ast) || isString(ast.thunk(), [...suspended, ast])
    default:
      return false
  }
}

/**
 * Returns the names of the tags that a set declares.
 *
 * @since 0.1.0
 * @category accessors
 */
export const names = (events: Event.Any): ReadonlyArray<string> =>
  Array.from(new Set(Object.keys(events.cases).flatMap((type) => namesOf(events, type))))

const list = (found: ReadonlyArray<string>): string => found.length === 0 ? "none" : found.join(", ")

/**
 * Returns what is wrong with the names of tags, or `undefined`: each is declared, and an event of one of the types can have all of them. With
 * `"every"`, events of each type can.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateNames = (
  events: Event.Any,
  types: ReadonlyArray<string>,
  tagNames: ReadonlyArray<string>,
  quantifier: "some" | "every" = "some"
): string | undefined => {
  const declared = names(events)
  const undeclared = tagNames.find((name) => !declared.includes(name))
  if (undeclared !== undefined) {
    return `no event of the set has the tag "${undeclared}"; the set declares the tags: ${list(declared)}`
  }
  const without = (type: string) => tagNames.find((name) => !namesOf(events, type).includes(name))
  if (quantifier === "some" && (types.length === 0 || types.some((type) => without(type) === undefined))) {
    return undefined
  }
  const wrong = types.find((type) => without(type) !== undefined)
  return wrong === undefined ?
    undefined :
    `events "${wrong}" cannot have the tag "${without(wrong)}", so they never match; their tags: ${
      list(namesOf(events, wrong))
    }`
}

/**
 * Returns the name in the text of a tag, `<name>:<value>`; `undefined` when it has no name or no value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nameOf = (tag: string): string | undefined => {
  const colon = tag.indexOf(":")
  return colon < 1 || colon === tag.length - 1 ? undefined : tag.slice(0, colon)
}

/**
 * Returns the text before the first colon of a tag that a set has declared.
 *
 * @since 0.1.0
 * @category accessors
 */
export const namePartOf = (tag: string): string => tag.slice(0, Math.max(0, tag.indexOf(":")))

/**
 * Returns what is wrong with the texts of tags, or `undefined`; see `validateNames`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateTexts = (
  events: Event.Any,
  types: ReadonlyArray<string>,
  tags: ReadonlyArray<string>
): string | undefined => {
  const malformed = tags.find((tag) => nameOf(tag) === undefined)
  return malformed === undefined
    ? validateNames(events, types, tags.flatMap((tag) => nameOf(tag) ?? []))
    : `"${malformed}" is not a tag; make one by Event.tag(name, value). The set declares the tags: ${
      list(names(events))
    }`
}

/**
 * Returns what is wrong with a query for events of a set, or `undefined`: its types and the names of its tags are those of the set.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateQuery = (events: Event.Any, query: QueryItems): string | undefined =>
  query.map((item) => validateItem(events, item)).find((wrong) => wrong !== undefined)

const validateItem = (events: Event.Any, { tags = [], types = [] }: QueryItem): string | undefined => {
  const unknown = types.find((type) =>
    !Object.hasOwn(events.cases, type) && !Object.hasOwn(legacyOf(events), type) &&
    !Object.hasOwn(upcastersOf(events), type)
  )
  if (unknown !== undefined) {
    return `the set has no event "${unknown}"; it has ${Object.keys(events.cases).join(", ")}`
  }
  const current = types.filter((type) => Object.hasOwn(events.cases, type))
  return validateTexts(events, current.length < types.length ? [] : current, tags)
}
