/**
 * Event types over Schema. A plain `Schema.TaggedUnion` is a complete event definition; the combinators here add what only
 * some events need.
 *
 * **Gotchas**
 *
 * The `_tag` of an event is its name in the log. Names are global to a log, so two aggregates that share a log must not
 * use one name for two shapes.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import type { History, Legacy, PastVersion, Retired, Tagged } from "./Upcasters.ts"

export {
  type Ended,
  from,
  type History,
  type Legacy,
  type PastVersion,
  type Retired,
  retired,
  type Step,
  type Tagged,
  type UpcasterChainBuilder
} from "./Upcasters.ts"

/**
 * The Schema of one event type. Its codec must not need services, because an event must decode wherever it is read.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyCase extends Schema.Top {
  readonly Type: Tagged
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * Any set of event types: a `Schema.TaggedUnion`, or a union made into one by `Schema.toTaggedUnion("_tag")`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends AnyCase {
  readonly cases: Readonly<Record<string, AnyCase>>
}

/**
 * The union of the decoded events.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<E extends Any> = E["Type"]

/**
 * The names of the event types.
 *
 * @since 0.1.0
 * @category models
 */
export type Tag<E extends Any> = E["Type"]["_tag"]

/**
 * One event of the set, by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Case<E extends Any, K extends string> = Extract<E["Type"], { readonly _tag: K }>

/**
 * The histories of some events of a set, by name.
 *
 * @since 0.1.0
 * @category history
 */
export type Upcasters<E extends Any> = {
  readonly [K in Tag<E>]?: History<Omit<Case<E, K>, "_tag">, Of<E>, number>
}

/**
 * A set that carries, in its type alone, how many versions its types have.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recorded<out Set, out Stored> {
  readonly Rebuild: Set & Recorded<Set, Stored>
  /** Never there. */
  readonly "~evsrc/Event/versions"?: Stored
}

type StoredOf<E> = E extends { readonly "~evsrc/Event/versions"?: infer Stored } ? unknown extends Stored ? {} : Stored
  : {}

/**
 * By the name of every type that may be in the log, its newest schema version, or `"retired"`.
 *
 * @since 0.1.0
 * @category history
 */
export type Versions<E extends Any> = {
  readonly [K in Tag<E> | (keyof StoredOf<E> & string)]: K extends keyof StoredOf<E> ? NonNullable<StoredOf<E>>[K] : 1
}

const UpcastersAnnotation = "evsrc/event/Event/history"
const LegacyAnnotation = "evsrc/event/Event/legacy"

/**
 * Declares the past schema versions of events, each with a step to the next or into events of now. Events written by older code then decode
 * as current ones; the stored rows keep what was written.
 *
 * @since 0.1.0
 * @category history
 */
export const history = <
  E extends Any,
  const H extends Upcasters<E>
>(
  histories: H & { readonly [K in Exclude<keyof H, Tag<E>>]: "there is no such event in this set" }
) =>
(
  self: E
): E["Rebuild"] & Recorded<E["Rebuild"], { readonly [K in keyof H & string]: VersionOf<H[K]> }> => {
  const before = upcastersOf(self)
  const declared: Readonly<Record<string, AnyUpcasterChain>> = histories
  for (const [name, { past }] of Object.entries(declared)) {
    if (!Object.hasOwn(self.cases, name)) throw new Error(`Event.history: there is no event "${name}" in this set`)
    if (Object.hasOwn(before, name)) throw new Error(`Event.history: "${name}" has a history already`)
    checkTargets("Event.history", self, name, past)
  }
  return self.annotate({ [UpcastersAnnotation]: { ...before, ...declared } })
}

type AnyUpcasterChain = History<unknown, Tagged, number>

type VersionOf<H> = H extends { readonly "~history"?: { readonly version: infer V } | undefined } ? V : never

