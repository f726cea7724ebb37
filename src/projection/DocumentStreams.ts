/**
 * The streams that feed documents. Several partitions by stream keep the order of each stream only, so each document belongs to one stream.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as FormerPartitions from "../consumer/FormerPartitions.ts"
import * as HandlerError from "../consumer/HandlerError.ts"
import type { EventStoreError } from "../core/errors.ts"
import type * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * The streams that feed documents.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentStreams {
  /** The stream of each document that exists; `undefined` if it may have been fed by several. */
  readonly byKey: Map<string, string | undefined>
  /** Later events may come from any stream: one partition applies them in the order of the log. `undefined` with several partitions. */
  readonly upTo: Position.Position | undefined
}

/**
 * Returns whether each document of a projection must be fed by one stream.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRequired = ({ lifecycle, partitionBy, partitions }: Projection.Any): boolean =>
  lifecycle === "async" && partitionBy === "stream" && partitions > 1

/**
 * Returns the position up to which former partitions of a projection may have applied events of several streams in any order; `undefined` if it had
 * one partition, or is not divided by stream.
 */
const disorderedUpTo = (
  { lifecycle, partitionBy }: Projection.Any,
  former: ReadonlyArray<FormerPartitions.FormerPartitions>
): Position.Position | undefined =>
  lifecycle === "async" && partitionBy === "stream" && former.some(({ positions }) => positions.length > 1)
    ? FormerPartitions.reached(former)
    : undefined

/**
 * Returns the streams of stored documents; `undefined` for a projection whose documents several streams may feed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  projection: Projection.Any,
  former: ReadonlyArray<FormerPartitions.FormerPartitions>,
  stored: ReadonlyArray<StoredDocument>
): DocumentStreams | undefined => {
  const upTo = isRequired(projection) ? undefined : disorderedUpTo(projection, former)
  if (!isRequired(projection) && upTo === undefined) return undefined
  return { byKey: new Map(stored.map(({ key, stream }) => [key, stream])), upTo }
}

const isChecked = ({ upTo }: DocumentStreams, { position }: EncodedEvent): boolean =>
  upTo === undefined || position <= upTo

/**
 * Fails when an event touches a document that another stream feeds.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (
  streams: DocumentStreams | undefined,
  projection: Projection.Any,
  event: EncodedEvent,
  keys: ReadonlyArray<string>
): Result.Result<void, EventStoreError> => {
  if (streams === undefined || !isChecked(streams, event)) return Result.void
  const { byKey, upTo } = streams
  const key = keys.find((key) => byKey.has(key) && byKey.get(key) !== event.stream)
  if (key === undefined) return Result.void
  const stream = byKey.get(key)
  const fed = `the document "${key}" is fed by ${
    stream === undefined ? "several streams" : `the stream "${stream}"`
  } and now by "${event.stream}"`
  return Result.fail(HandlerError.failed(
    projection,
    event,
    new Error(
      upTo === undefined
        ? `${fed}; ${projection.partitions} partitions by "stream" would apply their events in any order. Leave out \`partitionBy\`, `
          + "partition by a tag, or use one partition"
        : `${fed}, but several partitions by "stream" have applied events up to position ${upTo} in any order. Rebuild the projection by `
          + "Rebuild.rebuild"
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
  streams: DocumentStreams | undefined,
  event: EncodedEvent,
  documents: ReadonlyMap<string, { readonly document: string | undefined }>
): void => {
  if (streams === undefined) return
  for (const [key, { document }] of documents) {
    if (document === undefined) streams.byKey.delete(key)
    else streams.byKey.set(key, isChecked(streams, event) ? event.stream : undefined)
  }
}
