/**
 * Encodes domain events for the log, and decodes what the log returns. A codec is compiled once per set of events.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { UndecodableEvent } from "../core/errors.ts"
import * as JsonCodec from "../personalData/JsonCodec.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as Event from "./Event.ts"
import { legacyOf, tagFieldsOf, upcastersOf } from "./EventAnnotations.ts"
import * as EventPersonalData from "./EventPersonalData.ts"
import type { EncodedEvent, RecordedEvent } from "./RecordedEvent.ts"

/**
 * The codec of a set of events.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventCodec<E extends Event.Tagged> {
  /** The names of the events in the set. */
  readonly types: ReadonlyArray<string>
  /** The stored types that can decode as one of them; see `Event.storedTypes`. */
  readonly storedTypes: ReadonlyArray<string>
  /** Returns the encoded event, or a message when the event does not satisfy its Schema, or would be decoded to another one. */
  readonly encode: (event: E) => Result.Result<EncodedPayload, string>
  /**
   * Returns the current events that an encoded event stands for, in order, after upcasting: mostly one, several when it is split, none when its type
   * is retired. Fails with an error that names position, stream, type and version. With `tags`, by which the reader selects, it leaves out the parts of
   * a split event that have other values of these tags.
   */
  readonly decode: (
    encoded: EncodedEvent,
    tags?: ReadonlyArray<string>
  ) => Result.Result<ReadonlyArray<RecordedEvent<E>>, UndecodableEvent>
  /** Returns the tags that the set declares for an event. */
  readonly tagsOf: (event: E) => ReadonlyArray<string>
  /** Decodes like `decode`, for an event outside a log. */
  readonly decodeData: (
    encoded: Omit<EncodedPayload, "tags"> & { readonly tags?: ReadonlyArray<string> | undefined },
    tags?: ReadonlyArray<string>
  ) => Result.Result<ReadonlyArray<E>, DecodeFailure>
}

/**
 * Why an event cannot be decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecodeFailure {
  readonly problem: UndecodableEvent["problem"]
  readonly detail: string
}

/**
 * The part of a `NewEvent` that the event itself determines. Its `data` is a JSON value, not text.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedPayload {
  readonly type: string
  readonly schemaVersion: number
  readonly data: Schema.Json
  readonly tags: ReadonlyArray<string>
}

const cache = new WeakMap<Event.Any, EventCodec<Event.Tagged>>()

/**
 * Returns the codec of a set of events; the same codec for the same set.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E extends Event.Any>(events: E): EventCodec<Event.Of<E>> => {
  let codec = cache.get(events)
  if (codec === undefined) {
    codec = compile(events)
    cache.set(events, codec)
  }
  // The key of the cache is the schema that the codec was compiled for; the type of a WeakMap cannot express that.
  return codec as EventCodec<Event.Of<E>>
}

/** A `DecodeFailure` before it is known whether the event has personal data. */
interface Failure extends SchemaFailure.SchemaFailure {
  readonly problem: DecodeFailure["problem"]
}

type Decode = (data: unknown) => Result.Result<ReadonlyArray<Event.Tagged>, Failure>

const failure = (
  problem: DecodeFailure["problem"],
  detail: string,
  { message, safeMessage }: SchemaFailure.SchemaFailure = { message: "", safeMessage: "" }
): Result.Result<never, Failure> =>
  Result.fail({ problem, message: detail + message, safeMessage: detail + safeMessage })

interface CompiledCase {
  readonly schemaVersion: number
  readonly encode: JsonCodec.JsonCodec<Event.Tagged>["encode"]
}

const compile = (events: Event.Any): EventCodec<Event.Tagged> => {
  const chains = upcastersOf(events)
  const types = Object.keys(events.cases)
  const cases = new Map<string, CompiledCase>()
  /** The decoders of each type, by schema version, from version 1 at index 0. */
  const paths = new Map<string, ReadonlyArray<Decode> | "retired">()
  const validate = validator(events)
  for (const [type, schema] of Object.entries(events.cases)) {
    const json = JsonCodec.make(schema)
    const past = chains[type]?.past ?? []
    cases.set(type, {
      schemaVersion: past.length + 1,
      encode: json.encode
    })
    paths.set(type, [...decodePast(type, past, validate), decodeCurrent(type, json)])
  }
  for (const [type, legacy] of Object.entries(legacyOf(events))) {
    paths.set(type, legacy.end === "retired" ? "retired" : decodePast(type, legacy.past, validate))
  }
  const tagFields = tagFieldsOf(events)
  const [isPersonal, hasPersonalData] = [personalTypesOf(events), EventPersonalData.hasPersonalData(events)]
  const ownTags = (event: Event.Tagged) => tagsOf(tagFields[event._tag], event)
  const decodeData = decoderOf(types, paths)
  return {
    types,
    storedTypes: Event.storedTypes(events),
    encode: (event) => {
      const found = cases.get(event._tag)
      if (found === undefined) {
        return Result.fail(`event "${event._tag}" is not in this set of events, which has ${types.join(", ")}`)
      }
      const encoded = found.encode(event)
      if (Result.isFailure(encoded)) {
        // A function of the user makes a new event, and may have copied personal data of another one into it.
        return Result.fail(`event "${event._tag}": ${SchemaFailure.messageOf(encoded.failure, hasPersonalData)}`)
      }
      return Result.succeed({
        type: event._tag,
        schemaVersion: found.schemaVersion,
        data: withoutTag(encoded.success),
        tags: ownTags(event)
      })
    },
    tagsOf: ownTags,
    decodeData: (encoded, tags) =>
      Result.mapBoth(decodeData(encoded), {
        onFailure: (failure) => ({
          problem: failure.problem,
          detail: SchemaFailure.messageOf(failure, isPersonal(encoded.type))
        }),
        onSuccess: (events) => selectParts(events, (event) => event, ownTags, encoded.tags, tags)
      }),
    decode: (encoded, tags) =>
      Result.mapBoth(Result.flatMap(dataOf(events, encoded), (read) => decodeRead(decodeData, encoded, read)), {
        onFailure: (failure) => undecodable(encoded, failure, isPersonal(encoded.type)),
        onSuccess: (events) =>
          selectParts(
            events.map((event, part) => ({ ...encoded, event, part })),
            ({ event }) => event,
            ownTags,
            encoded.tags,
            tags
          )
      })
  }
}

