/**
 * Runs the effects of an app, and ends them when the app is closed.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { AppClosed } from "./AppError.ts"

/**
 * How an effect has ended. `Interrupted` means: by its caller, or by itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<A, E> =
  | { readonly _tag: "Succeeded"; readonly value: A }
  | { readonly _tag: "Failed"; readonly error: E }
  | { readonly _tag: "Closed"; readonly error: AppClosed }
  | { readonly _tag: "Interrupted" }

/**
 * How to run an effect.
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions {
  /** `close` waits for a call. It interrupts a subscription at once, because the next event may never come. */
  readonly kind: "call" | "subscription"
  readonly signal?: AbortSignal | undefined
}

/**
 * An effect in flight.
 *
 * @since 0.1.0
 * @category models
 */
export interface Running<A, E> {
  /** Resolves to the outcome, and rejects with an `Error` when the effect dies. */
  readonly outcome: Promise<Outcome<A, E>>
  readonly interrupt: () => void
}

/**
 * What runs the effects of an app.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppRuntime {
  /** Runs an effect with the services of the layer. The caller ensures that the layer provides them. */
  readonly start: <A, E, R>(effect: Effect.Effect<A, E, R>, options: RunOptions) => Running<A, E>
  readonly isClosed: () => boolean
  /** Waits for calls for at most `timeout`, interrupts what is left, and releases the layer. A second call returns the first promise. */
  readonly close: (timeout: Duration.Input) => Promise<void>
}

/** An effect in flight, as `close` sees it. */
interface InFlight {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly kind: RunOptions["kind"]
  /** Settles the promise of the caller, unless it is settled. */
  readonly settleAsClosed: () => void
  isInterruptedByClose: boolean
}

/**
 * Returns the runtime over the services of a layer. `close` closes the scope in which the layer was built.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (context: Context.Context<never>, scope: Scope.Closeable): AppRuntime => {
  const inFlight = new Set<InFlight>()
  let isClosed = false
  let closing: Promise<void> | undefined

  const start = <A, E, R>(effect: Effect.Effect<A, E, R>, { kind, signal }: RunOptions): Running<A, E> => {
    if (isClosed) return ended<A, E>({ _tag: "Closed", error: new AppClosed({ hadBegun: false }) })
    if (signal?.aborted === true) return ended({ _tag: "Interrupted" })
    // The types of the app's methods ensure that the layer provides these services.
    const fiber = Effect.runForkWith(context as Context.Context<R>)(effect, { signal })
    const outcome = new Promise<Outcome<A, E>>((resolve, reject) => {
      const call: InFlight = {
        fiber,
        kind,
        settleAsClosed: () => resolve({ _tag: "Closed", error: new AppClosed({ hadBegun: true }) }),
        isInterruptedByClose: false
      }
      inFlight.add(call)
      fiber.addObserver((exit) => {
        inFlight.delete(call)
        const outcome = outcomeOf(exit)
        if (outcome instanceof Error) reject(outcome)
        else if (outcome._tag === "Interrupted" && call.isInterruptedByClose) call.settleAsClosed()
        else resolve(outcome)
      })
    })
    return { outcome, interrupt: () => fiber.interruptUnsafe() }
  }

  const interrupt = (calls: ReadonlyArray<InFlight>) =>
    Effect.sync(() => {
      for (const call of calls) {
        call.isInterruptedByClose = true
        call.fiber.interruptUnsafe()
      }
    })

  const closeWithin = Effect.fnUntraced(function*(timeout: Duration.Input) {
    const awaitAll = Effect.suspend(() => Fiber.awaitAll(Array.from(inFlight, ({ fiber }) => fiber))).pipe(
      Effect.timeoutOption(timeout)
    )
    yield* interrupt(Array.from(inFlight).filter(({ kind }) => kind === "subscription"))
    yield* awaitAll
    yield* interrupt(Array.from(inFlight))
    yield* awaitAll
    // An effect that cannot be interrupted goes on, but its caller does not wait for it.
    for (const { settleAsClosed } of inFlight) settleAsClosed()
    yield* Scope.close(scope, Exit.void)
  })

  return {
    start,
    isClosed: () => isClosed,
    close: (timeout) => {
      isClosed = true
      // It begins in a later microtask, so a call of `close` from within finds the promise.
      closing ??= Promise.resolve().then(() => Effect.runPromise(closeWithin(timeout)))
      return closing
    }
  }
}

const ended = <A, E>(outcome: Outcome<A, E>): Running<A, E> => ({
  outcome: Promise.resolve(outcome),
  interrupt: constVoid
})

const outcomeOf = <A, E>(exit: Exit.Exit<A, E>): Outcome<A, E> | Error => {
  if (Exit.isSuccess(exit)) return { _tag: "Succeeded", value: exit.value }
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isSome(error)) return { _tag: "Failed", error: error.value }
  return Cause.hasInterruptsOnly(exit.cause) ? { _tag: "Interrupted" } : errorOf(Cause.squash(exit.cause))
}

/**
 * Returns a defect as an `Error`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const errorOf = (defect: unknown): Error =>
  defect instanceof Error
    ? defect
    : new Error("evsrc: the code of a handler or an effect threw a value that is not an Error; it is the `cause`", {
      cause: defect
    })

/**
 * Returns the error of an effect that was interrupted neither by its caller nor by `close`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const interruptedItself = (): Error => new Error("evsrc: the code of a handler or an effect interrupted itself")
