/**
 * Compares what an inline projection reads in a program with what the log knows of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import type { EventStoreError } from "../../core/errors.ts"
import type * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import * as EventQuery from "../../event/EventQuery.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import type { InlineProjection } from "../../eventStore/driver/InlineProjectionsDriver.ts"

/**
 * Returns the registration of an inline projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const registrationOf = (
  { id }: { readonly id: string },
  { ignores, keeps, streamPrefix, tags, types }: ConsumerReads.ConsumerReads,
  isRequired: boolean
): InlineProjection => ({
  projection: id,
  keeps,
  reads: { types, ...(tags.length === 0 ? {} : { tags }), ...(streamPrefix === undefined ? {} : { streamPrefix }) },
  ignores,
  isRequired
})

/**
 * Returns what the registered definition reads.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofRegistered = ({ ignores, keeps, reads }: InlineProjection): ConsumerReads.ConsumerReads => ({
  keeps,
  types: reads.types.toSorted(),
  ignores,
  tags: (reads.tags ?? []).toSorted(),
  ...(reads.streamPrefix === undefined ? {} : { streamPrefix: reads.streamPrefix })
})

/**
 * Returns whether two definitions read the same.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSame = (reads: ConsumerReads.ConsumerReads, other: ConsumerReads.ConsumerReads): boolean =>
  reads.keeps === other.keeps && ConsumerReads.isWithin(reads, other) && ConsumerReads.isWithin(other, reads)

/**
 * Returns how the registered definition of a projection differs from that of a program, in words; undefined if it does not.
 *
 * @since 0.1.0
 * @category accessors
 */
export const difference = (
  registered: ConsumerReads.ConsumerReads,
  reads: ConsumerReads.ConsumerReads
): string | undefined => {
  if (registered.keeps !== reads.keeps) {
    return reads.keeps === "documents"
      ? "it has handlers in the log, and documents in this program"
      : "it has documents in the log, and handlers in this program"
  }
  const [more, less] = [ConsumerReads.typesBeyond(reads, registered), ConsumerReads.typesBeyond(registered, reads)]
  const parts = [
    ...more.length === 0 ? [] : [`this program also reads ${namesOf(more)}`],
    ...less.length === 0 ? [] : [`this program does not read ${namesOf(less)}`],
    ...ConsumerReads.isWithinFilter(reads, registered) && ConsumerReads.isWithinFilter(registered, reads)
      ? []
      : ["this program has another `where`"]
  ]
  return parts.length === 0 ? undefined : parts.join(", and ")
}

const namesOf = (types: ReadonlyArray<string>): string =>
  `${types.slice(0, 3).map((type) => `"${type}"`).join(", ")}${types.length > 3 ? ` and ${types.length - 3} more` : ""}`

const pageSize = 500

/** The maximum number of events that are read to find one that only one definition reads. */
const maxEvents = 10_000

/**
 * Returns a visible event after a position that one definition reads and another does not; `"undecided"` when there may be one after the first 10,000
 * events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const findBeyond = Effect.fnUntraced(function*(
  log: Pick<EventStoreDriver, "readByQuery">,
  reads: ConsumerReads.ConsumerReads,
  other: ConsumerReads.ConsumerReads,
  from: Position.Position = Position.start
): Effect.fn.Return<EncodedEvent | "undecided" | undefined, EventStoreError> {
  const beyond = ConsumerReads.typesBeyond(reads, other)
  const types = ConsumerReads.isWithinFilter(reads, other) ? beyond : reads.types
  if (types.length === 0) return undefined
  const isRead = EventFilter.matcher(reads)
  const isReadByOther = EventFilter.matcher(other)
  const query = EventQuery.ofStoredTypes([{ types, tags: reads.tags }])
  let after = from
  let basis: ReadonlyArray<LogPosition.LogPosition> = []
  for (let read = 0; read < maxEvents;) {
    const { events, head, reached } = yield* log.readByQuery({ query, after, limit: pageSize, basis })
    const found = events.find((event) => isRead(event) && (beyond.includes(event.type) || !isReadByOther(event)))
    if (found !== undefined) return found
    if (events.length < pageSize && reached.position >= head) return undefined
    after = reached.position
    basis = [reached]
    read += events.length
  }
  return "undecided"
})

/**
 * Does the same while appends go on, because it may take long. Returns the position from which the caller searches again while it keeps appends out.
 *
 * @since 0.1.0
 * @category accessors
 */
export const searchBeyond = Effect.fnUntraced(function*(
  log: Pick<EventStoreDriver, "highWaterMarkOf" | "readByQuery">,
  projection: string,
  reads: ConsumerReads.ConsumerReads,
  other: ConsumerReads.ConsumerReads,
  from: Position.Position = Position.start
): Effect.fn.Return<
  { readonly found: Effect.Success<ReturnType<typeof findBeyond>>; readonly reached: Position.Position },
  EventStoreError
> {
  let reached = from
  // The second time it reads only what was appended during the first.
  for (let times = 0; times < 2; times++) {
    const upTo = yield* log.highWaterMarkOf({
      types: reads.types,
      waiter: `A change of inline projection "${projection}"`
    })
    const found = yield* findBeyond(log, reads, other, reached)
    if (found !== undefined) return { found, reached }
    reached = Position.max(reached, upTo)
  }
  return { found: undefined, reached }
})

/**
 * Describes what `findBeyond` has found.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (found: EncodedEvent | "undecided"): string =>
  found === "undecided"
    ? `or may have, because more than ${maxEvents} events would have to be read to know it`
    : `such as "${found.type}" at position ${found.position} in stream "${found.stream}"`
