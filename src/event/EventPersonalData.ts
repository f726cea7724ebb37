/**
 * The personal data of events: where it is in a stored payload, and what is read of it.
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
 * Returns the locators of the personal fields of a set, by event name. Throws when a field cannot be located.
 *
 * @since 0.1.0
 * @category constructors
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
 * Returns whether a set of events has personal fields.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasPersonalData = (events: Event.Any): boolean => fieldLocators(events).size > 0

const fieldNames = new WeakMap<Event.Any, ReadonlySet<string>>()

/**
 * Returns the names of the fields that are, or contain, personal data in one of the events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldNamesOf = (events: Event.Any): ReadonlySet<string> => {
  let names = fieldNames.get(events)
  if (names === undefined) {
    names = new Set(
      hasPersonalData(events) ? Object.values(events.cases).flatMap((schema) => PersonalFields.fieldsOf(schema)) : []
    )
    fieldNames.set(events, names)
  }
  return names
}

/**
 * Returns whether the states of decision models may contain personal data, because their events do.
 *
 * @since 0.1.0
 * @category guards
 */
export const modelsHavePersonalData = (models: Readonly<Record<string, { readonly events: Event.Any }>>): boolean =>
  Object.values(models).some(({ events }) => hasPersonalData(events))

/**
 * Returns the payload of an event with its personal data decrypted, or a message that says why that failed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const dataOf = (
  { data, metadata, decrypted }: Pick<EncodedEvent, "data"> & Partial<Pick<EncodedEvent, "metadata" | "decrypted">>
): Result.Result<Schema.Json, string> => {
  if (metadata?.subjects === undefined) return Result.succeed(data)
  return decrypted ??
    Result.fail("its personal data is encrypted; read it with an event store whose layer has the KeyStore")
}

/**
 * Returns the plaintexts of what an event encrypts, each value by itself, as far as they can be decrypted. With `events` also those that the set
 * annotates, and that an older program has stored in plaintext.
 *
 * @since 0.1.0
 * @category accessors
 */
export const secretsOf = ({ data, decrypted, type }: EncodedEvent, events?: Event.Any): ReadonlyArray<unknown> => {
  const encrypted = decrypted === undefined || Result.isFailure(decrypted)
    ? []
    : EncryptedValue.secretsOf(data, decrypted.success)
  const located = events && fieldLocators(events).get(type)?.(decrypted === undefined ? data : null)
  return located === undefined
    ? encrypted
    : [...encrypted, ...located.flatMap(({ field, parent }) => EncryptedValue.leavesOf(parent[field]))]
}

/**
 * Returns a text about an event without the personal data that the event encrypts.
 *
 * @since 0.1.0
 * @category accessors
 */
export const scrub = (text: string, event: EncodedEvent): string => EncryptedValue.scrub(text, secretsOf(event))
