/**
 * Upcaster chains: the past schema versions of an event's payload, and the upcasters that turn each into current events.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * A value whose type is named by its `_tag`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tagged {
  readonly _tag: string
}

/**
 * One upcaster of a chain.
 *
 * - `Upcast`: returns the payload of the next version
 * - `Split`: returns current events, each of one of `types`. A rename is a split into one event
 *
 * @since 0.1.0
 * @category models
 */
export type Upcaster =
  | { readonly _tag: "Upcast"; readonly upcast: (payload: never) => unknown }
  | {
    readonly _tag: "Split"
    readonly types: ReadonlyArray<string>
    readonly split: (payload: never) => ReadonlyArray<unknown>
  }

/**
 * A past schema version of an event's payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface PastVersion {
  /** The Schema of the payload in this version. */
  readonly schema: Schema.Top & { readonly DecodingServices: never; readonly EncodingServices: never }
  /** What the payload becomes when it is read. */
  readonly upcaster: Upcaster
}

/**
 * The complete upcaster chain of an event, from its first schema version to its current payload. `past` holds the past versions in order; the
 * current schema version, `Version`, is one more than their number.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpcasterChain<out Current, out Into extends Tagged, out Version extends number> {
  readonly past: ReadonlyArray<PastVersion>
  /** Whether the last past version is upcast to the current payload or split into other events. */
  readonly end: "current" | "split"
  /** Carries types only; it has no value. */
  readonly "~chain"?: { readonly current: Current; readonly into: Into; readonly version: Version }
}

/**
 * The upcaster chain of an event type that is no longer written: each of its versions is renamed or split.
 *
 * @since 0.1.0
 * @category models
 */
export interface Legacy<out Into extends Tagged, out Version extends number> {
  readonly past: ReadonlyArray<PastVersion>
  readonly end: "split"
  /** Carries types only; it has no value. */
  readonly "~legacy"?: { readonly into: Into; readonly version: Version }
}

/**
 * An event type that is no longer written. Its stored events decode to nothing, whatever their version.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retired {
  readonly end: "retired"
}

/** Versions are counted by the length of a tuple. */
type Versions = ReadonlyArray<unknown>
type Next<Past extends Versions> = [...Past, unknown]

/**
 * An upcaster chain whose last version so far is renamed or split. It can end here, or continue with `from`.
 *
 * @since 0.1.0
 * @category models
 */
export interface SplitChain<out Into extends Tagged, Past extends Versions>
  extends UpcasterChain<never, Into, Next<Past>["length"]>, Legacy<Into, Past["length"]>
{
  readonly end: "split"
  /** Adds the past version that came after the one that is split. `fields` are the fields of its payload. */
  readonly from: <const Fields extends Schema.Struct.Fields>(
    fields: Fields & Servicefree<Fields>
  ) => UpcasterChainBuilder<Schema.Struct<Fields>["Type"], Into, Next<Past>>
}

/**
 * An upcaster chain under construction. Continue it with `to`; end it with `toCurrent`, `renamedTo` or `splitInto`.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpcasterChainBuilder<Payload, Into extends Tagged, Past extends Versions> {
  /** Adds the next past version: the fields of its payload, and the upcaster that returns it. */
  readonly to: <const Fields extends Schema.Struct.Fields>(
    fields: Fields & Servicefree<Fields>,
    upcast: (payload: Payload) => Schema.Struct<Fields>["Type"]
  ) => UpcasterChainBuilder<Schema.Struct<Fields>["Type"], Into, Next<Past>>

  /** Ends the chain with the upcaster that returns the current payload, without `_tag`. */
  readonly toCurrent: <const Current>(
    upcast: (payload: Payload) => Current
  ) => UpcasterChain<Current, Into, Next<Past>["length"]>

  /**
   * Ends the version with a rename: it decodes as one event of the current type `type`. `upcast` returns that event's payload, without `_tag`.
   * Readers of `type` receive these events.
   */
  readonly renamedTo: <const Type extends string, const Renamed>(
    type: Type,
    upcast: (payload: Payload) => Renamed
  ) => SplitChain<Into | Renamed & { readonly _tag: Type }, Past>

  /**
   * Ends the version with a split: it decodes as the current events that `split` returns, in that order. It may return none. Readers of one of
   * `types` receive these events; other readers do not.
   */
  readonly splitInto: <const Type extends string, const Out extends { readonly _tag: NoInfer<Type> }>(
    types: ReadonlyArray<Type>,
    split: (payload: Payload) => ReadonlyArray<Out>
  ) => SplitChain<Into | Out, Past>
}

type Servicefree<Fields extends Schema.Struct.Fields> =
  [Schema.Struct<Fields>["DecodingServices"] | Schema.Struct<Fields>["EncodingServices"]] extends [never] ? unknown
    : "the fields of a stored event must not need services"

/**
 * Starts the upcaster chain of an event with the fields of its payload in schema version 1.
 *
 * **Example** (one past version)
 *
 * ```ts
 * const UserEvent = Schema.TaggedUnion({
 *   UserRegistered: { userId: UserId, name: Schema.NonEmptyString }
 * }).pipe(Event.upcasters({
 *   UserRegistered: Event.from({ userId: UserId, fullName: Schema.String })
 *     .toCurrent((v1) => ({ userId: v1.userId, name: v1.fullName || "?" }))
 * }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const from = <const Fields extends Schema.Struct.Fields>(
  fields: Fields & Servicefree<Fields>
): UpcasterChainBuilder<Schema.Struct<Fields>["Type"], never, [unknown]> => builder([], fields)

/**
 * Marks an event type as retired: its events stay in the log, and readers skip them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const retired: Retired = { end: "retired" }

const builder = <Payload, Into extends Tagged, Past extends Versions>(
  past: ReadonlyArray<PastVersion>,
  fields: Schema.Struct.Fields
): UpcasterChainBuilder<Payload, Into, Past> => {
  // `Servicefree` has rejected fields with services; the compiler cannot see that through the erased field record.
  const schema = Schema.Struct(fields) as Schema.Top as PastVersion["schema"]
  const followedBy = (upcaster: Upcaster): ReadonlyArray<PastVersion> => [...past, { schema, upcaster }]
  const splitBy = (types: ReadonlyArray<string>, split: (payload: Payload) => ReadonlyArray<unknown>) =>
    followedBy({ _tag: "Split", types, split })
  return {
    to: (next, upcast) => builder(followedBy({ _tag: "Upcast", upcast }), next),
    toCurrent: (upcast) => ({ past: followedBy({ _tag: "Upcast", upcast }), end: "current" }),
    renamedTo: (type, upcast) => {
      const versions = splitBy([type], (payload) => {
        const renamed = upcast(payload)
        return [Predicate.isObject(renamed) ? { ...renamed, _tag: type } : renamed]
      })
      return { past: versions, end: "split", from: (next) => builder(versions, next) }
    },
    splitInto: (types, split) => {
      const versions = splitBy(types, split)
      return { past: versions, end: "split", from: (next) => builder(versions, next) }
    }
  }
}
