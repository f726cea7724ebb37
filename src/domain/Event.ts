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
import * as Personal from "./Personal.ts"

/**
 * A value told apart by its `_tag`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tagged {
  readonly _tag: string
}

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
 * A past version of an event's payload, and the function that turns it into the next version.
 *
 * @since 0.1.0
 * @category history
 */
export interface PastVersion {
  readonly schema: Schema.Top & { readonly DecodingServices: never }
  readonly upcast: (payload: never) => unknown
}

/**
 * A complete path from an event's first schema version to its current payload. Its length is the number of past versions;
 * the current schema version is one more.
 *
 * @since 0.1.0
 * @category history
 */
export interface History<out Current> {
  readonly past: ReadonlyArray<PastVersion>
  readonly "~current": (_: never) => Current
}

/**
 * A path that has not reached the current payload yet: continue it with `to`, end it with `toCurrent`.
 *
 * @since 0.1.0
 * @category history
 */
export interface HistoryBuilder<Payload> {
  /** The next past version's fields, and the upcaster that leads to it. */
  readonly to: <const Fields extends Schema.Struct.Fields>(
    fields: Fields & Servicefree<Fields>,
    upcast: (payload: Payload) => Schema.Struct<Fields>["Type"]
  ) => HistoryBuilder<Schema.Struct<Fields>["Type"]>
  /** The upcaster that leads to the current payload (without `_tag`). */
  readonly toCurrent: <const Current>(upcast: (payload: Payload) => Current) => History<Current>
}

type Servicefree<Fields extends Schema.Struct.Fields> = Schema.Struct<Fields>["DecodingServices"] extends never ?
  unknown
  : "the fields of a stored event must not need services to decode"

/**
 * Starts the history of an event with the fields its payload had in schema version 1.
 *
 * **Example** (one past version)
 *
 * ```ts
 * const UserEvent = Schema.TaggedUnion({
 *   UserRegistered: { userId: UserId, name: Schema.NonEmptyString }
 * }).pipe(Event.history({
 *   UserRegistered: Event.from({ userId: UserId, fullName: Schema.String })
 *     .toCurrent((v1) => ({ userId: v1.userId, name: v1.fullName || "?" }))
 * }))
 * ```
 *
 * @since 0.1.0
 * @category history
 */
export const from = <const Fields extends Schema.Struct.Fields>(
  fields: Fields & Servicefree<Fields>
): HistoryBuilder<Schema.Struct<Fields>["Type"]> => builder([], fields)

const builder = <Payload>(past: ReadonlyArray<PastVersion>, fields: Schema.Struct.Fields): HistoryBuilder<Payload> => {
  // `Servicefree` has refused fields with services; the compiler cannot see that through the erased field record.
  const schema = Schema.Struct(fields) as Schema.Struct<Schema.Struct.Fields> & { readonly DecodingServices: never }
  return {
    to: (next, upcast) => builder([...past, { schema, upcast }], next),
    toCurrent: <Current>(upcast: (payload: Payload) => Current): History<Current> => ({
      past: [...past, { schema, upcast }],
      "~current": absurd
    })
  }
}

const absurd = (_: never): never => {
  throw new Error("a History carries its type only; it is not a function to call")
}

/**
 * The histories of some events of a set, by name.
 *
 * @since 0.1.0
 * @category history
 */
export type Histories<E extends Any> = {
  readonly [K in Tag<E>]?: History<Omit<Case<E, K>, "_tag">>
}

const HistoryAnnotation = "evsrc/domain/Event/history"

/**
 * Declares the past schema versions of events, each with an upcaster to the next. Events written by older code then decode
 * as current ones; the stored rows keep what was written.
 *
 * @since 0.1.0
 * @category history
 */
export const history = <E extends Any>(histories: NoInfer<Histories<E>>) => (self: E): E["Rebuild"] => {
  for (const name of Object.keys(histories)) {
    if (!Object.hasOwn(self.cases, name)) throw new Error(`Event.history: there is no event "${name}" in this set`)
  }
  return self.annotate({ [HistoryAnnotation]: { ...historiesOf(self), ...histories } })
}

/**
 * The declared histories of a set, by event name.
 *
 * @since 0.1.0
 * @category getters
 */
export const historiesOf = (self: Any): Readonly<Record<string, History<unknown>>> =>
  // Only `history` and `merge` write this annotation, always with this shape.
  (self.ast.annotations?.[HistoryAnnotation] ?? {}) as Readonly<Record<string, History<unknown>>>

const TagsAnnotation = "evsrc/domain/Event/tags"

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
      const personal = Personal.fieldsOf(schema)
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
}

/**
 * One set of the events of several, with their histories and tags. Throws when two sets share an event name.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = <const Sets extends ReadonlyArray<Any>>(...sets: Sets): Merged<Sets> => {
  const annotations = {
    [HistoryAnnotation]: Object.assign({}, ...sets.map(historiesOf)),
    [TagsAnnotation]: Object.assign({}, ...sets.map(tagFieldsOf))
  }
  const cases = sets.flatMap((set) => Object.values(set.cases))
  const union = Schema.Union(cases).annotate(annotations)
  // The union of the cases of all sets, which the compiler has lost with their names.
  return Schema.toTaggedUnion("_tag")(union) as Schema.Top as Merged<Sets>
}
