/**
 * Checks of definitions that the compiler does for programs with types.
 *
 * @since 0.1.0
 */

/**
 * Throws when a record of functions lacks one of the names, or has another. `what` says whose functions they are.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireExactly = (
  what: string,
  kind: "command" | "event",
  functions: object,
  names: ReadonlyArray<string>
): void => {
  const missing = names.find((name) => !Object.hasOwn(functions, name) || Reflect.get(functions, name) === undefined)
  if (missing !== undefined) throw new Error(`${what} has no function for the ${kind} "${missing}"; add it`)
  requireOnly(what, kind, functions, names)
}

/**
 * Throws when a record of functions has one for a name that is not among the names. `what` says whose functions they are.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireOnly = (
  what: string,
  kind: "command" | "event",
  functions: object,
  names: ReadonlyArray<string>
): void => {
  const unknown = Object.keys(functions).find((name) => !names.includes(name))
  if (unknown === undefined) return
  throw new Error(
    `${what} has a function for "${unknown}", which is not one of its ${kind}s; there are ${names.join(", ")}`
  )
}
