/**
 * Runs the pure functions of a definition, which may throw, and says which one threw.
 *
 * @since 0.1.0
 */
import * as SchemaIssues from "./schemaIssues.ts"

/** How V8 and SpiderMonkey begin what they say about a change to a frozen object. */
const frozenMessage =
  /read.only property|object is not extensible|Cannot (?:add|delete|define|redefine) property|is read-only|non-configurable/i

/**
 * Returns the class of an error. An instance may carry any text as its name, so only the name of its class is used, and only one that looks like it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const classOf = (cause: unknown): string => {
  const name: unknown = cause instanceof Error ? cause.constructor.name : undefined
  return typeof name === "string" && /^[A-Za-z]{1,40}Error$|^Error$/.test(name) ? name : "a value that is no Error"
}

/** The frames of a stack, without the message before them; empty when the message cannot be separated from them. */
const framesOf = ({ message, name, stack }: Error): string => {
  const header = message === "" ? name : `${name}: ${message}`
  return stack?.startsWith(`${header}\n`) === true ? stack.slice(header.length) : ""
}

/**
 * Returns the message for what a function of the user threw, without its words.
 *
 * @since 0.1.0
 * @category accessors
 */
export const withheld = (what: string, cause: unknown): string =>
  `${what} threw ${classOf(cause)}; its words are withheld, because they may quote personal data`

const own = new WeakSet<Error>()

/**
 * Returns whether an error names a function of the user without its words.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOwnError = (error: unknown): error is Error => error instanceof Error && own.has(error)

/** Gives an error the frames of its cause. */
const withFrames = (error: Error, cause: unknown): Error => {
  if (cause instanceof Error) error.stack = `Error: ${error.message}${framesOf(cause)}`
  return error
}

const named = (message: string, cause: unknown, keepsCause: boolean): Error => {
  if (keepsCause) return new Error(message, { cause })
  const error = new Error(message)
  own.add(error)
  return withFrames(error, cause)
}

/** Returns the error of a Schema that rejected a value, with its words; `undefined` for another error, or if the words may quote personal data. */
const ofSchema = (
  what: string,
  cause: unknown,
  hasPersonalData: boolean,
  definitions: SchemaIssues.Definitions | undefined
): Error | undefined => {
  const thrown = SchemaIssues.inThrown(cause, definitions)
  const words = hasPersonalData ? thrown?.safeMessage : thrown?.message
  if (words === undefined) return undefined
  const error = withFrames(new Error(`${what} threw: ${words}`), cause)
  if (hasPersonalData) own.add(error)
  return error
}

/**
 * Returns the result of `run`. If `run` has changed a frozen value, or a Schema has rejected a value, throws an error that names `what`; for a Schema, the
 * error also says what is invalid. Other errors pass through unchanged. With `hasPersonalData`, every error names `what`, and withholds the words of its
 * cause, because they may quote personal data; the words of the `definitions` are kept.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = <A>(
  what: string,
  hasPersonalData: boolean,
  run: () => A,
  definitions?: SchemaIssues.Definitions
): A => {
  try {
    return run()
  } catch (cause) {
    if (cause instanceof TypeError && frozenMessage.test(cause.message)) {
      throw named(
        `${what} changed a value that it was given, which other calls use too; return a new value instead`,
        cause,
        !hasPersonalData
      )
    }
    const invalid = ofSchema(what, cause, hasPersonalData, definitions)
    if (invalid !== undefined) throw invalid
    if (!hasPersonalData) throw cause
    throw named(withheld(what, cause), cause, false)
  }
}
