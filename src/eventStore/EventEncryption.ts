/**
 * Encrypts the personal data of events before a driver sees it, and decrypts it after a read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { EventStoreError } from "../core/errors.ts"
import * as JsonText from "../core/JsonText.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent, NewEvent } from "../event/RecordedEvent.ts"
import { type Keys, parse, rejectEncrypted, rejectSubjects, subjectsOf } from "../personalData/KeyStoreLookup.ts"
import type * as PersonalFields from "../personalData/PersonalFields.ts"
import { withPayloadHash } from "./AppendCodec.ts"
import type { EventStoreDriver } from "./EventStoreDriver.ts"
import * as PayloadHash from "./PayloadHash.ts"

/**
 * Returns new events with their personal data encrypted. They carry the plaintext in `decrypted`, for the inline projections. The first event gets
 * the hashes of the content that its command id stands for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encryptEvents = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt">,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>,
  content: PayloadHash.Content | undefined
): Effect.fn.Return<ReadonlyArray<NewEvent>, EventStoreError> {
  const located = EventPersonalData.fieldLocators(events)
  const plain = batch.map((event) => {
    const locateFields = located.get(event.type)
    const data = locateFields === undefined ? null : parse(event.data)
    return { event, data, fields: locateFields?.(data) ?? [] }
  })
  for (const { event, fields } of plain) {
    if (fields.length === 0) continue
    yield* rejectEncrypted(`event "${event.type}"`, event.data)
    yield* rejectSubjects(`event "${event.type}"`, fields)
  }
  const all = plain.flatMap(({ fields }) => fields)
  const subjects = new Set(subjectsOf(all))
  const saltedSubjects = content === undefined || content.open === content.whole
    ? []
    : Array.from(new Set([...subjects, ...content.subjects]))
  // What has no personal data does not depend on the key store.
  if (all.length === 0 && saltedSubjects.length === 0) {
    return content === undefined ? batch : withHash(batch, content.withoutPersonal)
  }
  const salted = content === undefined || saltedSubjects.length === 0
    ? undefined
    : PayloadHash.salted(content.whole, saltedSubjects)
  const salts = salted?.fields ?? []
  const isOfEvents = ({ subject }: PersonalFields.LocatedField) => subjects.has(String(subject))
  if (all.length > 0) yield* keys.encrypt([...all, ...salts.filter(isOfEvents)], "reject")
  // The payload may name a subject that was erased. Without its salt, nobody can compute the hash.
  const others = salts.filter((salt) => !isOfEvents(salt))
  if (others.length > 0) yield* keys.encrypt(others, "erase")
  const encrypted = plain.map(({ data, event, fields }, index): NewEvent => {
    const hash = index === 0 && salted !== undefined ? { personalPayloadHash: salted.hash() } : undefined
    // An event whose personal data was erased before it is written again has no such field.
    const own = fields.length === 0 ? undefined : { subjects: subjectsOf(fields) }
    if (hash === undefined && own === undefined) return event
    // `encodeMetadata` wrote the text.
    const metadata = JsonText.make({ ...JSON.parse(event.metadata) as Metadata, ...hash, ...own })
    return own === undefined
      ? { ...event, metadata }
      : { ...event, data: JsonText.make(data), metadata, decrypted: event.data }
  })
  if (content === undefined) return encrypted
  return withHash(encrypted, salted === undefined ? content.withoutPersonal : content.open)
})

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

/**
 * Decrypts an event that was read earlier once more, so that what was erased since is erased in it too.
 *
 * @since 0.1.0
 * @category constructors
 */
export const decryptAgain = (
  keys: Pick<Keys, "decrypt">,
  { decrypted: _, ...event }: EncodedEvent
): Effect.Effect<EncodedEvent, EventStoreError> =>
  Effect.map(decryptEvents<EncodedEvent>(keys, [event]), ([decryptedAgain]) => decryptedAgain!)

const decryptEvents = <E extends EncodedEvent>(
  keys: Pick<Keys, "decrypt">,
  events: ReadonlyArray<E>
): Effect.Effect<ReadonlyArray<E>, EventStoreError> => {
  const isEncrypted = ({ metadata, decrypted }: E) =>
    metadata.subjects !== undefined && (decrypted === undefined || Result.isFailure(decrypted))
  const encrypted = events.filter(isEncrypted)
  if (encrypted.length === 0) return Effect.succeed(events)
  return Effect.map(keys.decrypt(encrypted.map(({ data }) => data)), (decrypted) => {
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
export const make = (keys: Pick<Keys, "decrypt">, driver: EventStoreDriver): EventStoreDriver => {
  const decryptPage = <P extends { readonly events: ReadonlyArray<EncodedEvent> }>(page: P) =>
    Effect.map(decryptEvents(keys, page.events), (events): P => events === page.events ? page : { ...page, events })
  return {
    ...driver,
    readStream: (page) => Effect.flatMap(driver.readStream(page), (events) => decryptEvents(keys, events)),
    readAll: (page) => Effect.flatMap(driver.readAll(page), decryptPage),
    readByQuery: (page) => Effect.flatMap(driver.readByQuery(page), decryptPage),
    readCorrelation: (page) =>
      Effect.flatMap(driver.readCorrelation(page), (events) => orEncrypted(decryptEvents(keys, events), events)),
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
