/**
 * What an append of domain events is in encoded form, and what its receipt says.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { CommandIdReused, type EventStoreError, storeError } from "../core/errors.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Position from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type * as EventCodec from "../event/EventCodec.ts"
import { type EncodedEvent, type NewEvent, toEncodedEvent } from "../event/RecordedEvent.ts"
import type { AppendRequest, AppendResult } from "./EventStoreDriver.ts"

const textFields = ["command", "commandId", "correlationId", "causationId", "actor", "traceparent"] as const

/**
 * The JSON text of metadata, or why it has none.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encodeMetadata = (metadata: Metadata): Result.Result<string, string> => {
  for (const field of textFields) {
    const value: unknown = metadata[field]
    if (value !== undefined && typeof value !== "string") return Result.fail(`the metadata's ${field} must be a string`)
  }
  if (metadata.subjects !== undefined) return Result.fail("the metadata's subjects are for the store to say")
  try {
    return Result.succeed(JSON.stringify(metadata))
  } catch (cause) {
    // Attributes that are no JSON, of a caller without types: a bigint, a cycle, a million levels.
    return Result.fail(`the metadata cannot be written as JSON: ${String(cause)}`)
  }
}

/**
 * Events on their way into the log, or why they cannot go.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encodeAll = <E extends Event.Tagged>(
  codec: EventCodec.EventCodec<E>,
  batch: ReadonlyArray<E>,
  metadata: string,
  newId: () => string
): Result.Result<ReadonlyArray<NewEvent>, string> => {
  const events: Array<NewEvent> = []
  for (const event of batch) {
    const encoded = codec.encode(event)
    if (Result.isFailure(encoded)) return Result.fail(encoded.failure)
    const { data, schemaVersion, tags, type } = encoded.success
    events.push({ id: newId(), type, schemaVersion, data: JSON.stringify(data), metadata, tags })
  }
  return Result.succeed(events)
}

/**
 * The events of an append that was written, as they are read.
 *
 * @since 0.1.0
 * @category encoding
 */
export const recordedOf = (
  { events, stream }: AppendRequest,
  { positions, recordedAt, version }: Extract<AppendResult, { readonly _tag: "Appended" }>
): ReadonlyArray<EncodedEvent> =>
  events.map((event, index) =>
    toEncodedEvent(event, {
      position: positions[index]!,
      stream,
      version: Version.make(version - events.length + 1 + index),
      recordedAt
    })
  )

/**
 * The receipt of an append that was written.
 *
 * @since 0.1.0
 * @category encoding
 */
export const receiptOf = (
  { events, stream }: AppendRequest,
  command: string | undefined,
  version: Version.Version,
  positions: ReadonlyArray<Position.Position>
): Receipt.Receipt =>
  Receipt.fromEvents(
    stream,
    command,
    events.map(({ id, type }, index) => ({
      id,
      type,
      version: Version.make(version - events.length + 1 + index),
      position: positions[index]!
    }))
  )

/**
 * The receipt of an earlier append under this command id, if it was by the same command on the same stream.
 *
 * @since 0.1.0
 * @category idempotency
 */
export const sameCommand = (
  first: Receipt.Receipt,
  commandId: string,
  stream: string,
  command: string | undefined
): Effect.Effect<Receipt.Receipt, EventStoreError> =>
  first.stream === stream && first.command === command
    ? Effect.succeed(first)
    : Effect.fail(storeError(
      new CommandIdReused({
        commandId,
        stream,
        firstStream: first.stream,
        ...(command === undefined ? {} : { command }),
        ...(first.command === undefined ? {} : { firstCommand: first.command })
      })
    ))
