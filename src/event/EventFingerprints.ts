/**
 * The fingerprints of a set of events: what a program of another release must have in common to read a stored event in the same way.
 *
 * @since 0.1.0
 */
import * as SchemaFingerprint from "../core/SchemaFingerprint.ts"
import type * as Event from "./Event.ts"
import { legacyOf, upcastersOf } from "./EventAnnotations.ts"
import type { PastVersion } from "./Upcasters.ts"

/**
 * Returns, for each type that the set declares, in the order of the types, the fingerprints of its schema versions, each with the types that it is
 * split into. A retired type has only the text `retired`.
 *
 * **Gotchas**
 *
 * The function of an upcaster has no fingerprint.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (events: Event.Any): ReadonlyArray<readonly [type: string, versions: ReadonlyArray<string>]> => {
  const chains = upcastersOf(events)
  const current = Object.entries(events.cases).map(([type, schema]) =>
    [type, [...pastOf(chains[type]?.past), SchemaFingerprint.make(schema)]] as const
  )
  const before = Object.entries(legacyOf(events)).map(([type, legacy]) =>
    [type, legacy.end === "retired" ? ["retired"] : pastOf(legacy.past)] as const
  )
  return [...current, ...before].toSorted(([a], [b]) => a < b ? -1 : 1)
}

const pastOf = (past: ReadonlyArray<PastVersion> = []): ReadonlyArray<string> =>
  past.map(({ schema, upcaster }) =>
    `${SchemaFingerprint.make(schema)}${
      upcaster._tag === "Split" ? ` into ${upcaster.types.toSorted().join(", ")}` : ""
    }`
  )
