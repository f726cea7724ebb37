/**
 * Spans that do not show what a user's code fails with, where it may quote personal data.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { ConcurrencyConflict, InvalidCommand, InvalidQuery, isOwnError, ProjectionBehind } from "../errors.ts"
import * as userCode from "../userCode.ts"
import { inSpan, type SpanPlace } from "./inSpan.ts"

/** What the span shows instead of an error of the user. */
class Withheld extends Error {
  constructor(error: unknown) {
    super("its words are withheld, because they may quote personal data")
    const tag: unknown = Predicate.hasProperty(error, "_tag") ? error._tag : undefined
    this.name = typeof tag === "string" && /^\w{1,64}$/.test(tag) ? tag : userCode.classOf(error)
  }
}

const isSafe = (error: unknown): boolean =>
  isOwnError(error) || userCode.isOwnError(error) || error instanceof ConcurrencyConflict
  || error instanceof InvalidCommand || error instanceof InvalidQuery || error instanceof ProjectionBehind

const withoutWords = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> =>
  Cause.fromReasons(cause.reasons.map((reason) =>
    Cause.isFailReason(reason) && !isSafe(reason.error)
      ? Cause.makeFailReason(new Withheld(reason.error))
      : Cause.isDieReason(reason) && !isSafe(reason.defect)
      ? Cause.makeDieReason(new Withheld(reason.defect))
      : reason
  ))

/**
 * Runs an effect within a span. When `isPersonal`, the span does not show the words of a failure that this library did not make; the caller receives
 * the failure as it is.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withSpan = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  attributes: Record<string, unknown>,
  isPersonal: boolean,
  options?: SpanPlace
): Effect.Effect<A, E, R> => {
  if (!isPersonal) return inSpan(self, name, attributes, options)
  let original: Cause.Cause<E> | undefined
  const shown = Effect.catchCause(self, (cause): Effect.Effect<never, unknown> => {
    if (cause.reasons.every((reason) => Cause.isInterruptReason(reason))) return Effect.failCause(cause)
    original = cause
    return Effect.failCause(withoutWords(cause))
  })
  // What is not the original was not replaced.
  return Effect.catchCause(
    inSpan(shown, name, attributes, options),
    (cause) => Effect.failCause(original ?? cause as Cause.Cause<E>)
  )
}
