/**
 * The streams that feed documents. Several partitions by stream keep the order of each stream only, so each document belongs to one stream.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as HandlerError from "../consumer/HandlerError.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * The stream that feeds each document, by key; `undefined` for a projection whose documents several streams may feed.
 *
 * @since 0.1.0
 * @category models
 */
export type DocumentStreams = Map<string, string> | undefined

/**
 * Returns whether each document of a projection must be fed by one stream.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRequired = ({ lifecycle, partitionBy, partitions }: Projection.Any): boolean =>
  lifecycle === "async" && partitionBy === "stream" && partitions > 1

/**
 * Returns the streams of stored documents.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (projection: Projection.Any, stored: ReadonlyArray<StoredDocument>): DocumentStreams =>
  isRequired(projection)
    ? new Map(stored.flatMap(({ key, stream }) => stream === undefined ? [] : [[key, stream]]))
    : undefined

/**
 * Fails when an event touches a document that another stream feeds.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (
  streams: DocumentStreams,
  projection: Projection.Any,
  event: EncodedEvent,
  keys: ReadonlyArray<string>
): Result.Result<void, EventStoreError> => {
  const key = keys.find((key) => (streams?.get(key) ?? event.stream) !== event.stream)
  return key === undefined ? Result.void : Result.fail(HandlerError.failed(
    projection,
    event,
    new Error(
      `the document "${key}" is fed by the stream "${
        streams?.get(key)
      }" and now by "${event.stream}"; ${projection.partitions} partitions by `
        + `"stream" would apply their events in any order. Leave out \`partitionBy\`, partition by a tag, or use one partition`
    )
  ))
}

/**
 * Records that an event has written or removed documents.
 *
 * @since 0.1.0
 * @category writing
 */
export const record = (
  streams: DocumentStreams,
  { stream }: EncodedEvent,
  documents: ReadonlyMap<string, unknown>
): void => {
  for (const [key, document] of streams === undefined ? [] : documents) {
    if (document === undefined) streams?.delete(key)
    else streams?.set(key, stream)
  }
}
