/**
 * Finds the personal fields of a Schema in what it encodes as JSON.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { isParentObject } from "./EncryptedValue.ts"
import { annotationOf, type FieldAnnotation, isErased } from "./PersonalData.ts"

/**
 * A personal field of an encoded value: `holder[field]`, and the name of its subject.
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
  readonly schema: Schema.Top
}

/**
 * Finds the personal fields of a value that a Schema has encoded as JSON; those that were erased are left out.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldLocator = (encoded: Schema.Json) => ReadonlyArray<AnnotatedField>

/** Adds what it finds. */
type Visit = (encoded: unknown, found: Array<AnnotatedField>) => void

/**
 * How to find the personal fields of a Schema in what it encodes as JSON; `undefined` when it has none. Throws when one has no subject, or
 * stands where it could not be found.
 *
 * @since 0.1.0
 * @category compiling
 */
export const locateFields = (what: string, schema: Schema.Top): FieldLocator | undefined => {
  if (!hasAnnotations(schema.ast)) return undefined
  const json = Schema.toCodecJson(schema).ast
  rejectLost(what, json)
  const encoded = SchemaAST.toEncoded(json)
  const visit = compile(what, encoded, new Map())
  if (encoded._tag === "Arrays") throw new Error(`${what}: personal data stands in a struct, not in an array of them`)
  return (encoded) => {
    const found: Array<AnnotatedField> = []
    visit?.(encoded, found)
    return found
  }
}

/**
 * The names of those fields of a struct, or of the structs of a union, that are personal data or have some within: as they are called, and as
 * they are encoded.
 *
 * @since 0.1.0
 * @category getters
 */
export const fieldsOf = (schema: Schema.Top): ReadonlyArray<string> => {
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
  visit(Schema.toCodecJson(schema).ast)
  return Array.from(names)
}

/** Calls `each` for all that a Schema consists of, once; with `encodings` also for what it is encoded as. */
const walk = (schema: SchemaAST.AST, encodings: boolean, each: (ast: SchemaAST.AST) => void): void => {
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): void => {
    if (seen.has(ast)) return
    seen.add(ast)
    each(ast)
    if (encodings) { for (const { to } of ast.encoding ?? []) visit(to) }
    switch (ast._tag) {
      case "Objects":
        for (const { type } of ast.propertySignatures) visit(type)
        for (const { type } of ast.indexSignatures) visit(type)
        return
      case "Arrays":
        return [...ast.elements, ...ast.rest].forEach(visit)
      case "Union":
        return ast.types.forEach(visit)
      case "Suspend":
        return visit(ast.thunk())
      case "Declaration":
        return ast.typeParameters.forEach(visit)
    }
  }
  visit(schema)
}

const annotationsIn = (schema: SchemaAST.AST, encodings: boolean): ReadonlySet<FieldAnnotation> => {
  const marks = new Set<FieldAnnotation>()
  walk(schema, encodings, (ast) => {
    const annotation = annotationOf(ast)
    if (annotation !== undefined) marks.add(annotation)
  })
  return marks
}

const hasAnnotations = (schema: SchemaAST.AST): boolean => annotationsIn(schema, true).size > 0

/**
 * Throws when something is not encoded as it is made of, and a mark gets lost by that. Looks at each such part, as one mark may stand in several
 * places.
 */
const rejectLost = (what: string, schema: SchemaAST.AST): void =>
  walk(schema, true, (ast) => {
    if (ast.encoding === undefined) return
    const kept = annotationsIn(SchemaAST.toEncoded(ast), false)
    for (const annotation of annotationsIn(ast, true)) if (!kept.has(annotation)) throw hidden(what, annotation)
  })

const hidden = (what: string, { subject }: FieldAnnotation): Error =>
  new Error(
    `${what}: a personal field of the subject "${subject}" is hidden by a transformation, an array, a record or a union; mark the whole field `
      + `of a struct, as Personal.field(Schema.Array(…)) or Schema.optionalKey(Personal.field(…))`
  )

