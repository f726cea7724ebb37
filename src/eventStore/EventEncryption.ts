/**
 * Encrypts the personal data of events before a driver sees it, and decrypts it after a read.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type EventStoreError, invalidRequest, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as JsonText from "../core/json/JsonText.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type { Metadata, PersonalPayloadHash } from "../core/Metadata.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent, NewEvent } from "../event/RecordedEvent.ts"
import * as ErasedFields from "../personalData/ErasedFields.ts"
import { type Keys, subjectsOf, validate } from "../personalData/KeyStoreLookup.ts"
import * as PayloadKey from "../personalData/PayloadKey.ts"
import { isErased } from "../personalData/PersonalData.ts"
import type * as PersonalFields from "../personalData/PersonalFields.ts"
import { withPayloadHash } from "./AppendCodec.ts"
import type { EventStoreDriver } from "./driver/EventStoreDriver.ts"
import * as PayloadHash from "./payload/PayloadHash.ts"

/**
 * Returns new events with their personal data encrypted. They carry the plaintext in `decrypted`, for the inline projections. The first event gets
 * the hashes of the content that its command id stands for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encryptEvents = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt" | "erased" | "lastErasure">,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>,
  content: PayloadHash.Content | undefined
): Effect.fn.Return<ReadonlyArray<NewEvent>, EventStoreError> {
  const located = EventPersonalData.fieldLocators(events)
  const plain = batch.map((event) => {
    const locateFields = located.get(event.type)
    const data = locateFields === undefined ? null : parseJson(event.data)
    const erased: Array<PersonalFields.LocatedField> = []
    return { event, data, fields: locateFields?.(data, erased) ?? [], erased }
  })
  for (const { event, fields } of plain) {
    if (fields.length === 0) continue
    const invalid = validate(event.data, fields)
    if (invalid !== undefined) return yield* invalidRequest(`event "${event.type}": ${invalid}`)
  }
  yield* requireErased(keys, plain)
  const all = plain.flatMap(({ fields }) => fields)
  // Before the encryption, which fails for a subject that was erased by then.
  const lastErasure = all.length > 0 ? yield* keys.lastErasure : undefined
  const encryptedOf = (event: EncryptedEvent, hash?: PersonalPayloadHash) => encryptedEvent(event, hash, lastErasure)
  const plaintext = content === undefined ? [] : PayloadHash.plaintextFields(content, events, batch)
  const open = content?.open(plaintext)
  if (content === undefined || open === content.whole) {
    // What has no personal data does not depend on the key store.
    if (all.length > 0) yield* keys.encrypt(all, "reject")
    const encrypted = all.length === 0 ? batch : plain.map((event) => encryptedOf(event))
    return open === undefined ? encrypted : withHash(encrypted, open)
  }
  const salted = PayloadHash.salted(content.whole, yield* saltSubjects(content, subjectsOf(all)), plaintext)
  const encryption = encryptWithSalts(keys, all, salted.fields, content)
  yield* all.length > 0 ? encryption : Effect.mapError(encryption, (error) => explainKeys(error, content, plaintext))
  const encrypted = plain.map((event, index) => encryptedOf(event, index === 0 ? salted.hash() : undefined))
  return withHash(encrypted, open!)
})

/** Only a store erases. An `Erased` of a subject that was not erased comes from outside, such as from the payload of a command. */
const requireErased = Effect.fnUntraced(function*(
  keys: Pick<Keys, "erased">,
  events: ReadonlyArray<{
    readonly event: NewEvent
    readonly fields: ReadonlyArray<PersonalFields.LocatedField>
    readonly erased: ReadonlyArray<PersonalFields.LocatedField>
  }>
): Effect.fn.Return<void, EventStoreError> {
  const given = events.flatMap(({ erased, event, fields }) => [
    ...erased.map(({ field, subject }) => ({ event, field, subject: String(subject) })),
    // An `Erased` of another subject is encrypted, and readers would take it for erased data too.
    ...fields.flatMap(({ field, parent }) => {
      const value = parent[field]
      return isErased(value) ? [{ event, field, subject: value.subject }] : []
    })
  ])
  if (given.length === 0) return
  const erased = yield* keys.erased(given.map(({ subject }) => subject))
  const wrong = given.find(({ subject }) => !erased.has(subject))
  if (wrong !== undefined) {
    return yield* invalidRequest(`event "${wrong.event.type}": ${ErasedFields.notErased(wrong.field)}`)
  }
})

