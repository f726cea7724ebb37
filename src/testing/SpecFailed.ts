/**
 * @since 0.1.0
 */
import * as Equal from "effect/Equal"
import * as Inspectable from "effect/Inspectable"

/**
 * An expectation failed. Test runners show the difference between `expected` and `actual`.
 *
 * @since 0.1.0
 * @category errors
 */
export class SpecFailed extends Error {
  override readonly name = "SpecFailed"
  readonly expected: unknown
  readonly actual: unknown
  constructor(message: string, expected: unknown, actual: unknown) {
    super(
      `${message}\nexpected: ${Inspectable.toStringUnknown(expected)}\nactual:   ${Inspectable.toStringUnknown(actual)}`
    )
    this.expected = expected
    this.actual = actual
  }
}

/**
 * Throws `SpecFailed` unless the values are equal.
 *
 * @since 0.1.0
 * @category guards
 */
export const expectEqual = (message: string, expected: unknown, actual: unknown): void => {
  if (!Equal.equals(expected, actual)) throw new SpecFailed(message, expected, actual)
}
