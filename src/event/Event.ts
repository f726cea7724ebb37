/**
 * Event types over Schema. A plain `Schema.TaggedUnion` is a complete event definition. The combinators here add what only some events need:
 * upcasters, legacy types and tags.
 *
 * **Gotchas**
 *
 * The `_tag` of an event is its name in the log. Names are global to a log: two aggregates that share a log must not use one name for two
 * shapes.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import {
  type AnyLegacy,
  type AnyUpcasterChain,
  type DeclaredTags,
  LegacyAnnotation,
  legacyOf,
  type StoredVersions,
  tagFieldsOf,
  TagsAnnotation,
  UpcastersAnnotation,
  upcastersOf
} from "./EventAnnotations.ts"
import * as EventTags from "./EventTags.ts"
import type { Legacy, PastVersion, Retired, Tagged, UpcasterChain } from "./Upcasters.ts"

export { type EventConflict, merge, type Merged } from "./EventMerge.ts"
export {
  from,
  type Legacy,
  type PastVersion,
  type Retired,
  retired,
  type SplitChain,
  type Tagged,
  type Upcaster,
  type UpcasterChain,
  type UpcasterChainBuilder
} from "./Upcasters.ts"

/**
 * The Schema of one event type. Its codec must not need services, because an event must decode wherever it is read.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyCase extends Schema.Constraint {
  readonly Type: Tagged
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * Any set of event types: a `Schema.TaggedUnion`, or a union that `Schema.toTaggedUnion("_tag")` has made into one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends AnyCase {
  readonly cases: Readonly<Record<string, AnyCase>>
  readonly Rebuild: unknown
}

/**
 * The union of the decoded events of a set.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<E extends Any> = E["Type"]

/**
 * The names of the event types of a set.
 *
 * @since 0.1.0
 * @category models
 */
export type Tag<E extends Any> = E["Type"]["_tag"]

/**
 * The event of a set that has the name `K`.
 *
 * @since 0.1.0
 * @category models
 */
export type Case<E extends Any, K extends string> = Extract<E["Type"], { readonly _tag: K }>

/**
 * The upcaster chains of some events of a set, by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Upcasters<E extends Any> = {
  readonly [K in Tag<E>]?: UpcasterChain<Omit<Case<E, K>, "_tag">, Of<E>, number>
}

/**
 * A set whose type also carries the current schema version of each event that has upcasters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Versioned<out Set, out Stored> {
  readonly Rebuild: Set & Versioned<Set, Stored>
  /** Carries types only; it has no value. */
  readonly "~evsrc/Event/versions"?: Stored
}

/**
 * A set whose type also carries the tags that `tags` has declared: their names, each with the fields that hold its values.
 *
 * @since 0.1.0
 * @category models
 */
export interface WithTags<out Set, out Declared> {
  readonly Rebuild: Set & WithTags<Set, Declared>
  /** Carries types only; it has no value. */
  readonly "~evsrc/Event/tags"?: Declared
}

/**
 * The names of the tags that a set declares; `string` for a set whose type is not known.
 *
 * @since 0.1.0
 * @category models
 */
export type TagName<E extends Any> = string extends Tag<E> ? string : keyof DeclaredTags<E> & string

/**
 * The names of the tags that a set declares, where one of them is required: for a set without tags, the compiler's message says so.
 *
 * @since 0.1.0
 * @category models
 */
export type DeclaredTag<E extends Any> = [TagName<E>] extends [never] ? NoTagsDeclared & string : TagName<E>

/**
 * The texts of the tags that events of a set can have.
 *
 * @since 0.1.0
 * @category models
 */
export type TagText<E extends Any> = string extends Tag<E> ? string : TagTextOf<TagName<E>>

// An interface, so that the compiler's message shows its name.
interface NoTagsDeclared {
  readonly "these events have no tags; declare them by Event.tags": never
}

type TagTextOf<Name extends string> = [Name] extends [never] ? NoTagsDeclared & string : `${Name}:${string}`

/**
 * The current schema version of every type that may be in the log, by name; `"retired"` for a retired type.
 *
 * @since 0.1.0
 * @category models
 */
export type Versions<E extends Any> = {
  readonly [K in Tag<E> | (keyof StoredVersions<E> & string)]: K extends keyof StoredVersions<E>
    ? NonNullable<StoredVersions<E>>[K]
    : 1
}

/**
 * Adds upcaster chains to events of a set. Events that older code has written then decode as current ones; the stored rows do not change.
 *
 * @since 0.1.0
 * @category combinators
 */
export const upcasters = <
  E extends Any,
  const H extends Upcasters<E>
