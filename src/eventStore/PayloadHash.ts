/**
 * What a command id stands for: a hash of the command's payload, which is stored with the id, so that the same id with another payload is an error.
 *
 * **Details**
 *
 * The log is never changed, so a hash in it must not let anyone guess personal data that was erased. An append stores up to two hashes, in the
 * metadata of its first event:
 *
 * - one of the payload without personal data and secrets. It can always be compared.
 * - one of the payload with personal data, if the events have any. It begins with a random salt for each subject of the events, and a salt is
 *   encrypted under the key of its subject. Once a subject is erased, nobody can compute it.
 *
 * A hash has 128 bits of SHA-256. It is compared with one other hash only, that of a second payload under the same command id.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type EventStoreError, storeError, StoreFailure } from "../core/errors.ts"
import type { Metadata, PersonalPayloadHash } from "../core/Metadata.ts"
import * as Sha256 from "../core/Sha256.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { NewEvent } from "../event/RecordedEvent.ts"
import { type Keys, parse } from "../personalData/KeyStoreLookup.ts"
import { isErased } from "../personalData/PersonalData.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"

/**
 * The content that a command id stands for, as canonical JSON text: equal contents have equal texts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Content {
  /** The content without personal data and secrets. */
  readonly open: string
  /** The content with personal data; `undefined` if there is none. */
  readonly personal: string | undefined
}

/** Returns a value as JSON text with sorted keys, without the fields that `omit` names. */
const canonical = (value: unknown, omit: ReadonlySet<string>): string => {
  if (typeof value === "bigint") return `"${value}"`
  // A number that JSON does not have reaches this point only if the payload could not be encoded.
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value)
  if (!Predicate.isObjectOrArray(value)) return JSON.stringify(value) ?? "null"
  if (Array.isArray(value)) return `[${value.map((element) => canonical(element, omit)).join()}]`
  if (value instanceof Date) return JSON.stringify(value)
  const fields = Object.entries(value).filter(([field, value]) => value !== undefined && !omit.has(field))
  fields.sort(([a], [b]) => a < b ? -1 : 1)
  return `{${fields.map(([field, value]) => `${JSON.stringify(field)}:${canonical(value, omit)}`).join()}}`
}

const nothing: ReadonlySet<string> = new Set()

const contentOf = (value: unknown, personal: ReadonlySet<string>, secret: ReadonlySet<string>): Content => {
  const whole = canonical(value, secret)
  if (personal.size === 0) return { open: whole, personal: undefined }
  const open = canonical(value, new Set([...personal, ...secret]))
  return { open, personal: open === whole ? undefined : whole }
}

/** How the payloads of a Schema become contents. */
interface PayloadCodec {
  readonly encode: (payload: unknown) => Result.Result<unknown, unknown>
  readonly personal: ReadonlySet<string>
}

const codecs = new WeakMap<Schema.Top, PayloadCodec>()

const codecOf = (schema: Schema.Top): PayloadCodec => {
  let codec = codecs.get(schema)
  if (codec === undefined) {
    // A payload that needs a service to be encoded fails here, and is then compared as it is.
    const json = Schema.toCodecJson(schema as Schema.Codec<unknown, unknown>)
    const encode = Schema.encodeUnknownResult(json)
    codec = {
      encode: (payload) => Result.flatMap(Result.try(() => encode(payload)), (result) => result),
      personal: new Set(PersonalFields.fieldsOf(schema))
    }
    codecs.set(schema, codec)
  }
  return codec
}

/** Adds the names of fields with a `Redacted` value. */
const addSecrets = (value: unknown, found: Set<string>): void => {
  if (!Predicate.isObjectOrArray(value) || Redacted.isRedacted(value)) return
  for (const [field, inner] of Object.entries(value)) {
    if (Redacted.isRedacted(inner)) found.add(field)
    else addSecrets(inner, found)
  }
}

/**
 * Returns the content of a command's payload. Fields with the name of a personal field of the events count as personal data, and so do those that the
 * payload's Schema annotates. A `Redacted` value is left out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofPayload = (schema: Schema.Top, payload: unknown, events: Event.Any): Content => {
  const { encode, personal } = codecOf(schema)
  const secret = new Set<string>()
  addSecrets(payload, secret)
  const ofEvents = EventPersonalData.fieldNamesOf(events)
  return contentOf(
    Result.getOrElse(encode(payload), () => payload),
    personal.size === 0 ? ofEvents : new Set([...ofEvents, ...personal]),
    secret
  )
}

/**
 * Returns the content of an append without a command: the names and payloads of its events, and whether they close the stream.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofEvents = (events: Event.Any, batch: ReadonlyArray<NewEvent>, closes: boolean): Content => {
  const located = EventPersonalData.fieldLocators(events)
  const whole = batch.map(({ data, type }) => ({ type, data: parse(data) }))
  const personal = canonical({ closes, events: whole }, nothing)
  let found = false
  for (const { data, type } of whole) {
    for (const { field, parent } of located.get(type)?.(data) ?? []) {
      delete parent[field]
      found = true
    }
  }
  return found
    ? { open: canonical({ closes, events: whole }, nothing), personal }
    : { open: personal, personal: undefined }
}

/**
 * Returns the hash of a text.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hashOf = (text: string): string => Base64Url.encode(Sha256.ofText(text).subarray(0, 16))

/**
 * A salt for each subject of an append. `fields` is to be encrypted with the personal data of the events; `hash` then returns what is stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const salted = (personal: string, subjects: ReadonlyArray<string>): {
  readonly fields: ReadonlyArray<PersonalFields.LocatedField>
  readonly hash: () => PersonalPayloadHash
} => {
  const salts = subjects.map(() => Base64Url.encode(SecureRandom.randomBytesUnsafe(16)))
  const fields = salts.map((salt, index) => ({
    parent: { salt } as Record<string, Schema.Json>,
    field: "salt",
    subject: subjects[index]!
  }))
  const hash = saltedHash(salts, personal)
  return { fields, hash: () => ({ hash, salts: fields.map(({ parent }) => parent["salt"]!) }) }
}

const saltedHash = (salts: ReadonlyArray<string>, personal: string): string => hashOf([...salts, personal].join("\n"))

/**
 * Returns whether a content is the one whose hashes are stored. Personal data cannot be compared any more once one of its subjects is erased.
 *
 * @since 0.1.0
 * @category guards
 */
export const matches = Effect.fnUntraced(function*(
  keys: Pick<Keys, "decrypt">,
  { payloadHash, personalPayloadHash }: Metadata,
  { open, personal }: Content
): Effect.fn.Return<boolean, EventStoreError> {
  // An event that another program has written need not have a hash.
  if (payloadHash === undefined) return true
  if (payloadHash !== hashOf(open)) return false
  if (personalPayloadHash === undefined) return true
  const decrypted = yield* keys.decrypt(personalPayloadHash.salts.map((salt) => ({ salt })))
  const salts: Array<string> = []
  for (const result of decrypted) {
    if (Result.isFailure(result)) {
      return yield* storeError(
        new StoreFailure({
          message: `The payload of a command cannot be compared with the first one: ${result.failure}`,
          cause: undefined
        })
      )
    }
    const salt: unknown = Predicate.isObject(result.success) ? Reflect.get(result.success, "salt") : undefined
    if (isErased(salt)) return true
    salts.push(String(salt))
  }
  return saltedHash(salts, personal ?? open) === personalPayloadHash.hash
})