/** Returns the subjects under whose keys the hash of a payload is salted. */
const saltSubjects = (
  content: PayloadHash.Content,
  ofEvents: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>> => {
  const subjects = new Set([...ofEvents, ...content.subjects])
  // A payload that names no subject can still have the personal data of a person.
  return subjects.size > 0
    ? Effect.succeed(Array.from(subjects))
    : Effect.map(DateTime.now, (now) => [PayloadKey.subjectOf(now)])
}

/** Encrypts the personal fields of the events, and the salts of the payload's hash. */
const encryptWithSalts = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt">,
  fields: ReadonlyArray<PersonalFields.LocatedField>,
  salts: ReadonlyArray<PersonalFields.LocatedField>,
  content: PayloadHash.Content
): Effect.fn.Return<void, EventStoreError> {
  // The payload may name a subject that was erased. Without its salt, no program can compute the hash.
  const named = new Set(content.subjects)
  for (const { subject } of fields) named.delete(String(subject))
  const isOfPayload = ({ subject }: PersonalFields.LocatedField) => named.has(String(subject))
  const required = [...fields, ...salts.filter((salt) => !isOfPayload(salt))]
  const others = salts.filter(isOfPayload)
  if (required.length > 0) yield* keys.encrypt(required, "reject")
  if (others.length > 0) yield* keys.encrypt(others, "erase")
})

/** Says why events without personal data need the key store. */
const explainKeys = (
  error: EventStoreError,
  { fields }: PayloadHash.Content,
  plaintext: ReadonlyArray<string>
): EventStoreError => {
  if (error.reason._tag !== "StoreMisconfigured") return error
  const others = Array.from(fields.keys()).filter((name) => !plaintext.includes(name)).map((name) => `"${name}"`)
  const message =
    `The payload of the command has fields that its events do not have in plaintext (${
      others.join(", ")
    }), and events of its set, or `
    + `the payload, have personal fields. So the hash of the payload, which its command id needs, is encrypted. ${error.reason.message}`
  return storeError(new StoreMisconfigured({ message, cause: error.reason.cause }))
}

/** An event whose personal fields, if it has any, are encrypted. */
interface EncryptedEvent {
  readonly event: NewEvent
  readonly data: Schema.Json
  readonly fields: ReadonlyArray<PersonalFields.LocatedField>
}

const encryptedEvent = (
  { data, event, fields }: EncryptedEvent,
  personalPayloadHash: PersonalPayloadHash | undefined,
  lastErasure: string | undefined
): NewEvent => {
  const hash = personalPayloadHash === undefined ? undefined : { personalPayloadHash }
  // An event whose personal data was erased before it is written again has no such field.
  const own = fields.length === 0 ? undefined : { subjects: subjectsOf(fields) }
  if (hash === undefined && own === undefined) return event
  // `encodeMetadata` wrote the text.
  const metadata = JsonText.make({ ...parseJson(event.metadata) as Metadata, ...hash, ...own })
  return own === undefined
    ? { ...event, metadata }
    : { ...event, data: JsonText.make(data), metadata, decrypted: event.data, lastErasure }
}

/**
 * Returns events with the hash of a text in the metadata of the first one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withHash = ([first, ...others]: ReadonlyArray<NewEvent>, text: string): ReadonlyArray<NewEvent> => [
  { ...first!, metadata: withPayloadHash(first!.metadata, PayloadHash.hashOf(text)) },
  ...others
]

/** What decrypts personal data, and finds out whether it is out of date. */
type Decryption = Pick<Keys, "decrypt" | "lastErasure">

/** The id of the last erasure before the decryption, by its result, which stays the same object in every copy of the event. */
const erasureBefore = new WeakMap<object, string>()

/**
 * Returns events that were read before as they are to be used now: what was erased since is erased in them too. It decrypts again only after an erasure.
 * Call it right before the user's code receives an event that has waited, such as one of a page.
 *
 * @since 0.1.0
 * @category combinators
 */
export const upToDate = <E extends EncodedEvent>(
  keys: Decryption,
  events: ReadonlyArray<E>
): Effect.Effect<ReadonlyArray<E>, EventStoreError> =>
  !events.some(isDecrypted)
    ? Effect.succeed(events)
    : Effect.flatMap(keys.lastErasure, (lastErasure) => {
      const isCurrent = ({ decrypted }: E) => decrypted === undefined || erasureBefore.get(decrypted) === lastErasure
      if (events.every(isCurrent)) return Effect.succeed(events)
      return decryptEvents(
        keys,
        events.map((event): E => isCurrent(event) ? event : { ...event, decrypted: undefined })
      )
    })

/**
 * Returns the events of an append as its inline projections may see them now: what was erased since they were encrypted is erased in them too. An append
 * may have waited for a lock since.
 *
 * @since 0.1.0
 * @category combinators
 */
