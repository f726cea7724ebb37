/**
 * Lists and inspects the keys that a consumer parked, and retries or skips their events.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Consumer } from "../consumer/Consumer.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type {
  Parked,
  ParkedPage,
  ParkingDriver,
  ParkingEntry,
  ParkingRequest,
  RequestProgress
} from "../consumer/parking/ParkingDriver.ts"
import * as ParkingRequestWakeups from "../consumer/parking/ParkingRequestWakeups.ts"
import * as WaitingEvents from "../consumer/parking/WaitingEvents.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import { CircularWait, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import type { Page } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { NotParked, StillParked } from "./ParkingError.ts"

export type { Parked, ParkingEntry } from "../consumer/parking/ParkingDriver.ts"

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
 * Which parked keys: those that satisfy all of these conditions; all keys by default.
 *
 * @since 0.1.0
 * @category options
 */
export interface Filter {
  /** The stored type of the parked event. */
  readonly type?: string | undefined
  /** A text that the error contains. */
  readonly error?: string | undefined
  /** Only keys that were parked before this time, by the clock of the store. */
  readonly parkedBefore?: DateTime.Utc | undefined
}

/**
 * Options of a list.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListOptions extends GenerationOptions, Filter {
  /** The `next` of an earlier page with the same options; the result starts after that page. */
  readonly after?: string | undefined
  /** The maximum number of keys; 100 by default. */
  readonly limit?: number | undefined
}

/**
 * Options of a page of the parking log.
 *
 * @since 0.1.0
 * @category options
 */
export interface HistoryOptions extends GenerationOptions {
  /** Only the entries of this key. */
  readonly key?: string | undefined
  /** The `next` of an earlier page with the same options; the result starts after that page. */
  readonly after?: string | undefined
  /** The maximum number of entries; 100 by default. */
  readonly limit?: number | undefined
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
 * Options of a retry of many keys.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryAllOptions extends Omit<RetryOptions, "position">, Filter {
  /** How long to wait for the workers to carry the requests out; 5 minutes by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Options of a skip of many keys, which requires a `reason`.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkipAllOptions extends RetryAllOptions {
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
  /** The last entries of the parking log of the key, in order; 100 at most. */
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

/**
 * The result of a retry or a skip of many keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface BulkOutcome {
  /** The number of keys for which the request was queued. */
  readonly requested: number
  /** The number of keys of which the parked event was applied. */
  readonly retried: number
  /** The number of keys of which the parked event failed again. */
  readonly failed: number
  /** The number of keys of which the parked event was skipped. */
  readonly skipped: number
  /** The number of keys that were retried or skipped, and are parked at a later event now. */
  readonly parkedLater: number
}

/**
 * The number of parked keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface Count {
  readonly parked: number
  /** Those with a request that is not carried out yet. */
  readonly requested: number
  /** Those of them that a worker frees: their parked event is applied or skipped, and later events wait. */
  readonly freeing: number
}

const generationOf = Effect.fnUntraced(function*({ id }: Consumer, options: GenerationOptions) {
  const { driver } = (yield* ProjectionStore)[internals]
  return { driver, generation: options.generation ?? (yield* driver.activeGeneration(id)) }
})

/** The generation, and the place of the last key. */
const ListCursor = Schema.StringFromBase64Url.pipe(Schema.decodeTo(Schema.fromJsonString(Schema.Tuple([
  Schema.String,
  Schema.BigIntFromString,
  Schema.Int,
  Schema.String
]))))

/** The generation, and the id of the last entry. */
const HistoryCursor = Schema.StringFromBase64Url.pipe(Schema.decodeTo(Schema.fromJsonString(Schema.Tuple([
  Schema.String,
  Schema.BigIntFromString
]))))

const decodeListCursor = Schema.decodeUnknownOption(ListCursor)
const encodeListCursor = Schema.encodeSync(ListCursor)
const decodeHistoryCursor = Schema.decodeUnknownOption(HistoryCursor)
const encodeHistoryCursor = Schema.encodeSync(HistoryCursor)

const notACursor = invalidRequest("`after` must be the `next` of an earlier page; this text is not such a cursor")

