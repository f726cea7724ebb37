/**
 * What the fields of a command's payload are: personal data, or the names of subjects.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import type * as Event from "../../event/Event.ts"
import * as EventPersonalData from "../../event/EventPersonalData.ts"
import * as PersonalFields from "../../personalData/PersonalFields.ts"
import * as PayloadCodec from "./PayloadCodec.ts"

/** Names of fields. */
type Names = ReadonlySet<string>

/**
 * The fields of a set of events.
 *
 * @since 0.1.0
 * @category models
 */
export interface OfEvents {
  /** Those that are, or contain, personal data in one of the events, in any of their versions. */
  readonly personal: Names
  /** Those that name subjects. */
  readonly subjects: Names
}

const ofEventsCache = new WeakMap<Event.Any, OfEvents>()

/**
 * Returns what the fields of events are.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofEvents = (events: Event.Any): OfEvents => {
  let found = ofEventsCache.get(events)
  if (found === undefined) {
    found = { personal: EventPersonalData.fieldNamesOf(events), subjects: EventPersonalData.subjectNamesOf(events) }
    ofEventsCache.set(events, found)
  }
  return found
}

/**
 * The fields of a command's payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface OfPayload {
  /** Returns a payload as JSON, under the names of its type. */
  readonly encode: PayloadCodec.PayloadEncoder
  /** Those that are, or contain, personal data. */
  readonly personal: Names
  /** Those that name subjects. */
  readonly subjects: Names
}

const ofPayloadCache = new WeakMap<Schema.Top, OfPayload>()

/**
 * Returns what the fields of a payload are.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofPayload = (schema: Schema.Top): OfPayload => {
  let found = ofPayloadCache.get(schema)
  if (found === undefined) {
    found = {
      encode: payloadEncoder(schema),
      personal: new Set(PersonalFields.fieldsOf(schema)),
      subjects: new Set(PersonalFields.subjectsOf(schema))
    }
    ofPayloadCache.set(schema, found)
  }
  return found
}

/** The fields of a struct, and of a class, are encoded one by one, under the names of the type. */
const payloadEncoder = (schema: Schema.Top): PayloadCodec.PayloadEncoder => {
  const fields: unknown = Reflect.get(schema, "fields")
  if (!Predicate.isObject(fields)) return PayloadCodec.make(schema.ast)
  const encoders = Reflect.ownKeys(fields).map((name) =>
    // The fields of a struct are Schemas.
    [name, PayloadCodec.make((Reflect.get(fields, name) as Schema.Top).ast)] as const
  )
  return (payload) => {
    if (!Predicate.isObject(payload)) return payload
    const encoded: Array<readonly [PropertyKey, unknown]> = []
    for (const [name, encode] of encoders) {
      const value: unknown = Reflect.get(payload, name)
      if (value !== undefined) encoded.push([name, encode(value)])
    }
    // An assignment would not store a field that is named `__proto__`.
    return Object.fromEntries(encoded)
  }
}
