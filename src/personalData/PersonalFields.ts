/**
 * Locates the personal fields of a Schema in the JSON that it encodes to.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { walkSchema } from "../core/walkSchema.ts"
import { isParentObject } from "./EncryptedValue.ts"
import { type FieldAnnotation, fieldAnnotationOf } from "./FieldAnnotation.ts"
import { isErased } from "./PersonalData.ts"

/**
 * A personal field of an encoded value: `parent[field]`, and the name of its subject.
 *
 * @since 0.1.0
 * @category models
 */
export interface LocatedField {
  readonly parent: Record<string, Schema.Json>
  readonly field: string
  readonly subject: unknown
}

/**
 * A personal field, and the Schema that it was made of, without `Erased`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnnotatedField extends LocatedField {
  readonly schema: Schema.Constraint
}

/**
 * Returns the personal fields of a value that a Schema has encoded as JSON, without those that were erased. Adds these to `erased`, if it is given.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldLocator = (encoded: Schema.Json, erased?: Array<LocatedField>) => ReadonlyArray<AnnotatedField>

interface Found {
  readonly fields: Array<AnnotatedField>
  readonly erased: Array<LocatedField> | undefined
}

/** Adds the personal fields of an encoded value to `found`. */
type Visit = (encoded: unknown, found: Found) => void

/**
 * Returns the locator of a Schema's personal fields, or `undefined` when it has none. Throws when a field has no subject, or when the encoded
 * form does not allow to locate it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const locateFields = (what: string, schema: Schema.Constraint): FieldLocator | undefined => {
  if (!hasAnnotations(schema.ast)) return undefined
  const json = Schema.toCodecJson(schema).ast
  rejectLost(what, json)
  const encoded = SchemaAST.toEncoded(json)
  const visit = compile(what, encoded, new Map())
  if (encoded._tag === "Arrays") {
    throw new Error(
      `${what}: personal data must be fields of a struct, and this Schema is an array; wrap it in a struct`
    )
  }
  return (encoded, erased) => {
    const fields: Array<AnnotatedField> = []
    visit?.(encoded, { fields, erased })
    return fields
  }
}

/**
 * Returns the names of the fields of a struct, or of the structs of a union, that are or contain personal data: the decoded names and the
 * encoded ones.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldsOf = (schema: Schema.Constraint): ReadonlyArray<string> => {
  const names = new Set<string>()
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): void => {
    if (seen.has(ast)) return
    seen.add(ast)
    for (const { to } of ast.encoding ?? []) visit(to)
    switch (ast._tag) {
      case "Objects":
        return ast.propertySignatures.forEach(({ name, type }) =>
          hasAnnotations(type) ? names.add(String(name)) : undefined
        )
      case "Union":
        return ast.types.forEach(visit)
      case "Suspend":
        return visit(ast.thunk())
      case "Declaration":
        return ast.typeParameters.forEach(visit)
    }
  }
  // A Schema with a field that is named by a symbol has no JSON codec.
  visit(Result.getOrElse(Result.try(() => Schema.toCodecJson(schema).ast), () => schema.ast))
  return Array.from(names)
}

const annotationsIn = (schema: SchemaAST.AST, encodings: boolean): ReadonlySet<FieldAnnotation> => {
  const annotations = new Set<FieldAnnotation>()
  walkSchema(schema, encodings, (ast) => {
    const annotation = fieldAnnotationOf(ast)
    if (annotation !== undefined) annotations.add(annotation)
  })
  return annotations
}

/**
 * Returns the names of the fields that name the subjects of a Schema's personal fields.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subjectsOf = (schema: Schema.Constraint): ReadonlyArray<string> =>
  Array.from(annotationsIn(schema.ast, true), ({ subject }) => subject)

/**
 * Returns whether a Schema has personal fields.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPersonal = (schema: Schema.Constraint): boolean => hasAnnotations(schema.ast)

/**
 * Returns whether a value is a Schema with personal fields. The payload of a command is a Schema, and its type does not say so.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPersonalSchema = (schema: unknown): boolean => Schema.isSchema(schema) && isPersonal(schema)

const hasAnnotations = (schema: SchemaAST.AST): boolean => annotationsIn(schema, true).size > 0

/**
 * Throws when a transformation loses an annotation on the encoded side. Checks each transformation by itself, because one annotation may be used
 * in several places.
 */
