/**
 * Cuts a projection over to a generation as soon as it has caught up with the active one.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { EventStoreError } from "../../core/errors.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import type { CutOverRequest, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import { noGeneration } from "./GenerationBuilder.ts"
import { RebuildRejected } from "./RebuildError.ts"

/** How long a cut-over holds the active generation, so that a generation that is close can reach it. */
const hold = Duration.millis(500)

/** The maximum number of positions that a generation may lack for a hold: so many it can catch up with in that time. */
const maxMissingForHold = 5_000n

const pause = Duration.millis(10)

/**
 * Cuts over once the generation has caught up with the active one. When it is close, it holds the active generation for half a second at a
 * time, until the timeout. Fails with `Behind` after the timeout.
 *
 * @since 0.1.0
 * @category running
 */
export const whenCaughtUp = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  to: string,
  timeout: Duration.Duration
): Effect.fn.Return<void, RebuildRejected | EventStoreError> {
  const deadline = (yield* Clock.currentTimeMillis) + Duration.toMillis(timeout)
  let heldUntil = 0
  let isClose = false
  while (true) {
    const now = yield* Clock.currentTimeMillis
    const holds: boolean = isClose && now >= heldUntil && now < deadline
    if (holds) heldUntil = now + Duration.toMillis(hold)
    const missing: bigint = yield* once(store, projection, to, holds ? { hold } : "reject")
    if (missing === 0n) return
    if ((yield* Clock.currentTimeMillis) >= deadline) {
      const detail = `generation "${to}" is ${missing} positions behind the active one; run it until it has caught up`
      return yield* new RebuildRejected({ projection: projection.id, reason: "Behind", detail })
    }
    isClose = missing <= maxMissingForHold
    yield* Effect.sleep(pause)
  }
})

/**
 * Tries to cut over, and returns how many positions the generation lacks: 0 when it is active now. It retries when the store is unavailable:
 * to cut over to the active generation changes nothing.
 *
 * @since 0.1.0
 * @category running
 */
export const once = (
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  to: string,
  ifBehind: CutOverRequest["ifBehind"]
): Effect.Effect<bigint, RebuildRejected | EventStoreError> =>
  store.cutOver({ consumer: projection.id, to, ifBehind }).pipe(
    Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced("100 millis"), times: 10 }),
    Effect.flatMap((outcome) => {
      switch (outcome._tag) {
        case "CutOver":
          return Effect.succeed(0n)
        case "Behind":
          return Effect.succeed(outcome.missing)
        case "Unknown":
          return noGeneration(projection, `generation "${to}" has not run yet, or was discarded`)
      }
    })
  )