/** Returns the generation and the place after which a page begins. A list stays with the generation of its first page. */
const cursorOf = <Cursor extends readonly [generation: string, ...place: ReadonlyArray<unknown>]>(
  generation: string,
  text: string | undefined,
  decode: (text: unknown) => Option.Option<Cursor>
): Effect.Effect<{ readonly generation: string; readonly cursor: Cursor | undefined }, EventStoreError> => {
  if (text === undefined) return Effect.succeed({ generation, cursor: undefined })
  return Option.match(decode(text), {
    onNone: () => Effect.fail(notACursor),
    onSome: (cursor) => Effect.succeed({ generation: cursor[0], cursor })
  })
}

const requirePageSize = Effect.fnUntraced(function*(limit: number): Effect.fn.Return<void, EventStoreError> {
  const rejection = Limits.checkPageSize(yield* Limits.Limits, limit)
  if (rejection !== undefined) return yield* rejection
})

/**
 * Returns a page of the parked keys of a consumer, by the positions of their events. `stream` returns all.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: ListOptions = {}
): Effect.fn.Return<Page<Parked>, EventStoreError, ProjectionStore> {
  const { error, limit = 100, parkedBefore, type } = options
  yield* requirePageSize(limit)
  const { driver, generation: active } = yield* generationOf(consumer, options)
  const { cursor, generation } = yield* cursorOf(active, options.after, decodeListCursor)
  const after = cursor && { position: Position.make(cursor[1]), partition: cursor[2], key: cursor[3] }
  const items = yield* driver.parked(generation, { error, parkedBefore, type, after, limit })
  const last = items.length < limit ? undefined : items.at(-1)
  const next = Option.map(
    Option.fromUndefinedOr(last),
    ({ key, partition, position }) => encodeListCursor([generation, position, partition, key])
  )
  return { items, next }
})

/**
 * Returns all parked keys of a consumer, by the positions of their events, read page by page.
 *
 * @since 0.1.0
 * @category accessors
 */
export const stream = (
  consumer: Consumer,
  options: GenerationOptions & Filter = {}
): Stream.Stream<Parked, EventStoreError, ProjectionStore> =>
  Stream.paginate(
    undefined as string | undefined,
    (after) =>
      Effect.map(
        list(consumer, { ...options, after, limit: keysInPage }),
        ({ items, next }) => [items, Option.map(next, (cursor): string | undefined => cursor)] as const
      )
  )

/** So many keys are read, or requested, in one statement. */
const keysInPage = 500

/**
 * Returns how many keys of a consumer are parked, and for how many of them a request waits.
 *
 * @since 0.1.0
 * @category accessors
 */
export const count = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions = {}
): Effect.fn.Return<Count, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  const counts = yield* driver.parkedCounts(generation)
  return counts.reduce<Count>((sum, one) => ({
    parked: sum.parked + one.parked,
    requested: sum.requested + one.requested,
    freeing: sum.freeing + one.freeing
  }), { parked: 0, requested: 0, freeing: 0 })
})

/**
 * Returns a page of the parking log of a consumer, in order, including keys that are free by now.
 *
 * @since 0.1.0
 * @category accessors
 */
export const history = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: HistoryOptions = {}
): Effect.fn.Return<Page<ParkingEntry>, EventStoreError, ProjectionStore> {
  const { key, limit = 100 } = options
  yield* requirePageSize(limit)
  const { driver, generation: active } = yield* generationOf(consumer, options)
  const { cursor, generation } = yield* cursorOf(active, options.after, decodeHistoryCursor)
  const items = yield* driver.parkingLog(generation, { key, after: cursor?.[1], limit })
  const last = items.length < limit ? undefined : items.at(-1)
  return { items, next: Option.map(Option.fromUndefinedOr(last), ({ id }) => encodeHistoryCursor([generation, id])) }
})

/** The parked events of a key: one, or one for each partition if the key is unknown. */
const parkedUnder = (driver: ParkingDriver, generation: string, key: string) =>
  driver.parked(generation, { key, limit: maxPartitions })

const maxPartitions = 1_000

