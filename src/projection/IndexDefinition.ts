/**
 * Which fields of a document can be indexed.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as nameRules from "../core/nameRules.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"

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
