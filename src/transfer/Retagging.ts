/**
 * Adds to stored events the tags that their set declares today.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventQuery from "../event/EventQuery.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EncodedEvent, StoredEvent } from "../event/RecordedEvent.ts"
import * as EventEncryption from "../eventStore/EventEncryption.ts"
import type { EventStoreInternals } from "../eventStore/EventStoreInternals.ts"

/**
 * Changes a page of stored events for an export.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retagging {
  (events: ReadonlyArray<StoredEvent>): Effect.Effect<ReadonlyArray<StoredEvent>, EventStoreError>
}

/**
 * Returns the change that adds to each event of a set the tags that it would get if it were written today, after those that it has. It leaves out all
 * hashes, because each hash covers the tags of the events before it in its stream.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (events: Event.Any, { keys }: Pick<EventStoreInternals, "keys">): Retagging => {
  const codec = EventCodec.make(events)
  const types = new Set(codec.storedTypes)
  if (EventTags.names(events).length === 0) {
    return () =>
      Effect.fail(
        invalidRequest("the set of `retag` declares no tags; declare them by Event.tags, or leave `retag` out")
      )
  }
  return Effect.fnUntraced(function*(page): Effect.fn.Return<ReadonlyArray<StoredEvent>, EventStoreError> {
    const own = page.filter(({ type }) => types.has(type))
    const readable = yield* EventEncryption.decryptEvents(keys, own.map(encodedOf))
    const added = new Map<string, ReadonlyArray<string>>()
    for (const encoded of readable) {
      const decoded = codec.decode(encoded)
      if (Result.isFailure(decoded)) return yield* storeError(decoded.failure)
      added.set(encoded.id, decoded.success.flatMap(({ event }) => codec.tagsOf(event)))
    }
    const retagged: Array<StoredEvent> = []
    for (const { hash: _, ...event } of page) {
      const tags = Array.from(new Set([...event.tags, ...added.get(event.id) ?? []]))
      const wrong = validate(tags)
      if (wrong !== undefined) {
        return yield* invalidRequest(`the event at position ${event.position} cannot have its tags: ${wrong}`)
      }
      retagged.push({ ...event, tags })
    }
    return retagged
  })
}

const validate = (tags: ReadonlyArray<string>): string | undefined =>
  tags.length > EventQuery.maxTags
    ? `it would have ${tags.length}, and an event has at most ${EventQuery.maxTags}`
    : tags.map(EventQuery.validateTag).find((wrong) => wrong !== undefined)

const encodedOf = (
  { data, id, metadata, position, recordedAt, schemaVersion, stream, tags, type, version }: StoredEvent
): EncodedEvent => ({
  position,
  stream,
  version,
  id,
  type,
  schemaVersion,
  data: parseJson(data),
  metadata: parseJson(metadata) as Metadata,
  tags,
  recordedAt
})
