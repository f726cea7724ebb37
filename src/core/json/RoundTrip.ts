/**
 * Whether a value comes back equal after its Schema has encoded it as JSON and decoded it again. Most Schemas change no value. These may: unions
 * whose members overlap, classes, and transformations.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as JsonShape from "./JsonShape.ts"

/**
 * Returns where a value that was read differs from the one that was given, as the path to the first field; `undefined` when they are equal. What the
 * Schema does not declare is not compared, and a property that is `undefined` equals one that is absent.
 *
 * @since 0.1.0
 * @category models
 */
export type Difference = (given: unknown, read: unknown) => ReadonlyArray<PropertyKey> | undefined

/**
 * Returns whether a Schema may change a value that it encodes as JSON and decodes again. If not, there is nothing to compare.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayChange = (schema: Schema.Constraint): boolean => {
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): boolean => {
    if (seen.has(ast)) return false
    seen.add(ast)
    // A transformation of the user may normalise.
    if (ast.encoding !== undefined) return true
    switch (ast._tag) {
      case "ObjectKeyword":
        return true
      case "Objects":
        return changesKeys(ast) || ast.propertySignatures.some(({ type }) => visit(type))
          || ast.indexSignatures.some(({ type }) => visit(type))
      case "Arrays":
        return [...ast.elements, ...ast.rest].some(visit)
      case "Union":
        return JsonShape.overlap(ast.types) || ast.types.some(visit)
      case "Suspend":
        return visit(ast.thunk())
      case "Declaration":
        return !JsonShape.isExact(ast) || ast.typeParameters.some(visit)
      default:
        return false
    }
  }
  return visit(schema.ast)
}

const changesKeys = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): boolean =>
  // A struct without fields takes every value but null.
  (indexSignatures.length === 0 && propertySignatures.length === 0)
  || (indexSignatures.length > 0 && (indexSignatures.length > 1 || propertySignatures.length > 0))
  // A record leaves out an entry whose key does not satisfy the Schema of its keys.
  || indexSignatures.some(({ parameter }) =>
    parameter._tag !== "String" || parameter.checks !== undefined || parameter.encoding !== undefined
  )

/**
 * Returns the comparison of a Schema's values.
 *
 * @since 0.1.0
 * @category constructors
 */
export const differenceOf = (schema: Schema.Constraint): Difference => ofAst(schema.ast)

const differences = new WeakMap<SchemaAST.AST, Difference>()

/** A recursive Schema contains itself, so a node is compiled when a value comes. */
const ofAst = (ast: SchemaAST.AST): Difference => {
  let found = differences.get(ast)
  if (found === undefined) {
    let compiled: Difference | undefined
    found = (given, read) => (compiled ??= compile(ast))(given, read)
    differences.set(ast, found)
  }
  return found
}

const compile = (ast: SchemaAST.AST): Difference => {
  switch (ast._tag) {
    case "Objects":
      return ast.propertySignatures.length + ast.indexSignatures.length === 0 ? exact : ofObjects(ast)
    case "Arrays":
      return ofArrays(ast)
    case "Union":
      return ofUnion(ast)
    case "Suspend":
      return ofAst(ast.thunk())
    case "Declaration":
      return JsonShape.idOf(ast) === "effect/schema/Option" ? ofOption(ofAst(ast.typeParameters[0]!)) : exact
    default:
      return exact
  }
}

const same = undefined
const here: ReadonlyArray<PropertyKey> = []

const inField = (name: PropertyKey, inner: ReadonlyArray<PropertyKey> | undefined) =>
  inner === undefined ? undefined : [name, ...inner]

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

const is = (ast: SchemaAST.AST): (value: unknown) => boolean =>
  Schema.is(Schema.make<Schema.Schema<unknown>>(SchemaAST.toType(ast)))

const ofObjects = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): Difference => {
  const fields = new Map(propertySignatures.map(({ name, type }) => [name, ofAst(type)]))
  const records = indexSignatures.map(({ parameter, type }) => {
    const isKey = is(parameter)
    return {
      isKey: (name: PropertyKey) => isKey(name) || (typeof name === "string" && isKey(Number(name))),
      difference: ofAst(type)
    }
  })
  return (given, read) => {
    if (!Predicate.isObject(given) || !Predicate.isObject(read) || (isPlain(given) && !isPlain(read))) return here
    for (const [name, difference] of fields) {
      const found = inField(name, difference(Reflect.get(given, name), Reflect.get(read, name)))
      if (found !== undefined) return found
    }
    if (records.length === 0) return same
    for (const name of new Set([...Reflect.ownKeys(given), ...Reflect.ownKeys(read)])) {
      if (fields.has(name)) continue
      const record = records.find(({ isKey }) => isKey(name))
      const [value, valueRead] = [Reflect.get(given, name), Reflect.get(read, name)]
      // An entry of no record is left out.
      if (record === undefined && typeof name === "string" && value !== undefined) return [name]
      const found = inField(name, record?.difference(value, valueRead))
      if (found !== undefined) return found
    }
    return same
  }
}

