/**
 * Properties that must hold for every value that an Arbitrary generates.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Predicate from "effect/Predicate"
import type { Case } from "../conformance/Suite.ts"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * Options of a property check.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends Pick<Arbitrary.CheckOptions, "size"> {
  /** The number of generated inputs; 100 by default. */
  readonly runs?: Arbitrary.CheckOptions["runs"]
  /** The seed of the generator. With a seed every run checks the same inputs. */
  readonly seed?: Arbitrary.CheckOptions["seed"]
  /** The text after `Replay: ` in a failure. Its property is checked with the input of that failure only, the others as usual. */
  readonly replay?: Arbitrary.CheckOptions["replay"]
}

/**
 * The default of `runs`, equal to that of `Arbitrary`.
 *
 * @since 0.1.0
 * @category options
 */
export const defaultRuns = 100

/**
 * Returns the properties. Throws if `replay` belongs to none of them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (properties: ReadonlyArray<Case<never>>, { replay }: Options): ReadonlyArray<Case<never>> => {
  if (replay !== undefined && !properties.some(({ name }) => tokenOf(name, replay) !== undefined)) {
    const names = properties.map(({ name }) => `\n- ${name}`).join("")
    throw new Error(
      `The \`replay\` belongs to none of these properties: ${replay}\nPass the whole text after "Replay: " to the property that failed. The properties are:${names}`
    )
  }
  return properties
}

/**
 * Returns whether `replay` belongs to this property.
 *
 * @since 0.1.0
 * @category guards
 */
export const isReplayOf = (name: string, { replay }: Options): boolean =>
  replay !== undefined && tokenOf(name, replay) !== undefined

/** Returns Effect's own replay text, which follows the name of the property. */
const tokenOf = (name: string, replay: string): string | undefined =>
  replay.startsWith(`${name} [`) ? replay.slice(name.length + 1) : undefined

/**
 * Checks a property and fails with the smallest counterexample found. `property` returns a description of the fault, or throws.
 *
 * @since 0.1.0
 * @category combinators
 */
export const check = <A>(
  name: string,
  inputs: Arbitrary.Arbitrary<A>,
  property: (input: A) => string | undefined,
  { replay, ...options }: Options
): Effect.Effect<void, SpecFailed> => {
  const token = replay === undefined ? undefined : tokenOf(name, replay)
  return Effect.flatMap(
    Arbitrary.checkEffect(inputs, (input): Effect.Effect<boolean, string> => {
      const wrong = attempt(property, input)
      return wrong === undefined ? Effect.succeed(true) : Effect.fail(wrong)
    }, token === undefined ? options : { ...options, replay: token }),
    (result) => {
      switch (result._tag) {
        case "Passed":
          return Effect.void
        case "Falsified": {
          const { failure, replay, runs, shrinks, shrunkInput } = result
          const wrong = failure._tag === "ReturnedFalse" ? "it does not hold" : textOf(failure.error)
          const message = `The property does not hold. Counterexample after ${runs} runs and ${shrinks} shrinks:\n`
            + `${Formatter.format(shrunkInput, { space: 2 })}\nReplay: ${name} ${replay}`
          return Effect.fail(new SpecFailed(message, name, wrong))
        }
        case "Exhausted":
          // Effect's message names the remedy.
          return Effect.fail(
            new SpecFailed(`${Arbitrary.formatCheckFailure(result)}`, name, "not enough inputs were generated")
          )
        case "ReplayMismatch":
          return Effect.fail(
            new SpecFailed(
              `The failure of \`replay\` no longer occurs (${result.reason}); remove the option to check other inputs`,
              "the failure of the replay",
              "no failure, or another one"
            )
          )
      }
    }
  )
}

const textOf = (error: unknown): string =>
  Predicate.isString(error) ? error : Cause.isCause(error) ? Cause.pretty(error) : show(error)

const attempt = <A>(property: (input: A) => string | undefined, input: A): string | undefined => {
  try {
    return property(input)
  } catch (cause) {
    return String(cause)
  }
}

/**
 * Returns a value as text.
 *
 * @since 0.1.0
 * @category accessors
 */
export const show = (value: unknown): string => Formatter.format(value)