const rejectLost = (what: string, schema: SchemaAST.AST): void =>
  walkSchema(schema, true, (ast) => {
    if (ast.encoding === undefined) return
    const remaining = annotationsIn(SchemaAST.toEncoded(ast), false)
    for (const annotation of annotationsIn(ast, true)) if (!remaining.has(annotation)) throw hidden(what, annotation)
  })

const hidden = (what: string, { subject }: FieldAnnotation): Error =>
  new Error(
    `${what}: a personal field of the subject "${subject}" is inside a transformation, an array, a record or a union, where it cannot be `
      + `located; annotate the whole field of a struct, as in PersonalData.field(Schema.Array(…)) or Schema.optionalKey(PersonalData.field(…))`
  )

/** Returns `undefined` when a node contains no personal field. */
const compile = (
  what: string,
  ast: SchemaAST.AST,
  compiled: Map<SchemaAST.AST, Visit | undefined>
): Visit | undefined => {
  if (compiled.has(ast)) return compiled.get(ast)
  // A Schema may contain itself. It is compiled by the time that a value is visited.
  compiled.set(ast, (encoded, found) => visit?.(encoded, found))
  const visit = compileNode(what, ast, (inner) => compile(what, inner, compiled))
  compiled.set(ast, visit)
  return visit
}

type Recur = (ast: SchemaAST.AST) => Visit | undefined

const compileNode = (what: string, ast: SchemaAST.AST, recur: Recur): Visit | undefined => {
  // A struct locates its own personal fields and does not compile them, so this one is inside something else.
  const annotation = fieldAnnotationOf(ast)
  if (annotation !== undefined) throw hidden(what, annotation)
  switch (ast._tag) {
    case "Objects":
      return compileObjects(what, ast, recur)
    case "Arrays":
      return compileArrays(ast, recur)
    case "Union":
      return compileUnion(what, ast, recur)
    case "Suspend":
      return recur(ast.thunk())
    default:
      return undefined
  }
}

const compileArrays = (ast: SchemaAST.Arrays, recur: Recur): Visit | undefined => {
  const elements = ast.elements.map(recur)
  const [rest, ...last] = ast.rest.map(recur)
  if ([...elements, rest, ...last].every((visit) => visit === undefined)) return undefined
  return (encoded, found) => {
    if (!Array.isArray(encoded)) return
    const end = encoded.length - last.length
    for (const [index, element] of encoded.entries()) {
      const visit = index < elements.length ? elements[index] : index < end ? rest : last[index - end]
      visit?.(element, found)
    }
  }
}