/** Returns the parked event of a key, if it is at the given position. */
const find = Effect.fnUntraced(function*(
  consumer: Consumer,
  key: string,
  options: GenerationOptions & { readonly position?: Position.Position | undefined }
) {
  const { position } = options
  const { driver, generation } = yield* generationOf(consumer, options)
  const [parked] = yield* parkedUnder(driver, generation, key)
  if (parked === undefined || (position !== undefined && parked.position !== position)) {
    return yield* new NotParked({ consumer: consumer.id, key, ...position === undefined ? {} : { position } })
  }
  return parked
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
  const parked = yield* find(consumer, key, options)
  const store = yield* EventStore
  const [recorded] = yield* Stream.runCollect(
    store.readStreamEncoded(parked.stream, { from: parked.version, limit: 1 })
  )
  if (recorded === undefined) {
    return yield* invalidRequest(
      `the event at version ${parked.version} of stream "${parked.stream}" is parked, but not in the log; check which log this store reads`
    )
  }
  const behind = key === ConsumerKey.unknownKey ? [] : yield* WaitingEvents.of(
    store,
    filterOf(consumer, parked.partition),
    consumer,
    (event) => ConsumerKey.keysOf(consumer, event),
    parked,
    yield* store.head
  ).pipe(
    Stream.filter(({ position }) => position > parked.position),
    Stream.take(maxWaiting + 1),
    Stream.runCollect
  )
  const { driver } = (yield* ProjectionStore)[internals]
  const entries = yield* driver.parkingLog(parked.generation, { key, limit: maxHistory, isDescending: true })
  return {
    parked,
    recorded,
    events: Result.mapError(EventCodec.make(consumer.events).decode(recorded), storeError),
    waiting: behind.slice(0, maxWaiting),
    more: behind.length > maxWaiting,
    history: entries.toReversed()
  }
})

/** The maximum number of waiting events in an inspection. */
const maxWaiting = 100

/** The maximum number of entries of the parking log in an inspection. */
const maxHistory = 100

const maxTextLength = 2_000

const validateText = (option: "actor" | "reason", text: string | undefined): Effect.Effect<void, EventStoreError> =>
  text === undefined || (text !== "" && text.length <= maxTextLength && !text.includes("\u0000"))
    ? Effect.void
    : Effect.fail(invalidRequest(
      `the ${option} has ${text.length} characters; use 1 to ${maxTextLength} characters without U+0000`
    ))

const validateTexts = ({ actor, reason }: Pick<RetryOptions, "actor" | "reason">) =>
  Effect.andThen(validateText("actor", actor), validateText("reason", reason))

/** Fails within a handler of the consumer: the owner carries out a request only after its handler has ended. */
const rejectWithinHandler = Effect.fnUntraced(function*({ id }: Consumer, position: Position.Position) {
  if ((yield* HandledEvent.active).some((one) => one.consumer === id)) {
    return yield* storeError(new CircularWait({ consumer: id, position, waiting: "handler" }))
  }
})

/** How often to check whether the workers have carried a request out: soon at first, and less often the longer it takes. */
const checkInterval = Schedule.min([Schedule.exponential("25 millis", 1.2), Schedule.spaced("500 millis")])

/** Waits until the workers have carried a request out. Returns none after the timeout. */
const awaitCarriedOut = (
  driver: ParkingDriver,
  generation: string,
  id: string,
  timeout: Duration.Input
): Effect.Effect<Option.Option<RequestProgress>, EventStoreError> =>
  driver.requestProgress(generation, id).pipe(
    Effect.repeat({ until: ({ waiting }) => waiting === 0, schedule: checkInterval }),
    Effect.timeoutOption(timeout)
  )

