/**
 * The events that wait behind the parked one of a key.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { LogFilter } from "../../eventStore/driver/EventStoreDriver.ts"
import type { EventStore } from "../../eventStore/EventStore.ts"
import { awaitReached } from "../../eventStore/HighWaterMark.ts"
import { defaultPageSize } from "../../eventStore/LogReader.ts"
import type { Consumer } from "../Consumer.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import type { Parked } from "./ParkingDriver.ts"

/**
 * Returns the events of a parked key, from the parked one up to a position. If the key is the stream, it is read; otherwise the events of the
 * partition are read, since the parked one. A consumer that stops at unknown types gets the events of these, too: they fail, so that the key is
 * parked there until newer code retries it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (
  store: EventStore["Service"],
  filter: LogFilter,
  consumer: Consumer,
  keysOf: (event: EncodedEvent) => ReadonlyArray<string> | undefined,
  parked: Parked,
  upTo: Position.Position
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.unwrap(Effect.map(
    UnknownTypes.stoppingUpTo(store[internals].driver, consumer, upTo),
    (unknown) =>
      readFrom(store, UnknownTypes.addTo(filter, unknown), consumer, parked, upTo).pipe(
        Stream.takeWhile((event) => event.position <= upTo),
        Stream.filter((event) => UnknownTypes.isRelevant(unknown, event)),
        Stream.filterMap((event) => {
          const keys = keysOf(event)
          return keys === undefined || keys.includes(parked.key) ? Result.succeed(event) : Result.failVoid
        })
      )
  ))

/** Returns the events that a filter selects, from the parked one up to a position or further, which the high-water mark has reached. */
const readFrom = (
  store: EventStore["Service"],
  filter: LogFilter,
  { partitionBy }: Consumer,
  parked: Parked,
  upTo: Position.Position
): Stream.Stream<EncodedEvent, EventStoreError> => {
  const { driver } = store[internals]
  const from = Position.make(parked.position - 1n)
  return partitionBy === "stream"
    ? Stream.filter(store.readStreamEncoded(parked.stream, { from: parked.version }), EventFilter.matcher(filter))
    : Stream.paginate(
      from,
      Effect.fnUntraced(function*(after: Position.Position) {
        const { events, head, reached: { position } } = yield* driver.readAll({
          ...filter,
          after,
          limit: defaultPageSize
        })
        if (position >= upTo) return [events, Option.none()] as const
        // The high-water mark may step back for a moment, to before an append in flight.
        if (position >= head) yield* awaitReached(driver, LogPosition.make(upTo, undefined), "A list of waiting events")
        return [events, Option.some(position)] as const
      })
    )
}
