/**
 * Every version of every event that may be in the log, with the Schema of its payload.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaFingerprint from "../core/SchemaFingerprint.ts"
import type * as Event from "../event/Event.ts"
import { legacyOf, upcastersOf } from "../event/EventAnnotations.ts"
import * as EventCodec from "../event/EventCodec.ts"

/**
 * One version of one type. What its Schema generates `encode` makes the JSON of, as it is in the log.
 *
 * - `isCurrent`: new events are written in it
 * - `fingerprint`: of the payload, so that it is the same before and after a newer version has come
 *
 * @since 0.1.0
 * @category models
 */
export interface EventVersion {
  readonly type: string
  readonly schemaVersion: number
  readonly isCurrent: boolean
  readonly fingerprint: string
  readonly schema: Schema.Constraint
  readonly encode: (value: unknown) => Result.Result<Schema.Json, string>
}

/**
 * All versions of a set of events; of retired types none is known.
 *
 * @since 0.1.0
 * @category getters
 */
export const all = (events: Event.Any): ReadonlyArray<EventVersion> => {
  const histories = upcastersOf(events)
  const codec = EventCodec.make(events)
  const current = Object.entries(events.cases).flatMap(([type, schema]): ReadonlyArray<EventVersion> => {
    const past = histories[type]?.past ?? []
    return [
      ...past.map((version, index) => pastVersion(type, index, version)),
      {
        type,
        schemaVersion: past.length + 1,
        isCurrent: true,
        fingerprint: SchemaFingerprint.make(payloadOf(schema)),
        schema,
        // Its Schema has made it.
        encode: (value) => Result.map(codec.encode(value as Event.Tagged), ({ data }) => throughText(data))
      }
    ]
  })
  const before = Object.entries(legacyOf(events)).flatMap(([type, legacy]) =>
    legacy.end === "retired" ? [] : legacy.past.map((version, index) => pastVersion(type, index, version))
  )
  return [...current, ...before]
}

const pastVersion = (type: string, index: number, { schema }: Event.PastVersion): EventVersion => {
  const encode = Schema.encodeUnknownResult(Schema.toCodecJson(schema))
  return {
    type,
    schemaVersion: index + 1,
    isCurrent: false,
    fingerprint: SchemaFingerprint.make(schema),
    schema,
    encode: (value) => Result.mapBoth(encode(value), { onFailure: ({ message }) => message, onSuccess: throughText })
  }
}

/** JSON text has no -0 and no undefined. */
const throughText = (data: Schema.Json): Schema.Json => JSON.parse(JSON.stringify(data)) as Schema.Json

/** An event without its `_tag`: what `Event.from` will be given once it is past. */
const payloadOf = (schema: Schema.Constraint): Schema.Constraint => {
  if (!Predicate.hasProperty(schema, "fields") || !Predicate.isObject(schema.fields)) return schema
  // What has `fields` is a struct or a class.
  const { _tag, ...fields } = schema.fields as Schema.Struct.Fields
  return Schema.Struct(fields)
}

/**
 * JSON text with its keys in order.
 *
 * @since 0.1.0
 * @category converting
 */
export const stable = (json: unknown, indent?: number): string =>
  JSON.stringify(json, (_, value: unknown) =>
    Predicate.isObject(value) && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value, indent)