/** Queues a request, wakes the workers of this process, and waits until a worker has carried it out. */
const request = Effect.fnUntraced(function*(
  consumer: Consumer,
  key: string,
  action: ParkingRequest["action"],
  options: RetryOptions
): Effect.fn.Return<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> {
  const { actor, reason, timeout = "30 seconds" } = options
  yield* validateTexts(options)
  const { driver, generation } = yield* generationOf(consumer, options)
  // The request is for the event that is parked now, not for one that may take its place.
  const parked = yield* find(consumer, key, { generation, position: options.position })
  const { position } = parked
  yield* rejectWithinHandler(consumer, position)
  const id = (yield* IdGenerator)()
  const notParked = new NotParked({ consumer: consumer.id, key, position })
  const places = yield* driver.parkedPlaces(generation, { key, position })
  const requested = yield* driver.request(generation, { id, action, actor, reason }, places)
  if (requested === 0) return yield* notParked
  yield* ParkingRequestWakeups.wake(driver, consumer.id)

  if (Option.isNone(yield* awaitCarriedOut(driver, generation, id, timeout))) {
    return yield* new StillParked({ consumer: consumer.id, key, position, action, keys: 1 })
  }
  // With an unknown key, every partition has parked the event. One that still fails says more than the others.
  const entries = (yield* driver.parkingLog(generation, { request: id, limit: 2 * maxPartitions }))
    .filter((entry) => entry.action !== "parked")
  const entry = entries.find((entry) => entry.action === "failed") ?? entries[0]
  // Without an entry the generation was discarded, or another request has taken the place of this one.
  if (entry === undefined || entry.action === "parked") return yield* notParked
  const [after] = yield* parkedUnder(driver, generation, key)
  return { key, outcome: entry.action, entry, parked: after }
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
 * Calls `update` for one page of the keys that are parked now after the other. Returns the number of keys that it has changed. All are read before,
 * as of one moment: workers carry the first requests out meanwhile, and a key that is parked at a later event then is another case.
 */
const forEachPage = Effect.fnUntraced(function*(
  driver: ParkingDriver,
  generation: string,
  { error, isRequested, parkedBefore, type }: Filter & Pick<ParkedPage, "isRequested">,
  update: ParkingDriver["withdraw"]
): Effect.fn.Return<number, EventStoreError> {
  let changed = 0
  const places = yield* driver.parkedPlaces(generation, { error, isRequested, parkedBefore, type })
  for (const page of Arr.chunksOf(places, keysInPage)) changed += yield* update(generation, page)
  return changed
})

const requestAll = Effect.fnUntraced(function*(
  consumer: Consumer,
  action: ParkingRequest["action"],
  options: RetryAllOptions
): Effect.fn.Return<BulkOutcome, StillParked | EventStoreError, ProjectionStore> {
  const { actor, reason, timeout = "5 minutes" } = options
  yield* validateTexts(options)
  const { driver, generation } = yield* generationOf(consumer, options)
  yield* rejectWithinHandler(consumer, Position.start)
  const id = (yield* IdGenerator)()
  const requested = yield* forEachPage(driver, generation, options, (generation, keys) =>
    Effect.tap(
      driver.request(generation, { id, action, actor, reason }, keys),
      () => ParkingRequestWakeups.wake(driver, consumer.id)
    ))
  const done = yield* awaitCarriedOut(driver, generation, id, timeout)
  if (Option.isNone(done)) {
    const { waiting } = yield* driver.requestProgress(generation, id)
    return yield* new StillParked({ consumer: consumer.id, action, keys: waiting })
  }
  const { parked: parkedLater, ...entries } = done.value.entries
  return { requested, ...entries, parkedLater }
})

/**
 * Retries every key that is parked now, or those that satisfy the filter. Keys that are parked in the meantime are not retried.
 *
 * **Details**
 *
 * The owners of the partitions carry the requests out in batches, while other keys go on. When the call fails with `StillParked` or is interrupted,
 * the requests stay queued; `withdraw` withdraws them.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retryAll = (
  consumer: Consumer,
  options: RetryAllOptions = {}
): Effect.Effect<BulkOutcome, StillParked | EventStoreError, ProjectionStore> => requestAll(consumer, "retry", options)

/**
 * Skips the parked event of every key that is parked now, or of those that satisfy the filter, for good, and applies the events that wait behind
 * it. Otherwise as `retryAll`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const skipAll = (
  consumer: Consumer,
  options: SkipAllOptions
): Effect.Effect<BulkOutcome, StillParked | EventStoreError, ProjectionStore> => requestAll(consumer, "skip", options)

/**
 * Withdraws the requests that wait for a worker, of all keys or of those that satisfy the filter. Returns the number of keys: these stay parked. A key
 * of which a worker has skipped or applied the parked event is freed, and not among them.
 *
 * **Details**
 *
 * A handler that runs at this moment for the retry of a key ends first. The key stays parked at its event all the same.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withdraw = Effect.fnUntraced(function*(
  consumer: Consumer,
  options: GenerationOptions & Filter = {}
): Effect.fn.Return<number, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* forEachPage(driver, generation, { ...options, isRequested: true }, driver.withdraw)
})