>(
  chains: H & { readonly [K in Exclude<keyof H, Tag<E>>]: "there is no such event in this set" }
) =>
(
  self: E
): E["Rebuild"] & Versioned<E["Rebuild"], { readonly [K in keyof H & string]: VersionOf<H[K]> }> => {
  const before = upcastersOf(self)
  const declared: Readonly<Record<string, AnyUpcasterChain>> = chains
  for (const [name, { past }] of Object.entries(declared)) {
    if (!Object.hasOwn(self.cases, name)) {
      throw new Error(
        `Event.upcasters: there is no event "${name}" in this set, which has ${
          namesOf(self)
        }; correct the name, or declare it by Event.legacy`
      )
    }
    if (Object.hasOwn(before, name)) {
      throw new Error(`Event.upcasters: event "${name}" already has upcasters; declare all its versions in one chain`)
    }
    validateSplits("Event.upcasters", self, name, past)
  }
  return annotate(self, { [UpcastersAnnotation]: { ...before, ...declared } })
}

type VersionOf<H> = H extends { readonly "~chain"?: { readonly version: infer V } | undefined } ? V : never

/**
 * Declares types that are in the log and no longer in the set: renamed, split or retired. Their events decode as the current events that
 * replace them; the stored rows do not change.
 *
 * **Example** (a renamed type, a split one and a retired one)
 *
 * ```ts
 * const UserEvent = Schema.TaggedUnion({
 *   UserRegistered: { userId: UserId },
 *   EmailAdded: { userId: UserId, email: Schema.String }
 * }).pipe(Event.legacy({
 *   UserCreated: Event.from({ userId: UserId }).renamedTo("UserRegistered", (e) => e),
 *   UserSignedUp: Event.from({ userId: UserId, email: Schema.String })
 *     .splitInto(["UserRegistered", "EmailAdded"], (e) => [
 *       { _tag: "UserRegistered", userId: e.userId },
 *       { _tag: "EmailAdded", ...e }
 *     ]),
 *   UserPoked: Event.retired
 * }))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const legacy = <
  E extends Any,
  const L extends Readonly<Record<string, Legacy<Of<E>, number> | Retired>>
>(
  types: L & { readonly [K in keyof L & Tag<E>]: "this event is in the set: use Event.upcasters" }
) =>
(
  self: E
): E["Rebuild"] & Versioned<E["Rebuild"], { readonly [K in keyof L & string]: LegacyVersionOf<L[K]> }> => {
  const before = legacyOf(self)
  const declared: Readonly<Record<string, AnyLegacy>> = types
  for (const [name, type] of Object.entries(declared)) {
    if (Object.hasOwn(self.cases, name)) {
      throw new Error(`Event.legacy: event "${name}" is in the set; declare its past versions by Event.upcasters`)
    }
    if (Object.hasOwn(before, name)) {
      throw new Error(`Event.legacy: event "${name}" is declared twice; declare all its versions in one chain`)
    }
    if (type.end === "split") validateSplits("Event.legacy", self, name, type.past)
  }
  return annotate(self, { [LegacyAnnotation]: { ...before, ...declared } })
}

type LegacyVersionOf<L> = L extends Retired ? "retired"
  : L extends { readonly "~legacy"?: { readonly version: infer V } | undefined } ? V
  : never

const namesOf = (events: Any): string => Object.keys(events.cases).join(", ")

const validateSplits = (maker: string, events: Any, name: string, past: ReadonlyArray<PastVersion>): void => {
  for (const { upcaster } of past) {
    const unknown = upcaster._tag === "Split"
      ? upcaster.types.find((type) => !Object.hasOwn(events.cases, type))
      : undefined
    if (unknown !== undefined) {
      throw new Error(
        `${maker}: event "${name}" is renamed to or split into "${unknown}", which is not in this set; the set has ${
          namesOf(events)
        }`
      )
    }
  }
}

/**
 * Returns the current schema version of every type that may be in the log. The type of the result holds the same numbers, so that a
 * `satisfies` beside the definition fails to compile when an upcaster is deleted.
 *
 * **Example** (a statement that fails to compile when an upcaster is deleted)
 *
 * ```ts
 * Event.versions(UserEvent) satisfies { readonly UserRegistered: 3; readonly UserRenamed: 1; readonly UserPoked: "retired" }
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const versions = <E extends Any>(self: E): Versions<E> => {
  const chains = upcastersOf(self)
  const current = Object.keys(self.cases).map((type) => [type, (chains[type]?.past.length ?? 0) + 1] as const)
  const before = Object.entries(legacyOf(self)).map(([type, one]) =>
    [type, one.end === "retired" ? "retired" : one.past.length] as const
  )
  // The numbers that `upcasters` and `legacy` have counted in the type.
  return Object.fromEntries([...current, ...before]) as Versions<E>
}

/**
 * Returns the stored types that can decode as one of the named events, by default as any event of the set: the names themselves, types that a
 * past version splits into them, and legacy types that lead to them. Retired types are not included. A reader that selects encoded events by
 * type needs these names.
 *
 * @since 0.1.0
 * @category accessors
 */
