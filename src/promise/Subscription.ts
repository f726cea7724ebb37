/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Streams as async iterators, which read only when the consumer asks for the next value.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { AppClosed } from "./AppError.ts"
import type { AppRuntime, Running } from "./AppRuntime.ts"
import { interruptedItself } from "./Defects.ts"

/**
 * An async iterator for one consumer, such as `for await`. It reads from the store only while a `next()` is pending, and holds at most one page.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out A> {
  /**
   * Returns the next value, and `done` after the end of the subscription. Rejects with the typed error of the stream, or with `AppClosed` when the app is
   * closed; the subscription has then ended. Overlapping calls settle in their order.
   */
  readonly next: () => Promise<IteratorResult<A, undefined>>
  /** Ends the subscription, and a pending `next()` with `done`. `break` in `for await` calls it. */
  readonly return: () => Promise<IteratorReturnResult<undefined>>
  /** Returns this subscription, so that it serves one consumer. */
  readonly [Symbol.asyncIterator]: () => Subscription<A>
  /** Ends the subscription, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

const done: IteratorReturnResult<undefined> = { done: true, value: undefined }

const ignore = (): void => undefined

/**
 * Returns the subscription to a stream. The stream starts at the first `next()`. Between two calls of `next()` the app has no reference to the
 * subscription, so that the garbage collector frees it when the consumer drops it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R>(
  runtime: AppRuntime,
  stream: Stream.Stream<A, E, R>,
  signal: AbortSignal | undefined
): Subscription<A> => {
  const pages = pagesOf(runtime, stream, signal)
  let page: Iterator<A, unknown> | undefined
  let turn: Promise<unknown> = Promise.resolve()

  const end = async () => {
    await pages.end()
    page = undefined
    return done
  }

  const next = async (): Promise<IteratorResult<A, undefined>> => {
    if (pages.isEnded() || signal?.aborted === true) return end()
    if (runtime.isClosed()) {
      await end()
      throw new AppClosed({ wasInFlight: false })
    }
    const value = page?.next()
    if (value !== undefined && value.done !== true) return { done: false, value: value.value }
    const read = await pages.read()
    if (read === undefined) return end()
    page = read.slice(1)[Symbol.iterator]()
    return { done: false, value: read[0] }
  }

  const subscription: Subscription<A> = {
    next: () => {
      const result = turn.then(next)
      turn = result.catch(ignore)
      return result
    },
    return: end,
    [Symbol.asyncIterator]: () => subscription,
    [Symbol.asyncDispose]: async () => {
      await end()
    }
  }
  return subscription
}

/** Reads a stream page by page. */
interface Pages<out A> {
  /** Returns the next page, or nothing at the end. Rejects with the error of the stream, which has then ended. */
  readonly read: () => Promise<Arr.NonEmptyReadonlyArray<A> | undefined>
  /** Interrupts a read, and releases what the stream holds. */
  readonly end: () => Promise<void>
  readonly isEnded: () => boolean
}

const pagesOf = <A, E, R>(
  runtime: AppRuntime,
  stream: Stream.Stream<A, E, R>,
  signal: AbortSignal | undefined
): Pages<A> => {
  const scope = Scope.makeUnsafe()
  let pull: Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E, void, R> | undefined
  let running: Running<unknown, unknown> | undefined
  let ending: Promise<void> | undefined

  const open = Effect.flatMap(Channel.toPullScoped(stream.channel, scope), (opened) => {
    pull = opened
    return opened
  })
  const end = () => {
    ending ??= (async () => {
      running?.interrupt()
      await running?.outcome.then(ignore, ignore)
      await Effect.runPromise(Scope.close(scope, Exit.void))
    })()
    return ending
  }
  const read = async () => {
    const reading = runtime.start(pull ?? open, { kind: "subscription", signal })
    running = reading
    try {
      const outcome = await reading.outcome
      if (outcome._tag === "Succeeded") return outcome.value
      if (outcome._tag === "Failed" && Cause.isDone(outcome.error)) return undefined
      if (outcome._tag !== "Interrupted") throw outcome.error
      if (ending === undefined && signal?.aborted !== true) throw interruptedItself()
      return undefined
    } catch (error) {
      await end()
      throw error
    }
  }
  return { read, end, isEnded: () => ending !== undefined }
}
