/**
 * The heartbeat of a worker: it renews the leases, and finds out which partitions are lost.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as ConsumerReads from "../ConsumerReads.ts"
import type { Claim, ClaimRequest } from "../LeaseDriver.ts"
import * as EventInHand from "./EventInHand.ts"
import type { Running, Worker } from "./Worker.ts"

/**
 * Renews the leases, and claims more unless it is to renew only, or stops.
 *
 * @since 0.1.0
 * @category combinators
 */
export const send = Effect.fnUntraced(function*(
  worker: Worker,
  mode: Pick<ClaimRequest, "renewOnly" | "stops"> = {}
): Effect.fn.Return<Claim, EventStoreError> {
  const { owner, processor: { consumer }, settings: { generation, lease }, store } = worker
  const sentAt = yield* monotonicMillis
  const claimed = yield* store.claim({
    consumer: consumer.id,
    generation,
    owner,
    partitions: consumer.partitions,
    partitionedBy: ConsumerKey.format(consumer.partitionBy),
    reads: ConsumerReads.format(ConsumerReads.of(consumer)),
    lease,
    inHand: EventInHand.heldBy(worker.running, yield* Clock.currentTimeMillis),
    ...mode
  })
  // Before the leases count as renewed: what the worker does with its partitions comes later.
  markLost(worker, (partition, { epoch, generation }) =>
    generation !== claimed.generation
    || !claimed.assigned.some((one) => one.partition === partition && one.epoch === epoch))
  if (worker.kept === undefined) worker.leasedUntil = sentAt + Duration.toMillis(lease)
  return claimed
})

/**
 * Marks partitions as lost. From then on no handler of these begins.
 *
 * @since 0.1.0
 * @category combinators
 */
export const markLost = (
  { running }: Worker,
  isLost: (partition: number, one: Pick<Running, "epoch" | "generation">) => boolean
): void => {
  for (const [partition, one] of running) if (isLost(partition, one)) one.isLost = true
}

const monotonicMillis = Effect.map(Clock.Clock, (clock) => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000)
