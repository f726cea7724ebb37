/**
 * Wakes whoever waits for the log to grow: one watcher a store, however many wait. It looks at the high-water mark when it is
 * woken and, as wakes may be lost or come from another process, at an interval; it looks at nothing while nobody waits.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"

/**
 * - `changed`: ends when the head has passed a position, fails when the head cannot be read
 * - `wake`: the log has probably grown
 *
 * @since 0.1.0
 * @category models
 */
export interface HighWaterMark {
  readonly changed: (after: Position) => Effect.Effect<void, EventStoreError>
  readonly wake: Effect.Effect<void>
}

/**
 * Without an `interval` the watcher relies on wakes alone, which only a store within this process may do.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly head: Effect.Effect<Position, EventStoreError>
  readonly interval?: Duration.Input | undefined
}): Effect.fn.Return<HighWaterMark, never, Scope.Scope> {
  const waiting = new Set<{ readonly after: Position; readonly done: Deferred.Deferred<void, EventStoreError> }>()
  const look = Latch.makeUnsafe(false)

  const watchOnce = Effect.gen(function*() {
    yield* look.await
    look.closeUnsafe()
    if (waiting.size === 0) return
    const asked = Array.from(waiting)
    const head = yield* Effect.exit(options.head)
    for (const waiter of asked) {
      if (Exit.isSuccess(head) && head.value <= waiter.after) continue
      waiting.delete(waiter)
      Deferred.doneUnsafe(waiter.done, Exit.asVoid(head))
    }
    if (waiting.size > 0 && options.interval !== undefined) {
      yield* Effect.timeoutOption(look.await, options.interval)
      look.openUnsafe()
    }
  })
  yield* Effect.forkScoped(Effect.forever(watchOnce))

  return {
    changed: (after) =>
      Effect.suspend(() => {
        const waiter = { after, done: Deferred.makeUnsafe<void, EventStoreError>() }
        waiting.add(waiter)
        look.openUnsafe()
        return Effect.onInterrupt(Deferred.await(waiter.done), () => Effect.sync(() => waiting.delete(waiter)))
      }),
    wake: Effect.sync(() => {
      look.openUnsafe()
    })
  }
})
