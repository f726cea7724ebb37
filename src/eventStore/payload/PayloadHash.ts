/**
 * What a command id stands for: a hash of the command's payload, which is stored with the id, so that the same id with another payload is an error.
 *
 * **Details**
 *
 * The log is never changed, so a hash in it must not let anyone guess personal data that was erased. An append stores one or two hashes, in the
 * metadata of its first event:
 *
 * - `payloadHash` of what the events of this append have in plaintext: the fields of the payload that one of the events has under the same name with
 *   an equal value. If neither the set of events nor the payload has personal fields, it covers the whole payload.
 * - `personalPayloadHash` of the whole payload, if that is more. It begins with a random salt for each subject of the payload and the events, and a
 *   salt is encrypted under the key of its subject. Once one of the subjects is erased, no program can compute it. If there is no subject, a key of
 *   the day takes the place of one (`PayloadKey`): the log alone allows no guess.
 *
 * A `Redacted` value is in no hash. A hash has 128 bits of SHA-256. It is compared with one other hash only, that of a second payload under the
 * same command id.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { type EventStoreError, storeError, StoreFailure } from "../../core/errors.ts"
import { parseJson } from "../../core/json/parseJson.ts"
import type { Metadata, PersonalPayloadHash } from "../../core/Metadata.ts"
import * as Sha256 from "../../core/Sha256.ts"
import type * as Event from "../../event/Event.ts"
import * as EventPersonalData from "../../event/EventPersonalData.ts"
import type { NewEvent } from "../../event/RecordedEvent.ts"
import type { Keys } from "../../personalData/KeyStoreLookup.ts"
import { isErased } from "../../personalData/PersonalData.ts"
import type * as PersonalFields from "../../personalData/PersonalFields.ts"
import * as SubjectName from "../../personalData/SubjectName.ts"
import * as CanonicalText from "./CanonicalText.ts"
import * as PayloadFields from "./PayloadFields.ts"

/**
 * The content that a command id stands for, as canonical JSON text: equal contents have equal texts. Secrets are in none of the texts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Content {
  /** All of it. */
  readonly whole: string
  /** Whether parts of it can be personal data, so that only what the log has in plaintext is hashed without a salt. */
  readonly isPersonal: boolean
  /** The fields of a payload; none for events without a command. */
  readonly fields: ReadonlyMap<string, string>
  /** Returns what the log has in plaintext: of a payload these fields, of events without a command all but the personal data. */
  readonly open: (fields: ReadonlyArray<string>) => string
  /** The subjects that the payload names. */
  readonly subjects: ReadonlyArray<string>
}

const withoutPersonalData = (whole: string): Content => ({
  whole,
  isPersonal: false,
  fields: new Map(),
  open: () => whole,
  subjects: []
})