/**
 * Declares types that are in the log and no longer in the set: renamed, split, or retired. Their events decode as what they mean today; the
 * stored rows keep what was written.
 *
 * **Example** (a type that was renamed, one that was split, one that is gone)
 *
 * ```ts
 * const UserEvent = Schema.TaggedUnion({
 *   UserRegistered: { userId: UserId },
 *   EmailAdded: { userId: UserId, email: Schema.String }
 * }).pipe(Event.legacy({
 *   UserCreated: Event.from({ userId: UserId }).into(["UserRegistered"], (e) => [{ _tag: "UserRegistered", ...e }]),
 *   UserSignedUp: Event.from({ userId: UserId, email: Schema.String })
 *     .into(["UserRegistered", "EmailAdded"], (e) => [
 *       { _tag: "UserRegistered", userId: e.userId },
 *       { _tag: "EmailAdded", ...e }
 *     ]),
 *   UserPoked: Event.retired
 * }))
 * ```
 *
 * @since 0.1.0
 * @category history
 */
export const legacy = <
  E extends Any,
  const L extends Readonly<Record<string, Legacy<Of<E>, number> | Retired>>
>(
  types: L & { readonly [K in keyof L & Tag<E>]: "this event is in the set: use Event.history" }
) =>
(
  self: E
): E["Rebuild"] & Recorded<E["Rebuild"], { readonly [K in keyof L & string]: LegacyVersionOf<L[K]> }> => {
  const before = legacyOf(self)
  const declared: Readonly<Record<string, AnyLegacy>> = types
  for (const [name, type] of Object.entries(declared)) {
    if (Object.hasOwn(self.cases, name)) {
      throw new Error(`Event.legacy: "${name}" is in the set: its past versions belong into Event.history`)
    }
    if (Object.hasOwn(before, name)) throw new Error(`Event.legacy: "${name}" is declared twice`)
    if (type.end === "into") checkTargets("Event.legacy", self, name, type.past)
  }
  return self.annotate({ [LegacyAnnotation]: { ...before, ...declared } })
}

type AnyLegacy = Legacy<Tagged, number> | Retired

type LegacyVersionOf<L> = L extends Retired ? "retired"
  : L extends { readonly "~legacy"?: { readonly version: infer V } | undefined } ? V
  : never

const checkTargets = (maker: string, self: Any, name: string, past: ReadonlyArray<PastVersion>): void => {
  for (const { step } of past) {
    const unknown = step._tag === "Into" ? step.types.find((type) => !Object.hasOwn(self.cases, type)) : undefined
    if (unknown !== undefined) {
      throw new Error(`${maker}: "${name}" goes into "${unknown}", and there is no such event in this set`)
    }
  }
}

/**
 * The declared histories of a set, by event name.
 *
 * @since 0.1.0
 * @category getters
 */
export const upcastersOf = (self: Any): Readonly<Record<string, AnyUpcasterChain>> =>
  // Only `history` and `merge` write this annotation, always with this shape.
  (self.ast.annotations?.[UpcastersAnnotation] ?? {}) as Readonly<Record<string, AnyUpcasterChain>>

/**
 * The types that are no longer in a set, by name.
 *
 * @since 0.1.0
 * @category getters
 */
export const legacyOf = (self: Any): Readonly<Record<string, AnyLegacy>> =>
  // Only `legacy` and `merge` write this annotation, always with this shape.
  (self.ast.annotations?.[LegacyAnnotation] ?? {}) as Readonly<Record<string, AnyLegacy>>

/**
 * The newest schema version of every type that may be in the log. Its type has the very numbers: whoever states them next to the
 * definition has the compiler refuse it when a version is lost.
 *
 * **Example** (a statement that fails to compile when an upcaster is deleted)
 *
 * ```ts
 * Event.versions(UserEvent) satisfies { readonly UserRegistered: 3; readonly UserRenamed: 1; readonly UserPoked: "retired" }
 * ```
 *
 * @since 0.1.0
 * @category getters
 */
export const versions = <E extends Any>(self: E): Versions<E> => {
  const histories = upcastersOf(self)
  const current = Object.keys(self.cases).map((type) => [type, (histories[type]?.past.length ?? 0) + 1] as const)
  const before = Object.entries(legacyOf(self)).map(([type, one]) =>
    [type, one.end === "retired" ? "retired" : one.past.length] as const
  )
  // The numbers that `history` and `legacy` have counted in the type.
  return Object.fromEntries([...current, ...before]) as Versions<E>
}

