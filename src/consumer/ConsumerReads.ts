/**
 * What the code of a consumer reads of the log. It is stored with the checkpoints, because code that reads other events cannot continue from
 * there without losing some.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { fromJsonText } from "../core/json/parseJson.ts"
import * as Event from "../event/Event.ts"
import type { Consumer } from "./Consumer.ts"

/**
 * What a consumer does with the events that it reads.
 *
 * @since 0.1.0
 * @category models
 */
export type ConsumerReads = typeof ConsumerReads.Type

/**
 * The Schema of `ConsumerReads`.
 *
 * @since 0.1.0
 * @category models
 */
export const ConsumerReads = Schema.Struct({
  /** Whether it keeps documents, or has handlers. */
  keeps: Schema.Literals(["documents", "handlers"]),
  /** The stored types. */
  types: Schema.Array(Schema.String),
  /** The current events that a stored type decodes to and that the consumer ignores, by stored type; only types that have some. */
  ignores: Schema.Record(Schema.String, Schema.Array(Schema.String)),
  tags: Schema.Array(Schema.String),
  streamPrefix: Schema.optionalKey(Schema.String)
})

const codec = fromJsonText(ConsumerReads)
const encode = Schema.encodeSync(codec)

/**
 * Returns what a consumer reads, in one order for all definitions that read the same.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  { documentKeysOf, events, handles, reads, where }: Pick<
    Consumer,
    "documentKeysOf" | "events" | "handles" | "reads" | "where"
  >
): ConsumerReads => {
  const ignores = reads.map((type) =>
    [type, Event.currentTypes(events, type).filter((current) => !handles.includes(current)).toSorted()] as const
  ).filter(([, ignored]) => ignored.length > 0).toSorted(([one], [other]) => one < other ? -1 : 1)
  return {
    keeps: documentKeysOf === undefined ? "handlers" : "documents",
    types: reads.toSorted(),
    ignores: Object.fromEntries(ignores),
    tags: Array.from(new Set(where.tags)).toSorted(),
    // An empty prefix selects every stream.
    ...(where.streamPrefix === undefined || where.streamPrefix === "" ? {} : { streamPrefix: where.streamPrefix })
  }
}

/**
 * Returns what is stored with a checkpoint.
 *
 * @since 0.1.0
 * @category accessors
 */
export const format = (reads: ConsumerReads): string => encode(reads)

/**
 * Returns what was stored with a checkpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = Schema.decodeSync(codec)

/**
 * Returns the stored types of which `reads` handles events that `other` does not: types that `other` does not read, or of which it ignores
 * a part.
 *
 * @since 0.1.0
 * @category accessors
 */
export const typesBeyond = (reads: ConsumerReads, other: ConsumerReads): ReadonlyArray<string> =>
  reads.types.filter((type) =>
    !other.types.includes(type)
    || other.ignores[type]?.some((ignored) => reads.ignores[type]?.includes(ignored) !== true) === true
  )

/**
 * Returns whether the filter of `other` selects every event that the filter of `reads` selects.
 *
 * @since 0.1.0
 * @category guards
 */
export const isWithinFilter = (reads: ConsumerReads, other: ConsumerReads): boolean =>
  other.tags.every((tag) => reads.tags.includes(tag))
  && (reads.streamPrefix ?? "").startsWith(other.streamPrefix ?? "")

/**
 * Returns whether two filters select the same streams and tags.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasSameFilter = (reads: ConsumerReads, other: ConsumerReads): boolean =>
  isWithinFilter(reads, other) && isWithinFilter(other, reads)

/**
 * Returns whether code that reads `other` reads every event that code which reads `reads` does.
 *
 * @since 0.1.0
 * @category guards
 */
export const isWithin = (reads: ConsumerReads, other: ConsumerReads): boolean =>
  typesBeyond(reads, other).length === 0 && isWithinFilter(reads, other)
