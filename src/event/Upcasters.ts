/**
 * What the payload of an event was in earlier releases, and what it means today: a path from each past schema version to events of now.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

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
 * What becomes of a payload.
 *
 * - `Upcast`: the payload of the next version
 * - `Into`: events of now, each of one of `types`
 *
 * @since 0.1.0
 * @category history
 */
export type Step =
  | { readonly _tag: "Upcast"; readonly upcast: (payload: never) => unknown }
  | {
    readonly _tag: "Into"
    readonly types: ReadonlyArray<string>
    readonly into: (payload: never) => ReadonlyArray<unknown>
  }

/**
 * A past version of an event's payload, and the step that leads on from it.
 *
 * @since 0.1.0
 * @category history
 */
export interface PastVersion {
  readonly schema: Schema.Top & { readonly DecodingServices: never; readonly EncodingServices: never }
  readonly step: Step
}

/**
 * A complete path from an event's first schema version to its current payload. Its length is the number of past versions; the current
 * schema version, `Version`, is one more.
 *
 * - `end`: whether the last past version is upcast to the current payload, or becomes events of its own
 *
 * @since 0.1.0
 * @category history
 */
export interface History<out Current, out Into extends Tagged, out Version extends number> {
  readonly past: ReadonlyArray<PastVersion>
  readonly end: "current" | "into"
  /** Never there: it only carries types. */
  readonly "~history"?: { readonly current: Current; readonly into: Into; readonly version: Version }
}

/**
 * The paths of a type that is not written any more: each of its versions leads to other events.
 *
 * @since 0.1.0
 * @category history
 */
export interface Legacy<out Into extends Tagged, out Version extends number> {
  readonly past: ReadonlyArray<PastVersion>
  readonly end: "into"
  /** Never there: it only carries types. */
  readonly "~legacy"?: { readonly into: Into; readonly version: Version }
}

/**
 * A type that is not written any more and means nothing today, in whatever version.
 *
 * @since 0.1.0
 * @category history
 */
export interface Retired {
  readonly end: "retired"
}

/** Versions are counted by the length of a tuple. */
type Versions = ReadonlyArray<unknown>
type Next<asOfReads extends Versions> = [...asOfReads, unknown]

/**
 * A path whose last version so far became events of its own. That is its end, or `from` begins the version that came after.
 *
 * @since 0.1.0
 * @category history
 */
export interface Ended<out Into extends Tagged, asOfReads extends Versions>
  extends History<never, Into, Next<asOfReads>["length"]>, Legacy<Into, asOfReads["length"]>
{
  readonly end: "into"
  /** The fields of the past version after the one that became events of its own. */
  readonly from: <const Fields extends Schema.Struct.Fields>(
    fields: Fields & Servicefree<Fields>
  ) => UpcasterChainBuilder<Schema.Struct<Fields>["Type"], Into, Next<asOfReads>>
}

/**
 * A path that has not come to an end yet: continue it with `to`, end it with `toCurrent` or `into`.
 *
 * @since 0.1.0
 * @category history
 */
export interface UpcasterChainBuilder<Payload, Into extends Tagged, asOfReads extends Versions> {
  /** The next past version's fields, and the upcaster that leads to it. */
  readonly to: <const Fields extends Schema.Struct.Fields>(
    fields: Fields & Servicefree<Fields>,
    upcast: (payload: Payload) => Schema.Struct<Fields>["Type"]
  ) => UpcasterChainBuilder<Schema.Struct<Fields>["Type"], Into, Next<asOfReads>>
  /** The upcaster that leads to the current payload (without `_tag`). */
  readonly toCurrent: <const Current>(
    upcast: (payload: Payload) => Current
  ) => History<Current, Into, Next<asOfReads>["length"]>
  /**
   * What this version means today, as events of `types`, in order: one for an event that was renamed, several for one that was split, none
   * for one that does not count any more. Readers that ask for one of `types` are given these events too, others are not.
   */
  readonly into: <const Type extends string, const Out extends { readonly _tag: NoInfer<Type> }>(
    types: ReadonlyArray<Type>,
    into: (payload: Payload) => ReadonlyArray<Out>
  ) => Ended<Into | Out, asOfReads>
}

type Servicefree<Fields extends Schema.Struct.Fields> =
  [Schema.Struct<Fields>["DecodingServices"] | Schema.Struct<Fields>["EncodingServices"]] extends [never] ? unknown
    : "the fields of a stored event must not need services"

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
): UpcasterChainBuilder<Schema.Struct<Fields>["Type"], never, [unknown]> => builder([], fields)

/**
 * A type that means nothing any more: its events stay in the log and are passed over.
 *
 * @since 0.1.0
 * @category history
 */
export const retired: Retired = { end: "retired" }

const builder = <Payload, Into extends Tagged, asOfReads extends Versions>(
  past: ReadonlyArray<PastVersion>,
  fields: Schema.Struct.Fields
): UpcasterChainBuilder<Payload, Into, asOfReads> => {
  // `Servicefree` has refused fields with services; the compiler cannot see that through the erased field record.
  const schema = Schema.Struct(fields) as Schema.Top as PastVersion["schema"]
  const after = (step: Step): ReadonlyArray<PastVersion> => [...past, { schema, step }]
  return {
    to: (next, upcast) => builder(after({ _tag: "Upcast", upcast }), next),
    toCurrent: (upcast) => ({ past: after({ _tag: "Upcast", upcast }), end: "current" }),
    into: (types, into) => {
      const ended = after({ _tag: "Into", types, into })
      return { past: ended, end: "into", from: (next) => builder(ended, next) }
    }
  }
}
