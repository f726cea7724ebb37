/**
 * The indexed fields of a projection's documents: their values in a document and in a filter.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as JsonText from "../core/JsonText.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as IndexEntry from "./IndexEntry.ts"
import type * as Projection from "./ProjectionDefinition.ts"

/**
 * An indexed field. Failures are messages, which begin with the name of the field.
 *
 * @since 0.1.0
 * @category models
 */
export interface IndexedField {
  readonly field: string
  /** Whether its values have an order: strings, numbers, bigints, decimals, booleans and times. */
  readonly isOrdered: boolean
  /** Returns the value of the field in an encoded document. */
  readonly inDocument: (json: Schema.Json) => Result.Result<IndexEntry.EntryValue, string>
  /** Returns a value to compare with, decoded as it is in documents. */
  readonly inFilter: (value: unknown) => Result.Result<FilterValue, string>
}

/**
 * A value to compare with.
 *
 * @since 0.1.0
 * @category models
 */
export interface FilterValue extends IndexEntry.EntryValue {
  readonly field: string
  readonly json: unknown
}

/**
 * Returns the indexed fields of a document.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (document: Projection.Document, index: ReadonlyArray<string>): ReadonlyArray<IndexedField> => {
  const fields: unknown = Reflect.get(document, "fields")
  // The fields of a plain struct have the same names on both sides, and each has a codec of its own.
  const isStruct = SchemaAST.isObjects(document.ast) && document.ast.encoding === undefined &&
    Predicate.isObject(fields)
  const decodeWhole = SchemaFailure.parser(document, Schema.decodeUnknownResult(Schema.toCodecJson(document)))
  return index.map((field) => {
    const schema: unknown = isStruct ? Reflect.get(fields, field) : undefined
    return Schema.isSchema(schema)
      ? ofField(field, schema as Projection.Document)
      : ofDocument(field, document, decodeWhole)
  })
}

const readJson = (json: unknown, field: string): unknown =>
  Predicate.isObject(json) && Object.hasOwn(json, field) ? json[field] : undefined

const ofField = (field: string, schema: Projection.Document): IndexedField => {
  const codec = Schema.toCodecJson(schema)
  const encode = SchemaFailure.parser(schema, Schema.encodeUnknownResult(codec))
  const decode = SchemaFailure.parser(schema, Schema.decodeUnknownResult(codec))
  const valueOf = (json: unknown) =>
    // A missing field is not decoded, because the Schema of a field does not say whether it may be missing.
    Result.flatMap(
      json === undefined ? Result.succeed(undefined) : Result.mapError(decode(json), invalid),
      (value) => IndexEntry.valueOf(value, json)
    )
  return {
    field,
    isOrdered: isOrdered(Schema.toType(schema).ast),
    inDocument: (document) => named(field, valueOf(readJson(document, field))),
    inFilter: (value) =>
      named(
        field,
        Result.flatMap(
          // A value with no place in an order may satisfy the Schema, and may not.
          Result.flatMap(IndexEntry.valueOf(value, null), () => Result.mapError(encode(value), invalid)),
          (json: unknown) => Result.map(valueOf(json), (entry) => ({ ...entry, field, json }))
        )
      )
  }
}

const ofDocument = (
  field: string,
  document: Projection.Document,
  decode: (json: unknown) => Result.Result<unknown, SchemaFailure.SchemaFailure>
): IndexedField => ({
  field,
  isOrdered: areOrdered(typesOf(field, Schema.toType(document).ast)),
  inDocument: (json) =>
    named(
      field,
      Result.flatMap(
        Result.mapError(decode(json), () => "belongs to a document that does not satisfy its Schema"),
        (decoded) =>
          IndexEntry.valueOf(
            Predicate.isObjectOrArray(decoded) ? Reflect.get(decoded, field) : undefined,
            readJson(json, field)
          )
      )
    ),
  inFilter: (value) =>
    named(
      field,
      Result.flatMap(IndexEntry.valueOf(value, value), (entry) =>
        // Without the Schema of the field, only JSON is compared as it is stored.
        entry.text.startsWith("5")
          ? Result.mapBoth(JsonText.encode(value), {
            onFailure: (detail) => `cannot be compared in documents that are not one struct: ${detail}`,
            onSuccess: () => ({ ...entry, field, json: value })
          })
          : Result.succeed({ ...entry, field, json: value }))
    )
})

const invalid = ({ safeMessage }: SchemaFailure.SchemaFailure): string => `does not satisfy its Schema: ${safeMessage}`

const named = <A>(field: string, result: Result.Result<A, string>): Result.Result<A, string> =>
  Result.mapError(result, (message) => `"${field}" ${message}`)

const areOrdered = (types: ReadonlyArray<SchemaAST.AST>): boolean => types.length > 0 && types.every(isOrdered)

const orderedDeclarations = new Set(
  ["Date", "DateTimeUtc", "DateTimeZoned", "BigDecimal"].map((name) => `effect/schema/${name}`)
)

/** Returns whether all values of a type have an order. */
const isOrdered = (ast: SchemaAST.AST): boolean => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
    case "Number":
    case "BigInt":
    case "Boolean":
    case "Literal":
    case "Enum":
    case "Null":
    case "Undefined":
      return true
    case "Declaration": {
      const representation: unknown = ast.annotations?.["representation"]
      const id: unknown = Predicate.isObject(representation) ? representation["id"] : undefined
      return typeof id === "string" && orderedDeclarations.has(id)
    }
    case "Union":
      return areOrdered(ast.types)
    default:
      return false
  }
}

/** Returns the types that a field has in the structs of a document. */
const typesOf = (field: string, ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  switch (ast._tag) {
    case "Objects":
      return ast.propertySignatures.flatMap(({ name, type }) => name === field ? [type] : [])
    case "Union":
      return ast.types.flatMap((type) => typesOf(field, type))
    case "Declaration":
      return ast.typeParameters.flatMap((type) => typesOf(field, type))
    default:
      return []
  }
}
