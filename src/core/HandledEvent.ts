/**
 * The event that a handler of a consumer is handling, so that a wait for the consumer itself is found.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Position from "./Position.ts"

/**
 * An event that is being handled.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandledEvent {
  /** The id of the consumer. */
  readonly consumer: string
  /** The position of the first event that was appended with it and is not committed yet, if the consumer is inline. */
  readonly uncommitted: Position.Position | undefined
  /** The event whose handler dispatched the command that appended this one. */
  readonly outer: HandledEvent | undefined
  /** False once the handler has ended. A fiber that it has forked may live longer. */
  isActive: boolean
}

/**
 * The event that the running handler handles.
 *
 * @since 0.1.0
 * @category references
 */
export const Current = Context.Reference<HandledEvent | undefined>("evsrc/core/HandledEvent", {
  defaultValue: () => undefined
})

/**
 * Runs a handler of a consumer. `uncommitted` is the first position that its transaction has appended, if it is inline.
 *
 * @since 0.1.0
 * @category combinators
 */
export const provide = (consumer: string, uncommitted?: Position.Position) =>
<A, E, R>(
  handler: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Current, (outer) => {
    const current: HandledEvent = { consumer, uncommitted, outer, isActive: true }
    return handler.pipe(
      Effect.provideService(Current, current),
      Effect.ensuring(Effect.sync(() => {
        current.isActive = false
      }))
    )
  })

/**
 * Returns the events that are being handled, the innermost first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const active: Effect.Effect<ReadonlyArray<HandledEvent>> = Effect.map(Current, (current) => {
  const found: Array<HandledEvent> = []
  for (let one = current; one !== undefined; one = one.outer) {
    if (one.isActive) found.push(one)
  }
  return found
})
