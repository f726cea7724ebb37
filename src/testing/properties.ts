/**
 * Properties: what must hold of everything that an Arbitrary generates.
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
 * How a property is tried.
 *
 * - `runs`: on how many generated inputs; 100 by default
 * - `seed`: to generate the same in every run
 * - `replay`: what a failure tells behind `Replay: `, to see it again; the property that it is of is tried on that only, the others as ever
 *
 * @since 0.1.0
 * @category options
 */
export type Options = Pick<Arbitrary.CheckOptions, "runs" | "seed" | "size" | "replay">

/**
 * Properties that are given the same options. Throws where their `replay` is of none of them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (properties: ReadonlyArray<Case<never>>, { replay }: Options): ReadonlyArray<Case<never>> => {
  if (replay !== undefined && !properties.some(({ name }) => tokenOf(name, replay) !== undefined)) {
    const names = properties.map(({ name }) => `\n- ${name}`).join("")
    throw new Error(
      `This \`replay\` is of none of these properties: ${replay}\nGive the whole text behind "Replay: " to the properties that it is of. These are:${names}`
    )
  }
  return properties
}

/** What is behind the name of the property, if that is the one: Effect's own text to replay it. */
const tokenOf = (name: string, replay: string): string | undefined =>
  replay.startsWith(`${name} [`) ? replay.slice(name.length + 1) : undefined

/**
 * Fails with the smallest input found for which the property does not hold. `law` answers what is wrong; what it throws is wrong too.
 *
 * @since 0.1.0
 * @category checking
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
          const wrong = failure._tag === "ReturnedFalse" ? "it does not hold" : wordsOf(failure.error)
          const message = `This property does not hold. Found after ${runs} runs and ${shrinks} shrinks, of\n`
            + `${Formatter.format(shrunkInput, { space: 2 })}\nReplay: ${name} ${replay}`
          return Effect.fail(new SpecFailed(message, name, wrong))
        }
        case "Exhausted":
          // Its own words tell what to do.
          return Effect.fail(
            new SpecFailed(`${Arbitrary.formatCheckFailure(result)}`, name, "not enough inputs were generated")
          )
        case "ReplayMismatch":
          return Effect.fail(
            new SpecFailed(
              `The failure of \`replay\` is not there any more (${result.reason}): remove it, to try the property on other inputs.`,
              "the failure that was found",
              "none, or another one"
            )
          )
      }
    }
  )
}

const wordsOf = (error: unknown): string =>
  Predicate.isString(error) ? error : Cause.isCause(error) ? Cause.pretty(error) : show(error)

const attempt = <A>(property: (input: A) => string | undefined, input: A): string | undefined => {
  try {
    return property(input)
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
export const show = (value: unknown): string => Formatter.format(value)
