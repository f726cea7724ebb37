/**
 * Which fields of a document can be indexed, and their types.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as nameRules from "../../core/nameRules.ts"
import { walkSchema } from "../../core/walkSchema.ts"
import * as PersonalFields from "../../personalData/PersonalFields.ts"

/**
 * The maximum length of the name of an indexed field, in UTF-16 code units.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxFieldLength = 60

/**
 * Returns why the fields of a document cannot be indexed, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (document: Schema.Constraint, index: ReadonlyArray<string>): string | undefined => {
  if (index.length === 0) return undefined
  const personal = PersonalFields.fieldsOf(document)
  const names = namesOf(document)
  for (const [i, field] of index.entries()) {
    const invalid = nameRules.validateName("its name", field, maxFieldLength)
    if (invalid !== undefined) return `cannot index "${field}": ${invalid}`
    if (index.indexOf(field) !== i) return `names "${field}" twice in \`index\`; name it once`
    if (personal.includes(field)) {
      return `cannot index "${field}", because it is personal data and stored encrypted; index a field that does not tell who the person is`
    }
    if (names?.has(field) === false) {
      return `cannot index "${field}", which is no field of its document; it has ${Array.from(names).join(", ")}`
    }
    const incomparable = validateTypes(typesOf(document, field))
    if (incomparable !== undefined) return `cannot index "${field}", ${incomparable}`
  }
  return undefined
}

/** Returns the names of the fields that documents can have; `undefined` when the Schema does not name them. */
const namesOf = (document: Schema.Constraint): ReadonlySet<string> | undefined => {
  const encoded = namesIn(SchemaAST.toEncoded(Schema.toCodecJson(document).ast))
  const decoded = namesIn(Schema.toType(document).ast)
  return encoded === undefined || decoded === undefined
    ? encoded ?? decoded
    : new Set(Array.from(encoded).filter((name) => decoded.has(name)))
}

const namesIn = (ast: SchemaAST.AST): ReadonlySet<string> | undefined => {
  switch (ast._tag) {
    case "Objects":
      return ast.indexSignatures.length > 0
        ? undefined
        : new Set(ast.propertySignatures.map(({ name }) => String(name)))
    case "Union": {
      const all = ast.types.map(namesIn)
      return all.every((names) => names !== undefined) ? new Set(all.flatMap((names) => Array.from(names))) : undefined
    }
    case "Suspend":
    case "Declaration":
    case "Unknown":
    case "Any":
      return undefined
    default:
      return new Set()
  }
}

/**
 * Returns the types that a field has in decoded documents; none when the Schema does not tell.
 *
 * @since 0.1.0
 * @category accessors
 */
export const typesOf = (document: Schema.Constraint, field: string): ReadonlyArray<SchemaAST.AST> => {
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
    if (seen.has(ast)) return []
    seen.add(ast)
    switch (ast._tag) {
      case "Objects": {
        const found = ast.propertySignatures.filter(({ name }) => name === field)
        return (found.length > 0 ? found : ast.indexSignatures).map(({ type }) => type)
      }
      case "Union":
        return ast.types.flatMap(visit)
      case "Suspend":
        return visit(ast.thunk())
      case "Declaration":
        // An instance of a class has the fields of its struct; the values of other declarations, such as Option, do not have those of their parameter.
        return idOf(ast) === undefined ? ast.typeParameters.flatMap(visit) : []
      // Any JSON.
      case "Unknown":
      case "Any":
        return [ast]
      default:
        return []
    }
  }
  return visit(Schema.toType(document).ast)
}

/** Returns the id of a declaration of Effect. */
const idOf = ({ annotations }: SchemaAST.AST): unknown => {
  const representation: unknown = annotations?.["representation"]
  return Predicate.isObject(representation) ? representation["id"] : undefined
}

const named = (...names: ReadonlyArray<string>): ReadonlySet<unknown> =>
  new Set(names.map((name) => `effect/schema/${name}`))

const durations = named("Duration")
const times = named("Date", "DateTimeUtc", "DateTimeZoned")
const decimals = named("BigDecimal")
const unorderedCollections = named("ReadonlySet", "ReadonlyMap", "HashSet", "HashMap")

/**
 * Returns the kind of the values of a declaration that have an order; `undefined` for others.
 *
 * @since 0.1.0
 * @category accessors
 */
export const orderedKindOf = (ast: SchemaAST.Declaration): "duration" | "number" | "time" | undefined => {
  const id = idOf(ast)
  return times.has(id) ? "time" : decimals.has(id) ? "number" : durations.has(id) ? "duration" : undefined
}

/**
 * Returns whether all values of some types have an order.
 *
 * @since 0.1.0
 * @category guards
 */
export const areOrdered = (types: ReadonlyArray<SchemaAST.AST>): boolean => types.length > 0 && types.every(isOrdered)

const isOrdered = (ast: SchemaAST.AST): boolean => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
    case "Number":
    case "BigInt":
    case "Boolean":
    case "Literal":
    case "Enum":
    case "Null":
    case "Undefined":
      return true
    case "Declaration":
      return orderedKindOf(ast) !== undefined
    case "Union":
      return areOrdered(ast.types)
    default:
      return false
  }
}

/** Returns why values of some types cannot be compared, or `undefined`: equal values would be stored in different forms. */
const validateTypes = (types: ReadonlyArray<SchemaAST.AST>): string | undefined => {
  if (types.length === 0) return "because the Schema of its document does not tell its type; use a struct or a class"
  for (const type of types) {
    const all: Array<SchemaAST.AST> = []
    walkSchema(type, false, (ast) => all.push(ast))
    if (all.some((ast) => unorderedCollections.has(idOf(ast)))) {
      return "because it has sets or maps, which are stored in the order in which they were filled; index an array in a fixed order"
    }
    if (!areOrdered([type]) && all.some((ast) => durations.has(idOf(ast)))) {
      return "because it has durations within another value, where equal ones may be stored in different forms; index the duration as a field of its own"
    }
  }
  return undefined
}
