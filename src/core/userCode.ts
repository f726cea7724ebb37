/**
 * Runs the pure functions of a definition, which may throw, and says which one threw.
 *
 * @since 0.1.0
 */

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

const named = (message: string, cause: unknown, keepsCause: boolean): Error => {
  const error = keepsCause ? new Error(message, { cause }) : new Error(message)
  if (!keepsCause) own.add(error)
  if (!keepsCause && cause instanceof Error) error.stack = `Error: ${message}${framesOf(cause)}`
  return error
}

/**
 * Returns the result of `run`. When it throws, throws an error that names `what`: for a change to a frozen state always, and with
 * `hasPersonalData` for everything, because the words may quote it; they are then withheld.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = <A>(what: string, hasPersonalData: boolean, run: () => A): A => {
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
    if (!hasPersonalData) throw cause
    throw named(withheld(what, cause), cause, false)
  }
}
