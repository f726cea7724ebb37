/**
 * Streams that a consumer of the log has parked, because of an event that it could not process: what they are, and what is to be done with
 * them.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Consumer } from "../consumer/Consumer.ts"
import * as ConsumerWakeups from "../consumer/ConsumerWakeups.ts"
import type { Parked, ParkingEntry, ParkingRequest } from "../consumer/ParkingDriver.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import { type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { NotParked, StillParked } from "./ParkingError.ts"

export type { Parked, ParkingEntry } from "../consumer/ParkingDriver.ts"

/**
 * - `target`: a build; by default the active generation
 *
 * @since 0.1.0
 * @category options
 */
export interface GenerationOptions {
  readonly generation?: string | undefined
}

/**
 * - `actor`: who asks; recorded
 * - `reason`: why; recorded
 * - `position`: of the parked event that is meant. If the stream is parked at another by now, nothing is done
 * - `timeout`: how long to wait until it has been done; 30 seconds by default
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryOptions extends GenerationOptions {
  readonly actor?: string | undefined
  readonly reason?: string | undefined
  readonly position?: Position.Position | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * Like those of a retry, with a `reason` that must be given.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkipOptions extends RetryOptions {
  readonly reason: string
}

/**
 * A parked stream in full.
 *
 * - `recorded`: the event that could not be processed, as it is in the log; `events` what it means today, or why it cannot be
 *   decoded
 * - `waiting`: the first events that wait behind it in its stream, of those that the consumer takes; at most 100, and whether there are `more`
 * - `history`: what has become of the stream so far
 *
 * @since 0.1.0
 * @category models
 */
export interface Inspection {
  readonly parked: Parked
  readonly recorded: EncodedEvent
  readonly events: Result.Result<ReadonlyArray<RecordedEvent<Event.Tagged>>, EventStoreError>
  readonly waiting: ReadonlyArray<EncodedEvent>
  readonly more: boolean
  readonly history: ReadonlyArray<ParkingEntry>
}

/**
 * What a retry or a skip has come to.
 *
 * - `outcome`: the event was processed, failed again, or was left out
 * - `entry`: the record of it
 * - `parked`: where the stream is parked now, at the same event or at a later one; nothing when it is free
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly stream: string
  readonly outcome: "retried" | "failed" | "skipped"
  readonly entry: ParkingEntry
  readonly parked: Parked | undefined
}

const generationOf = Effect.fnUntraced(function*({ id }: Consumer, options: GenerationOptions) {
  const { driver } = (yield* ProjectionStore)[internals]
  return { driver, generation: options.generation ?? (yield* driver.activeGeneration(id)) }
})

/**
 * The parked streams of a consumer, by the positions of their events.
 *
 * @since 0.1.0
 * @category looking
 */
export const list = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions = {}
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* driver.parked(generation)
})

/**
 * All that ever became of a consumer's parked events, in order; also of streams that are free by now.
 *
 * @since 0.1.0
 * @category looking
 */
export const history = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions = {}
): Effect.fn.Return<ReadonlyArray<ParkingEntry>, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* driver.parkingLog(generation)
})

/** Where a stream is parked. */
const find = Effect.fnUntraced(function*(
  consumer: Consumer,
  stream: string,
  options: GenerationOptions & { readonly position?: Position.Position | undefined }
) {
  const { position } = options
  const parked = (yield* list(consumer, options)).find((one) => one.stream === stream)
  if (parked === undefined || (position !== undefined && parked.position !== position)) {
    return yield* new NotParked({ consumer: consumer.id, stream, ...position === undefined ? {} : { position } })
  }
  return parked
})

/**
 * A parked stream in full: its event, what waits behind it, and its history.
 *
 * @since 0.1.0
 * @category looking
 */