const decoderOf = (
  types: ReadonlyArray<string>,
  paths: ReadonlyMap<string, ReadonlyArray<Decode> | "retired">
) =>
(
  { data, schemaVersion, type }: Omit<EncodedPayload, "tags">
): Result.Result<ReadonlyArray<Event.Tagged>, Failure> => {
  const versions = paths.get(type)
  if (versions === undefined) {
    return failure(
      "UnknownType",
      `this program has no event of that type; it has ${
        types.join(", ")
      }. Add it to the set, or declare it by Event.legacy`
    )
  }
  if (versions === "retired") return nothing
  const decode = versions[schemaVersion - 1]
  if (decode !== undefined) return decode(data)
  const versionsText = versions.length === 1 ? "version 1" : `versions 1 to ${versions.length}`
  return schemaVersion > versions.length
    ? failure(
      "NewerVersion",
      `this program has its schema ${versionsText}; newer code wrote the event: deploy that code here too`
    )
    : failure("UnknownVersion", "schema versions are whole numbers from 1")
}

/**
 * Returns the parts of an event that a reader by tags selects. It leaves out the parts of a split event that have other values of the
 * tags. A part without a tag of the name, or with one that the event was not stored with, belongs to every reader of the event.
 */
const selectParts = <P>(
  parts: ReadonlyArray<P>,
  eventOf: (part: P) => Event.Tagged,
  ownTags: (event: Event.Tagged) => ReadonlyArray<string>,
  stored: ReadonlyArray<string> = [],
  tags: ReadonlyArray<string> = []
): ReadonlyArray<P> =>
  parts.length < 2 || tags.length === 0 ? parts : parts.filter((part) => {
    const own = ownTags(eventOf(part))
    return tags.every((tag) =>
      own.includes(tag) || !own.some((other) => nameOf(other) === nameOf(tag) && stored.includes(other))
    )
  })

const undecodable = (encoded: EncodedEvent, failure: Failure, isPersonal: boolean): UndecodableEvent => {
  const { metadata, position, schemaVersion, stream, type, version } = encoded
  const detail = SchemaFailure.messageOf(failure, metadata.subjects !== undefined || isPersonal)
  return new UndecodableEvent({
    problem: failure.problem,
    position,
    stream,
    version,
    type,
    schemaVersion,
    detail: EventPersonalData.scrub(detail, encoded)
  })
}

const nothing: Result.Result<ReadonlyArray<Event.Tagged>, Failure> = Result.succeed([])

/** Returns the guard of the stored types whose events may have personal data, in the current version or an earlier one. */
const personalTypesOf = (events: Event.Any): (type: string) => boolean => {
  const [chains, legacy] = [upcastersOf(events), legacyOf(events)]
  const isPersonal = EventPersonalData.hasPersonalData(events)
  return (type) =>
    EventPersonalData.isPersonalType(events, type)
    // An earlier version may hold in plaintext what is personal data today.
    || isPersonal && (Object.hasOwn(chains, type) || Object.hasOwn(legacy, type))
}

const decodeCurrent = (type: string, { decode }: JsonCodec.JsonCodec<Event.Tagged>): Decode => (data) =>
  Predicate.isObject(data)
    ? Result.mapBoth(decode({ ...data, _tag: type }), {
      onFailure: malformed,
      onSuccess: (event) => [event]
    })
    : Result.fail(malformed(SchemaFailure.safe("the payload is not a JSON object")))

/** Returns the current event, of one of `types`, that an upcaster has made, or the failure of the upcaster. */
type Validate = (
  types: ReadonlyArray<string>,
  event: unknown,
  upcaster: string
) => Result.Result<Event.Tagged, Failure>

