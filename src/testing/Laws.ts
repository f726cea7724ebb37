/**
 * Laws: what must hold of everything that an Arbitrary generates.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * How a law is tried; a failure tells what to give as `replay` to see it again.
 *
 * - `runs`: on how many generated inputs; 100 by default
 * - `seed`: to generate the same in every run
 *
 * @since 0.1.0
 * @category options
 */
export type Options = Pick<Arbitrary.CheckOptions, "runs" | "seed" | "size" | "replay">

/**
 * Fails with the smallest input found for which the law does not hold. `law` answers what is wrong; what it throws is wrong too.
 *
 * @since 0.1.0
 * @category checking
 */
export const check = <A>(
  inputs: Arbitrary.Arbitrary<A>,
  law: (input: A) => string | undefined,
  options: Options
): Effect.Effect<void, SpecFailed> =>
  Effect.flatMap(
    Arbitrary.checkEffect(inputs, (input): Effect.Effect<boolean, string> => {
      const wrong = attempt(law, input)
      return wrong === undefined ? Effect.succeed(true) : Effect.fail(wrong)
    }, options),
    (result) => {
      const message = Arbitrary.formatCheckFailure(result)
      if (message === undefined) return Effect.void
      const actual = result._tag === "Falsified" ? result.shrunkInput : undefined
      return Effect.fail(new SpecFailed(message, "that it holds", actual))
    }
  )

const attempt = <A>(law: (input: A) => string | undefined, input: A): string | undefined => {
  try {
    return law(input)
  } catch (cause) {
    return String(cause)
  }
}

/**
 * A value in words.
 *
 * @since 0.1.0
 * @category formatting
 */
export const show = (value: unknown): string => Inspectable.toStringUnknown(value, 0)