const ofArrays = (ast: SchemaAST.Arrays): Difference => {
  const elements = ast.elements.map(ofAst)
  const [rest, ...last] = ast.rest.map(ofAst)
  return (given, read) => {
    if (!Array.isArray(given) || !Array.isArray(read) || given.length !== read.length) return here
    const end = given.length - last.length
    for (const [index, element] of given.entries()) {
      const difference = index < elements.length ? elements[index] : index < end ? rest : last[index - end]
      const found = inField(index, (difference ?? exact)(element, read[index]))
      if (found !== undefined) return found
    }
    return same
  }
}

/** A value may belong to several members. It is equal if none of them tells the two apart. */
const ofUnion = ({ types }: SchemaAST.Union): Difference => {
  const members = types.map((type) => ({ isOf: is(type), difference: ofAst(type) }))
  return (given, read) => {
    for (const { difference, isOf } of members) {
      const found = isOf(given) ? difference(given, read) : same
      if (found !== undefined) return found
    }
    return same
  }
}

const ofOption = (difference: Difference): Difference => (given, read) => {
  if (!Option.isOption(given) || !Option.isOption(read) || given._tag !== read._tag) return here
  return Option.isSome(given) && Option.isSome(read) ? inField("value", difference(given.value, read.value)) : same
}

/** Compares values without a Schema. */
const exact: Difference = (given, read) => {
  if (Object.is(given, read)) return same
  if (!Predicate.isObjectOrArray(given) || !Predicate.isObjectOrArray(read)) {
    return Predicate.isFunction(given) && Predicate.isFunction(read) ? same : here
  }
  if (Array.isArray(given)) {
    return Array.isArray(read) && given.length === read.length ? inKeys(given.keys(), given, read) : here
  }
  const isOfOneClass = Object.getPrototypeOf(given) === Object.getPrototypeOf(read) || (isPlain(given) && isPlain(read))
  return isOfOneClass ? inObject(given, read) : here
}

const inKeys = (names: Iterable<PropertyKey>, given: object, read: object): ReadonlyArray<PropertyKey> | undefined => {
  for (const name of names) {
    const found = inField(name, exact(Reflect.get(given, name), Reflect.get(read, name)))
    if (found !== undefined) return found
  }
  return same
}

/** Compares two objects of one class. */
const inObject = (given: object, read: object): ReadonlyArray<PropertyKey> | undefined => {
  if (isPlain(given)) return inKeys(new Set([...Object.keys(given), ...Object.keys(read)]), given, read)
  const fields = fieldsOf(given)
  if (fields !== undefined) return inKeys(fields, given, read)
  const [one, other] = [contentOf(given), contentOf(read)]
  if (one !== undefined && other !== undefined) return exact(one, other) === undefined ? same : here
  if (Equal.isEqual(given) || ArrayBuffer.isView(given)) return Equal.equals(given, read) ? same : here
  return inKeys(new Set([...Object.keys(given), ...Object.keys(read)]), given, read)
}

/** Returns the names of the fields of an instance of a `Schema.Class`, which may have further properties of its own. */
const fieldsOf = ({ constructor }: object): ReadonlyArray<string> | undefined => {
  const fields: unknown = Schema.isSchema(constructor) ? Reflect.get(constructor, "fields") : undefined
  return Predicate.isObject(fields) ? Object.keys(fields) : undefined
}

/** Returns the content of a value whose class hides it from `Object.keys`, or that `Equal.equals` compares less exactly. */
const contentOf = (value: object): unknown => {
  if (value instanceof Date) return value.getTime()
  if (value instanceof Map) return Array.from<unknown>(value)
  if (value instanceof Set) return Array.from<unknown>(value)
  if (value instanceof Error) return [value.name, value.message, value.cause]
  if (value instanceof URL || value instanceof URLSearchParams || value instanceof RegExp) return String(value)
  if (Option.isOption(value)) return Option.isSome(value) ? ["Some", value.value] : ["None"]
  if (Chunk.isChunk(value)) return Chunk.toReadonlyArray(value)
  return undefined
}
