/**
 * What a Schema of the user rejects, in words: once as the Schema says it, and once without the words that may quote the value.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as JsonText from "../core/json/JsonText.ts"
import * as SchemaIssues from "../core/schemaIssues.ts"
import * as userCode from "../core/userCode.ts"

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
  const names = SchemaIssues.namesIn(schema.ast)
  const write = (path: ReadonlyArray<PropertyKey>) =>
    `${path.length === 0 ? "the value" : `"${JsonText.pointerOf(path)}"`} ${problem}`
  return { message: write(path), safeMessage: write(SchemaIssues.shownOf(path, names)) }
}

/**
 * Returns what is wrong with a value of a Schema, without a word that was made for the value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const safeMessageOf = (schema: Schema.Constraint, issue: SchemaIssue.Issue): string =>
  SchemaIssues.safeMessageOf(schema.ast, issue)

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
): string => SchemaIssues.messageWithout(schema.ast, issue, personal)

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
