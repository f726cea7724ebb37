/**
 * The name of a stream: one sequence of events with one version, usually one aggregate.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as nameRules from "./nameRules.ts"

/**
 * Longest stream name in UTF-16 code units. Postgres keeps the name in a B-tree index, whose rows end near 2,700
 * bytes; four bytes a character keep every allowed name below that.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxLength = 512

/**
 * What is wrong with a stream name, in words, or `undefined` when nothing is.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (name: string): string | undefined => nameRules.validateName("a stream name", name, maxLength)

/**
 * A valid stream name: 1 to 512 characters of well-formed Unicode without NUL. By convention
 * `<category>-<id>`, for example `User-42`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const StreamId = Schema.String.check(
  Schema.makeFilter((name: string) => validate(name), { title: "StreamId" })
).pipe(Schema.brand("evsrc/StreamId"))

/**
 * @since 0.1.0
 * @category models
 */
export type StreamId = typeof StreamId.Type

/**
 * The unchecked name of an aggregate's stream: `<category>-<id>`. A store checks it before it is used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const nameOf = (category: string, id: string): string => `${category}-${id}`

/**
 * The part of a stream's name before its first `-`, or the whole name.
 *
 * @since 0.1.0
 * @category getters
 */
export const category = (stream: string): string => {
  const dash = stream.indexOf("-")
  return dash === -1 ? stream : stream.slice(0, dash)
}
