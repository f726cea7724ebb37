/**
 * The cases of a conformance suite: named effects that any test runner can run.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Scope from "effect/Scope"
import { SpecFailed } from "../testing/SpecFailed.ts"

/**
 * One test. It needs only the services under test, uses data of its own, and fails with an error or a defect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Case<out R> {
  readonly name: string
  readonly test: Effect.Effect<void, unknown, R | Scope.Scope>
}

/**
 * Returns a case from a generator.
 *
 * @since 0.1.0
 * @category constructors
 */
export const test = <Eff extends Effect.Effect<unknown, unknown, unknown>>(
  name: string,
  body: () => Generator<Eff, void, never>
): Case<Exclude<Effect.Services<Eff>, Scope.Scope>> => ({
  name,
  // The compiler does not reduce `Exclude` and the Scope to the services of the body.
  test: Effect.gen(body) as Effect.Effect<void, unknown, Exclude<Effect.Services<Eff>, Scope.Scope> | Scope.Scope>
})

/**
 * Fails unless both are equal by structure.
 *
 * @since 0.1.0
 * @category combinators
 */
export const equal = <A>(actual: A, expected: A, what: string): void => {
  if (!Equal.equals(actual, expected)) throw new SpecFailed(what, expected, actual)
}

/**
 * Fails unless the text contains the part.
 *
 * @since 0.1.0
 * @category combinators
 */
export const includes = (text: string, part: string, what: string): void => {
  if (!text.includes(part)) throw new SpecFailed(what, `a text with "${part}"`, text)
}

/**
 * Fails unless the value is higher than the bound.
 *
 * @since 0.1.0
 * @category combinators
 */
export const isAbove = <A extends number | bigint>(actual: A, bound: A, what: string): void => {
  if (!(actual > bound)) throw new SpecFailed(what, `more than ${bound}`, actual)
}

/**
 * Fails unless the value is at least the bound.
 *
 * @since 0.1.0
 * @category combinators
 */
export const isAtLeast = <A extends number | bigint>(actual: A, bound: A, what: string): void => {
  if (!(actual >= bound)) throw new SpecFailed(what, `at least ${bound}`, actual)
}

/**
 * Fails unless the condition holds. Prefer an assertion that shows the values.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ok = (condition: boolean, what: string): void => {
  if (!condition) throw new SpecFailed(what, true, condition)
}

const token = globalThis.crypto.randomUUID().slice(0, 8)
let counter = 0

/**
 * Returns a name that no other test uses, in any process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unique = (prefix: string): string => `${prefix}-${token}-${++counter}`
