/**
 * Finds `Erased` in the personal fields of a value that came from outside, such as the payload of a command.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { fieldAnnotationOf } from "./FieldAnnotation.ts"
import { isErased } from "./PersonalData.ts"
import { isPersonal } from "./PersonalFields.ts"

/**
 * A personal field with `Erased` as its value.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErasedField {
  readonly field: string
  /** The subject that `Erased` names. */
  readonly subject: string
  /** False when the field belongs to another subject. */
  readonly isOwn: boolean
}

/**
 * Returns the message that rejects `Erased` as the value of a field.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notErased = (field: string): string =>
  `the personal field "${field}" is \`Erased\` of a subject that was not erased in this key store, or of another subject; give the value, or `
  + "leave out an optional field"

const personal = new WeakMap<Schema.Constraint, boolean>()

/**
 * Returns the personal fields of a value of a Schema that are `Erased`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const erasedIn = (schema: Schema.Constraint, value: unknown): ReadonlyArray<ErasedField> => {
  let hasFields = personal.get(schema)
  if (hasFields === undefined) personal.set(schema, hasFields = isPersonal(schema))
  const found: Array<ErasedField> = []
  // Nearly every payload ends here.
  if (hasFields && containsErased(value)) visit(schema.ast, value, undefined, "", found)
  return found
}

/** Returns the values in an object or an array. */
const valuesOf = (value: unknown): ReadonlyArray<unknown> =>
  value instanceof Map
    ? Array.from(value).flat()
    : Array.isArray(value) || value instanceof Set
    ? Array.from(value)
    : Predicate.isObject(value)
    ? Object.values(value)
    : []

const containsErased = (value: unknown, seen = new Set<unknown>()): boolean => {
  if (!Predicate.isObjectOrArray(value) || seen.has(value)) return false
  if (isErased(value)) return true
  seen.add(value)
  return valuesOf(value).some((inner) => containsErased(inner, seen))
}

/** Adds the erased fields of a value to `found`. `name` is that of the innermost field around it, and `parent` the object of that field. */
const visit = (
  ast: SchemaAST.AST,
  value: unknown,
  parent: unknown,
  name: string,
  found: Array<ErasedField>
): void => {
  const annotation = fieldAnnotationOf(ast)
  if (annotation !== undefined) {
    if (!isErased(value)) return
    const owner: unknown = Predicate.isObject(parent) ? Reflect.get(parent, annotation.subject) : undefined
    // A field of the encoded form may have another name in the type, so its subject need not be there.
    found.push({ field: name, subject: value.subject, isOwn: owner === undefined || owner === value.subject })
    return
  }
  switch (ast._tag) {
    case "Objects": {
      if (!Predicate.isObject(value)) return
      const names = new Set(ast.propertySignatures.map(({ name }) => name))
      for (const { name, type } of ast.propertySignatures) {
        visit(type, Reflect.get(value, name), value, String(name), found)
      }
      for (const { type } of ast.indexSignatures) {
        for (const [key, inner] of Object.entries(value)) if (!names.has(key)) visit(type, inner, value, key, found)
      }
      return
    }
    case "Arrays":
      // Which element has which type does not matter: an `Erased` in another one is none of a personal field.
      for (const type of [...ast.elements, ...ast.rest]) {
        for (const element of valuesOf(value)) visit(type, element, parent, name, found)
      }
      return
    case "Union":
      for (const type of ast.types) visit(type, value, parent, name, found)
      return
    case "Suspend":
      if (Predicate.isObjectOrArray(value)) visit(ast.thunk(), value, parent, name, found)
      return
    case "Declaration":
      // A class has the fields of its struct. Another type, such as an Option or a Map, has values of its parameters somewhere in it.
      for (const type of ast.typeParameters) {
        visit(type, value, parent, name, found)
        for (const inner of valuesOf(value)) visit(type, inner, parent, name, found)
      }
  }
}
