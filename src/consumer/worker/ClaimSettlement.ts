/**
 * What a worker settles before it works on partitions: the start of a version that continues an earlier one, the reads of other code, and the
 * number of partitions.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import { logEvent } from "../../core/telemetry/logEvent.ts"
import type * as EventStore from "../../eventStore/EventStore.ts"
import * as LogIdentity from "../../eventStore/LogIdentity.ts"
import type { ConsumerDriver, Progress } from "../CheckpointDriver.ts"
import type { Consumer } from "../Consumer.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as ConsumerReads from "../ConsumerReads.ts"
import * as FormerPartitions from "../FormerPartitions.ts"
import * as GenerationId from "../GenerationId.ts"
import * as HandOver from "../HandOver.ts"
import type { Claim } from "../LeaseDriver.ts"
import * as ReadsChange from "../ReadsChange.ts"
import * as StartPosition from "../StartPosition.ts"

/**
 * The worker that claims.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimant {
  readonly events: EventStore.EventStore["Service"]
  readonly store: ConsumerDriver
  readonly processor: { readonly consumer: Consumer }
  readonly owner: string
  readonly settings: { readonly lease: Duration.Duration }
}

type ClaimAgain = Effect.Effect<Claim, EventStoreError>

/**
 * Takes over partitions that code with other reads has processed, if no event is lost by it, and returns the claim after that.
 *
 * @since 0.1.0
 * @category running
 */
export const settleReads = Effect.fnUntraced(function*(
  { events, onReleased, owner, processor: { consumer }, settings: { lease }, store }: Claimant & {
    /** Runs when the worker has given back its partitions. */
    readonly onReleased: Effect.Effect<void>
  },
  claimed: Claim,
  claimAgain: ClaimAgain
): Effect.fn.Return<Claim, EventStoreError> {
  if (claimed.otherReadsAlive === undefined || claimed.change === "continued") return claimed
  const { assigned, generation } = claimed
  const isChanged = yield* ReadsChange.settle(events[internals].driver, store, consumer, claimed).pipe(
    // It would keep partitions from workers that can process them.
    Effect.tapError(() => Effect.ignore(Effect.andThen(store.release(generation, owner), onReleased))),
    // The next heartbeat must not be late.
    assigned.length === 0 ?
      identity :
      (settle) =>
        Effect.timeoutOrElse(settle, { duration: Duration.times(lease, 1 / 6), orElse: () => Effect.succeed(false) })
  )
  return isChanged ? yield* claimAgain : claimed
})

/**
 * Starts a consumer that has never run, and returns the wait until the earlier version from which it continues has given back its partitions. Returns
 * undefined once the consumer has started.
 *
 * @since 0.1.0
 * @category running
 */
export const start = Effect.fnUntraced(function*(
  { events, owner, processor: { consumer }, settings: { lease }, store }: Claimant
): Effect.fn.Return<HandOver.HandOver | undefined, EventStoreError> {
  const { from, id, partitionBy, partitions } = consumer
  if (typeof from === "string" || !("version" in from)) return undefined
  const earlier = GenerationId.otherVersion(id, from.version)
  const own = yield* store.progress(yield* store.activeGeneration(id))
  if (own.length === 0) {
    yield* requireCheckpoints(events, yield* store.progress(yield* store.activeGeneration(earlier)))
  }
  const outcome = yield* store.continueVersion({
    consumer: id,
    from: earlier,
    owner,
    lease,
    partitions,
    partitionedBy: ConsumerKey.format(partitionBy),
    reads: ConsumerReads.format(ConsumerReads.of(consumer))
  })
  if (outcome === "draining") {
    return HandOver.ofVersion(id, earlier, yield* store.progress(yield* store.activeGeneration(earlier)))
  }
  yield* StartPosition.requireContinued(consumer, earlier, outcome)
  return undefined
})

/** The partitions that follow would leave out events of a log that was set back. */
const requireCheckpoints = (
  events: EventStore.EventStore["Service"],
  progress: ReadonlyArray<Progress>
): Effect.Effect<void, EventStoreError> =>
  LogIdentity.requireEvents(events[internals].driver, [
    ...progress.map(({ eventId, position }) => LogPosition.make(position, eventId)),
    // They are the same for all partitions.
    ...FormerPartitions.allCheckpoints(progress.find(isBehindFormer)?.former ?? [])
  ])

const isBehindFormer = ({ former = [], position }: Progress): boolean => position < FormerPartitions.reached(former)

/**
 * Changes the number of partitions to that of the definition, and returns the claim after that.
 *
 * @since 0.1.0
 * @category running
 */
export const repartition = Effect.fnUntraced(function*(
  { events, processor: { consumer }, store }: Claimant,
  { generation, partitions: from }: Claim,
  claimAgain: ClaimAgain
): Effect.fn.Return<Claim, EventStoreError> {
  const { id, partitions: to } = consumer
  yield* requireCheckpoints(events, yield* store.progress(generation))
  const reads = ConsumerReads.format(ConsumerReads.of(consumer))
  if (yield* store.repartition({ consumer: id, generation, from, to, reads })) {
    yield* logEvent("partitions.changed", `${generation} has ${to} partitions from now on, instead of ${from}`, {
      consumer: generation,
      from,
      to
    })
  }
  return yield* claimAgain
})