const compileObjects = (what: string, ast: SchemaAST.Objects, recur: Recur): Visit | undefined => {
  const annotated: Array<{ readonly field: string; readonly subject: string; readonly schema: Schema.Constraint }> = []
  const inner = new Map<string, Visit | undefined>()
  for (const { name, type } of ast.propertySignatures) {
    const field = String(name)
    const annotation = fieldAnnotationOf(type)
    inner.set(field, annotation === undefined ? recur(type) : undefined)
    if (annotation === undefined) continue
    const within = annotationsIn(type, false)
    if (within.size > 1) {
      throw new Error(
        `${what}: the personal field "${field}" contains another personal field; a field belongs to one subject, so annotate only the outer one`
      )
    }
    const subject = ast.propertySignatures.find((property) => property.name === annotation.subject)
    if (subject === undefined) {
      throw new Error(
        `${what}: the personal field "${field}" names its subject by the field "${annotation.subject}", which its struct does not have; add that `
          + `field, or name another`
      )
    }
    if (fieldAnnotationOf(subject.type) !== undefined) {
      throw new Error(
        `${what}: "${annotation.subject}" names the subject of "${field}", so it must not be personal data itself; use an id`
      )
    }
    if (SchemaAST.isOptional(subject.type)) {
      throw new Error(
        `${what}: "${annotation.subject}" names the subject of "${field}", so it must not be optional; make it required`
      )
    }
    if (!mayBeText(subject.type)) {
      throw new Error(
        `${what}: "${annotation.subject}" names the subject of "${field}", so it must encode as a string; use an id`
      )
    }
    annotated.push({ field, subject: annotation.subject, schema: annotation.schema })
  }
  const others = ast.indexSignatures.flatMap(({ type }) => recur(type) ?? [])
  const isPlain = Array.from(inner.values()).every((visit) => visit === undefined)
  if (annotated.length === 0 && others.length === 0 && isPlain) return undefined
  return (encoded, found) => {
    if (!isParentObject(encoded)) return
    for (const { field, schema, subject } of annotated) {
      if (!Object.hasOwn(encoded, field)) continue
      const value = encoded[field]
      // An `Erased` of another subject, or with further fields, was not written by a store and may contain anything.
      if (isErased(value) && value.subject === encoded[subject] && Object.keys(value).length === 2) {
        found.erased?.push({ parent: encoded, field, subject: encoded[subject] })
        continue
      }
      found.fields.push({ parent: encoded, field, subject: encoded[subject], schema })
    }
    for (const [field, value] of Object.entries(encoded)) {
      if (inner.has(field)) inner.get(field)?.(value, found)
      else for (const other of others) other(value, found)
    }
  }
}

/** Returns whether a Schema encodes to a string, or may. */
const mayBeText = (ast: SchemaAST.AST): boolean => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
      return true
    case "Literal":
      return typeof ast.literal === "string"
    case "Enum":
      return ast.enums.some(([, value]) => typeof value === "string")
    case "Union":
      return ast.types.some(mayBeText)
    default:
      return false
  }
}

/** Returns the members of a union and of the unions in it. A union that is a personal field is one member. */
const membersOf = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST>): ReadonlyArray<SchemaAST.AST> => {
  if (seen.has(ast)) return []
  seen.add(ast)
  if (fieldAnnotationOf(ast) === undefined && SchemaAST.isUnion(ast)) {
    return ast.types.flatMap((type) => membersOf(type, seen))
  }
  return SchemaAST.isSuspend(ast) ? membersOf(ast.thunk(), seen) : [ast]
}

/** The literals of a member, such as its `_tag`, tell which member of a union has encoded a value. */
const compileUnion = (what: string, ast: SchemaAST.Union, recur: Recur): Visit | undefined => {
  const members = membersOf(ast, new Set()).map((type) => ({ type, visit: recur(type), literals: literalsOf(type) }))
  if (members.every(({ visit }) => visit === undefined)) return undefined
  const objects = members.filter(({ type }) => SchemaAST.isObjects(type))
  const arrays = members.filter(({ type }) => SchemaAST.isArrays(type))
  const cannotTell = objects.length > 1 && objects.some(({ literals }) => literals.length === 0)
  if (cannotTell || (arrays.length > 1 && arrays.some(({ visit }) => visit !== undefined))) {
    throw new Error(
      `${what}: the members of a union with personal fields must each have a required literal that tells them apart, such as "_tag"; add one`
    )
  }
  return (encoded, found) => {
    for (const { literals, visit } of members) {
      if (visit === undefined) continue
      if (literals.every(([name, literal]) => Predicate.isObject(encoded) && Reflect.get(encoded, name) === literal)) {
        visit(encoded, found)
      }
    }
  }
}

const literalsOf = (ast: SchemaAST.AST): ReadonlyArray<readonly [string, unknown]> =>
  SchemaAST.isObjects(ast)
    ? ast.propertySignatures.flatMap(({ name, type }) =>
      SchemaAST.isLiteral(type) && !SchemaAST.isOptional(type) ? [[String(name), type.literal] as const] : []
    )
    : []
