/**
 * The deadline of a statement, after which the caller does not wait for the server any longer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { inWords } from "../PgDeadlines.ts"
import * as Timer from "../timer.ts"

/**
 * How long an abandoned statement may take to be cancelled before its connection is closed, in milliseconds.
 *
 * @since 0.1.0
 * @category accessors
 */
export const cancelTimeout = 1_000

const unanswered = new WeakSet<SqlError>()

/**
 * Returns the error of a statement whose deadline has passed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const noResponse = (timeout: number): SqlError => {
  const message = `the server did not respond within ${inWords(timeout)} (statementTimeout)`
  const error = new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "query" })
  })
  unanswered.add(error)
  return error
}

/**
 * Returns whether an error is that of a statement whose deadline has passed.
 *
 * @since 0.1.0
 * @category guards
 */
export const isNoResponse = (error: SqlError): boolean => unanswered.has(error)

/**
 * Waits until a fiber has ended, and returns whether it has. It cannot be interrupted, and needs no other fiber.
 *
 * @since 0.1.0
 * @category combinators
 */
export const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const timer = Timer.start(millis, () => resume(Effect.succeed(false)))
    fiber.addObserver(() => {
      Timer.stop(timer)
      resume(Effect.succeed(true))
    })
  })

/**
 * Fails an effect after a timeout. The caller waits neither then nor at an interruption until the effect has ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withTimeout = <A>(effect: Effect.Effect<A, SqlError>, timeout: number): Effect.Effect<A, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const running = Effect.runForkWith(fiber.context)(effect)
      const timer = Timer.start(timeout, () => {
        resume(Effect.fail(noResponse(timeout)))
        running.interruptUnsafe()
      })
      running.addObserver((exit) => {
        Timer.stop(timer)
        resume(exit)
      })
      return Effect.sync(() => {
        Timer.stop(timer)
        running.interruptUnsafe()
      })
    })
  )
