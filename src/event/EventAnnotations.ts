/**
 * The annotations that the combinators of `Event` write on a set of events, the accessors that read them, and what the type of a set carries.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import type { Legacy, Retired, Tagged, UpcasterChain } from "./Upcasters.ts"

/** The key of the upcaster chains, by event name. */
export const UpcastersAnnotation = "evsrc/event/Event/upcasters"

/** The key of the types that are no longer in the set, by name. */
export const LegacyAnnotation = "evsrc/event/Event/legacy"

/** The key of the tags, by event name: each tag's name with the field that holds its value. */
export const TagsAnnotation = "evsrc/event/Event/tags"

/** The upcaster chain of any event. */
export type AnyUpcasterChain = UpcasterChain<unknown, Tagged, number>

/** Any type that is no longer in its set. */
export type AnyLegacy = Legacy<Tagged, number> | Retired

/**
 * Returns the upcaster chains of a set, by event name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const upcastersOf = (events: Schema.Constraint): Readonly<Record<string, AnyUpcasterChain>> =>
  // Only `Event.upcasters` and `Event.merge` write this annotation, always with this shape.
  (events.ast.annotations?.[UpcastersAnnotation] ?? {}) as Readonly<Record<string, AnyUpcasterChain>>

/**
 * Returns the types that are no longer in a set, by name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const legacyOf = (events: Schema.Constraint): Readonly<Record<string, AnyLegacy>> =>
  // Only `Event.legacy` and `Event.merge` write this annotation, always with this shape.
  (events.ast.annotations?.[LegacyAnnotation] ?? {}) as Readonly<Record<string, AnyLegacy>>

/**
 * Returns the declared tags of a set, by event name: the names of the tags, each with the field that holds its value.
 *
 * @since 0.1.0
 * @category accessors
 */
export const tagFieldsOf = (events: Schema.Constraint): Readonly<Record<string, Readonly<Record<string, string>>>> =>
  // Only `Event.tags` and `Event.merge` write this annotation, always with this shape.
  (events.ast.annotations?.[TagsAnnotation] ?? {}) as Readonly<Record<string, Readonly<Record<string, string>>>>

/** The schema versions that the type of a set carries, by event name. */
export type StoredVersions<E> = E extends { readonly "~evsrc/Event/versions"?: infer Stored } ?
  unknown extends Stored ? {} : Stored
  : {}

/** The tags that the type of a set carries: their names, each with the fields that hold its values. */
export type DeclaredTags<E> = E extends { readonly "~evsrc/Event/tags"?: infer Declared } ?
  unknown extends Declared ? {} : NonNullable<Declared>
  : {}
