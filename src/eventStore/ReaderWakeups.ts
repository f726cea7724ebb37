/**
 * Wakes the readers that wait for the log to grow. Each store has one watcher, however many readers wait. The watcher reads the high-water mark on
 * every wake-up and, because a wake-up may be lost or belong to another process, at an interval. It reads nothing while no reader waits.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import type { Position } from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"

/** An append in flight may keep the high-water mark below a position that it had reached before, but seldom for so many milliseconds. */
const maxBelow = 1_000

/** How many readers a wake-up ends at once. More of them wait for the mark, which one statement reads for all. */
const maxEarly = 4

/** A reader that waits. */
interface Waiter {
  readonly after: Position
  readonly mayEndEarly: boolean
  readonly hasNext: (() => boolean) | undefined
  readonly done: Deferred.Deferred<void, EventStoreError>
  /** Since when, in milliseconds, the high-water mark is below `after`. */
  belowSince: number | undefined
}

/**
 * The watcher of a log's high-water mark.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReaderWakeups {
  /**
   * Ends when the high-water mark is above a position; fails when it cannot be read, and when the store is closed. With `endsBelow` it also ends when the mark stays below the
   * position for a second: then the log may have been set back, and the reader finds out by its next read.
   *
   * With `mayEndEarly` a wake-up ends it before the mark is read, which saves the reader a statement. If the reader finds nothing new, and waits after
   * the same position again, it waits for the mark. A wake-up also ends it when `hasNext` returns true: the reader then reads nothing.
   */
  readonly changed: (
    after: Position,
    options?: { readonly mayEndEarly?: boolean | undefined; readonly hasNext?: (() => boolean) | undefined }
  ) => Effect.Effect<void, EventStoreError>
  /** Tells the watcher that the log has probably grown. */
  readonly wake: Effect.Effect<void>
  /** Tells the watcher that the log has probably grown up to a position: readers that wait after it do not end early. */
  readonly wakeUpTo: (position: Position) => void
}

/** Options of a watcher. */
interface Options {
  readonly head: Effect.Effect<Position, EventStoreError>
  readonly interval?: Duration.Input | (() => Duration.Input) | undefined
  /** Runs before the watcher waits for a wake-up. */
  readonly onWait?: Effect.Effect<void> | undefined
  /** Whether readers have reached the positions after which they wait. The caller that waits for a checkpoint has not. `false` by default. */
  readonly endsBelow?: boolean
}

/**
 * Starts a watcher. Without an `interval` it relies on wake-ups alone, which is safe only for a store within this process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<ReaderWakeups, never, Scope.Scope> {
  const waiting = new Set<Waiter>()
  const wakeUp = Latch.makeUnsafe(false)
  /** The position up to which a wake-up has come since the last look at the waiting readers. */
  let grownTo: Position | "unknown" | undefined
  /** The positions of the readers that the last wake-up has ended early. */
  let endedEarly: ReadonlySet<Position> = new Set()

  const endEarly = (to: Position | "unknown"): void => {
    end(waiting, Array.from(waiting).filter(({ hasNext }) => hasNext?.() === true), Exit.void)
    const early = Array.from(waiting).filter(({ after, mayEndEarly }) =>
      mayEndEarly && (to === "unknown" || after < to)
    )
    if (early.length > maxEarly) return
    endedEarly = new Set(early.map(({ after }) => after))
    end(waiting, early, Exit.void)
  }

  const watchOnce = Effect.gen(function*() {
    yield* wakeUp.await
    wakeUp.closeUnsafe()
    if (waiting.size === 0) return
    if (grownTo !== undefined) endEarly(grownTo)
    grownTo = undefined
    if (waiting.size === 0) return
    const waiters = Array.from(waiting)
    const head = yield* Effect.exit(options.head)
    const now = yield* monotonicMillis
    for (const waiter of waiters) {
      if (Exit.isSuccess(head) && head.value <= waiter.after) {
        if (options.endsBelow !== true) continue
        waiter.belowSince = head.value < waiter.after ? waiter.belowSince ?? now : undefined
        if (waiter.belowSince === undefined || now - waiter.belowSince < maxBelow) continue
      }
      end(waiting, [waiter], Exit.asVoid(head))
    }
    if (waiting.size === 0) return
    if (options.onWait !== undefined) yield* options.onWait
    const interval = typeof options.interval === "function" ? options.interval() : options.interval
    if (interval === undefined) return
    yield* Effect.timeoutOption(wakeUp.await, interval)
    wakeUp.openUnsafe()
  })
  yield* Effect.forkScoped(Background.withoutSpans(Effect.forever(watchOnce)))
  let isClosed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      end(waiting, Array.from(waiting), Exit.fail(closed()))
    })
  )

  return {
    changed: (after, { hasNext, mayEndEarly = false } = {}) =>
      Effect.suspend(() => {
        if (isClosed) return Effect.fail(closed())
        const waiter: Waiter = {
          after,
          mayEndEarly: mayEndEarly && !endedEarly.has(after),
          hasNext,
          done: Deferred.makeUnsafe(),
          belowSince: undefined
        }
        waiting.add(waiter)
        wakeUp.openUnsafe()
        return Effect.onInterrupt(Deferred.await(waiter.done), () => Effect.sync(() => waiting.delete(waiter)))
      }),
    wake: Effect.sync(() => {
      grownTo = "unknown"
      wakeUp.openUnsafe()
    }),
    wakeUpTo: (position) => {
      grownTo = grownTo === undefined || (grownTo !== "unknown" && grownTo < position) ? position : grownTo
      wakeUp.openUnsafe()
    }
  }
})

const end = (
  waiting: Set<Waiter>,
  waiters: ReadonlyArray<Waiter>,
  exit: Exit.Exit<void, EventStoreError>
): void => {
  for (const waiter of waiters) {
    waiting.delete(waiter)
    Deferred.doneUnsafe(waiter.done, exit)
  }
}

const closed = (): EventStoreError =>
  storeError(new StoreUnavailable({ message: "The store is closed; nothing more is read", cause: undefined }))
