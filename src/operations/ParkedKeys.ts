/**
 * Lists, counts and inspects the keys that a consumer has parked.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Consumer } from "../consumer/Consumer.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as FormerPartitions from "../consumer/FormerPartitions.ts"
import type { Parked, ParkingDriver, ParkingEntry } from "../consumer/parking/ParkingDriver.ts"
import * as WaitingEvents from "../consumer/parking/WaitingEvents.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import { type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { fromJsonText } from "../core/json/parseJson.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import type { Page } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { NotParked } from "./ParkingError.ts"

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
 * A consumer, or its id alone, such as `{ id: "orders@1" }`: what an operator without the program has.
 *
 * @since 0.1.0
 * @category models
 */
export type ConsumerId = Pick<Consumer, "id">

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
  /**
   * The first events of the key that wait behind the parked one, of those that the consumer takes; 100 at most. None are listed when the key is unknown:
   * then every later event waits.
   */
  readonly waiting: ReadonlyArray<EncodedEvent>
  /** Whether more events wait. */
  readonly more: boolean
  /** The last entries of the parking log of the key, in order; 100 at most. */
  readonly history: ReadonlyArray<ParkingEntry>
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

/**
 * Returns the driver, and the generation that the options name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const generationOf = Effect.fnUntraced(function*({ id }: ConsumerId, options: GenerationOptions) {
  const { driver } = (yield* ProjectionStore)[internals]
  return { driver, generation: options.generation ?? (yield* driver.activeGeneration(id)) }
})

/** The generation, and the place of the last key. */
const ListCursor = Schema.StringFromBase64Url.pipe(Schema.decodeTo(fromJsonText(Schema.Tuple([
  Schema.String,
  Schema.BigIntFromString,
  Schema.Int,
  Schema.String
]))))

/** The generation, and the id of the last entry. */
const HistoryCursor = Schema.StringFromBase64Url.pipe(Schema.decodeTo(fromJsonText(Schema.Tuple([
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
  consumer: ConsumerId,
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
  consumer: ConsumerId,
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

/**
 * The maximum number of keys that one statement reads or requests.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keysInPage = 500

/**
 * Returns how many keys of a consumer are parked, and for how many of them a request waits.
 *
 * @since 0.1.0
 * @category accessors
 */
export const count = Effect.fnUntraced(function*(
  consumer: ConsumerId,
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
  consumer: ConsumerId,
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

/**
 * Returns the parked events of a key: one, or one for each partition if the key is unknown.
 *
 * @since 0.1.0
 * @category accessors
 */
export const parkedUnder = (driver: ParkingDriver, generation: string, key: string) =>
  driver.parked(generation, { key, limit: maxPartitions })

/**
 * The largest number of partitions of a consumer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const maxPartitions = 1_000

/**
 * Returns the parked event of a key, if it is at the given position; otherwise fails with `NotParked`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = Effect.fnUntraced(function*(
  consumer: ConsumerId,
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
  const { driver } = (yield* ProjectionStore)[internals]
  // The definition may have another number of partitions.
  const [{ former = [], partitions } = { partitions: consumer.partitions }] = yield* driver.progress(parked.generation)
  const by = ConsumerKey.format(consumer.partitionBy)
  const behind = key === ConsumerKey.unknownKey ? [] : yield* WaitingEvents.of(
    store,
    filterOf({ ...consumer, partitions }, parked.partition),
    consumer,
    (event) => ConsumerKey.keysOf(consumer, event),
    parked,
    yield* store.head
  ).pipe(
    Stream.filter((event) =>
      event.position > parked.position && !FormerPartitions.isProcessedUnderOtherKeys(former, by, event, key)
    ),
    Stream.take(maxWaiting + 1),
    Stream.runCollect
  )
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
