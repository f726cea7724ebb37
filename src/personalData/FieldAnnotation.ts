/**
 * The annotation by which a Schema says that it is a field of personal data.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

/** The key of the annotation. */
export const FieldAnnotationKey = "evsrc/personalData/PersonalData"

/**
 * The annotation of a field of personal data. Each call of `PersonalData.field` makes an object of its own, so that each field has its own identity.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldAnnotation {
  /** The name of the field that holds the subject. */
  readonly subject: string
  /** The Schema of the value, without `Erased`. */
  readonly schema: Schema.Top
}

/**
 * Returns the annotation of a Schema, if it is a field of personal data.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldAnnotationOf = (ast: SchemaAST.AST): FieldAnnotation | undefined =>
  // Only `PersonalData.field` writes this annotation, always with this shape.
  ast.annotations?.[FieldAnnotationKey] as FieldAnnotation | undefined
