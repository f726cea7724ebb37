/**
 * What a Schema of the user rejects, in words: once as the Schema says it, and once without the words that may quote the value.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as JsonText from "../core/json/JsonText.ts"
import * as userCode from "../core/userCode.ts"
import { walk } from "./PersonalFields.ts"

/**
 * Why a value could not be encoded or decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface SchemaFailure {
  /** The words of the Schema. A check or a transformation of the user may quote the value. */
  readonly message: string
  /** Which fields are wrong, and what the Schema expects there. Quotes nothing of the value. */
  readonly safeMessage: string
}

/**
 * Returns a failure whose words quote nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const safe = (message: string): SchemaFailure => ({ message, safeMessage: message })

/**
 * Returns the failure of a function of the user that threw.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofThrown = (what: string, cause: unknown): SchemaFailure => ({
  message: `${what} threw: ${String(cause)}`,
  safeMessage: userCode.withheld(what, cause)
})

/**
 * Returns the words that may be shown.
 *
 * @since 0.1.0
 * @category accessors
 */
export const messageOf = ({ message, safeMessage }: SchemaFailure, isPersonal: boolean): string =>
  isPersonal ? safeMessage : message

const textOf = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

// Messages of a definition are written once; those of an issue are made for the value.
const safeFormat = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    SchemaIssue.defaultLeafHook(
      issue._tag === "InvalidValue"
        ? new SchemaIssue.InvalidValue()
        : issue
    ),
  checkHook: ({ filter: { annotations } }) =>
    textOf(annotations?.["message"]) ?? `Expected ${textOf(annotations?.["expected"]) ?? "a value that passes a check"}`
})

/** The names of fields that a Schema declares. Others are keys of records, which may be personal data. */
const namesIn = (schema: Schema.Constraint): ReadonlySet<PropertyKey> => {
  const names = new Set<PropertyKey>()
  walk(schema.ast, true, (ast) => {
    if (SchemaAST.isObjects(ast)) { for (const { name } of ast.propertySignatures) names.add(name) }
  })
  return names
}

/**
 * Returns the failure of a value at a path. The safe words name only fields that the Schema declares.
 *
 * @since 0.1.0
 * @category constructors
 */
export const at = (
  schema: Schema.Constraint,
  path: ReadonlyArray<PropertyKey>,
  problem: string
): SchemaFailure => {
  const names = namesIn(schema)
  const write = (path: ReadonlyArray<PropertyKey>) =>
    `${path.length === 0 ? "the value" : `"${JsonText.pointerOf(path)}"`} ${problem}`
  return { message: write(path), safeMessage: write(shownOf(path, names)) }
}

/** Returns a path without the keys of records. */
const shownOf = (path: ReadonlyArray<PropertyKey>, names: ReadonlySet<PropertyKey>): ReadonlyArray<PropertyKey> =>
  path.map((key) => typeof key === "number" || names.has(key) ? key : "*")

type Issue = ReturnType<typeof safeFormat>["issues"][number]

const keysOf = ({ path = [] }: Issue): ReadonlyArray<PropertyKey> =>
  path.map((segment) => typeof segment === "object" ? segment.key : segment)

const format = (message: string, path: ReadonlyArray<PropertyKey>): string => {
  const at = path.map((key) => typeof key === "number" ? `[${key}]` : `[${JSON.stringify(String(key))}]`)
  return at.length === 0 ? message : `${message}\n  at ${at.join("")}`
}

/**
 * Returns what is wrong with a value of a Schema, without a word that was made for the value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const safeMessageOf = (schema: Schema.Constraint, issue: SchemaIssue.Issue): string => {
  const names = namesIn(schema)
  return safeFormat(issue).issues.map((one) => format(one.message, shownOf(keysOf(one), names))).join("\n")
}

const fullFormat = SchemaIssue.makeFormatterStandardSchemaV1()

/**
 * Returns what is wrong with a value of a Schema; without a word that was made for the value where that has personal data, which are the fields with
 * these names.
 *
 * @since 0.1.0
 * @category accessors
 */
export const messageWithout = (
  schema: Schema.Constraint,
  issue: SchemaIssue.Issue,
  personal: ReadonlySet<PropertyKey>
): string => {
  const names = namesIn(schema)
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

/** Returns what a function of the Schema has thrown. The parsers of Effect wrap it. */
const thrownIn = (error: unknown): unknown =>
  error instanceof Error && Cause.isCause(error.cause) ? Cause.squash(error.cause) : error

/**
 * Returns a parser of a Schema that fails with a `SchemaFailure`, also when a function of the Schema throws.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parser = <In, A>(
  schema: Schema.Constraint,
  parse: (input: In) => Result.Result<A, Schema.SchemaError>
): (input: In) => Result.Result<A, SchemaFailure> =>
(input) => {
  try {
    return Result.mapError(parse(input), (error) => ({
      message: error.message,
      safeMessage: safeMessageOf(schema, error.issue)
    }))
  } catch (error) {
    return Result.fail(ofThrown("a function of its Schema", thrownIn(error)))
  }
}
