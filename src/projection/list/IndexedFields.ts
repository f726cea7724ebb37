/**
 * The indexed fields of a projection's documents: their values in a document and in a filter.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaFailure from "../../personalData/SchemaFailure.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import * as IndexDefinition from "./IndexDefinition.ts"
import * as IndexEntry from "./IndexEntry.ts"
import * as IndexForm from "./IndexForm.ts"

/**
 * An indexed field. Failures are messages, which begin with the name of the field.
 *
 * @since 0.1.0
 * @category models
 */
export interface IndexedField {
  readonly field: string
  /** The name of its index: that of the field, and the form of its entries. */
  readonly index: string
  /** Whether its values have an order: strings, numbers, bigints, decimals, booleans, times and durations. */
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

/** Returns the types of a field of a document that is no plain struct. A class names the Schemas of its fields, other documents only their types. */
const declaredTypes = (document: Projection.Document, field: string): ReadonlyArray<SchemaAST.AST> => {
  const fields: unknown = Reflect.get(document, "fields")
  const schema: unknown = Predicate.isObject(fields) ? Reflect.get(fields, field) : undefined
  return Schema.isSchema(schema) ? [schema.ast] : IndexDefinition.typesOf(document, field)
}

const readJson = (json: unknown, field: string): unknown =>
  Predicate.isObject(json) && Object.hasOwn(json, field) ? json[field] : undefined

/** Returns the Schemas of a field in a document, and in the members of a union; none if the document is transformed as a whole. */
const schemasOf = (document: unknown, field: string): ReadonlyArray<Projection.Document> => {
  if (!Schema.isSchema(document)) return []
  const fields: unknown = Reflect.get(document, "fields")
  const schema: unknown = Predicate.isObject(fields) ? Reflect.get(fields, field) : undefined
  if (Schema.isSchema(schema)) return [schema as Projection.Document]
  const members: unknown = Reflect.get(document, "members")
  return Array.isArray(members) ? members.flatMap((member: unknown) => schemasOf(member, field)) : []
}

/** Returns the codec of a field and the values that its stored forms have. */
const valuesOf = (field: string, schema: Projection.Document) => {
  const codec = Schema.toCodecJson(schema)
  const encode = SchemaFailure.parser(schema, Schema.encodeUnknownResult(codec))
  const decode = SchemaFailure.parser(schema, Schema.decodeUnknownResult(codec))
  const struct = Schema.toCodecJson(Schema.Struct({ [field]: schema }))
  const decodeMissing = SchemaFailure.parser(schema, Schema.decodeUnknownResult(struct))
  const valueOf = (json: unknown) =>
    Result.flatMap(
      Result.mapError(decode(json), invalid),
      (value) => IndexEntry.valueOf(value, json)
    )
  /** A missing field may have a default. The Schema of a field does not tell, that of a struct does. */
  const ofMissing = (): Result.Result<IndexEntry.EntryValue, string> => {
    const value = Result.match(decodeMissing({}), { onFailure: () => undefined, onSuccess: (found) => found[field] })
    return value === undefined
      ? IndexEntry.valueOf(undefined, null)
      : Result.flatMap(Result.mapError(encode(value), invalid), valueOf)
  }
  const missing = () => Result.match(ofMissing(), { onFailure: () => "invalid", onSuccess: ({ text }) => text })
  return { encode, valueOf, ofMissing, formOfMissing: () => IndexForm.ofMissing(missing(), missing()) }
}

const ofField = (field: string, schema: Projection.Document): IndexedField => {
  const { encode, formOfMissing, ofMissing, valueOf } = valuesOf(field, schema)
  const isOrdered = IndexDefinition.areOrdered([Schema.toType(schema).ast])
  const form = IndexForm.make([schema.ast], formOfMissing())
  return {
    field,
    index: IndexEntry.indexName(field, form),
    isOrdered,
    inDocument: (document) => {
      const json = readJson(document, field)
      return named(field, json === undefined ? ofMissing() : valueOf(json))
    },
    inFilter: (value) =>
      named(
        field,
        // A value with no place in an order may satisfy the Schema, and may not.
        Result.flatMap(IndexEntry.valueOf(value, null), (entry) =>
          isOrdered && value === null
            ? Result.succeed({ ...entry, field })
            : Result.flatMap(
              Result.mapError(encode(value), invalid),
              (json) => Result.map(valueOf(json), (entry) => ({ ...entry, field }))
            ))
      )
  }
}

const ofDocument = (
  field: string,
  document: Projection.Document,
  decode: (json: unknown) => Result.Result<unknown, SchemaFailure.SchemaFailure>
): IndexedField => {
  const types = IndexDefinition.typesOf(document, field)
  const encode = encoderOf(types)
  // Documents and filters both encode the decoded value, because the stored field may have another name and another form.
  const valueOf = (value: unknown) =>
    Result.flatMap(IndexEntry.valueOf(value, null), (entry) =>
      IndexEntry.hasOrder(entry)
        ? Result.succeed(entry)
        : Result.flatMap(encode(value), (json) => IndexEntry.valueOf(value, json)))
  const isOrdered = IndexDefinition.areOrdered(types)
  const missing = new Set(schemasOf(document, field).map((schema) => valuesOf(field, schema).formOfMissing()))
  const form = IndexForm.make(
    declaredTypes(document, field),
    [...missing].filter((one) => one !== "").toSorted().join("|")
  )
  return {
    field,
    index: IndexEntry.indexName(field, form),
    isOrdered,
    inDocument: (json) =>
      named(
        field,
        Result.flatMap(
          Result.mapError(decode(json), () => "belongs to a document that does not satisfy its Schema"),
          (decoded) => valueOf(Predicate.isObjectOrArray(decoded) ? Reflect.get(decoded, field) : undefined)
        )
      ),
    inFilter: (value) =>
      named(
        field,
        Result.flatMap(valueOf(value), (entry) =>
          isOrdered && value === null
            ? Result.succeed({ ...entry, field })
            : Result.map(encode(value), () => ({ ...entry, field })))
      )
  }
}

/** Returns the encoder of values of one of some types. A value is encoded by a type that has all of its fields, if there is one. */
const encoderOf = (types: ReadonlyArray<SchemaAST.AST>): (value: unknown) => Result.Result<unknown, string> => {
  const schema = Schema.Union(types.map((ast) => Schema.make<Projection.Document>(ast)))
  const codec = Schema.toCodecJson(schema)
  const encode = SchemaFailure.parser(schema, Schema.encodeUnknownResult(codec))
  const encodeWhole = SchemaFailure.parser(
    schema,
    (value: unknown) => Schema.encodeUnknownResult(codec)(value, { onExcessProperty: "error" })
  )
  return (value) => Result.mapError(Result.orElse(encodeWhole(value), () => encode(value)), invalid)
}

const invalid = ({ safeMessage }: SchemaFailure.SchemaFailure): string => `does not satisfy its Schema: ${safeMessage}`

const named = <A>(field: string, result: Result.Result<A, string>): Result.Result<A, string> =>
  Result.mapError(result, (message) => `"${field}" ${message}`)
