/**
 * The stored texts of a projection store in memory; an erasure searches them for personal data.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { PersonalDataScanDriver, StoredText, StoredTextSource } from "../ProjectionStoreDriver.ts"
import type { GenerationState, MemoryState } from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ generations }: MemoryState): PersonalDataScanDriver => ({
  storedTexts: ({ after, in: source, limit }) =>
    Effect.sync(() =>
      Array.from(generations)
        .flatMap(([generation, state]) => textsOf[source](state).map((text) => ({ generation, ...text })))
        .toSorted((a, b) => compare(a.generation, b.generation) || compare(a.cursor, b.cursor))
        .filter(({ cursor, generation }) =>
          after === undefined || (compare(generation, after.generation) || compare(cursor, after.cursor)) > 0
        )
        .slice(0, limit)
    )
})

const compare = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

const join = (...texts: ReadonlyArray<string | undefined>): string =>
  texts.filter((text) => text !== undefined).join(" ")

const textsOf: {
  readonly [Source in StoredTextSource]: (state: GenerationState) => ReadonlyArray<Omit<StoredText, "generation">>
} = {
  documents: ({ documents }) =>
    Array.from(documents.values(), ({ document, key }) => ({ key, cursor: key, text: document ?? "" })),
  parked: ({ parked }) =>
    Array.from(parked.values(), ({ error, key, partition, request }) => ({
      key,
      // The partition is last: a key may move to another one between two pages.
      cursor: `${key} ${String(partition).padStart(3, "0")}`,
      text: join(error, request?.actor, request?.reason)
    })),
  parkingLog: ({ log }) =>
    log.map(({ actor, detail, key }, index) => ({
      key,
      // Padded, so that text order is numeric order.
      cursor: String(index).padStart(12, "0"),
      text: join(detail, actor)
    }))
}
