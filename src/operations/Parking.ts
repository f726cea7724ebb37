/**
 * Lists and inspects the keys that a consumer parked, and retries or skips their events.
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
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type { Parked, ParkingEntry, ParkingRequest } from "../consumer/ParkingDriver.ts"
import * as ParkingRequestWakeups from "../consumer/ParkingRequestWakeups.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import { waitingEvents } from "../consumer/Unparking.ts"
import { CircularWait, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import { internals } from "../core/internals.ts"
import type * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
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
  /** The position of the parked event. When the key is parked at another one by now, the call fails with `NotParked`. */
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
 * A parked key with its events and its history.
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
  /** The first events of the key that wait behind the parked one, of those that the consumer takes; 100 at most. None are listed when the key is unknown: then every later event waits. */
  readonly waiting: ReadonlyArray<EncodedEvent>
  /** Whether more events wait. */
  readonly more: boolean
  /** The parking log of the key. */
  readonly history: ReadonlyArray<ParkingEntry>
}

/**
 * The result of a retry or a skip.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly key: string
  /** Whether the event was applied, failed again or was skipped. */
  readonly outcome: "retried" | "failed" | "skipped"
  /** The entry in the parking log. */
  readonly entry: ParkingEntry
  /** Where the key is parked now, at the same event or at a later one; undefined when it is free. */
  readonly parked: Parked | undefined
}

const generationOf = Effect.fnUntraced(function*({ id }: Consumer, options: GenerationOptions) {
  const { driver } = (yield* ProjectionStore)[internals]
  return { driver, generation: options.generation ?? (yield* driver.activeGeneration(id)) }
})

/**
 * Returns the parked keys of a consumer, by the positions of their events.
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
 * Returns the parking log of a consumer, in order, including keys that are free by now.
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

/** Returns the parked events of a key, if it is at the given position: one, or one for each partition if the key is unknown. */
const find = Effect.fnUntraced(function*(
  consumer: Consumer,
  key: string,
  options: GenerationOptions & { readonly position?: Position.Position | undefined }
) {
  const { position } = options
  const [parked, ...others] = (yield* list(consumer, options)).filter((one) => one.key === key)
  if (parked === undefined || (position !== undefined && parked.position !== position)) {
    return yield* new NotParked({ consumer: consumer.id, key, ...position === undefined ? {} : { position } })
  }
  return [parked, ...others.filter((other) => other.position === parked.position)] as const
})

/**
 * Returns a parked key in full: its event, the events that wait behind it, and its history. Unless the key is the stream, it reads the consumer's
 * events since the parked one until it has found enough.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inspect = Effect.fnUntraced(function*(
  consumer: Consumer,
  key: string,
  options: GenerationOptions = {}
): Effect.fn.Return<Inspection, NotParked | EventStoreError, EventStore | ProjectionStore> {
  const [parked] = yield* find(consumer, key, options)
  const store = yield* EventStore
  const [recorded] = yield* Stream.runCollect(
    store.readStreamEncoded(parked.stream, { from: parked.version, limit: 1 })
  )
  if (recorded === undefined) {
    return yield* invalidRequest(
      `the event at version ${parked.version} of stream "${parked.stream}" is parked, but not in the log; check which log this store reads`
    )
  }
  const behind = key === ConsumerKey.unknownKey ? [] : yield* waitingEvents(
    store,
    filterOf(consumer, parked.partition),
    consumer,
    (event) => ConsumerKey.keysOf(consumer, event),
    parked,
    yield* store.head
  ).pipe(
    Stream.map(({ event }) => event),
    Stream.filter(({ position }) => position > parked.position),
    Stream.take(maxWaiting + 1),
    Stream.runCollect
  )
  const entries = yield* history(consumer, options)
  return {
    parked,
    recorded,
    events: Result.mapError(EventCodec.make(consumer.events).decode(recorded), storeError),
    waiting: behind.slice(0, maxWaiting),
    more: behind.length > maxWaiting,
    history: entries.filter((entry) => entry.key === key)
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
  key: string,
  action: ParkingRequest["action"],
  options: RetryOptions
): Effect.fn.Return<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> {
  const { actor, position, reason, timeout = "30 seconds" } = options
  yield* validateText("actor", actor)
  yield* validateText("reason", reason)
  const { driver, generation } = yield* generationOf(consumer, options)
  // The request is for the event that is parked now, not for one that may take its place.
  const before = yield* find(consumer, key, { generation, position })
  const [parked] = before
  // The owner carries out the request only after its handler has ended.
  if ((yield* HandledEvent.active).some((one) => one.consumer === consumer.id)) {
    const { position } = parked
    return yield* storeError(new CircularWait({ consumer: consumer.id, position, waiting: "handler" }))
  }
  const notParked = new NotParked({ consumer: consumer.id, key, position: parked.position })
  const isParked = yield* driver.request(generation, key, { action, actor, reason }, parked.position)
  if (!isParked) return yield* notParked
  yield* ParkingRequestWakeups.wake(driver, consumer.id)

  const after = yield* driver.parked(generation).pipe(
    Effect.map((all) => all.filter((one) => one.key === key)),
    Effect.repeat({
      until: (all) => !all.some((one) => one.position === parked.position && one.request !== undefined),
      schedule: checkInterval
    }),
    Effect.timeoutOption(timeout)
  )
  if (Option.isNone(after)) {
    return yield* new StillParked({ consumer: consumer.id, key, position: parked.position, action })
  }
  const log = yield* driver.parkingLog(generation)
  // With an unknown key, every partition has parked the event. One that still fails says more than the others.
  const entries = before.flatMap(({ partition }) =>
    log.findLast((one) =>
      one.partition === partition && one.key === key && one.eventId === parked.eventId && one.action !== "parked"
    ) ?? []
  )
  const entry = entries.find(({ action }) => action === "failed") ?? entries[0]
  // Without an entry the generation was discarded in the meantime.
  if (entry === undefined || entry.action === "parked") return yield* notParked
  return { key, outcome: entry.action, entry, parked: after.value[0] }
})

/**
 * Retries the parked event of a key, and then applies the events that wait behind it, in order. When one of them fails, the key is parked
 * there.
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
  key: string,
  options: RetryOptions = {}
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, key, "retry", options)

/**
 * Skips the parked event of a key for good, and applies the events that wait behind it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const skip = (
  consumer: Consumer,
  key: string,
  options: SkipOptions
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, key, "skip", options)

/**
 * Retries every key that is parked now. Returns the outcomes in the order of the parked events, without keys that another caller has freed
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
  // Every partition has an entry for an unknown key.
  const unique = all.filter(({ key }, index) => all.findIndex((one) => one.key === key) === index)
  const outcomes = yield* Effect.forEach(unique, ({ key, position }) =>
    Effect.catchTag(
      Effect.asSome(retry(consumer, key, { ...options, position })),
      "NotParked",
      () => Effect.succeedNone
    ), { concurrency: 16 })
  return outcomes.flatMap(Option.toArray)
})
