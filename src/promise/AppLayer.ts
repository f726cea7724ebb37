/**
 * Builds and releases the layer of an app, with bounds.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { LayerTimeout } from "./AppError.ts"
import { errorOf, interruptedItself } from "./Defects.ts"

/**
 * A layer that is built.
 *
 * @since 0.1.0
 * @category models
 */
export interface Built<Services> {
  readonly context: Context.Context<Services>
  /** Rejects with `LayerTimeout`, and with an `Error` when a finalizer dies, after all finalizers have run. */
  readonly release: (timeout: Duration.Duration) => Promise<void>
}

/**
 * The maximum wait for the release of a layer.
 *
 * @since 0.1.0
 * @category references
 */
export const defaultReleaseTimeout: Duration.Duration = Duration.seconds(30)

/**
 * Returns a duration. Throws when the input is not one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const durationOf = (option: string, input: Duration.Input): Duration.Duration => {
  const duration = Duration.fromInput(input)
  if (Option.isNone(duration) || Number.isNaN(input) || Duration.isNegative(duration.value)) {
    throw new RangeError(
      `\`${option}\` is ${Formatter.format(input)}; pass milliseconds, 0 or more, or a text such as "10 seconds"`
    )
  }
  return duration.value
}

/** Waits for the exit of a fiber. The fiber goes on when the wait ends, because its code may be uninterruptible. */
const exitWithin = <A, E>(fiber: Fiber.Fiber<A, E>, timeout: Duration.Duration) =>
  Effect.timeoutOption(Fiber.await(fiber), timeout)

const release = async (scope: Scope.Closeable, timeout: Duration.Duration): Promise<void> => {
  const exit = await Effect.runPromise(exitWithin(Effect.runFork(Scope.close(scope, Exit.void)), timeout))
  if (Option.isNone(exit)) throw new LayerTimeout({ phase: "release", timeout: Duration.format(timeout) })
  if (Exit.isFailure(exit.value)) throw errorOf(Cause.squash(exit.value.cause))
}

/** Interrupts a build, and releases what it has built. The closed scope releases at once what the build acquires later. */
const abandon = async (build: Fiber.Fiber<unknown, unknown>, scope: Scope.Closeable): Promise<void> => {
  build.interruptUnsafe()
  try {
    const exit = await Effect.runPromise(exitWithin(build, defaultReleaseTimeout))
    await release(scope, Option.isNone(exit) ? Duration.zero : defaultReleaseTimeout)
  } catch (error) {
    Effect.runFork(
      Effect.logWarning("evsrc/promise: the build of the layer failed, and the release of its services too", error)
    )
  }
}

/**
 * Builds a layer. Rejects with the error of the layer, with the reason of the signal, or with `LayerTimeout`, after it has released everything that it
 * has built. If the build cannot be interrupted, it does not wait for its end.
 *
 * @since 0.1.0
 * @category constructors
 */
export const build = async <Services, E>(
  layer: Layer.Layer<Services, E>,
  timeout: Duration.Duration,
  signal: AbortSignal | undefined
): Promise<Built<Services>> => {
  signal?.throwIfAborted()
  const scope = Scope.makeUnsafe()
  const fiber = Effect.runFork(Layer.buildWithScope(layer, scope))
  const waited = await Effect.runPromiseExit(exitWithin(fiber, timeout), { signal })
  const exit = Exit.isSuccess(waited) ? Option.getOrUndefined(waited.value) : undefined
  if (exit !== undefined && Exit.isSuccess(exit)) {
    return { context: exit.value, release: (timeout) => release(scope, timeout) }
  }
  await abandon(fiber, scope)
  if (signal?.aborted === true) throw signal.reason
  throw exit === undefined
    ? new LayerTimeout({ phase: "build", timeout: Duration.format(timeout) })
    : failureOf(exit.cause)
}

const failureOf = <E>(cause: Cause.Cause<E>): E | Error => {
  const error = Cause.findErrorOption(cause)
  if (Option.isSome(error)) return error.value
  return Cause.hasInterruptsOnly(cause) ? interruptedItself() : errorOf(Cause.squash(cause))
}
