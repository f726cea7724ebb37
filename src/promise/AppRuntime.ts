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
import { AppClosed } from "./AppError.ts"
import type { Built } from "./AppLayer.ts"
import { errorOf } from "./Defects.ts"

/**
 * How an effect has ended. `Interrupted` means that its caller or the effect itself interrupted it.
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
 * The options of an effect.
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
 * Runs the effects of an app.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppRuntime {
  /** Runs an effect with the services of the layer. The caller ensures that the layer provides them. */
  readonly start: <A, E, R>(effect: Effect.Effect<A, E, R>, options: RunOptions) => Running<A, E>
  readonly isClosed: () => boolean
  /** Waits for calls for at most `timeout`, interrupts the calls that are left, and releases the layer. A second call returns the first promise. */
  readonly close: (timeout: Duration.Duration, releaseTimeout: Duration.Duration) => Promise<void>
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
 * Returns the runtime over the services of a layer. `close` releases the layer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Services>({ context, release }: Built<Services>): AppRuntime => {
  const inFlight = new Set<InFlight>()
  let isClosed = false
  let closing: Promise<void> | undefined

  const start = <A, E, R>(effect: Effect.Effect<A, E, R>, { kind, signal }: RunOptions): Running<A, E> => {
    if (isClosed) return ended<A, E>({ _tag: "Closed", error: new AppClosed({ wasInFlight: false }) })
    if (signal?.aborted === true) return ended({ _tag: "Interrupted" })
    const services: Context.Context<never> = context
    // The types of the app's methods ensure that the layer provides these services.
    const fiber = Effect.runForkWith(services as Context.Context<R>)(effect)
    const outcome = new Promise<Outcome<A, E>>((resolve, reject) => {
      const abort = () => {
        fiber.interruptUnsafe()
        // The caller of a subscription waits for its end, to release what it holds.
        if (kind === "call") resolve({ _tag: "Interrupted" })
      }
      signal?.addEventListener("abort", abort, { once: true })
      const call: InFlight = {
        fiber,
        kind,
        settleAsClosed: () => resolve({ _tag: "Closed", error: new AppClosed({ wasInFlight: true }) }),
        isInterruptedByClose: false
      }
      inFlight.add(call)
      fiber.addObserver((exit) => {
        inFlight.delete(call)
        signal?.removeEventListener("abort", abort)
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

  const end = Effect.fnUntraced(function*(timeout: Duration.Duration) {
    const awaitAll = Effect.suspend(() => Fiber.awaitAll(Array.from(inFlight, ({ fiber }) => fiber))).pipe(
      Effect.timeoutOption(timeout)
    )
    yield* interrupt(Array.from(inFlight).filter(({ kind }) => kind === "subscription"))
    yield* awaitAll
    yield* interrupt(Array.from(inFlight))
    yield* awaitAll
    // An effect that cannot be interrupted goes on, but its caller does not wait for it.
    for (const { settleAsClosed } of inFlight) settleAsClosed()
  })

  return {
    start,
    isClosed: () => isClosed,
    close: (timeout, releaseTimeout) => {
      isClosed = true
      // It begins in a later microtask, so a call of `close` from within finds the promise.
      closing ??= Promise.resolve().then(() => Effect.runPromise(end(timeout))).then(() => release(releaseTimeout))
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