export const inspect = Effect.fnUntraced(function*(
  consumer: Consumer,
  stream: string,
  options: GenerationOptions = {}
): Effect.fn.Return<Inspection, NotParked | EventStoreError, EventStore | ProjectionStore> {
  const parked = yield* find(consumer, stream, options)
  const store = yield* EventStore
  const isFollowed = EventFilter.matcher(filterOf(consumer, parked.partition))
  const [recorded, ...behind] = yield* store.readStreamEncoded(stream, { from: parked.version }).pipe(
    Stream.filter((event) => event.version === parked.version || isFollowed(event)),
    Stream.take(waitingShown + 2),
    Stream.runCollect
  )
  if (recorded === undefined) return yield* invalidRequest(`the log has no stream "${stream}", which is parked`)
  const entries = yield* history(consumer, options)
  return {
    parked,
    recorded,
    events: Result.mapError(EventCodec.make(consumer.events).decode(recorded), storeError),
    waiting: behind.slice(0, waitingShown),
    more: behind.length > waitingShown,
    history: entries.filter((entry) => entry.stream === stream)
  }
})

const waitingShown = 100

/** How often to look whether it has been done. */
const look = Schedule.spaced("25 millis")

/** Leaves word, wakes those of this process, and waits for what becomes of it. */
const ask = Effect.fnUntraced(function*(
  consumer: Consumer,
  stream: string,
  action: ParkingRequest["action"],
  { actor, position, reason, generation: wanted, timeout = "30 seconds" }: RetryOptions
): Effect.fn.Return<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> {
  for (const text of [actor, reason]) {
    if (text !== undefined && (text === "" || text.length > 2_000 || text.includes("\u0000"))) {
      return yield* invalidRequest("an actor or a reason has 1 to 2,000 characters, without U+0000")
    }
  }
  const { driver, generation } = yield* generationOf(consumer, { generation: wanted })
  // What is asked for is asked of the event that is there now, not of one that may take its place.
  const entry = yield* find(consumer, stream, { generation, position })
  const isParked = yield* driver.request(generation, stream, { action, actor, reason }, entry.position)
  if (!isParked) return yield* new NotParked({ consumer: consumer.id, stream, position: entry.position })
  yield* ConsumerWakeups.wake(driver, consumer.id)

  const current = Effect.map(driver.parked(generation), (all) => all.find((one) => one.stream === stream))
  const isDone = (now: Parked | undefined) => now?.position !== entry.position || now.request === undefined
  const waited = yield* current.pipe(
    Effect.repeat({ until: isDone, schedule: look }),
    Effect.timeoutOption(timeout)
  )
  if (Option.isNone(waited)) {
    return yield* new StillParked({ consumer: consumer.id, stream, position: entry.position, action })
  }
  const record = (yield* driver.parkingLog(generation)).findLast((one) =>
    one.eventId === entry.eventId && one.action !== "parked"
  )
  // It was discarded in the meantime, with all that it had.
  if (record === undefined || record.action === "parked") {
    return yield* new NotParked({ consumer: consumer.id, stream, position: entry.position })
  }
  return { stream, outcome: record.action, entry: record, parked: waited.value }
})

/**
 * Has the parked event of a stream processed again, and then those that wait behind it, in order; whoever owns the partition does it. When
 * one of them fails the stream is parked there.
 *
 * **Details**
 *
 * It is done at once by a worker of the same process, and within a second by one of another.
 *
 * @since 0.1.0
 * @category mending
 */
export const retry = (
  consumer: Consumer,
  stream: string,
  options: RetryOptions = {}
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  ask(consumer, stream, "retry", options)

/**
 * Leaves the parked event of a stream out for good, and has those processed that wait behind it.
 *
 * @since 0.1.0
 * @category mending
 */
export const skip = (
  consumer: Consumer,
  stream: string,
  options: SkipOptions
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  ask(consumer, stream, "skip", options)

/**
 * Retries every stream that is parked now. Answers what became of each, in the order of their events; a stream that somebody else has freed in
 * the meantime is left out.
 *
 * @since 0.1.0
 * @category mending
 */
export const retryAll = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: Omit<RetryOptions, "position"> = {}
): Effect.fn.Return<ReadonlyArray<Outcome>, StillParked | EventStoreError, ProjectionStore> {
  const all = yield* list(consumer, options)
  const outcomes = yield* Effect.forEach(all, ({ position, stream }) =>
    Effect.catchTag(
      Effect.asSome(retry(consumer, stream, { ...options, position })),
      "NotParked",
      () => Effect.succeedNone
    ), { concurrency: 16 })
  return outcomes.flatMap(Option.toArray)
})