export const storedTypes = (
  self: Any,
  names: ReadonlyArray<string> = Object.keys(self.cases)
): ReadonlyArray<string> => {
  const leadsToNames = ({ past }: { readonly past: ReadonlyArray<PastVersion> }) =>
    past.some(({ upcaster }) => upcaster._tag === "Split" && upcaster.types.some((type) => names.includes(type)))
  const split = Object.entries(upcastersOf(self)).filter(([type, one]) => !names.includes(type) && leadsToNames(one))
  const before = Object.entries(legacyOf(self)).filter(([, one]) => one.end === "split" && leadsToNames(one))
  return [...names, ...[...split, ...before].map(([type]) => type)]
}

/**
 * Returns the current events of a set that an event of a stored type can decode to: the type itself if it is in the set, and those into which a
 * past version is split.
 *
 * @since 0.1.0
 * @category accessors
 */
export const currentTypes = (self: Any, stored: string): ReadonlyArray<string> => {
  const chain = upcastersOf(self)[stored] ?? legacyOf(self)[stored]
  const past: ReadonlyArray<PastVersion> = chain !== undefined && "past" in chain ? chain.past : []
  const split = past.flatMap(({ upcaster }) => upcaster._tag === "Split" ? upcaster.types : [])
  return Array.from(new Set(Object.hasOwn(self.cases, stored) ? [stored, ...split] : split))
}

/**
 * Returns every type that a set declares: its events, and its legacy and retired types.
 *
 * @since 0.1.0
 * @category accessors
 */
export const declaredTypes = (self: Any): ReadonlyArray<string> => [
  ...Object.keys(self.cases),
  ...Object.keys(legacyOf(self))
]

/** The fields of events whose values can be tags: strings, and arrays of strings. */
type TagField<E> = E extends unknown ?
    & {
      readonly [K in keyof E]: K extends "_tag" ? never
        : NonNullable<E[K]> extends string | ReadonlyArray<string> ? K
        : never
    }[keyof E]
    & string
  : never

/**
 * Adds tags to a set, by which a query finds its events: `{ course: "courseId" }` gives every event of the set that has a `courseId` the tag
 * `course:<its value>`. An array gives one tag for each element; a missing optional field gives none.
 *
 * **Example** (events of courses and students)
 *
 * ```ts
 * const CourseEvent = Schema.TaggedUnion({
 *   CourseDefined: { courseId: Schema.String, capacity: Schema.Int },
 *   StudentEnrolled: { courseId: Schema.String, studentId: Schema.String }
 * }).pipe(Event.tags({ course: "courseId", student: "studentId" }))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const tags =
  <E extends Any, const Fields extends { readonly [name: string]: NoInfer<TagField<Of<E>>> }>(fields: Fields) =>
  (self: E): E["Rebuild"] & WithTags<E["Rebuild"], Fields> => {
    for (const name of Object.keys(fields)) {
      if (name.length === 0 || name.includes(":")) {
        throw new Error(
          `Event.tags: the name of a tag must not be empty or contain ":", which "${name}" does; rename it`
        )
      }
    }
    const cases = Object.values(self.cases)
    for (const [name, field] of Object.entries<string>(fields)) {
      if (cases.some((schema) => EventTags.hasField(schema, field))) continue
      throw new Error(
        `Event.tags: no event of the set has the field "${field}" of the tag "${name}"; the set has ${namesOf(self)}`
      )
    }
    for (const [type, schema] of Object.entries(self.cases)) {
      const personal = PersonalFields.fieldsOf(schema)
      const field = Object.values<string>(fields).find((field) => personal.includes(field))
      if (field !== undefined) {
        throw new Error(
          `Event.tags: field "${field}" of event "${type}" is personal data and stored encrypted, so it cannot be a tag; tag the `
            + `event by an id`
        )
      }
    }
    const before = tagFieldsOf(self)
    const after = Object.keys(self.cases).map((type) => [type, { ...before[type], ...fields }] as const)
    return annotate(self, { [TagsAnnotation]: Object.fromEntries(after) })
  }

/**
 * Returns the text of a tag: `<name>:<value>`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tag = <const Name extends string>(name: Name, value: string): `${Name}:${string}` => `${name}:${value}`

/** Returns the set with further annotations. What its type carries beside them is the caller's. */
const annotate = (self: Any, annotations: Readonly<Record<string, unknown>>) =>
  // Every set is a whole Schema; `Any` lists only the part of it that is cheap for the compiler to compare.
  (self as Any as Schema.Top & Any).annotate(annotations)
