/**
 * The form in which a field's values are indexed. Another Schema may read another value out of the same stored text, as `BigDecimal` instead of
 * `String`; the entries of the one are then wrong for the other.
 *
 * @since 0.1.0
 */
import * as Hash from "effect/Hash"
import type * as SchemaAST from "effect/SchemaAST"
import * as IndexDefinition from "./IndexDefinition.ts"
import * as IndexEntry from "./IndexEntry.ts"

/**
 * Returns a short text that changes when the entries of stored documents may change: with the kinds of the values, with the kinds that they are
 * transformed from, and with the entry of a missing field. Checks, annotations, and whether the field is optional or nullable do not change it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (types: ReadonlyArray<SchemaAST.AST>, missing: string): string =>
  (Hash.string(`${shapeOfAll(types, new Set())} ${missing}`) >>> 0).toString(36)

/**
 * Returns the form of the entry of a missing field, given twice: a default may be another value each time, such as the time or a random id. Then
 * only the kind belongs to the form. Without a default the form is empty.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofMissing = (entry: string, again: string): string =>
  entry === IndexEntry.none ? "" : entry === again && !IndexEntry.isTime(entry) ? entry : entry.slice(0, 1)

type Seen = ReadonlySet<SchemaAST.AST>

const shapeOfAll = (types: ReadonlyArray<SchemaAST.AST>, seen: Seen): string =>
  Array.from(new Set(types.flatMap((ast) => shapesOf(ast, seen)))).toSorted().join("|")

/** Returns the kinds of the values of a type, each with what it is transformed from. */
const shapesOf = (ast: SchemaAST.AST, seen: Seen): ReadonlyArray<string> => {
  if (seen.has(ast)) return ["recursive"]
  const within = new Set(seen).add(ast)
  const from = (ast.encoding ?? []).map(({ to }) => `<(${shapeOfAll([to], within)})`).join("")
  return kindsOf(ast, within).map((kind) => `${kind}${from}`)
}

const kindsOf = (ast: SchemaAST.AST, seen: Seen): ReadonlyArray<string> => {
  switch (ast._tag) {
    // Their entries are the same under every Schema.
    case "Null":
    case "Undefined":
    case "Void":
      return []
    case "String":
    case "TemplateLiteral":
      return ["string"]
    case "Number":
    case "BigInt":
      return ["number"]
    case "Boolean":
      return ["boolean"]
    case "Literal":
      return [typeof ast.literal === "bigint" ? "number" : typeof ast.literal]
    case "Enum":
      return ast.enums.map(([, value]) => typeof value)
    case "Union":
      return ast.types.flatMap((type) => shapesOf(type, seen))
    case "Suspend":
      return shapesOf(ast.thunk(), seen)
    case "Declaration":
      return [IndexDefinition.orderedKindOf(ast) ?? "other"]
    case "Unknown":
    case "Any":
      return ["any"]
    default:
      return ["other"]
  }
}
