/**
 * Personal data on its way into the stores and out of them: encrypted before a driver sees it, decrypted as soon as it was read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { EventStoreError } from "../core/errors.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent, NewEvent } from "../event/RecordedEvent.ts"
import { type Keys, parse, rejectEncrypted, rejectSubjects, subjectsOf } from "../personalData/Encryption.ts"
import type { EventStoreDriver } from "./EventStoreDriver.ts"

/**
 * New events with their personal data encrypted. What it was in plaintext stays with them, for those who project them at once.
 *
 * @since 0.1.0
 * @category sealing
 */
export const encryptEvents = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt">,
  events: Event.Any,
  batch: ReadonlyArray<NewEvent>,
  metadata: Metadata
): Effect.fn.Return<ReadonlyArray<NewEvent>, EventStoreError> {
  const located = EventPersonalData.fieldLocators(events)
  const open = batch.map((event) => {
    const locateFields = located.get(event.type)
    const data = locateFields === undefined ? null : parse(event.data)
    return { event, data, fields: locateFields?.(data) ?? [] }
  })
  for (const { event, fields } of open) {
    if (fields.length === 0) continue
    yield* rejectEncrypted(`event "${event.type}"`, event.data)
    yield* rejectSubjects(`event "${event.type}"`, fields)
  }
  const all = open.flatMap(({ fields }) => fields)
  // What has none does not depend on the key store.
  if (all.length === 0) return batch
  yield* keys.encrypt(all, "reject")
  return open.map(({ data, event, fields }): NewEvent =>
    // Some have none any more: their personal data was erased before they were written again.
    fields.length === 0 ? event : {
      ...event,
      data: JSON.stringify(data),
      metadata: JSON.stringify({ ...metadata, subjects: subjectsOf(fields) }),
      decrypted: event.data
    }
  )
})

/**
 * An event that was read some time ago, with as much of its personal data as can be read now.
 *
 * @since 0.1.0
 * @category opening
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
  const isClosed = ({ metadata, decrypted }: E) =>
    metadata.subjects !== undefined && (decrypted === undefined || Result.isFailure(decrypted))
  const closed = events.filter(isClosed)
  if (closed.length === 0) return Effect.succeed(events)
  return Effect.map(keys.decrypt(closed.map(({ data }) => data)), (decrypted) => {
    let next = 0
    return events.map((event) => isClosed(event) ? { ...event, decrypted: decrypted[next++]! } : event)
  })
}

/**
 * A driver whose events, where they are read to be decoded, can be: those that have personal data carry it decrypted, too.
 *
 * @since 0.1.0
 * @category opening
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

/** A trail may be read by somebody who has no key store: who did what is told all the same. */
const orEncrypted = <A>(
  decrypted: Effect.Effect<A, EventStoreError>,
  encrypted: A
): Effect.Effect<A, EventStoreError> =>
  Effect.catchIf(decrypted, ({ reason }) => reason._tag === "StoreMisconfigured", () => Effect.succeed(encrypted))
