/**
 * What a conformance suite is: named effects that fail when a back end does not behave, for any test runner to run.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Scope from "effect/Scope"
import { SpecFailed } from "../testing/SpecFailed.ts"

/**
 * One test. It needs nothing but the services under test, leaves other tests' data alone, and fails with whatever went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Case<out R> {
  readonly name: string
  readonly test: Effect.Effect<void, unknown, R | Scope.Scope>
}

/**
 * A test from a generator.
 *
 * @since 0.1.0
 * @category constructors
 */
export const test = <Eff extends Effect.Effect<unknown, unknown, unknown>>(
  name: string,
  body: () => Generator<Eff, void, never>
): Case<Exclude<Effect.Services<Eff>, Scope.Scope>> => ({
  name,
  // `Exclude` and the Scope together are the services of the body again, which the compiler does not reduce.
  test: Effect.gen(body) as Effect.Effect<void, unknown, Exclude<Effect.Services<Eff>, Scope.Scope> | Scope.Scope>
})

/**
 * Fails unless both are equal by structure.
 *
 * @since 0.1.0
 * @category assertions
 */
export const equal = <A>(actual: A, expected: A, what: string): void => {
  if (!Equal.equals(actual, expected)) throw new SpecFailed(what, expected, actual)
}

/**
 * Fails unless the text contains the part.
 *
 * @since 0.1.0
 * @category assertions
 */
export const includes = (text: string, part: string, what: string): void => {
  if (!text.includes(part)) throw new SpecFailed(what, `a text with "${part}"`, text)
}

/**
 * Fails unless the value is higher than the bound.
 *
 * @since 0.1.0
 * @category assertions
 */
export const isAbove = <A extends number | bigint>(actual: A, bound: A, what: string): void => {
  if (!(actual > bound)) throw new SpecFailed(what, `more than ${bound}`, actual)
}

/**
 * Fails unless the value is at least the bound.
 *
 * @since 0.1.0
 * @category assertions
 */
export const isAtLeast = <A extends number | bigint>(actual: A, bound: A, what: string): void => {
  if (!(actual >= bound)) throw new SpecFailed(what, `at least ${bound}`, actual)
}

/**
 * Fails unless the condition holds. Prefer an assertion that shows the values.
 *
 * @since 0.1.0
 * @category assertions
 */
export const ok = (condition: boolean, what: string): void => {
  if (!condition) throw new SpecFailed(what, true, condition)
}

const token = globalThis.crypto.randomUUID().slice(0, 8)
let counter = 0

/**
 * A name that no other test uses, in this process or another.
 *
 * @since 0.1.0
 * @category fixtures
 */
export const unique = (prefix: string): string => `${prefix}-${token}-${++counter}`
