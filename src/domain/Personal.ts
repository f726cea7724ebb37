/**
 * Personal data: fields of events, documents and states that belong to a person, the subject, and can be erased later. A store keeps them
 * encrypted under the subject's own key; when that key is deleted, nobody can read them any more, wherever they were copied to
 * ("crypto-shredding").
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

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

const Annotation = "evsrc/domain/Personal"

/** One object for each call of `field`, so that fields can be told apart. */
interface Mark {
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
 *   UserRegistered: { userId: UserId, email: Personal.field(Email, { subject: "userId" }) }
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
  Schema.Union([Erased, schema]).annotate({ [Annotation]: { subject: options.subject, schema } satisfies Mark })

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
 * A personal field of an encoded value: `holder[field]`, and the name of its subject.
 *
 * @since 0.1.0
 * @category models
 */
export interface Located {
  readonly holder: Record<string, Schema.Json>
  readonly field: string
  readonly subject: unknown
}

/**
 * A personal field, and the Schema that it was made of, without `Erased`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Marked extends Located {
  readonly schema: Schema.Top
}

/**
 * Finds the personal fields of a value that a Schema has encoded as JSON; those that were erased are left out.
 *
 * @since 0.1.0
 * @category models
 */
export type Locate = (encoded: Schema.Json) => ReadonlyArray<Marked>

/** Adds what it finds. */
type Visit = (encoded: unknown, found: Array<Marked>) => void

const markOf = (ast: SchemaAST.AST): Mark | undefined =>
  // Only `field` writes this annotation, always with this shape.
  ast.annotations?.[Annotation] as Mark | undefined

/**
 * How to find the personal fields of a Schema in what it encodes as JSON; `undefined` when it has none. Throws when one has no subject, or
 * stands where it could not be found.
 *
 * @since 0.1.0
 * @category compiling
 */
export const locate = (what: string, schema: Schema.Top): Locate | undefined => {
  if (!hasMarks(schema.ast)) return undefined
  const json = Schema.toCodecJson(schema).ast
  refuseLost(what, json)
  const encoded = SchemaAST.toEncoded(json)
  const visit = compile(what, encoded, new Map())
  if (encoded._tag === "Arrays") throw new Error(`${what}: personal data stands in a struct, not in an array of them`)
  return (encoded) => {
    const found: Array<Marked> = []
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
        return ast.propertySignatures.forEach(({ name, type }) => hasMarks(type) ? names.add(String(name)) : undefined)
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

const marksIn = (schema: SchemaAST.AST, encodings: boolean): ReadonlySet<Mark> => {
  const marks = new Set<Mark>()
  walk(schema, encodings, (ast) => {
    const mark = markOf(ast)
    if (mark !== undefined) marks.add(mark)
  })
  return marks
}

const hasMarks = (schema: SchemaAST.AST): boolean => marksIn(schema, true).size > 0

/**
 * Throws when something is not encoded as it is made of, and a mark gets lost by that. Looks at each such part, as one mark may stand in several
 * places.
 */
const refuseLost = (what: string, schema: SchemaAST.AST): void =>
  walk(schema, true, (ast) => {
    if (ast.encoding === undefined) return
    const kept = marksIn(SchemaAST.toEncoded(ast), false)
    for (const mark of marksIn(ast, true)) if (!kept.has(mark)) throw hidden(what, mark)
  })

const hidden = (what: string, { subject }: Mark): Error =>
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
  const mark = markOf(ast)
  if (mark !== undefined) throw hidden(what, mark)
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
    const mark = markOf(type)
    inner.set(field, mark === undefined ? recur(type) : undefined)
    if (mark === undefined) continue
    const within = marksIn(type, false)
    if (within.size > 1) {
      throw new Error(`${what}: the personal field "${field}" has another within; all of it is of one subject`)
    }
    const subject = ast.propertySignatures.find((property) => property.name === mark.subject)
    if (subject === undefined) {
      throw new Error(
        `${what}: the personal field "${field}" has no field "${mark.subject}" beside it to name its subject`
      )
    }
    if (markOf(subject.type) !== undefined) {
      throw new Error(
        `${what}: "${mark.subject}" names the subject of "${field}", so it cannot be personal data itself`
      )
    }
    if (!mayBeText(subject.type)) {
      throw new Error(`${what}: "${mark.subject}" names the subject of "${field}", so it must be encoded as a string`)
    }
    marked.push({ field, subject: mark.subject, schema: mark.schema })
  }
  const others = ast.indexSignatures.flatMap(({ type }) => recur(type) ?? [])
  const isPlain = Array.from(inner.values()).every((visit) => visit === undefined)
  if (marked.length === 0 && others.length === 0 && isPlain) return undefined
  return (encoded, found) => {
    if (!isHolder(encoded)) return
    for (const { field, schema, subject } of marked) {
      if (!Object.hasOwn(encoded, field)) continue
      const value = encoded[field]
      // One of another subject did not come from here, and may say anything; so may one with more to it.
      if (isErased(value) && value.subject === encoded[subject] && Object.keys(value).length === 2) continue
      found.push({ holder: encoded, field, subject: encoded[subject], schema })
    }
    for (const [field, value] of Object.entries(encoded)) {
      if (inner.has(field)) inner.get(field)?.(value, found)
      else for (const other of others) other(value, found)
    }
  }
}

const isHolder = (value: unknown): value is Record<string, Schema.Json> =>
  Predicate.isObject(value) && !Array.isArray(value)

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
  if (markOf(ast) === undefined && SchemaAST.isUnion(ast)) return ast.types.flatMap((type) => membersOf(type, seen))
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

const sealedKey = "~sealed"

/**
 * Personal data as a store keeps it: `text` is `1.` and, in base 64, 12 bytes of nonce, the ciphertext of the value's JSON in UTF-8 and 16
 * bytes of tag, by AES-256-GCM under the key of the subject, whose name is authenticated with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sealed {
  readonly "~sealed": string
  readonly subject: string
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isSealed = (value: unknown): value is Sealed =>
  Predicate.isObject(value) && typeof Reflect.get(value, sealedKey) === "string"
  && typeof Reflect.get(value, "subject") === "string"

/**
 * @since 0.1.0
 * @category constructors
 */
export const sealed = (subject: string, text: string): Schema.JsonObject => ({ [sealedKey]: text, subject })

/**
 * Whether JSON text, as `JSON.stringify` writes it, has what could be taken for sealed data.
 *
 * @since 0.1.0
 * @category guards
 */
export const looksSealed = (json: string): boolean => json.includes(`"${sealedKey}":`)

/**
 * A copy of encoded data, and where in it sealed data stands: `holder[field]`.
 *
 * @since 0.1.0
 * @category copying
 */
export const copySealed = (
  encoded: Schema.Json,
  found: Array<{ readonly holder: Record<string, Schema.Json>; readonly field: string; readonly sealed: Sealed }>
): Schema.Json => {
  if (Array.isArray(encoded)) return encoded.map((element) => copySealed(element, found))
  if (!isHolder(encoded)) return encoded
  const holder: Record<string, Schema.Json> = {}
  for (const [field, value] of Object.entries(encoded)) {
    // Not by assignment: `__proto__` is a name like any other in JSON.
    const copy = isSealed(value) ? value : copySealed(value, found)
    Object.defineProperty(holder, field, { value: copy, enumerable: true, writable: true, configurable: true })
    if (isSealed(value)) found.push({ holder, field, sealed: value })
  }
  return holder
}

/**
 * The subjects of what is sealed in encoded data.
 *
 * @since 0.1.0
 * @category getters
 */
export const subjectsIn = (encoded: Schema.Json): ReadonlySet<string> => {
  const found: Parameters<typeof copySealed>[1] = []
  copySealed(encoded, found)
  return new Set(found.map(({ sealed }) => sealed.subject))
}

/**
 * What is sealed in `stored` and stands in the clear in `opened`, each value by itself.
 *
 * @since 0.1.0
 * @category messages
 */
export const secretsOf = (stored: unknown, opened: unknown): ReadonlyArray<unknown> => {
  if (isSealed(stored)) return isErased(opened) ? [] : leavesOf(opened)
  if (!Predicate.isObjectOrArray(stored) || !Predicate.isObjectOrArray(opened)) return []
  return Object.entries(stored).flatMap(([field, value]) => secretsOf(value, Reflect.get(opened, field)))
}

/**
 * The values of a JSON value that are neither object nor array.
 *
 * @since 0.1.0
 * @category messages
 */
export const leavesOf = (value: unknown): ReadonlyArray<unknown> =>
  Predicate.isObjectOrArray(value) ? Object.values(value).flatMap(leavesOf) : [value]

/**
 * A text in which personal data is replaced by `[personal data]`, wherever it stands as it is or as JSON writes it: what went wrong with an
 * event is kept and logged, and must not tell what the event has encrypted.
 *
 * @since 0.1.0
 * @category messages
 */
export const scrub = (text: string, secrets: ReadonlyArray<unknown>): string => {
  const forms = new Set<string>()
  for (const secret of secrets) {
    if (secret === null || secret === undefined || secret === "" || typeof secret === "boolean") continue
    const plain = String(secret)
    forms.add(plain)
    forms.add(JSON.stringify(plain).slice(1, -1))
  }
  // The longest first: one may contain another. A short one is told from a part of another word.
  return Array.from(forms).toSorted((a, b) => b.length - a.length).reduce(
    (text, form) =>
      form.length >= 3
        ? text.replaceAll(form, "[personal data]")
        : text.replace(new RegExp(`(?<![\\p{L}\\p{N}])${escaped(form)}(?![\\p{L}\\p{N}])`, "gu"), "[personal data]"),
    text
  )
}

/** Text as a part of a regular expression. */
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
