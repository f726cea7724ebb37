/**
 * Encodes the payload of a command for its hash: as its Schema encodes it as JSON, but without the content of `Redacted`, and with `undefined` apart
 * from `null`.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaGetter from "effect/SchemaGetter"
import { walkSchema } from "../../core/walkSchema.ts"
import * as JsonCodec from "../../personalData/JsonCodec.ts"

/**
 * Returns a value as JSON, with `null` for each `Redacted`, and with `undefined` as it is. Leaves a part without a JSON form as it is.
 *
 * @since 0.1.0
 * @category models
 */
export type PayloadEncoder = (value: unknown) => unknown

const encoders = new WeakMap<SchemaAST.AST, PayloadEncoder>()

/**
 * Returns the encoder of a Schema.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (ast: SchemaAST.AST): PayloadEncoder => {
  let found = encoders.get(ast)
  if (found === undefined) {
    let encode: PayloadEncoder | undefined
    // A recursive Schema contains itself, so a node is compiled when a value comes.
    found = (value) => (encode ??= compile(ast))(value)
    encoders.set(ast, found)
  }
  return found
}

const compile = (ast: SchemaAST.AST): PayloadEncoder => {
  if (isRedacted(ast)) return () => null
  if (!isSpecial(ast)) return ast.encoding === undefined ? primitiveEncoder(ast, jsonEncoder(ast)) : jsonEncoder(ast)
  switch (ast._tag) {
    // The encoded form of these may join what is redacted with other values, so their decoded form is encoded part by part.
    case "Objects":
      return objectEncoder(ast)
    case "Arrays":
      return arrayEncoder(ast)
    case "Union":
      return unionEncoder(ast)
    case "Suspend":
      return (value) => make(ast.thunk())(value)
    case "Declaration":
      return ast.typeParameters.length > 0 ? declarationEncoder(ast) : opaqueEncoder(ast)
    default:
      return ast.encoding === undefined ? (value) => value : opaqueEncoder(ast)
  }
}

/** JSON has these values as they are, so most fields of most payloads need no codec. */
const primitiveEncoder = ({ _tag }: SchemaAST.AST, encode: PayloadEncoder): PayloadEncoder => {
  switch (_tag) {
    case "String":
      return (value) => typeof value === "string" ? value : encode(value)
    case "Boolean":
      return (value) => typeof value === "boolean" ? value : encode(value)
    case "Number":
      return (value) => Number.isFinite(value) ? value : encode(value)
    default:
      return encode
  }
}

const representationOf = ({ annotations }: SchemaAST.AST): unknown => {
  const representation = annotations?.["representation"]
  return Predicate.isObject(representation) ? Reflect.get(representation, "id") : undefined
}

const isRedacted = (ast: SchemaAST.AST): boolean => representationOf(ast) === "effect/schema/Redacted"

/** Returns whether the JSON codec of a Schema shows what is redacted, fails for some values, or loses what tells them apart. */
const isSpecial = (schema: SchemaAST.AST): boolean => {
  let found = false
  walkSchema(schema, false, (ast) => {
    switch (ast._tag) {
      // The codec encodes it as `null`.
      case "Undefined":
      case "Void":
      // The codec fails for values that are not JSON.
      case "Any":
      case "Unknown":
      case "ObjectKeyword":
        found = true
        break
      // The codec of a class that is not one of Effect may show what is redacted.
      case "Declaration":
        found ||= isRedacted(ast) || (ast.typeParameters.length === 0 && representationOf(ast) === undefined)
    }
  })
  return found
}

/** Returns the function that encodes a value as JSON, and leaves one as it is that cannot be encoded. */
const jsonEncoder = (ast: SchemaAST.AST): PayloadEncoder => {
  const schema = Schema.make<Schema.Codec<unknown, unknown>>(ast)
  const codec = Result.try(() => Schema.encodeUnknownResult(Schema.toCodecJson(schema)))
  if (Result.isFailure(codec)) return (value) => value
  // A member of a union must not be taken for a value that has more fields.
  const strict = { onExcessProperty: "error" } as const
  const encode = (value: unknown, options?: SchemaAST.ParseOptions) =>
    Result.flatMap(Result.try(() => codec.success(value, options)), (encoded) => encoded)
  return (value) => {
    const encoded = encode(value, strict)
    if (Result.isSuccess(encoded)) return encoded.success
    // An instance of a class may have properties that its Schema does not have. What it does have must not be lost.
    const lenient = Result.filterOrFail(
      encode(value),
      () => JsonCodec.findChange(schema)(value) === undefined,
      () => value
    )
    return Result.getOrElse(lenient, () => value)
  }
}

