/**
 * The encoded form of an append, and the receipt and the events that its result stands for.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Struct from "effect/Struct"
import * as JsonText from "../core/json/JsonText.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Position from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type * as EventCodec from "../event/EventCodec.ts"
import { type EncodedEvent, type NewEvent, toEncodedEvent } from "../event/RecordedEvent.ts"
import { validateUnencrypted } from "../personalData/KeyStoreLookup.ts"
import type { AppendRequest, AppendResult } from "./driver/EventStoreDriver.ts"

const textFields = ["command", "commandId", "correlationId", "causationId", "actor", "traceparent"] as const

/**
 * Returns the JSON text of metadata, or a message that says why it cannot be encoded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodeMetadata = (metadata: Metadata): Result.Result<string, string> => {
  for (const field of textFields) {
    const value: unknown = metadata[field]
    if (value !== undefined && typeof value !== "string") {
      return Result.fail(`the field "${field}" of the metadata must be a string, not ${typeof value}`)
    }
  }
  if (metadata.subjects !== undefined) {
    return Result.fail(`the field "subjects" of the metadata is written by the store; leave it out`)
  }
  // A caller may pass the metadata of an event on. Its hashes belong to that event.
  const given = metadata.payloadHash === undefined && metadata.personalPayloadHash === undefined
    ? metadata
    : Struct.omit(metadata, ["payloadHash", "personalPayloadHash"])
  // A caller without types may pass attributes that are not JSON.
  return Result.mapError(JsonText.encode(given), (detail) => `the metadata cannot be written as JSON: ${detail}`)
}

/**
 * Returns metadata with the hash of a payload. It takes the text of metadata with a command id, so of an object that is not empty; to parse the text
 * and write it again would cost more than the hash.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withPayloadHash = (metadata: string, hash: string): string =>
  `${metadata.slice(0, -1)},"payloadHash":"${hash}"}`

/**
 * Returns new events in encoded form, or a message that names the first event that does not satisfy its Schema.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodeEvents = <E extends Event.Tagged>(
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
    const text = JsonText.encode(data)
    if (Result.isFailure(text)) return Result.fail(`event "${type}": ${text.failure}`)
    // Also where nothing is encrypted: a document or a state may take the field over, beside personal data.
    const wrong = validateUnencrypted(text.success)
    if (wrong !== undefined) return Result.fail(`event "${type}": ${wrong}`)
    events.push({ id: newId(), type, schemaVersion, data: text.success, metadata, tags })
  }
  return Result.succeed(events)
}

/**
 * Returns the events of a successful append as a reader will find them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodedEventsOf = (
  { events, stream }: Pick<AppendRequest, "events" | "stream">,
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
 * Returns the receipt of a successful append.
 *
 * @since 0.1.0
 * @category constructors
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
