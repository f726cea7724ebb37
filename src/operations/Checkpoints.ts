/**
 * Resets the checkpoints of a subscription, or of a projection with handlers, to a position that the operator chooses. After the log was set
 * back, this is how its consumers go on.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import type { ParkedPlace } from "../consumer/parking/ParkingDriver.ts"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type * as Projection from "../projection/Projection.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import type * as Subscription from "../subscription/Subscription.ts"

/**
 * The checkpoints of a consumer before and after a reset.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reset {
  readonly consumer: string
  /** The checkpoint of each partition before. The events that it had handled after `to` are handled again, or were lost with the log. */
  readonly from: ReadonlyArray<LogPosition.LogPosition>
  readonly to: LogPosition.LogPosition
}

/** The maximum number of parked keys that one statement compares with the log. */
const keysInPage = 1_000

/**
 * Moves the checkpoints of a consumer to a position of the log, and continues from there. It takes the partitions from their workers, which claim
 * them again at once. Stop the consumer's programs before: a worker that runs continues its batch until its next heartbeat. Fails with
 * `InvalidRequest` when the log has no event at the position, when the position is above the high-water mark, or when the consumer has never run;
 * with `LogDiverged` when the log has another event there.
 *
 * **When to use**
 *
 * After a backup was restored or a failover lost events, a consumer with checkpoints outside the log's database is stuck with `LogDiverged`.
 * Choose as `to` the last event that both logs share to handle every event of the log exactly as if no later one had been seen, or `"end"` to
 * continue with new events only. docs/operations.md describes how to find it. A projection of documents has no reset: `Rebuild.rebuild` it.
 *
 * **Gotchas**
 *
 * Events after `to` that the consumer has handled before are handled again, under the same ids. Effects of lost events are not undone. The
 * delivery log begins again at `to`, and streams that are parked at a later event, or at a lost one, are parked no more. Earlier events do not prevent the
 * code of this definition from continuing there. Code that reads other events is rejected if the log has such events up to the checkpoint, as without a reset.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reset = Effect.fn("Checkpoints.reset")(function*(
  consumer: Subscription.Any | Projection.AnyHandler<"async">,
  to: Position.Position | LogPosition.LogPosition | "end"
): Effect.fn.Return<Reset, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const generation = yield* store.activeGeneration(consumer.id)
  const progress = yield* store.progress(generation)
  const from = progress.map(({ eventId, position }) => LogPosition.make(position, eventId))
  const continuedBy = progress[0]?.continuedBy
  if (continuedBy !== undefined) {
    return yield* invalidRequest(
      `"${consumer.id}" handles no more events, because "${continuedBy}" has continued from its checkpoints; reset that instead`
    )
  }
  if (from.length === 0) {
    return yield* invalidRequest(`"${consumer.id}" has never run, so it has no checkpoints; start it instead`)
  }
  const { eventId: expectedId, position } = LogPosition.from(to === "end" ? yield* log.head : to)
  const [eventId] = yield* log.eventIds([position])
  if (eventId === undefined && position !== Position.start) {
    return yield* invalidRequest(
      `the log has no event at position ${
        String(position)
      }; reset "${consumer.id}" to the position of an event, to 0 or to "end"`
    )
  }
  yield* LogIdentity.requireEvents(log, [LogPosition.make(position, expectedId)])
  // An event above the mark may be visible already, but the reset would skip one below it that commits later.
  const head = yield* log.head
  if (position > head) {
    return yield* invalidRequest(
      `cannot reset "${consumer.id}" to position ${position}, because the high-water mark of the log is ${head}: an append below `
        + `that position may still be running; reset it to ${head} or below or to "end", or repeat the reset when the append has ended`
    )
  }
  const lost: Array<string> = []
  let after: ParkedPlace | undefined
  do {
    const parked = yield* store.parked(generation, { after, limit: keysInPage })
    const ids = yield* log.eventIds(parked.map((entry) => entry.position))
    for (const [index, entry] of parked.entries()) if (ids[index] !== entry.eventId) lost.push(entry.eventId)
    after = parked.length < keysInPage ? undefined : parked.at(-1)
  } while (after !== undefined)
  const target = LogPosition.make(position, eventId)
  yield* store.resetCheckpoints(generation, target, lost, ConsumerReads.format(ConsumerReads.of(consumer)))
  return { consumer: consumer.id, from, to: target }
})
