/**
 * Which documents of inline projections an append will change. The store locks them before it draws positions, so that each document is folded
 * in the order of the log.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as ConsumerDefinition from "../../consumer/ConsumerDefinition.ts"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import * as HandlerError from "../../consumer/HandlerError.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as Version from "../../core/Version.ts"
import type * as Event from "../../event/Event.ts"
import { type EncodedEvent, type NewEvent, type RecordedEvent, toEncodedEvent } from "../../event/RecordedEvent.ts"
import type { AppendRequest, TouchedDocuments } from "../../eventStore/driver/EventStoreDriver.ts"
import type * as Projection from "../Projection.ts"
import { validateKey } from "../ProjectionDefinition.ts"

/**
 * Returns the documents of a projection that new events will change. An inline projection with handlers has none: what it locks are the tags by which it is
 * divided. Without keys, the append locks the projection all the same: while it is in flight, no program retires it or makes its documents.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (
  projection: Projection.Any | Projection.AnyHandler,
  stream: AppendRequest["stream"],
  events: ReadonlyArray<NewEvent>
): TouchedDocuments => {
  const keys = new Set<string>()
  for (const event of events) {
    const encoded = unplaced(stream, event)
    const found = projection._tag === "DocumentProjection"
      ? documentKeysOf(projection, encoded)
      // The append locks the stream anyway.
      : projection.partitionBy === "stream"
      ? []
      : ConsumerKey.keysOf(projection, encoded)
    if (found === undefined) return { projection: projection.id }
    for (const key of found) keys.add(key)
  }
  return { projection: projection.id, keys: Array.from(keys) }
}

/**
 * Returns one element for each projection.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = (touched: ReadonlyArray<TouchedDocuments>): ReadonlyArray<TouchedDocuments> =>
  Array.from(Map.groupBy(touched, ({ projection }) => projection), ([projection, all]) => {
    const keys = new Set<string>()
    for (const one of all) {
      if (one.keys === undefined) return { projection }
      for (const key of one.keys) keys.add(key)
    }
    return { projection, keys: Array.from(keys) }
  })

/**
 * Returns an error if a projection reads documents that were not among those that the append has locked: its `key` has returned another key for
 * the same event.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (
  projection: Projection.Any,
  touched: TouchedDocuments,
  keys: ReadonlyArray<string>,
  event: EncodedEvent
): EventStoreError | undefined => {
  const locked = touched.keys
  if (locked === undefined) return undefined
  const other = keys.find((key) => !locked.includes(key))
  return other === undefined ? undefined : HandlerError.failed(
    projection,
    event,
    new Error(
      "`key` must be a pure function, but it has returned other keys when it was called again with the same event; compute the key from the event "
        + "and its record only"
    )
  )
}

/**
 * Returns the event of an append as far as it is known before. No user code may see its place.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unplaced = (stream: AppendRequest["stream"], event: NewEvent): EncodedEvent =>
  toEncodedEvent(event, { ...nowhere, stream })

/** Stands for a place that is not known yet. No user code sees it. */
const nowhere = {
  position: Position.start,
  version: Version.make(1),
  recordedAt: DateTime.makeUnsafe(0)
}

/**
 * Returns the keys of documents; `undefined` if they depend on the place in the log, or the event cannot be decoded. A key that cannot be stored
 * fails the append later.
 */
const documentKeysOf = (projection: Projection.Any, event: EncodedEvent): ReadonlyArray<string> | undefined =>
  Result.getOrUndefined(
    Result.flatMap(
      ConsumerDefinition.decode(projection, event),
      (records) =>
        Result.try(() =>
          records.flatMap((record) => projection.keysOf(withoutPlace(record)))
            .filter((key) => validateKey(key) === undefined)
        )
    )
  )

/**
 * Returns a record whose place in the log cannot be read: a read throws. `onRead` runs before, because the code that reads may catch the error.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutPlace = (
  record: RecordedEvent<Event.Tagged>,
  onRead?: () => void
): RecordedEvent<Event.Tagged> => {
  const unknown: PropertyDescriptor = {
    enumerable: true,
    get: () => {
      onRead?.()
      throw new Error("the place of an event in the log is not known before the append")
    }
  }
  return Object.defineProperties({ ...record }, { position: unknown, version: unknown, recordedAt: unknown })
}
