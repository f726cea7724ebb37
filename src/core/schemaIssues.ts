/**
 * What a Schema rejects, in words: once as the Schema says it, and once without the words that may quote the value.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import { walkSchema } from "./walkSchema.ts"

const textOf = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

/** Returns an issue without the words that were made for the value. */
const withoutValue = (issue: SchemaIssue.Leaf): SchemaIssue.Leaf => {
  switch (issue._tag) {
    case "InvalidValue":
      return new SchemaIssue.InvalidValue()
    case "Forbidden":
      return new SchemaIssue.Forbidden(undefined)
    default:
      return issue
  }
}

// A message in a definition is constant; one in an issue is made for the value.
const safeFormat = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => SchemaIssue.defaultLeafHook(withoutValue(issue)),
  checkHook: ({ filter: { annotations } }) =>
    textOf(annotations?.["message"]) ?? `Expected ${textOf(annotations?.["expected"]) ?? "a value that passes a check"}`
})

const fullFormat = SchemaIssue.makeFormatterStandardSchemaV1()

type Entry = ReturnType<typeof safeFormat>["issues"][number]

const keysOf = ({ path = [] }: Entry): ReadonlyArray<PropertyKey> =>
  path.map((segment) => typeof segment === "object" ? segment.key : segment)

const format = (message: string, path: ReadonlyArray<PropertyKey>): string => {
  const at = path.map((key) => typeof key === "number" ? `[${key}]` : `[${JSON.stringify(String(key))}]`)
  return at.length === 0 ? message : `${message}\n  at ${at.join("")}`
}

/**
 * Returns the names of fields that a Schema declares. Others are keys of records, which may be personal data.
 *
 * @since 0.1.0
 * @category accessors
 */
export const namesIn = (ast: SchemaAST.AST): ReadonlySet<PropertyKey> => {
  const names = new Set<PropertyKey>()
  walkSchema(ast, true, (ast) => {
    if (SchemaAST.isObjects(ast)) { for (const { name } of ast.propertySignatures) names.add(name) }
  })
  return names
}

/**
 * Returns a path without the keys of records.
 *
 * @since 0.1.0
 * @category accessors
 */
export const shownOf = (
  path: ReadonlyArray<PropertyKey>,
  names: ReadonlySet<PropertyKey>
): ReadonlyArray<PropertyKey> => path.map((key) => typeof key === "number" || names.has(key) ? key : "*")

/** Returns whether an issue has the value, because the caller of the parser asked to report it. Then the words of any node may quote the value. */
const hasValue = (issue: SchemaIssue.Issue): boolean => {
  if ("input" in issue) return true
  switch (issue._tag) {
    case "Composite":
    case "AnyOf":
      return issue.issues.some(hasValue)
    case "Filter":
    case "Encoding":
    case "Pointer":
      return hasValue(issue.issue)
    default:
      return false
  }
}

/**
 * Returns what is wrong with a value of a Schema, without a word that was made for the value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const safeMessageOf = (ast: SchemaAST.AST, issue: SchemaIssue.Issue): string => {
  if (hasValue(issue)) return "the words are withheld, because the parse reports its input"
  const names = namesIn(ast)
  return safeFormat(issue).issues.map((one) => format(one.message, shownOf(keysOf(one), names))).join("\n")
}

/**
 * Returns what is wrong with a value of a Schema. For fields with the names in `personal`, it omits the words that were made for the value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const messageWithout = (
  ast: SchemaAST.AST,
  issue: SchemaIssue.Issue,
  personal: ReadonlySet<PropertyKey>
): string => {
  if (personal.size > 0 && hasValue(issue)) return safeMessageOf(ast, issue)
  const names = namesIn(ast)
  const full = fullFormat(issue).issues
  // The same issues in the same order.
  return safeFormat(issue).issues.map((safe, index) => {
    const path = keysOf(safe)
    const isPersonal = personal.size > 0 && (path.length === 0 || path.some((key) => personal.has(key)))
    return isPersonal
      ? format(safe.message, shownOf(path, names))
      : format(full[index]!.message, path)
  }).join("\n")
}

/**
 * The Schemas of a definition. Their words quote no value. A Schema that a function builds from its arguments may quote them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definitions {
  readonly has: (ast: SchemaAST.AST) => boolean
}

/**
 * Returns the Schemas of a definition. It takes `unknown`, because the types of a command's payload and error do not say that they are Schemas.
 *
 * @since 0.1.0
 * @category constructors
 */
export const definitionsOf = (schemas: ReadonlyArray<unknown>): Definitions => {
  let nodes: Set<SchemaAST.AST> | undefined
  return {
    has: (ast) => {
      if (nodes === undefined) {
        const found = new Set<SchemaAST.AST>()
        for (const schema of schemas) {
          if (!Schema.isSchema(schema)) continue
          for (const side of [schema.ast, SchemaAST.toType(schema.ast)]) walkSchema(side, true, (ast) => found.add(ast))
        }
        nodes = found
      }
      return nodes.has(ast)
    }
  }
}

/** What `make` and the parsers that throw say of every issue. */
const unspecific = "Schema validation failed"

const issueIn = (thrown: unknown): SchemaIssue.Issue | undefined =>
  Schema.isSchemaError(thrown)
    ? thrown.issue
    : thrown instanceof Error && thrown.message === unspecific && SchemaIssue.isIssue(thrown.cause)
    ? thrown.cause
    : undefined

/** Returns the name of what a Schema describes: the `_tag` of an event or an error, or an identifier. */
const nameOf = (ast: SchemaAST.AST | undefined): string | undefined => {
  if (ast === undefined) return undefined
  const tag = SchemaAST.isObjects(ast) ? ast.propertySignatures.find(({ name }) => name === "_tag")?.type : undefined
  const literal = tag !== undefined && SchemaAST.isLiteral(tag) ? textOf(tag.literal) : undefined
  return literal ?? textOf(ast.annotations?.["identifier"])
}

/**
 * An error by which a Schema rejects a value, in words.
 *
 * @since 0.1.0
 * @category models
 */
export interface Thrown {
  readonly message: string
  /** A message that quotes nothing of the value; `undefined` if the Schema is not part of the definition, because its words may quote the value. */
  readonly safeMessage: string | undefined
}

/**
 * Returns which value is invalid, where, and what is allowed, if an error is that of a Schema, such as what `make` throws; otherwise `undefined`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inThrown = (error: unknown, definitions?: Definitions): Thrown | undefined => {
  const issue = issueIn(error)
  if (issue === undefined) return undefined
  const ast = "ast" in issue ? issue.ast : undefined
  const name = nameOf(ast)
  const what = `${name === undefined ? "a value" : `"${name}"`} does not satisfy its Schema: `
  const full = fullFormat(issue).issues.map((one) => format(one.message, keysOf(one))).join("\n")
  return {
    message: what + full,
    safeMessage: ast !== undefined && definitions?.has(ast) === true ? what + safeMessageOf(ast, issue) : undefined
  }
}
