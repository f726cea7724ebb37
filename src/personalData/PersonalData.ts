/**
 * Personal data: fields of events, documents and states that belong to a person, the subject, and can be erased later. A store encrypts them
 * under the subject's own key. Once that key is deleted, no copy of them can be read any more ("crypto-shredding").
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { type FieldAnnotation, FieldAnnotationKey } from "./FieldAnnotation.ts"

/**
 * The value that replaces personal data that was erased.
 *
 * @since 0.1.0
 * @category models
 */
export const Erased = Schema.TaggedStruct("Erased", { subject: Schema.String })

/**
 * @since 0.1.0
 * @category models
 */
export type Erased = typeof Erased.Type

/**
 * Returns whether a field of personal data was erased.
 *
 * @since 0.1.0
 * @category guards
 */
export const isErased: (value: unknown) => value is Erased = Schema.is(Erased)

/**
 * Returns the Schema of a field of personal data. Its value may turn into `Erased`, which its type makes callers handle. `subject` is the name
 * of the field beside it, in the same struct, that names the person: a string that is not personal data itself.
 *
 * **Example** (a user's address)
 *
 * ```ts
 * const UserEvent = Schema.TaggedUnion({
 *   UserRegistered: { userId: UserId, email: PersonalData.field(Email, { subject: "userId" }) }
 * })
 * ```
 *
 * **Details**
 *
 * The field encodes like the Schema that it is made of; only a store encrypts it. So a client of an API sees the plaintext, or `Erased`.
 *
 * **Gotchas**
 *
 * The name of the subject is not encrypted: use an id that says nothing about the person. Annotate a field as a whole, also when it is a struct
 * or an array. The definition of the events or the document throws when it could not locate the field in its encoded form.
 *
 * @since 0.1.0
 * @category constructors
 */
export const field = <S extends Schema.Top>(schema: S, options: { readonly subject: string }) =>
  Schema.Union([Erased, schema]).annotate({
    [FieldAnnotationKey]: { subject: options.subject, schema } satisfies FieldAnnotation
  })

/**
 * Returns the value, or the result of `orElse` when it was erased.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getOrElse = <A>(value: A, orElse: (erased: Erased) => Exclude<A, Erased>): Exclude<A, Erased> =>
  // What is not `Erased` is one of the others.
  isErased(value) ? orElse(value) : value as Exclude<A, Erased>