/** Returns the encoder of a Schema that does not say whether its values have something redacted. */
const opaqueEncoder = (ast: SchemaAST.AST): PayloadEncoder => {
  const encode = jsonEncoder(ast)
  return (value) => hasRedacted(value) ? null : encode(value)
}

const hasRedacted = (value: unknown): boolean => {
  const seen = new Set<unknown>()
  const visit = (value: unknown): boolean => {
    if (!Predicate.isObjectOrArray(value) || seen.has(value)) return false
    if (Redacted.isRedacted(value)) return true
    seen.add(value)
    return value instanceof Map || value instanceof Set
      ? Array.from<unknown>(value).some(visit)
      : Object.values(value).some(visit)
  }
  return visit(value)
}

const objectEncoder = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): PayloadEncoder => {
  const fields = new Map(propertySignatures.map(({ name, type }) => [name, make(type)]))
  const records = indexSignatures.map(({ parameter, type }) => ({ isKey: isOf(parameter), encode: make(type) }))
  return (value) => {
    if (!Predicate.isObject(value)) return value
    const entries: Array<readonly [PropertyKey, unknown]> = []
    for (const [name, encode] of fields) {
      if (name in value) entries.push([name, encode(Reflect.get(value, name))])
    }
    if (records.length > 0) {
      for (const name of Reflect.ownKeys(value)) {
        const encode = fields.has(name) ? undefined : records.find(({ isKey }) => isKey(name))?.encode
        if (encode !== undefined) entries.push([name, encode(Reflect.get(value, name))])
      }
    }
    // An assignment would not store a field that is named `__proto__`.
    return Object.fromEntries(entries)
  }
}

const arrayEncoder = ({ elements, rest }: SchemaAST.Arrays): PayloadEncoder => {
  const first = elements.map(make)
  const [repeated, ...last] = rest.map(make)
  return (value) => {
    if (!Array.isArray(value)) return value
    const tail = value.length - last.length
    return Array.from<unknown, unknown>(value, (element, index) => {
      const encode = index < first.length ? first[index] : index < tail ? repeated : last[index - tail]
      return encode === undefined ? element : encode(element)
    })
  }
}

const unionEncoder = (ast: SchemaAST.Union): PayloadEncoder => {
  const types = ast.types.filter(({ _tag }) => _tag !== "Undefined")
  const members = types.map((type) => ({ isMember: isOf(type), encode: make(type) }))
  return (value) => {
    if (value === undefined) return undefined
    // Mostly an optional field.
    if (members.length === 1) return members[0]!.encode(value)
    const member = members.find(({ isMember }) => isMember(value, { onExcessProperty: "error" }))
      ?? members.find(({ isMember }) => isMember(value))
    return member === undefined ? value : member.encode(value)
  }
}

const isOf = (ast: SchemaAST.AST): (value: unknown, options?: SchemaAST.ParseOptions) => boolean => {
  const decode = Schema.decodeUnknownResult(Schema.make<Schema.Codec<unknown, unknown>>(SchemaAST.toType(ast)))
  return (value, options) => Result.isSuccess(Result.flatMap(Result.try(() => decode(value, options)), (is) => is))
}

/** Returns the encoder of a class with type parameters, such as `Option`, or of one that `Schema.Class` has made. */
const declarationEncoder = (ast: SchemaAST.Declaration): PayloadEncoder => {
  const parameters = ast.typeParameters.map((parameter) =>
    Schema.declare((_: unknown): _ is unknown => true).pipe(
      Schema.encodeTo(Schema.Any, {
        decode: SchemaGetter.forbidden(() => "The hash of a payload is not decoded"),
        encode: SchemaGetter.transform(make(parameter))
      })
    )
  )
  const link = ast.annotations?.["toCodecJson"] ?? ast.annotations?.["toCodec"]
  const annotations = representationOf(ast) === undefined && Predicate.isFunction(link)
    // `Schema.Class` leaves the encoding of its fields to the link.
    ? { ...ast.annotations, toCodecJson: (): unknown => Reflect.apply(link, undefined, [parameters]) }
    : ast.annotations
  return jsonEncoder(
    new SchemaAST.Declaration(
      parameters.map(({ ast }) => ast),
      ast.run,
      annotations,
      ast.checks,
      undefined,
      undefined,
      ast.encodingChecks,
      ast.encodingRun
    )
  )
}
