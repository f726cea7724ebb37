/**
 * Cuts a projection over to a generation as soon as it has caught up with the active one.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as FormerPartitions from "../../consumer/FormerPartitions.ts"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import type { EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import * as LogIdentity from "../../eventStore/LogIdentity.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import type { CutOverOutcome, CutOverRequest, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import { noGeneration } from "./GenerationBuilder.ts"
import { RebuildRejected } from "./RebuildError.ts"

/** How long a cut-over holds the active generation, so that a generation that is close can reach it. */
const hold = Duration.millis(500)

/** The maximum number of positions that a generation may lack for a hold: so many it can catch up with in that time. */
const maxMissingForHold = 5_000n

const pause = Duration.millis(10)

/**
 * Cuts over once the generation has caught up with the active one. When it is close, it holds the active generation for half a second at a
 * time, until the timeout. While the generation gets no closer, as when its code fails at an event, the pauses between the holds double. Fails
 * with `Behind` after the timeout.
 *
 * When the active generation has applied events that the log does not have any more, it never continues. Then the generation must have caught up
 * with the log instead.
 *
 * @since 0.1.0
 * @category running
 */
export const whenCaughtUp = Effect.fnUntraced(function*(
  { log, store }: Drivers,
  projection: Projection.Any,
  to: string,
  { evenIfParked, timeout }: { readonly evenIfParked: boolean; readonly timeout: Duration.Duration }
): Effect.fn.Return<void, RebuildRejected | EventStoreError> {
  const deadline = (yield* monotonicMillis) + Duration.toMillis(timeout)
  const serving = yield* store.progress(yield* store.activeGeneration(projection.id))
  const isLost = yield* LogIdentity.hasDiverged(log, serving.flatMap(FormerPartitions.checkpointsOf))
  const head = isLost ? yield* log.head : undefined
  const holding = makeHolds()
  let last: bigint | undefined
  while (true) {
    const now = yield* monotonicMillis
    const holds: boolean = last !== undefined && now < deadline && holding.begin(now, last)
    const missing: bigint = head === undefined
      ? yield* once(store, projection, { to, evenIfParked, ifBehind: holds ? { hold } : "reject" })
      : yield* onceAt(store, projection, { to, evenIfParked }, head)
    if (missing === 0n) return
    if ((yield* monotonicMillis) >= deadline) {
      const detail = `generation "${to}" is ${missing} positions behind the active one; run it until it has caught up`
      return yield* new RebuildRejected({ projection: projection.id, reason: "Behind", detail })
    }
    last = missing
    yield* Effect.sleep(pause)
  }
})

/** Decides when to hold the active generation. */
const makeHolds = () => {
  let [next, pause] = [0, 0]
  let missingBefore: bigint | undefined
  return {
    /** Returns whether a hold begins now, when a generation lacks so many positions. */
    begin: (now: number, missing: bigint): boolean => {
      if (missing > maxMissingForHold || now < next) return false
      const isCloser = missingBefore === undefined || missing < missingBefore
      pause = isCloser ? 0 : Math.max(Duration.toMillis(hold), pause * 2)
      missingBefore = missing
      next = now + Duration.toMillis(hold) + pause
      return true
    }
  }
}

/**
 * The drivers of both stores.
 *
 * @since 0.1.0
 * @category models
 */
export interface Drivers {
  readonly log: EventStoreDriver
  readonly store: ProjectionStoreDriver
}

/** Cuts over even from a generation that is ahead, if all partitions of the new one have reached a position; returns what is missing. */
const onceAt = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  request: Pick<CutOverRequest, "evenIfParked" | "to">,
  position: bigint
): Effect.fn.Return<bigint, RebuildRejected | EventStoreError> {
  const partitions = yield* store.progress(request.to)
  const missing = partitions.reduce((most, one) => position - one.position > most ? position - one.position : most, 0n)
  return missing > 0n ? missing : yield* once(store, projection, { ...request, ifBehind: "cutOver" })
})

/**
 * Tries to cut over, and returns how many positions the generation lacks: 0 when it is active now. It retries when the store is unavailable:
 * to cut over to the active generation changes nothing. Fails with `Parked` when the new one has keys parked that the active one has not.
 *
 * @since 0.1.0
 * @category running
 */
export const once = (
  store: ProjectionStoreDriver,
  projection: Projection.Any,
  request: Omit<CutOverRequest, "consumer">
): Effect.Effect<bigint, RebuildRejected | EventStoreError> =>
  store.cutOver({ ...request, consumer: projection.id }).pipe(
    Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced("100 millis"), times: 10 }),
    Effect.flatMap((outcome) => {
      switch (outcome._tag) {
        case "CutOver":
          return Effect.succeed(0n)
        case "Behind":
          return Effect.succeed(outcome.missing)
        case "Parked":
          return Effect.fail(parked(projection, request.to, outcome))
        case "Unknown":
          return noGeneration(projection, `generation "${request.to}" has not run yet, or was discarded`)
      }
    })
  )

const parked = (
  projection: Projection.Any,
  to: string,
  { count, keys }: Extract<CutOverOutcome, { readonly _tag: "Parked" }>
): RebuildRejected => {
  const named = keys.map((key) => key === "" ? "the unknown key" : `"${key}"`).join(", ")
  const detail =
    `${count} ${
      count === 1 ? "key is" : "keys are"
    } parked in generation "${to}" at events that the active one has applied: `
    + `${named}${
      count > keys.length ? " and others" : ""
    }; their documents would lack events that readers have seen. Correct the code and `
    + `rebuild again; or keep the generation running by Rebuild.runContinuously with \`resume: true\`, and retry or skip the keys by Parking with `
    + `\`generation: "${to}"\`; or give \`evenIfParked: true\``
  return new RebuildRejected({ projection: projection.id, reason: "Parked", detail })
}
