/**
 * The JSON codec of what a store keeps: events, documents and states. A value that would be read back as another one is not encoded.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as RoundTrip from "../core/json/RoundTrip.ts"
import * as SchemaFailure from "./SchemaFailure.ts"

/**
 * The JSON codec of a Schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonCodec<A> {
  /** Returns the value as JSON, or why it does not satisfy its Schema or would be decoded to another value. */
  readonly encode: (value: unknown) => Result.Result<Schema.Json, SchemaFailure.SchemaFailure>
  readonly decode: (json: unknown) => Result.Result<A, SchemaFailure.SchemaFailure>
}

/**
 * Returns the codec of a Schema. It compares what it encodes, by decoding it, only if the Schema may change a value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A>(
  schema: Schema.ConstraintCodec<A, unknown>,
  options: {
    /** How values are encoded. */
    readonly parseOptions?: SchemaAST.ParseOptions | undefined
  } = {}
): JsonCodec<A> => {
  const json: Schema.ConstraintCodec<A, Schema.Json> = Schema.toCodecJson(schema)
  const encode = SchemaFailure.parser(schema, Schema.encodeUnknownResult(json, options.parseOptions))
  const decode = SchemaFailure.parser(schema, Schema.decodeUnknownResult(json))
  if (!RoundTrip.mayChange(schema)) return { encode, decode }
  const differenceOf = RoundTrip.differenceOf(schema)
  return {
    decode,
    encode: (value) =>
      Result.flatMap(encode(value), (encoded) =>
        Result.flatMap(decode(encoded), (read) => {
          const difference = differenceOf(value, read)
          return difference === undefined
            ? Result.succeed(encoded)
            : Result.fail(SchemaFailure.at(schema, difference, changed))
        }))
  }
}

/**
 * What a caller can do about a value that a Schema changes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const remedy =
  "the value that its Schema decodes to, no instance of a subclass, and in a union give each member a \"_tag\" or put "
  + "those with more fields first"

const changed =
  `would be read back as another value, because its Schema does not decode what it encodes to the same value; store ${remedy}`

/** Returns where a value would be decoded to another one after it was encoded. Parts without a JSON form are left out. */
type FindChange = (value: unknown) => ReadonlyArray<PropertyKey> | undefined

const changes = new WeakMap<SchemaAST.AST, FindChange>()

/**
 * Returns the function that finds the field of a value which is not in the form that its Schema decodes to. A part without a JSON form, such as
 * something redacted, is not compared.
 *
 * @since 0.1.0
 * @category constructors
 */
export const findChange = ({ ast }: Schema.Constraint): FindChange => findChangeIn(ast)

const findChangeIn = (ast: SchemaAST.AST): FindChange => {
  let found = changes.get(ast)
  if (found === undefined) changes.set(ast, found = compileFindChange(ast))
  return found
}

const compileFindChange = (ast: SchemaAST.AST): FindChange => {
  const schema = Schema.make<Schema.Codec<unknown, unknown>>(ast)
  if (!RoundTrip.mayChange(schema)) return () => undefined
  const differenceOf = RoundTrip.differenceOf(schema)
  // A Schema with a field that is named by a symbol has no JSON codec.
  const json = Result.try(() => Schema.toCodecJson(schema))
  const encode = Result.map(json, (json) => SchemaFailure.parser(schema, Schema.encodeUnknownResult(json)))
  const decode = Result.map(json, (json) => SchemaFailure.parser(schema, Schema.decodeUnknownResult(json)))
  return (value) => {
    const encoded = Result.flatMap(encode, (encode): Result.Result<Schema.Json, unknown> => encode(value))
    if (Result.isFailure(encoded)) return inParts(ast, value)
    const read = Result.flatMap(decode, (decode): Result.Result<unknown, unknown> => decode(encoded.success))
    return Result.isFailure(read) ? [] : differenceOf(value, read.success)
  }
}

/** Looks at the fields of a struct one by one. */
const inParts = (ast: SchemaAST.AST, value: unknown): ReadonlyArray<PropertyKey> | undefined => {
  if (!SchemaAST.isObjects(ast) || ast.encoding !== undefined || !Predicate.isObject(value)) return undefined
  for (const { name, type } of ast.propertySignatures) {
    const field: unknown = Reflect.get(value, name)
    const found = field === undefined ? undefined : findChangeIn(type)(field)
    if (found !== undefined) return [name, ...found]
  }
  return undefined
}
