/**
 * The personal data of events: where it stands in what is kept, and what is read of it.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import type * as Event from "./Event.ts"
import type { EncodedEvent } from "./RecordedEvent.ts"

const cache = new WeakMap<Event.Any, ReadonlyMap<string, PersonalFields.FieldLocator>>()

/**
 * How to find the personal fields of those events of a set that have any, by their names. Throws when one of them cannot be found.
 *
 * @since 0.1.0
 * @category compiling
 */
export const fieldLocators = (events: Event.Any): ReadonlyMap<string, PersonalFields.FieldLocator> => {
  let found = cache.get(events)
  if (found === undefined) {
    const located = new Map<string, PersonalFields.FieldLocator>()
    for (const [type, schema] of Object.entries(events.cases)) {
      const locateFields = PersonalFields.locateFields(`event "${type}"`, schema)
      if (locateFields !== undefined) located.set(type, locateFields)
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
  { data, metadata, decrypted }: Pick<EncodedEvent, "data"> & Partial<Pick<EncodedEvent, "metadata" | "decrypted">>
): Result.Result<Schema.Json, string> => {
  if (metadata?.subjects === undefined) return Result.succeed(data)
  return decrypted ?? Result.fail("its personal data is encrypted; read it by an event store that has the key store")
}

/**
 * The values that an event has encrypted, each by itself, as far as they can be read.
 *
 * @since 0.1.0
 * @category messages
 */
export const secretsOf = ({ data, decrypted }: EncodedEvent): ReadonlyArray<unknown> =>
  decrypted === undefined || Result.isFailure(decrypted) ? [] : EncryptedValue.secretsOf(data, decrypted.success)

/**
 * A text about an event, without the personal data that it has encrypted.
 *
 * @since 0.1.0
 * @category messages
 */
export const scrub = (text: string, event: EncodedEvent): string => EncryptedValue.scrub(text, secretsOf(event))