export const appendUpToDate = (
  keys: Decryption,
  sent: ReadonlyArray<NewEvent>,
  events: ReadonlyArray<EncodedEvent>
): Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError> =>
  !events.some(isDecrypted)
    ? Effect.succeed(events)
    : Effect.flatMap(keys.lastErasure, (now) =>
      sent.every(({ decrypted, lastErasure }) =>
          decrypted === undefined || lastErasure === now
        )
        ? Effect.succeed(events)
        : decryptEvents(keys, events.map(({ decrypted: _, ...event }): EncodedEvent => event)))

const isDecrypted = ({ decrypted }: EncodedEvent): boolean => decrypted !== undefined

/**
 * Returns a Stream whose events are up to date when they are pulled, however long its consumer takes for a page: it ends a page before each event that has
 * personal data.
 *
 * @since 0.1.0
 * @category combinators
 */
export const streamUpToDate = (
  keys: Decryption,
  events: Stream.Stream<EncodedEvent, EventStoreError>
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.transformPull(events, (pull) =>
    Effect.sync(() => {
      let rest: ReadonlyArray<EncodedEvent> = []
      const emitNext = Effect.suspend(() => {
        const end = rest.findIndex((event, index) => index > 0 && isDecrypted(event))
        const next = end < 0 ? rest : rest.slice(0, end)
        rest = end < 0 ? [] : rest.slice(end)
        return Effect.map(
          upToDate(keys, next),
          // Pages are not empty, and neither is what is left of one.
          (events) => events as Arr.NonEmptyReadonlyArray<EncodedEvent>
        )
      })
      return Effect.suspend(() =>
        rest.length > 0 ? emitNext : Effect.flatMap(pull, (page) => {
          rest = page
          return emitNext
        })
      )
    }))

/**
 * Returns events with their personal data in `decrypted`, where they have some.
 *
 * @since 0.1.0
 * @category combinators
 */
export const decryptEvents = <E extends EncodedEvent>(
  keys: Decryption,
  events: ReadonlyArray<E>
): Effect.Effect<ReadonlyArray<E>, EventStoreError> => {
  const isEncrypted = ({ metadata, decrypted }: E) =>
    metadata.subjects !== undefined && (decrypted === undefined || Result.isFailure(decrypted))
  const encrypted = events.filter(isEncrypted)
  if (encrypted.length === 0) return Effect.succeed(events)
  return Effect.gen(function*() {
    const lastErasure = yield* keys.lastErasure
    const decrypted = yield* keys.decrypt(encrypted.map(({ data }) => data))
    for (const result of decrypted) erasureBefore.set(result, lastErasure)
    let next = 0
    return events.map((event) => isEncrypted(event) ? { ...event, decrypted: decrypted[next++]! } : event)
  })
}

/**
 * Returns a driver whose reads for decoding also decrypt: an event with personal data carries it in `decrypted`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (keys: Decryption, driver: EventStoreDriver): EventStoreDriver => {
  const decryptPage = <P extends { readonly events: ReadonlyArray<EncodedEvent> }>(page: P) =>
    Effect.map(decryptEvents(keys, page.events), (events): P => events === page.events ? page : { ...page, events })
  const { appended } = driver
  return {
    ...driver,
    appended: appended && {
      ...appended,
      after: (position, limit) =>
        Effect.flatMap(appended.after(position, limit), (events) => decryptEvents(keys, events))
    },
    readStream: (page) => Effect.flatMap(driver.readStream(page), (events) => decryptEvents(keys, events)),
    readAll: (page) => Effect.flatMap(driver.readAll(page), decryptPage),
    readByQuery: (page) => Effect.flatMap(driver.readByQuery(page), decryptPage),
    eventsAt: (positions) =>
      Effect.flatMap(driver.eventsAt(positions), (events) => orEncrypted(decryptEvents(keys, events), events)),
    readCorrelation: (page) =>
      Effect.flatMap(driver.readCorrelation(page), (found) => orEncrypted(decryptPage(found), found)),
    event: (id) =>
      Effect.flatMap(driver.event(id), (found) =>
        Effect.map(
          orEncrypted(decryptEvents(keys, Option.toArray(found)), Option.toArray(found)),
          ([event]) => Option.fromUndefinedOr(event)
        ))
  }
}

/** Returns the events encrypted when there is no key store: a causation tree can be read without one. */
const orEncrypted = <A>(
  decrypted: Effect.Effect<A, EventStoreError>,
  encrypted: A
): Effect.Effect<A, EventStoreError> =>
  Effect.catchIf(decrypted, ({ reason }) => reason._tag === "StoreMisconfigured", () => Effect.succeed(encrypted))
