/**
 * The personal data of events: where it stands in what is kept, and what is read of it.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Event from "./Event.ts"
import type { RecordedEvent } from "./EventRecord.ts"
import * as PersonalFields from "./PersonalFields.ts"
import * as SealedData from "./SealedData.ts"

const cache = new WeakMap<Event.Any, ReadonlyMap<string, PersonalFields.Locate>>()

/**
 * How to find the personal fields of those events of a set that have any, by their names. Throws when one of them cannot be found.
 *
 * @since 0.1.0
 * @category compiling
 */
export const of = (events: Event.Any): ReadonlyMap<string, PersonalFields.Locate> => {
  let found = cache.get(events)
  if (found === undefined) {
    const located = new Map<string, PersonalFields.Locate>()
    for (const [type, schema] of Object.entries(events.cases)) {
      const locate = PersonalFields.locate(`event "${type}"`, schema)
      if (locate !== undefined) located.set(type, locate)
    }
    cache.set(events, found = located)
  }
  return found
}

/**
 * The payload of a recorded event with its personal data readable, or why it is not.
 *
 * @since 0.1.0
 * @category reading
 */
export const dataOf = (
  { data, metadata, opened }: Pick<RecordedEvent, "data"> & Partial<Pick<RecordedEvent, "metadata" | "opened">>
): Result.Result<Schema.Json, string> => {
  if (metadata?.subjects === undefined) return Result.succeed(data)
  return opened ?? Result.fail("its personal data is encrypted; read it by an event store that has the key store")
}

/**
 * The values that an event has encrypted, each by itself, as far as they can be read.
 *
 * @since 0.1.0
 * @category messages
 */
export const secretsOf = ({ data, opened }: RecordedEvent): ReadonlyArray<unknown> =>
  opened === undefined || Result.isFailure(opened) ? [] : SealedData.secretsOf(data, opened.success)

/**
 * A text about an event, without the personal data that it has encrypted.
 *
 * @since 0.1.0
 * @category messages
 */
export const scrub = (text: string, event: RecordedEvent): string => SealedData.scrub(text, secretsOf(event))
