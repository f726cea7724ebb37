/**
 * The name of a stream: one sequence of events with one version, usually one aggregate.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as nameRules from "./nameRules.ts"

/**
 * The maximum length of a stream name, in UTF-16 code units. A row of a B-tree index in PostgreSQL has at most about 2,700 bytes; with four bytes
 * a character, every allowed name is shorter.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLength = 512

/**
 * Returns what is wrong with a stream name, or `undefined`.
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
 * @category models
 */
export const StreamId = Schema.String.check(
  Schema.makeFilter((name: string) => validate(name), { title: "StreamId" })
).pipe(Schema.brand("evsrc/StreamId"))

/**
 * @since 0.1.0
 * @category models
 */
export type StreamId = typeof StreamId.Type

declare const eventsOfStream: unique symbol

/**
 * The name of a stream that takes only the events `E`. It is a string; the events are in its type alone.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<E> = string & { readonly [eventsOfStream]?: E }

/**
 * Is `unknown` when the events `E` may be written to a stream with a name of this type, and otherwise a message.
 *
 * @since 0.1.0
 * @category models
 */
export type Accepts<Name extends string, E> = Name extends { readonly [eventsOfStream]?: infer Allowed } ?
  [E] extends [Allowed] ? unknown
  : "this stream belongs to an aggregate that does not have all of the decision's events"
  : unknown

/**
 * Returns the name of an aggregate's stream, `<category>-<id>`. A store validates it before use.
 *
 * @since 0.1.0
 * @category constructors
 */
export const nameOf = (category: string, id: string): string => `${category}-${id}`

/**
 * Returns the part of a stream's name before its first `-`, or the whole name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const category = (stream: string): string => {
  const dash = stream.indexOf("-")
  return dash === -1 ? stream : stream.slice(0, dash)
}
