/**
 * Turns domain events into what the log keeps, and back. Compiled once per set of events.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { UndecodableEvent } from "./errors.ts"
import * as Event from "./Event.ts"
import type { EventRecord, RecordedEvent } from "./EventRecord.ts"
import * as PersonalEvents from "./PersonalEvents.ts"

/**
 * - `types`: the names of the events it knows
 * - `encode`: fails with a message when the event does not satisfy its own schema
 * - `decode`: what a recorded event means today, in order: upcast where it is of a past schema version. Mostly one event; several where it was
 *   split since, none where its type is retired. Fails with an error that names position, stream, type and version
 *
 * @since 0.1.0
 * @category models
 */
export interface EventCodec<E extends Event.Tagged> {
  readonly types: ReadonlyArray<string>
  readonly encode: (event: E) => Result.Result<EncodedEvent, string>
  readonly decode: (recorded: RecordedEvent) => Result.Result<ReadonlyArray<EventRecord<E>>, UndecodableEvent>
  /** Like `decode`, for an event outside of a log. */
  readonly decodeData: (encoded: Omit<EncodedEvent, "tags">) => Result.Result<ReadonlyArray<E>, DecodeFailure>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface DecodeFailure {
  readonly problem: UndecodableEvent["problem"]
  readonly detail: string
}

/**
 * The part of a `NewEvent` that the event itself determines; `data` is still a JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedEvent {
  readonly type: string
  readonly schemaVersion: number
  readonly data: Schema.Json
  readonly tags: ReadonlyArray<string>
}

const cache = new WeakMap<Event.Any, EventCodec<Event.Tagged>>()

/**
 * The codec of a set of events. The same set always answers the same codec.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = <E extends Event.Any>(events: E): EventCodec<Event.Of<E>> => {
  let codec = cache.get(events)
  if (codec === undefined) {
    codec = compile(events)
    cache.set(events, codec)
  }
  // The cache is keyed by the very schema whose events the codec was compiled for; a WeakMap cannot say so in its type.
  return codec as EventCodec<Event.Of<E>>
}

type Decode = (data: unknown) => Result.Result<ReadonlyArray<Event.Tagged>, DecodeFailure>

const failure = (problem: DecodeFailure["problem"], detail: string): Result.Result<never, DecodeFailure> =>
  Result.fail({ problem, detail })

interface CompiledCase {
  readonly schemaVersion: number
  readonly encode: (event: unknown) => Result.Result<Schema.Json, Schema.SchemaError>
  /** By schema version; index 0 is unused. */
  readonly decode: ReadonlyArray<Decode>
}

const compile = (events: Event.Any): EventCodec<Event.Tagged> => {
  const histories = Event.historiesOf(events)
  const compiled = new Map<string, CompiledCase>()
  for (const type of Object.keys(events.cases)) {
    compiled.set(type, compileCase(type, events.cases[type]!, histories[type]?.past ?? []))
  }
  const types = Array.from(compiled.keys())
  const tagFields = Event.tagFieldsOf(events)
  const decodeData = (
    { data, schemaVersion, type }: Omit<EncodedEvent, "tags">
  ): Result.Result<ReadonlyArray<Event.Tagged>, DecodeFailure> => {
    const found = compiled.get(type)
    if (found === undefined) {
      return failure("UnknownType", `this program knows no event of that type; it knows ${types.join(", ")}`)
    }
    const decode = found.decode[schemaVersion]
    return decode === undefined
      ? failure(
        "UnknownVersion",
        `this program knows its schema versions 1 to ${found.schemaVersion}; the event was written by other code`
      )
      : decode(data)
  }
  return {
    types,
    encode: (event) => {
      const found = compiled.get(event._tag)
      if (found === undefined) return Result.fail(`event "${event._tag}" does not belong to this set of events`)
      const encoded = found.encode(event)
      if (Result.isFailure(encoded)) return Result.fail(`event "${event._tag}": ${encoded.failure.message}`)
      return Result.succeed({
        type: event._tag,
        schemaVersion: found.schemaVersion,
        data: withoutTag(encoded.success),
        tags: tagsOf(tagFields[event._tag], event)
      })
    },
    decodeData,
    decode: (recorded) =>
      Result.mapBoth(Result.flatMap(dataOf(recorded), (data) => decodeData({ ...recorded, data })), {
        onFailure: ({ detail, problem }) => {
          const { position, schemaVersion, stream, type, version } = recorded
          return new UndecodableEvent({
            problem,
            position,
            stream,
            version,
            type,
            schemaVersion,
            detail: PersonalEvents.scrub(detail, recorded)
          })
        },
        onSuccess: (events) => events.map((event) => ({ ...recorded, event }))
      })
  }
}

const compileCase = (
  type: string,
  schema: Event.AnyCase,
  past: ReadonlyArray<Event.PastVersion>
): CompiledCase => {
  const json = Schema.toCodecJson(schema)
  const decodeCurrent = Schema.decodeUnknownResult(json)
  const validate = Schema.decodeUnknownResult(Schema.toType(schema))
  const current: Decode = (data) =>
    Predicate.isObject(data)
      ? Result.mapBoth(decodeCurrent({ ...data, _tag: type }), {
        onFailure: (error) => malformed(error.message),
        onSuccess: (event) => [event]
      })
      : Result.fail(malformed("the payload is not a JSON object"))
  const old = past.map(({ schema }, index): Decode => {
    const decode = Schema.decodeUnknownResult(Schema.toCodecJson(schema))
    return (data) => {
      const payload = decode(data)
      if (Result.isFailure(payload)) return Result.fail(malformed(payload.failure.message))
      let value: unknown = payload.success
      for (let step = index; step < past.length; step++) {
        try {
          // Each step takes what the one before returns: `Event.from(…).to(…)` has checked the chain.
          value = (past[step]!.upcast as (payload: unknown) => unknown)(value)
        } catch (cause) {
          return failure("UpcasterFailed", `the upcaster from schema version ${step + 1} threw: ${String(cause)}`)
        }
      }
      const upcast = Predicate.isObject(value) ? { ...value, _tag: type } : value
      return Result.mapBoth(validate(upcast), {
        onFailure: ({ message }): DecodeFailure => ({ problem: "UpcasterFailed", detail: message }),
        onSuccess: (event) => [event]
      })
    }
  })
  return {
    schemaVersion: past.length + 1,
    encode: Schema.encodeUnknownResult(json),
    decode: [unknownVersion, ...old, current]
  }
}

const dataOf = (recorded: RecordedEvent) => Result.mapError(PersonalEvents.dataOf(recorded), malformed)

const unknownVersion: Decode = () => failure("UnknownVersion", "schema versions start at 1")

const malformed = (detail: string): DecodeFailure => ({ problem: "Malformed", detail })

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