/**
 * The stored types that can mean one of these events of a set, of all of them where none are named: the names themselves, types that are
 * split into them in one of their past versions, and types that are no longer in the set and lead to them. Whoever reads the log by types
 * has to ask for these. Retired types are not among them.
 *
 * @since 0.1.0
 * @category getters
 */
export const storedTypes = (
  self: Any,
  names: ReadonlyArray<string> = Object.keys(self.cases)
): ReadonlyArray<string> => {
  const leads = ({ past }: { readonly past: ReadonlyArray<PastVersion> }) =>
    past.some(({ step }) => step._tag === "Into" && step.types.some((type) => names.includes(type)))
  const split = Object.entries(upcastersOf(self)).filter(([type, one]) => !names.includes(type) && leads(one))
  const before = Object.entries(legacyOf(self)).filter(([, one]) => one.end === "into" && leads(one))
  return [...names, ...[...split, ...before].map(([type]) => type)]
}

const TagsAnnotation = "evsrc/event/Event/tags"

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
 * Declares by which fields events can be found: `{ course: "courseId" }` gives every event of the set that has a `courseId` the tag
 * `course:<its value>`. An array gives a tag for each element, a missing optional field none.
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
 * @category tags
 */
export const tags =
  <E extends Any>(fields: { readonly [name: string]: NoInfer<TagField<Of<E>>> }) => (self: E): E["Rebuild"] => {
    for (const name of Object.keys(fields)) {
      if (name.length === 0 || name.includes(":")) {
        throw new Error(`Event.tags: the name "${name}" must not be empty or contain ":"`)
      }
    }
    for (const [type, schema] of Object.entries(self.cases)) {
      const personal = PersonalFields.fieldsOf(schema)
      const field = Object.values<string>(fields).find((field) => personal.includes(field))
      if (field !== undefined) {
        throw new Error(
          `Event.tags: "${field}" of "${type}" is personal data and kept encrypted, so it cannot be a tag`
        )
      }
    }
    const before = tagFieldsOf(self)
    const after = Object.keys(self.cases).map((type) => [type, { ...before[type], ...fields }] as const)
    return self.annotate({ [TagsAnnotation]: Object.fromEntries(after) })
  }

/**
 * The declared tags of a set: for each event the names of tags, and the fields they are made from where the event has them.
 *
 * @since 0.1.0
 * @category getters
 */
export const tagFieldsOf = (self: Any): Readonly<Record<string, Readonly<Record<string, string>>>> =>
  // Only `tags` and `merge` write this annotation, always with this shape.
  (self.ast.annotations?.[TagsAnnotation] ?? {}) as Readonly<Record<string, Readonly<Record<string, string>>>>

/**
 * The text of a tag.
 *
 * @since 0.1.0
 * @category tags
 */
export const tag = (name: string, value: string): string => `${name}:${value}`

/**
 * The events of several sets in one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Merged<Sets extends ReadonlyArray<Any>>
  extends Schema.Codec<Of<Sets[number]>, Sets[number]["Encoded"]>
{
  readonly cases: Types.UnionToIntersection<Sets[number]["cases"]>
  readonly "~evsrc/Event/versions"?: Types.UnionToIntersection<StoredOf<Sets[number]>>
}

/**
 * One set of the events of several, with their histories, legacy types and tags. Throws when two sets share the name of an event, be it one of
 * now or one that is no longer in its set.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = <const Sets extends ReadonlyArray<Any>>(...sets: Sets): Merged<Sets> => {
  const names = sets.flatMap((set) => [...Object.keys(set.cases), ...Object.keys(legacyOf(set))])
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw new Error(`Event.merge: there are two events of the name "${twice}"`)
  const annotations = {
    [UpcastersAnnotation]: Object.assign({}, ...sets.map(upcastersOf)),
    [LegacyAnnotation]: Object.assign({}, ...sets.map(legacyOf)),
    [TagsAnnotation]: Object.assign({}, ...sets.map(tagFieldsOf))
  }
  const cases = sets.flatMap((set) => Object.values(set.cases))
  const union = Schema.Union(cases).annotate(annotations)
  // The union of the cases of all sets, which the compiler has lost with their names.
  return Schema.toTaggedUnion("_tag")(union) as Schema.Top as Merged<Sets>
}
