/**
 * Types of events in the log that the code of a consumer does not know, most likely because newer code appends them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { type EventStoreError, isOfNewerCode, storeError, StoreUnavailable } from "../core/errors.ts"
import type * as Position from "../core/Position.ts"
import { category } from "../core/StreamId.ts"
import * as Event from "../event/Event.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, EventType, LogFilter } from "../eventStore/driver/EventStoreDriver.ts"
import type * as Consumer from "./Consumer.ts"

/** The parts of a consumer that say which types it knows. */
type Knowing = Pick<Consumer.Consumer, "events" | "where" | "ignoreTypes">

/**
 * Returns the types of the log that a consumer does not know. They are not in its set, not declared by `Event.legacy` and not in `ignoreTypes`, but
 * in a category of streams that concerns the consumer: the one that its `streamPrefix` names, or one in which events of its set are.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (
  consumer: Knowing,
  types: ReadonlyArray<EventType>
): ReadonlyArray<EventType> => {
  const isOutside = outsideOf(consumer)
  const only = categoryOf(consumer)
  const categories = new Set(
    only === undefined ? types.filter(isInSet(consumer)).map(({ category }) => category) : [only]
  )
  // These events are of many categories.
  categories.delete("")
  return types.filter((one) =>
    categories.has(one.category) && isOutside(one) && one.category.startsWith(only ?? consumer.where.streamPrefix ?? "")
  )
}

const isInSet = ({ events }: Knowing) => {
  const inSet = new Set(Event.declaredTypes(events))
  return ({ type }: EventType): boolean => inSet.has(type)
}

const outsideOf = (consumer: Knowing) => {
  const isKnown = isInSet(consumer)
  return (one: EventType): boolean => !isKnown(one) && !consumer.ignoreTypes.includes(one.type)
}

/** Returns the category of all streams that a consumer reads, if its prefix names one. */
const categoryOf = ({ where: { streamPrefix } }: Knowing): string | undefined =>
  streamPrefix?.includes("-") === true ? category(streamPrefix) : undefined

/**
 * Returns the types that a consumer stops at. Beyond those that it does not know, these are all types of the categories that are counted together,
 * if its prefix selects its streams among them.
 *
 * @since 0.1.0
 * @category accessors
 */
export const stopping = (
  consumer: Knowing & Pick<Consumer.Consumer, "unknownTypes">,
  types: ReadonlyArray<EventType>
): ReadonlyArray<EventType> =>
  consumer.unknownTypes === "pass"
    ? []
    : categoryOf(consumer) === undefined
    ? of(consumer, types)
    : [...of(consumer, types), ...uncategorized(consumer, types)]

const uncategorized = (consumer: Knowing, types: ReadonlyArray<EventType>): ReadonlyArray<EventType> =>
  types.filter(({ category }) => category === "").filter(outsideOf(consumer))

/**
 * Returns the types at which a consumer should perhaps stop, and does not: those of the categories that are counted together, if events of its set
 * are among them, too.
 *
 * @since 0.1.0
 * @category accessors
 */
export const undecided = (
  consumer: Knowing & Pick<Consumer.Consumer, "unknownTypes">,
  types: ReadonlyArray<EventType>
): ReadonlyArray<string> =>
  consumer.unknownTypes === "pass" || categoryOf(consumer) !== undefined
    || !types.some((one) => one.category === "" && isInSet(consumer)(one))
    ? []
    : uncategorized(consumer, types).map(({ type }) => type)

/**
 * Returns whether a category got events of an unknown type before events of a consumer's set, and nothing else showed that it concerns the consumer.
 *
 * @since 0.1.0
 * @category guards
 */
export const opensCategory = (
  consumer: Knowing,
  types: ReadonlyArray<EventType>,
  { category, first }: EventType
): boolean =>
  categoryOf(consumer) === undefined
  && !types.filter(isInSet(consumer)).some((one) => one.category === category && one.first < first)

/**
 * Returns the types that a consumer stops at and that are in the log up to a position, once all types up to there are counted. A consumer that
 * passes unknown types by stops at none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const stoppingUpTo = Effect.fnUntraced(function*(
  driver: Pick<EventStoreDriver, "eventTypes">,
  consumer: Knowing & Pick<Consumer.Consumer, "unknownTypes">,
  position: Position.Position
): Effect.fn.Return<ReadonlyArray<EventType>, EventStoreError> {
  if (consumer.unknownTypes !== "stop") return []
  return stopping(consumer, yield* countedUpTo(driver, position))
})

/**
 * Returns the types in the log, once all up to a position are counted.
 *
 * @since 0.1.0
 * @category accessors
 */
export const countedUpTo = (
  driver: Pick<EventStoreDriver, "eventTypes">,
  position: Position.Position
): Effect.Effect<ReadonlyArray<EventType>, EventStoreError> =>
  // The high-water mark may step back for a moment, and a large log is counted in several calls.
  driver.eventTypes.pipe(
    Effect.repeat({ until: (counted) => counted.position >= position, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.fail(notCounted(position)) }),
    Effect.map(({ types }) => types)
  )

const notCounted = (position: Position.Position): EventStoreError =>
  storeError(
    new StoreUnavailable({
      message: `The types of the events up to position ${position} were not counted within 30 s; try again`,
      cause: undefined
    })
  )

/**
 * Returns the filter of a partition with types that the consumer does not know. `isRelevant` returns false for the events of other streams
 * that it selects.
 *
 * @since 0.1.0
 * @category combinators
 */
export const addTo = (filter: LogFilter, unknown: ReadonlyArray<EventType>): LogFilter =>
  unknown.length === 0 ? filter : { ...filter, types: [...filter.types ?? [], ...unknown.map(({ type }) => type)] }

/**
 * Returns false for an event that was read only because of its type, and whose stream has another category.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRelevant = (unknown: ReadonlyArray<EventType>, { stream, type }: EncodedEvent): boolean => {
  const ofType = unknown.filter((one) => one.type === type)
  return ofType.length === 0 || ofType.some((one) => one.category === "" || one.category === category(stream))
}

/**
 * Whether a process with newer code may be able to process the event on which a consumer failed, so that this one lets it take over.
 *
 * @since 0.1.0
 * @category guards
 */
export const awaitsNewerCode = (
  { unknownTypes }: Pick<Consumer.Consumer, "unknownTypes">,
  error: EventStoreError
): boolean =>
  isOfNewerCode(error)
  || (unknownTypes === "stop" && error.reason._tag === "UndecodableEvent" && error.reason.problem === "UnknownType")