/** `undefined` where there is nothing to find. */
const compile = (
  what: string,
  ast: SchemaAST.AST,
  known: Map<SchemaAST.AST, Visit | undefined>
): Visit | undefined => {
  if (known.has(ast)) return known.get(ast)
  // For a Schema that contains itself: by the time that anything is visited, it is compiled.
  known.set(ast, (encoded, found) => compiled?.(encoded, found))
  const compiled = compileNode(what, ast, (inner) => compile(what, inner, known))
  known.set(ast, compiled)
  return compiled
}

type Recur = (ast: SchemaAST.AST) => Visit | undefined

const compileNode = (what: string, ast: SchemaAST.AST, recur: Recur): Visit | undefined => {
  // A field is found by its struct, which does not come here for it.
  const annotation = annotationOf(ast)
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
  const marked: Array<{ readonly field: string; readonly subject: string; readonly schema: Schema.Top }> = []
  const inner = new Map<string, Visit | undefined>()
  for (const { name, type } of ast.propertySignatures) {
    const field = String(name)
    const annotation = annotationOf(type)
    inner.set(field, annotation === undefined ? recur(type) : undefined)
    if (annotation === undefined) continue
    const within = annotationsIn(type, false)
    if (within.size > 1) {
      throw new Error(`${what}: the personal field "${field}" has another within; all of it is of one subject`)
    }
    const subject = ast.propertySignatures.find((property) => property.name === annotation.subject)
    if (subject === undefined) {
      throw new Error(
        `${what}: the personal field "${field}" has no field "${annotation.subject}" beside it to name its subject`
      )
    }
    if (annotationOf(subject.type) !== undefined) {
      throw new Error(
        `${what}: "${annotation.subject}" names the subject of "${field}", so it cannot be personal data itself`
      )
    }
    if (SchemaAST.isOptional(subject.type)) {
      throw new Error(`${what}: "${annotation.subject}" names the subject of "${field}", so it must not be optional`)
    }
    if (!mayBeText(subject.type)) {
      throw new Error(
        `${what}: "${annotation.subject}" names the subject of "${field}", so it must be encoded as a string`
      )
    }
    marked.push({ field, subject: annotation.subject, schema: annotation.schema })
  }
  const others = ast.indexSignatures.flatMap(({ type }) => recur(type) ?? [])
  const isPlain = Array.from(inner.values()).every((visit) => visit === undefined)
  if (marked.length === 0 && others.length === 0 && isPlain) return undefined
  return (encoded, found) => {
    if (!isParentObject(encoded)) return
    for (const { field, schema, subject } of marked) {
      if (!Object.hasOwn(encoded, field)) continue
      const value = encoded[field]
      // One of another subject did not come from here, and may say anything; so may one with more to it.
      if (isErased(value) && value.subject === encoded[subject] && Object.keys(value).length === 2) continue
      found.push({ parent: encoded, field, subject: encoded[subject], schema })
    }
    for (const [field, value] of Object.entries(encoded)) {
      if (inner.has(field)) inner.get(field)?.(value, found)
      else for (const other of others) other(value, found)
    }
  }
}

/** Whether something is or may be encoded as a string. */
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

/** The members of a union and of the unions in it. One that is personal data as a whole stays as it is. */
const membersOf = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST>): ReadonlyArray<SchemaAST.AST> => {
  if (seen.has(ast)) return []
  seen.add(ast)
  if (annotationOf(ast) === undefined && SchemaAST.isUnion(ast)) {
    return ast.types.flatMap((type) => membersOf(type, seen))
  }
  return SchemaAST.isSuspend(ast) ? membersOf(ast.thunk(), seen) : [ast]
}

/** Which member of a union has encoded a value is told by its literals, as `_tag`. */
const compileUnion = (what: string, ast: SchemaAST.Union, recur: Recur): Visit | undefined => {
  const members = membersOf(ast, new Set()).map((type) => ({ type, visit: recur(type), literals: literalsOf(type) }))
  if (members.every(({ visit }) => visit === undefined)) return undefined
  const objects = members.filter(({ type }) => SchemaAST.isObjects(type))
  const arrays = members.filter(({ type }) => SchemaAST.isArrays(type))
  const cannotTell = objects.length > 1 && objects.some(({ literals }) => literals.length === 0)
  if (cannotTell || (arrays.length > 1 && arrays.some(({ visit }) => visit !== undefined))) {
    throw new Error(
      `${what}: the members of a union with personal fields must be told apart by a literal, as "_tag", that is not optional`
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