/** Returns the text of those fields of a payload that have one of the names. */
const textOf = (fields: ReadonlyMap<string, string>, names: Iterable<string>): string => {
  let text = ""
  for (const name of Array.from(names).toSorted()) {
    const value = fields.get(name)
    if (value !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${value}`
  }
  return `{${text}}`
}

/** Returns the subjects that the fields of a payload name, at any depth. */
const subjectsOf = (payload: unknown, names: ReadonlySet<string>): ReadonlyArray<string> => {
  const subjects = new Set<string>()
  const visit = (value: unknown, field: string | undefined): void => {
    if (typeof value === "string") {
      if (field !== undefined && names.has(field) && SubjectName.validate(value) === undefined) subjects.add(value)
    } else if (Array.isArray(value)) { for (const element of value) visit(element, field) }
    else if (Predicate.isObject(value)) { for (const [name, inner] of Object.entries(value)) visit(inner, name) }
  }
  visit(payload, undefined)
  return Array.from(subjects)
}

/**
 * Returns the content of a command's payload, or a message that names the field that cannot be compared. `isGiven` says which of its fields the
 * caller has given; the others are left out, because a default, such as the time, may have another value at each call.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofPayload = (
  schema: Schema.Top,
  payload: unknown,
  events: Event.Any,
  isGiven: (field: string) => boolean = () => true
): Result.Result<Content, string> => {
  const ofEvents = PayloadFields.ofEvents(events)
  const { encode, personal, subjects } = PayloadFields.ofPayload(schema)
  const encoded = encode(payload)
  return Result.map(
    textsOf(encoded, isGiven),
    ({ fields, whole }) =>
      ofEvents.personal.size === 0 && personal.size === 0 ? withoutPersonalData(whole) : {
        whole,
        isPersonal: true,
        fields,
        open: (names) => textOf(fields, names),
        subjects: subjectsOf(encoded, new Set([...ofEvents.subjects, ...subjects]))
      }
  )
}

/** The text of an encoded payload, and those of its fields. */
interface Texts {
  readonly whole: string
  readonly fields: ReadonlyMap<string, string>
}

const textsOf = (encoded: unknown, isGiven: (field: string) => boolean): Result.Result<Texts, string> => {
  if (!isPlainObject(encoded)) {
    return Result.map(CanonicalText.make(encoded), (whole): Texts => ({ whole, fields: new Map() }))
  }
  const fields = new Map<string, string>()
  for (const name of Reflect.ownKeys(encoded)) {
    if (typeof name === "symbol") {
      return Result.fail(
        `the field ${String(name)} is named by a symbol, which cannot be compared; name it by a string`
      )
    }
    const value: unknown = Reflect.get(encoded, name)
    if (value === undefined || !isGiven(name)) continue
    const text = CanonicalText.make(value, name)
    if (Result.isFailure(text)) return Result.fail(text.failure)
    fields.set(name, text.success)
  }
  return Result.succeed({ whole: textOf(fields, fields.keys()), fields })
}

/** An instance of a class is not compared by its fields. */
const isPlainObject = (value: unknown): value is object =>
  Predicate.isObject(value)
  && (Object.getPrototypeOf(value) === null || Object.getPrototypeOf(Object.getPrototypeOf(value)) === null)

/** Returns the text of a value that was parsed from JSON. */
const jsonText = (value: unknown): string => Result.getOrThrow(CanonicalText.make(value))

/**
 * Returns the names of the fields of a payload that one of the events has in plaintext, under the same name with an equal value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const plaintextFields = (
  { fields, isPersonal }: Content,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>
): ReadonlyArray<string> => {
  if (!isPersonal || fields.size === 0) return []
  const names = new Set<string>()
  for (const data of plaintextOf(events, batch)) {
    if (!Predicate.isObject(data)) continue
    for (const [name, text] of fields) {
      const value = Object.hasOwn(data, name) ? Reflect.get(data, name) : undefined
      if (value !== undefined && jsonText(value) === text) names.add(name)
    }
  }
  return Array.from(names).toSorted()
}

/** Returns the payloads of new events without their personal data. */
const plaintextOf = (events: Event.Any, batch: ReadonlyArray<NewEvent>): ReadonlyArray<Schema.Json> => {
  const located = EventPersonalData.fieldLocators(events)
  return batch.map(({ data, type }) => {
    const parsed = parseJson(data)
    for (const { field, parent } of located.get(type)?.(parsed) ?? []) delete parent[field]
    return parsed
  })
}

/**
 * Returns the content of an append without a command: the names and payloads of its events, and whether they close the stream.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofEvents = (events: Event.Any, batch: ReadonlyArray<NewEvent>, closes: boolean): Content => {
  const textOf = (data: ReadonlyArray<Schema.Json>) =>
    jsonText({ closes, events: batch.map(({ type }, index) => ({ type, data: data[index]! })) })
  const whole = textOf(batch.map(({ data }) => parseJson(data)))
  if (!EventPersonalData.hasPersonalData(events)) return withoutPersonalData(whole)
  const open = textOf(plaintextOf(events, batch))
  return { whole, isPersonal: open !== whole, fields: new Map(), open: () => open, subjects: [] }
}

/**
 * Returns the hash of a text.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hashOf = (text: string): string => Base64Url.encode(Sha256.ofText(text).slice(0, 16))

/**
 * Returns a salt for each subject of an append. `fields` is to be encrypted, and `hash` then returns what is stored. `plaintext` are the fields of
 * the payload that `payloadHash` covers.
 *
 * @since 0.1.0
 * @category constructors
 */
export const salted = (
  whole: string,
  subjects: ReadonlyArray<string>,
  plaintext: ReadonlyArray<string>
): {
  readonly fields: ReadonlyArray<PersonalFields.LocatedField>
  readonly hash: () => PersonalPayloadHash
} => {
  const salts = subjects.map(() => Base64Url.encode(SecureRandom.randomBytesUnsafe(16)))
  const fields = salts.map((salt, index) => ({
    parent: { salt } as Record<string, Schema.Json>,
    field: "salt",
    subject: subjects[index]!
  }))
  const hash = saltedHash(salts, whole)
  return { fields, hash: () => ({ hash, salts: fields.map(({ parent }) => parent["salt"]!), fields: plaintext }) }
}

const saltedHash = (salts: ReadonlyArray<string>, whole: string): string => hashOf([...salts, whole].join("\n"))

/**
 * Returns whether a content is the one whose hashes are stored. Once a subject of it is erased, what the log has in plaintext is compared.
 *
 * @since 0.1.0
 * @category guards
 */
export const matches = Effect.fnUntraced(function*(
  keys: Pick<Keys, "decrypt">,
  { payloadHash, personalPayloadHash }: Metadata,
  { open, whole }: Content
): Effect.fn.Return<boolean, EventStoreError> {
  // An event that another program has written need not have a hash.
  if (payloadHash === undefined) return true
  if (personalPayloadHash === undefined) return payloadHash === hashOf(whole)
  const decrypted = yield* keys.decrypt(personalPayloadHash.salts.map((salt) => ({ salt })))
  const salts: Array<string> = []
  for (const result of decrypted) {
    if (Result.isFailure(result)) {
      return yield* storeError(
        new StoreFailure({
          message: `The payload of a command cannot be compared with the first one under its id: ${result.failure}`,
          cause: undefined
        })
      )
    }
    const salt: unknown = Predicate.isObject(result.success) ? Reflect.get(result.success, "salt") : undefined
    if (isErased(salt)) return payloadHash === hashOf(open(personalPayloadHash.fields ?? []))
    salts.push(String(salt))
  }
  return saltedHash(salts, whole) === personalPayloadHash.hash
})