const validator = (events: Event.Any): Validate => {
  const schemas = new Map(
    Object.entries(events.cases).map(([type, schema]) => [
      type,
      SchemaFailure.parser(schema, Schema.decodeUnknownResult(Schema.toType(schema)))
    ])
  )
  return (types, event, upcaster) => {
    const type = Predicate.hasProperty(event, "_tag") ? String(event._tag) : undefined
    const validate = type !== undefined && types.includes(type) ? schemas.get(type) : undefined
    if (validate === undefined) {
      const named = type === undefined ? "what is no event" : `an event "${type}", which is none of ${types.join(", ")}`
      const made = types.length === 0 ? "an event, and names none" : named
      return Result.fail({
        problem: "UpcasterFailed",
        message: `${upcaster} made ${made}`,
        // The upcaster may take the name from the payload.
        safeMessage: `${upcaster} made an event, which is none of ${types.join(", ")}`
      })
    }
    return Result.orElse(
      validate(event),
      (invalid) => failure("UpcasterFailed", `${upcaster} made no valid "${type}": `, invalid)
    )
  }
}

const decodePast = (
  type: string,
  past: ReadonlyArray<Event.PastVersion>,
  validate: Validate
): ReadonlyArray<Decode> => {
  const payloads = past.map(({ schema }) =>
    SchemaFailure.parser(schema, Schema.decodeUnknownResult(Schema.toType(schema)))
  )
  const run = (from: number, payload: unknown): Result.Result<ReadonlyArray<Event.Tagged>, Failure> => {
    let value = payload
    for (let index = from; index < past.length; index++) {
      const name = `the upcaster from schema version ${index + 1}`
      const { upcaster } = past[index]!
      try {
        if (upcaster._tag === "Split") {
          // Each upcaster takes what the one before returns: `Event.from(…).to(…)` has checked the chain.
          const events = (upcaster.split as (payload: unknown) => ReadonlyArray<unknown>)(value)
          return Result.all(events.map((event) => validate(upcaster.types, event, name)))
        }
        value = (upcaster.upcast as (payload: unknown) => unknown)(value)
      } catch (cause) {
        return failure("UpcasterFailed", "", SchemaFailure.ofThrown(name, cause))
      }
      // The next upcaster must not receive a payload that its own version would reject.
      const next = payloads[index + 1]?.(value)
      if (next === undefined) continue
      if (Result.isFailure(next)) {
        return failure("UpcasterFailed", `${name} made no payload of version ${index + 2}: `, next.failure)
      }
      value = next.success
    }
    const event = Predicate.isObject(value) ? { ...value, _tag: type } : value
    return Result.map(validate([type], event, `the upcaster from schema version ${past.length}`), (event) => [event])
  }
  return past.map(({ schema }, index) => {
    const decode = SchemaFailure.parser(schema, Schema.decodeUnknownResult(Schema.toCodecJson(schema)))
    return (data) => Result.flatMap(Result.mapError(decode(data), malformed), (payload) => run(index, payload))
  })
}

const dataOf = (events: Event.Any, encoded: EncodedEvent): Result.Result<EventPersonalData.ReadableData, Failure> =>
  encoded.malformed === undefined
    ? Result.mapError(
      EventPersonalData.readableData(events, encoded),
      (reason) => malformed(SchemaFailure.safe(reason))
    )
    : Result.fail(malformed(SchemaFailure.safe(encoded.malformed)))

/** Decodes what was read of an event. A failure names the encrypted fields that the set does not annotate, because they may be its reason. */
const decodeRead = <A>(
  decode: (encoded: EncodedEvent) => Result.Result<A, Failure>,
  encoded: EncodedEvent,
  { data, unannotated }: EventPersonalData.ReadableData
): Result.Result<A, Failure> => {
  const decoded = decode(data === encoded.data ? encoded : { ...encoded, data })
  if (unannotated.length === 0) return decoded
  const fields = Array.from(new Set(unannotated), (field) => `"${field}"`).join(", ")
  const hint =
    `. The event has encrypted fields that this version of it does not annotate as personal data of the same `
    + `subject (${fields}), and they stay encrypted; annotate them with PersonalData.field`
  return Result.mapError(decoded, ({ message, problem, safeMessage }) => ({
    problem,
    message: message + hint,
    safeMessage: safeMessage + hint
  }))
}

const malformed = (failure: SchemaFailure.SchemaFailure): Failure => ({ ...failure, problem: "Malformed" })

const nameOf = (tag: string): string => tag.slice(0, tag.indexOf(":"))

const noTags: ReadonlyArray<string> = []

const tagsOf = (fields: Readonly<Record<string, string>> | undefined, event: Event.Tagged): ReadonlyArray<string> => {
  if (fields === undefined) return noTags
  const tags = new Set<string>()
  for (const [name, field] of Object.entries(fields)) {
    const value: unknown = Reflect.get(event, field)
    for (const one of Array.isArray(value) ? value : [value]) {
      if (typeof one === "string") tags.add(Event.tag(name, one))
    }
  }
  return Array.from(tags)
}

const withoutTag = (json: Schema.Json): Schema.Json => {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return json
  const { _tag, ...data } = json as Record<string, Schema.Json>
  return data
}
