/**
 * All that projections and consumers keep, in memory, for those who look for something in it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EncodedDocument } from "../../consumer/CheckpointDriver.ts"
import type { Parked, ParkingEntry } from "../../consumer/ParkingDriver.ts"
import type { PersonalDataScanDriver, StoredText, StoredTextSource } from "../ProjectionStoreDriver.ts"

/**
 * What of a target is looked through.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kept {
  readonly documents: ReadonlyMap<string, EncodedDocument>
  readonly parked: ReadonlyMap<string, Parked>
  readonly log: ReadonlyArray<ParkingEntry>
}

const words = (...texts: ReadonlyArray<string | undefined>): string =>
  texts.filter((text) => text !== undefined).join(" ")

const textsOf: {
  readonly [Place in StoredTextSource]: (storedTexts: Kept) => ReadonlyArray<Omit<StoredText, "generation">>
} = {
  documents: ({ documents }) =>
    Array.from(documents.values(), ({ document, key }) => ({ key, cursor: key, text: document ?? "" })),
  parked: ({ parked }) =>
    Array.from(parked.values(), ({ error, request, stream }) => ({
      key: stream,
      cursor: stream,
      text: words(error, request?.actor, request?.reason)
    })),
  parkingLog: ({ log }) =>
    log.map(({ actor, detail, stream }, index) => ({
      key: stream,
      // As text it sorts as the number does.
      cursor: String(index).padStart(12, "0"),
      text: words(detail, actor)
    }))
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (states: ReadonlyMap<string, Kept>): PersonalDataScanDriver => {
  const compare = (a: string, b: string) => a < b ? -1 : a > b ? 1 : 0
  return {
    storedTexts: ({ after, in: place, limit }) =>
      Effect.sync(() =>
        Array.from(states).flatMap(([generation, storedTexts]) =>
          textsOf[place](storedTexts).map((text) => ({ generation, ...text }))
        )
          .toSorted((a, b) => compare(a.generation, b.generation) || compare(a.cursor, b.cursor))
          .filter(({ cursor, generation }) =>
            after === undefined || (compare(generation, after.generation) || compare(cursor, after.cursor)) > 0
          )
          .slice(0, limit)
      )
  }
}
