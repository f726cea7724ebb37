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
import { legacyOf, upcastersOf } from "./EventAnnotations.ts"
import type { EncodedEvent } from "./RecordedEvent.ts"
import type { PastVersion } from "./Upcasters.ts"

/** The personal fields of a set of events. */
interface PersonalEvents {
  /** The locators of the current version of the types that have personal fields in it. */
  readonly current: ReadonlyMap<string, PersonalFields.FieldLocator>
  /** The locators of the types that have personal fields in one of their versions, from version 1 at index 0. */
  readonly versions: ReadonlyMap<string, ReadonlyArray<PersonalFields.FieldLocator | undefined>>
}

const cache = new WeakMap<Event.Any, PersonalEvents>()

/** Throws when a field cannot be located. */
const personalEventsOf = (events: Event.Any): PersonalEvents => {
  let found = cache.get(events)
  if (found === undefined) cache.set(events, found = locate(events))
  return found
}

const locate = (events: Event.Any): PersonalEvents => {
  const current = new Map<string, PersonalFields.FieldLocator>()
  const versions = new Map<string, ReadonlyArray<PersonalFields.FieldLocator | undefined>>()
  const locatePast = (type: string, past: ReadonlyArray<PastVersion> = []) =>
    past.map(({ schema }, index) => PersonalFields.locateFields(`event "${type}", schema version ${index + 1}`, schema))
  const add = (type: string, locators: ReadonlyArray<PersonalFields.FieldLocator | undefined>) => {
    if (locators.some((locateFields) => locateFields !== undefined)) versions.set(type, locators)
  }
  const chains = upcastersOf(events)
  for (const [type, schema] of Object.entries(events.cases)) {
    const locateFields = PersonalFields.locateFields(`event "${type}"`, schema)
    if (locateFields !== undefined) current.set(type, locateFields)
    add(type, [...locatePast(type, chains[type]?.past), locateFields])
  }
  for (const [type, legacy] of Object.entries(legacyOf(events))) {
    if (legacy.end !== "retired") add(type, locatePast(type, legacy.past))
  }
  return { current, versions }
}

/** Returns the Schemas of all versions of the events of a set, and of its legacy types. */
const schemasOf = (events: Event.Any): ReadonlyArray<Schema.Constraint> => [
  ...Object.values(events.cases),
  ...[...Object.values(upcastersOf(events)), ...Object.values(legacyOf(events))].flatMap((chain) =>
    chain.end === "retired" ? [] : chain.past.map(({ schema }) => schema)
  )
]

/**
 * Returns the locators of the personal fields of a set's current events, by event name. An append encrypts these. Throws when a field cannot be
 * located.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fieldLocators = (events: Event.Any): ReadonlyMap<string, PersonalFields.FieldLocator> =>
  personalEventsOf(events).current

/**
 * Returns whether what is read by a set of events may contain personal data: one of its events, of their earlier versions or of its legacy types has
 * personal fields. An upcaster may have copied these into fields that are not annotated. Throws when a field cannot be located.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasPersonalData = (events: Event.Any): boolean => personalEventsOf(events).versions.size > 0

/**
 * Returns whether a stored type has personal fields in one of its versions.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPersonalType = (events: Event.Any, type: string): boolean => personalEventsOf(events).versions.has(type)

const fieldNames = new WeakMap<Event.Any, ReadonlySet<string>>()

/**
 * Returns the names of the fields that are, or contain, personal data in one of the events, in any of their versions.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldNamesOf = (events: Event.Any): ReadonlySet<string> => {
  let names = fieldNames.get(events)
  if (names === undefined) {
    names = new Set(
      hasPersonalData(events) ? schemasOf(events).flatMap((schema) => PersonalFields.fieldsOf(schema)) : []
    )
    fieldNames.set(events, names)
  }
  return names
}

/**
 * Returns the names of the fields that name the subjects of personal fields in one of the events, in any of their versions.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subjectNamesOf = (events: Event.Any): ReadonlySet<string> =>
  new Set(schemasOf(events).flatMap((schema) => PersonalFields.subjectsOf(schema)))

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
 * What a set of events reads of a stored payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadableData {
  readonly data: Schema.Json
  /** The encrypted fields that the set does not annotate. In `data` they are still encrypted. */
  readonly unannotated: ReadonlyArray<string>
}

const none: ReadonlyArray<string> = []

/**
 * Returns the payload of an event with the personal fields decrypted that the set annotates in the event's schema version, or a message that says why
 * that failed. What the set does not annotate would be written in plaintext, and what another program wrote elsewhere may be the data of anybody.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readableData = (
  events: Event.Any,
  encoded: Pick<EncodedEvent, "data" | "type" | "schemaVersion"> & Partial<Pick<EncodedEvent, "metadata" | "decrypted">>
): Result.Result<ReadableData, string> => {
  if (encoded.metadata?.subjects === undefined) return Result.succeed({ data: encoded.data, unannotated: none })
  return Result.map(dataOf(encoded), (decrypted) => {
    const locateFields = personalEventsOf(events).versions.get(encoded.type)?.[encoded.schemaVersion - 1]
    return EncryptedValue.decryptedIn(encoded.data, decrypted, locateFields?.(encoded.data) ?? [])
  })
}

/**
 * Returns the plaintexts of what an event encrypts, each value by itself, as far as they can be decrypted. With `events` also those that the set
 * annotates, and that an older program has stored in plaintext.
 *
 * @since 0.1.0
 * @category accessors
 */
export const secretsOf = (
  { data, decrypted, schemaVersion, type }: EncodedEvent,
  events?: Event.Any
): ReadonlyArray<unknown> => {
  if (decrypted !== undefined) {
    return Result.isFailure(decrypted) ? [] : EncryptedValue.secretsOf(data, decrypted.success)
  }
  if (events === undefined) return []
  const { current, versions } = personalEventsOf(events)
  // The event may be of an earlier version, and the fields that are personal today may have been in it.
  return [current.get(type), versions.get(type)?.[schemaVersion - 1]].flatMap((locateFields) =>
    locateFields?.(data).flatMap(({ field, parent }) => EncryptedValue.leavesOf(parent[field])) ?? []
  )
}

/**
 * Returns a text about an event without the personal data that the event encrypts.
 *
 * @since 0.1.0
 * @category accessors
 */
export const scrub = (text: string, event: EncodedEvent): string => EncryptedValue.scrub(text, secretsOf(event))
