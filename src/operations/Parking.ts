/**
 * Lists and inspects the streams that a consumer parked, and retries or skips their events.
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
import type { Parked, ParkingEntry, ParkingRequest } from "../consumer/ParkingDriver.ts"
import * as ParkingRequestWakeups from "../consumer/ParkingRequestWakeups.ts"
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
 * Options of every function here.
 *
 * @since 0.1.0
 * @category options
 */
export interface GenerationOptions {
  /** The generation of the consumer; the active one by default. */
  readonly generation?: string | undefined
}

/**
 * Options of a retry.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryOptions extends GenerationOptions {
  /** The person or program that asks; written to the parking log. */
  readonly actor?: string | undefined
  /** The reason; written to the parking log. */
  readonly reason?: string | undefined
  /** The position of the parked event. When the stream is parked at another one by now, the call fails with `NotParked`. */
  readonly position?: Position.Position | undefined
  /** How long to wait for a worker to carry the request out; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Options of a skip, which requires a `reason`.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkipOptions extends RetryOptions {
  readonly reason: string
}

/**
 * A parked stream with its events and its history.
 *
 * @since 0.1.0
 * @category models
 */
export interface Inspection {
  readonly parked: Parked
  /** The parked event as it is stored. */
  readonly recorded: EncodedEvent
  /** The parked event decoded to the current version, or the error. An upcaster may split it, so it can be several events. */
  readonly events: Result.Result<ReadonlyArray<RecordedEvent<Event.Tagged>>, EventStoreError>
  /** The first events of the stream that wait behind the parked one, of those that the consumer takes; 100 at most. */
  readonly waiting: ReadonlyArray<EncodedEvent>
  /** Whether more events wait. */
  readonly more: boolean
  /** The parking log of the stream. */
  readonly history: ReadonlyArray<ParkingEntry>
}

/**
 * The result of a retry or a skip.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly stream: string
  /** Whether the event was applied, failed again or was skipped. */
  readonly outcome: "retried" | "failed" | "skipped"
  /** The entry in the parking log. */
  readonly entry: ParkingEntry
  /** Where the stream is parked now, at the same event or at a later one; undefined when it is free. */
  readonly parked: Parked | undefined
}

const generationOf = Effect.fnUntraced(function*({ id }: Consumer, options: GenerationOptions) {
  const { driver } = (yield* ProjectionStore)[internals]
  return { driver, generation: options.generation ?? (yield* driver.activeGeneration(id)) }
})

/**
 * Returns the parked streams of a consumer, by the positions of their events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions = {}
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* driver.parked(generation)
})

/**
 * Returns the parking log of a consumer, in order, including streams that are free by now.
 *
 * @since 0.1.0
 * @category accessors
 */
export const history = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions = {}
): Effect.fn.Return<ReadonlyArray<ParkingEntry>, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* driver.parkingLog(generation)
})

/** Returns the parked event of a stream, if it is at the given position. */
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
 * Returns a parked stream in full: its event, the events that wait behind it, and its history.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inspect = Effect.fnUntraced(function*(
  consumer: Consumer,
  stream: string,
  options: GenerationOptions = {}
): Effect.fn.Return<Inspection, NotParked | EventStoreError, EventStore | ProjectionStore> {
  const parked = yield* find(consumer, stream, options)
  const store = yield* EventStore
  const isTaken = EventFilter.matcher(filterOf(consumer, parked.partition))
  const [recorded, ...behind] = yield* store.readStreamEncoded(stream, { from: parked.version }).pipe(
    Stream.filter((event) => event.version === parked.version || isTaken(event)),
    Stream.take(maxWaiting + 2),
    Stream.runCollect
  )
  if (recorded === undefined) {
    return yield* invalidRequest(`stream "${stream}" is parked, but not in the log; check which log this store reads`)
  }
  const entries = yield* history(consumer, options)
  return {
    parked,
    recorded,
    events: Result.mapError(EventCodec.make(consumer.events).decode(recorded), storeError),
    waiting: behind.slice(0, maxWaiting),
    more: behind.length > maxWaiting,
    history: entries.filter((entry) => entry.stream === stream)
  }
})

/** The maximum number of waiting events in an inspection. */
const maxWaiting = 100

/** How often to check whether a worker has carried the request out. */
const checkInterval = Schedule.spaced("25 millis")

const maxTextLength = 2_000

const validateText = (option: "actor" | "reason", text: string | undefined): Effect.Effect<void, EventStoreError> =>
  text === undefined || (text !== "" && text.length <= maxTextLength && !text.includes("\u0000"))
    ? Effect.void
    : Effect.fail(invalidRequest(
      `the ${option} has ${text.length} characters; use 1 to ${maxTextLength} characters without U+0000`
    ))

/** Queues a request, wakes the workers of this process, and waits until a worker has carried it out. */
const request = Effect.fnUntraced(function*(
  consumer: Consumer,
  stream: string,
  action: ParkingRequest["action"],
  options: RetryOptions
): Effect.fn.Return<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> {
  const { actor, position, reason, timeout = "30 seconds" } = options
  yield* validateText("actor", actor)
  yield* validateText("reason", reason)
  const { driver, generation } = yield* generationOf(consumer, options)
  // The request is for the event that is parked now, not for one that may take its place.
  const parked = yield* find(consumer, stream, { generation, position })
  const notParked = new NotParked({ consumer: consumer.id, stream, position: parked.position })
  const isParked = yield* driver.request(generation, stream, { action, actor, reason }, parked.position)
  if (!isParked) return yield* notParked
  yield* ParkingRequestWakeups.wake(driver, consumer.id)

  const isDone = (now: Parked | undefined) => now?.position !== parked.position || now.request === undefined
  const after = yield* Effect.map(driver.parked(generation), (all) => all.find((one) => one.stream === stream)).pipe(
    Effect.repeat({ until: isDone, schedule: checkInterval }),
    Effect.timeoutOption(timeout)
  )
  if (Option.isNone(after)) {
    return yield* new StillParked({ consumer: consumer.id, stream, position: parked.position, action })
  }
  const entry = (yield* driver.parkingLog(generation)).findLast((one) =>
    one.eventId === parked.eventId && one.action !== "parked"
  )
  // Without an entry the generation was discarded in the meantime.
  if (entry === undefined || entry.action === "parked") return yield* notParked
  return { stream, outcome: entry.action, entry, parked: after.value }
})

/**
 * Retries the parked event of a stream, and then applies the events that wait behind it, in order. When one of them fails, the stream is
 * parked there.
 *
 * **Details**
 *
 * The owner of the partition carries out the request: a worker of this process at once, a worker of another process within a second.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retry = (
  consumer: Consumer,
  stream: string,
  options: RetryOptions = {}
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, stream, "retry", options)

/**
 * Skips the parked event of a stream for good, and applies the events that wait behind it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const skip = (
  consumer: Consumer,
  stream: string,
  options: SkipOptions
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, stream, "skip", options)

/**
 * Retries every stream that is parked now. Returns the outcomes in the order of the parked events, without streams that another caller has freed
 * in the meantime.
 *
 * @since 0.1.0
 * @category combinators
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
