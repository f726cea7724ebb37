/**
 * Personal data: fields of events, documents and states that belong to a person, the subject, and can be erased later. A store keeps them
 * encrypted under the subject's own key; when that key is deleted, nobody can read them any more, wherever they were copied to
 * ("crypto-shredding").
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

/**
 * What stands in the place of personal data that was erased.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Erased = Schema.TaggedStruct("Erased", { subject: Schema.String })

/**
 * @since 0.1.0
 * @category models
 */
export type Erased = typeof Erased.Type

/**
 * Whether a field of personal data was erased.
 *
 * @since 0.1.0
 * @category guards
 */
export const isErased: (value: unknown) => value is Erased = Schema.is(Erased)

const Annotation = "evsrc/personalData/PersonalData"

/**
 * What marks a field: one object for each call of `field`, so that fields can be told apart.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldAnnotation {
  readonly subject: string
  readonly schema: Schema.Top
}

/**
 * A field of personal data. Its value may turn into `Erased`, which the types do not let anybody forget.
 *
 * - `subject`: the field beside it, in the same struct, whose value names the person. A string, and no personal data itself
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
 * It encodes as the Schema that it is made of; only a store encrypts it. So a client of an API sees the plain value, or `Erased`.
 *
 * **Gotchas**
 *
 * The name of the subject is not encrypted: take an id that says nothing about the person. Mark a field as a whole, also when it is a struct
 * or an array; what cannot be found again once it is encoded is refused when the events or the document are defined.
 *
 * @since 0.1.0
 * @category schemas
 */
export const field = <S extends Schema.Top>(schema: S, options: { readonly subject: string }) =>
  Schema.Union([Erased, schema]).annotate({
    [Annotation]: { subject: options.subject, schema } satisfies FieldAnnotation
  })

/**
 * The value, or what to take instead when it was erased.
 *
 * @since 0.1.0
 * @category getters
 */
export const getOrElse = <A>(value: A, orElse: (erased: Erased) => Exclude<A, Erased>): Exclude<A, Erased> =>
  // Whatever is no `Erased` is one of the others.
  isErased(value) ? orElse(value) : value as Exclude<A, Erased>

/**
 * The mark of a personal field, where a Schema is one.
 *
 * @since 0.1.0
 * @category getters
 */
export const annotationOf = (ast: SchemaAST.AST): FieldAnnotation | undefined =>
  // Only `field` writes this annotation, always with this shape.
  ast.annotations?.[Annotation] as FieldAnnotation | undefined
