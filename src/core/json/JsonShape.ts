/**
 * Which values a Schema may have, and which JSON values it may encode them to, as far as that distinguishes the members of a union.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/**
 * Returns the id that Effect gives to a declared Schema of its own.
 *
 * @since 0.1.0
 * @category accessors
 */
export const idOf = ({ annotations }: SchemaAST.AST): string | undefined => {
  const representation = annotations?.["representation"]
  const id: unknown = Predicate.isObject(representation) ? Reflect.get(representation, "id") : undefined
  return typeof id === "string" ? id : undefined
}

/** The declared Schemas of Effect that encode each value to a JSON value of its own, if the Schemas in them do. */
const containers: ReadonlySet<string | undefined> = new Set(
  ["Option", "Result", "ReadonlyMap", "ReadonlySet", "HashMap", "HashSet", "Chunk", "Redacted"].map((name) =>
    `effect/schema/${name}`
  )
)

const codecOf = ({ annotations }: SchemaAST.AST): unknown => annotations?.["toCodecJson"]

/** The same without Schemas in them, with their codecs, for which an annotation may give another one. */
const scalars: ReadonlyMap<string | undefined, unknown> = new Map(
  [
    Schema.Json,
    Schema.MutableJson,
    Schema.Date,
    Schema.DateTimeUtc,
    Schema.TimeZoneNamed,
    Schema.Duration,
    Schema.Uint8Array,
    Schema.URL,
    Schema.RegExp
  ].map(({ ast }) => [idOf(ast), codecOf(ast)])
)

/**
 * Returns whether a declared Schema encodes each value to a JSON value of its own, if the Schemas in it do.
 *
 * @since 0.1.0
 * @category guards
 */
export const isExact = (ast: SchemaAST.Declaration): boolean => {
  const id = idOf(ast)
  return containers.has(id) || (scalars.has(id) && scalars.get(id) === codecOf(ast))
}

/** The values of one kind that a Schema has. */
interface Shape {
  /** What `typeof` says, but for these: an instance of a class, and anything. */
  readonly kind: string
  readonly ast: SchemaAST.AST
  /** The one value, if there is but one. */
  readonly literal?: unknown
}

/** Returns the shapes of one side of a Schema. */
const shapesOf = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST> = new Set()): ReadonlyArray<Shape> => {
  switch (ast._tag) {
    case "Never":
      return []
    case "Null":
      return [{ kind: "null", ast }]
    case "Undefined":
    case "Void":
      return [{ kind: "undefined", ast }]
    case "String":
    case "TemplateLiteral":
      return [{ kind: "string", ast }]
    case "Number":
    case "Boolean":
    case "BigInt":
    case "Symbol":
      return [{ kind: ast._tag.toLowerCase(), ast }]
    case "UniqueSymbol":
      return [{ kind: "symbol", ast, literal: ast.symbol }]
    case "Literal":
      return [{ kind: typeof ast.literal, ast, literal: ast.literal }]
    case "Enum":
      return ast.enums.map(([, literal]) => ({ kind: typeof literal, ast, literal }))
    case "Arrays":
      return [{ kind: "array", ast }]
    case "Objects":
      return [{ kind: ast.propertySignatures.length === 0 && ast.indexSignatures.length === 0 ? "any" : "object", ast }]
    case "Union":
      return ast.types.flatMap((type) => shapesOf(type, seen))
    case "Suspend": {
      const target = ast.thunk()
      if (seen.has(target)) return [{ kind: "any", ast }]
      return shapesOf(target, new Set([...seen, target]))
    }
    case "Declaration":
      return [{ kind: idOf(ast)?.endsWith("Json") === true ? "any" : "instance", ast }]
    default:
      return [{ kind: "any", ast }]
  }
}

/** A member of a union: its values, and what they are encoded to. */
interface Member {
  readonly values: ReadonlyArray<Shape>
  readonly encoded: ReadonlyArray<Shape>
}

const memberOf = (ast: SchemaAST.AST): Member => ({
  values: shapesOf(SchemaAST.toType(ast)),
  encoded: shapesOf(SchemaAST.toEncoded(Schema.toCodecJson(Schema.make(ast)).ast))
})

/**
 * Returns whether a value, or what it is encoded to, may belong to several members of a union, so that it may be encoded or decoded by another one
 * than its own, and so be changed.
 *
 * @since 0.1.0
 * @category guards
 */
export const overlap = (types: ReadonlyArray<SchemaAST.AST>): boolean => {
  const members = types.map(memberOf)
  return members.some((one, index) =>
    members.slice(0, index).some((other) =>
      !(isIdentity(one) && isIdentity(other)) &&
      !(areApart(one.values, other.values) && areApart(one.encoded, other.encoded))
    )
  )
}

const identities: ReadonlySet<string> = new Set(["string", "number", "boolean", "null"])

/** Returns whether the values of a member are encoded to themselves, so that it does not matter which member encodes or decodes them. */
const isIdentity = ({ encoded, values }: Member): boolean =>
  values.length === encoded.length
  && values.every(({ ast, kind }, index) => identities.has(kind) && encoded[index]!.ast === ast)

const areApart = (some: ReadonlyArray<Shape>, others: ReadonlyArray<Shape>): boolean =>
  some.every((one) => others.every((other) => isApart(one, other) && isApart(other, one)))

/** Returns whether no value has both shapes. To be called in both orders. */
const isApart = (one: Shape, other: Shape): boolean => {
  if (one.kind === "any" || other.kind === "any") return false
  if (one.kind === "instance") {
    if (other.kind === "array") return false
    return other.kind === "instance" ?
      isBuiltIn(one.ast) && isBuiltIn(other.ast) && idOf(one.ast) !== idOf(other.ast)
      : other.kind !== "object" || (isBuiltIn(one.ast) && hasForeignTag(other.ast))
  }
  if (one.kind !== other.kind || other.kind === "instance") return true
  if (one.kind === "object") return objectsApart(one.ast, other.ast)
  return "literal" in one && "literal" in other && one.literal !== other.literal
}

const isBuiltIn = (ast: SchemaAST.AST): boolean => SchemaAST.isDeclaration(ast) && isExact(ast)

/** The tags of Effect's own data types, which a struct could have too. */
const builtInTags: ReadonlySet<unknown> = new Set([
  "None",
  "Some",
  "Success",
  "Failure",
  "Utc",
  "Zoned",
  "Named",
  "Offset"
])

/** Returns whether a struct has a tag that no data type of Effect has. */
const hasForeignTag = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isObjects(ast) &&
  ast.propertySignatures.some(({ name, type }) =>
    name === "_tag" && SchemaAST.isLiteral(type) && !SchemaAST.isOptional(type) && !builtInTags.has(type.literal)
  )

/** Returns whether a field that both structs require tells them apart. */
const objectsApart = (one: SchemaAST.AST, other: SchemaAST.AST): boolean =>
  SchemaAST.isObjects(one) && SchemaAST.isObjects(other) && one.propertySignatures.some(({ name, type }) => {
    const field = other.propertySignatures.find((field) => field.name === name)?.type
    return field !== undefined && !SchemaAST.isOptional(type) && !SchemaAST.isOptional(field)
      && areApart(shapesOf(type), shapesOf(field))
  })
