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
import type { EventStoreDriver } from "./EventStoreDriver.ts"
import * as PayloadHash from "./PayloadHash.ts"

/**
 * Returns new events with their personal data encrypted. They carry the plaintext in `decrypted`, for the inline projections. Adds the hash of a
 * payload with personal data to the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encryptEvents = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt">,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>,
  personalPayload?: string
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
  // Events without personal data do not depend on the key store.
  if (all.length === 0) return batch
  const salted = personalPayload === undefined ? undefined : PayloadHash.salted(personalPayload, subjectsOf(all))
  yield* keys.encrypt(salted === undefined ? all : [...all, ...salted.fields], "reject")
  return plain.map(({ data, event, fields }, index): NewEvent => {
    const hash = index === 0 && salted !== undefined ? { personalPayloadHash: salted.hash() } : {}
    // `encodeMetadata` wrote the text.
    const metadata = () => ({ ...JSON.parse(event.metadata) as Metadata, ...hash })
    // An event whose personal data was erased before it is written again has no such field.
    if (fields.length === 0) {
      return "personalPayloadHash" in hash ? { ...event, metadata: JsonText.make(metadata()) } : event
    }
    return {
      ...event,
      data: JsonText.make(data),
      metadata: JsonText.make({ ...metadata(), subjects: subjectsOf(fields) }),
      decrypted: event.data
    }
  })
})

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
