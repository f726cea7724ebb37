/**
 * @since 0.1.0
 */
import * as Inspectable from "effect/Inspectable"

/**
 * An expectation that was not met. Runners that show a difference take it from `expected` and `actual`.
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
