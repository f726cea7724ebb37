/**
 * Types of events in the log that the code of a consumer does not know, most likely because newer code appends them.
 *
 * @since 0.1.0
 */
import type { EventStoreError } from "../core/errors.ts"
import { isOfNewerCode } from "../core/errors.ts"
import { category } from "../core/StreamId.ts"
import * as Event from "../event/Event.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventType } from "../eventStore/EventStoreDriver.ts"
import type * as Consumer from "./Consumer.ts"

/** The parts of a consumer that say which types it knows. */
type Knowing = Pick<Consumer.Consumer, "events" | "where" | "ignoreTypes">

/**
 * Returns the types of the log that a consumer does not know. They are in a category of streams in which events of its set are, too, are not in the
 * set, not declared by `Event.legacy` and not in `ignoreTypes`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (
  consumer: Knowing,
  types: ReadonlyArray<EventType>
): ReadonlyArray<EventType> => {
  const inSet = new Set(Event.declaredTypes(consumer.events))
  const categories = new Set(types.filter(({ type }) => inSet.has(type)).map(({ category }) => category))
  // These events are of many categories.
  categories.delete("")
  return types.filter((one) =>
    categories.has(one.category) && !inSet.has(one.type) && !consumer.ignoreTypes.includes(one.type)
    && mayHavePrefix(one.category, consumer.where.streamPrefix)
  )
}

/** Whether a stream of a category may begin with a prefix. */
const mayHavePrefix = (category: string, prefix = ""): boolean =>
  category.startsWith(prefix) || prefix === category || prefix.startsWith(`${category}-`)

/**
 * Returns whether an event is of one of these types, in one of their categories.
 *
 * @since 0.1.0
 * @category guards
 */
export const includes = (unknown: ReadonlyArray<EventType>, { stream, type }: EncodedEvent): boolean =>
  unknown.some((one) => one.type === type && one.category === category(stream))

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
