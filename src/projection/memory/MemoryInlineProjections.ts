/**
 * Which inline projections are complete, in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { InlineProjectionsDriver } from "../ProjectionStoreDriver.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (): InlineProjectionsDriver => {
  const complete = new Map<string, ReadonlyArray<string>>()
  return {
    completeTypes: (projection) => Effect.sync(() => complete.get(projection)),
    setComplete: (projection, types) =>
      Effect.sync(() => {
        complete.set(projection, types)
      })
  }
}
