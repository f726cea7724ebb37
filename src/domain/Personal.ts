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
  Schema.Union([Erased, schema]).annotate({ [Annotation]: { subject: options.subject } satisfies Mark })

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
 * Finds the personal fields of a value that a Schema has encoded as JSON; those that were erased are left out.
 *
 * @since 0.1.0
 * @category models
 */
export type Locate = (encoded: Schema.Json) => ReadonlyArray<Located>

/** Adds what it finds. */
type Visit = (encoded: unknown, found: Array<Located>) => void

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
  const marks = marksIn(schema.ast)
  if (marks.size === 0) return undefined
  const reached = new Set<Mark>()
  const encoded = encodedOf(schema)
  const visit = compile(what, encoded, reached, new Map())
  if (encoded._tag === "Arrays") throw new Error(`${what}: personal data stands in a struct, not in an array of them`)
  for (const mark of marks) {
    if (reached.has(mark)) continue
    throw new Error(
      `${what}: a personal field of the subject "${mark.subject}" is hidden by a transformation or an array; mark the field of the `
        + `outer struct instead`
    )
  }
  return (encoded) => {
    const found: Array<Located> = []
    visit?.(encoded, found)
    return found
  }
}

/**
 * The names of the personal fields of a struct's own.
 *
 * @since 0.1.0
 * @category getters
 */
export const fieldsOf = (schema: Schema.Top): ReadonlyArray<string> => {
  const encoded = encodedOf(schema)
  return SchemaAST.isObjects(encoded)
    ? encoded.propertySignatures.flatMap(({ name, type }) => markOf(type) === undefined ? [] : [String(name)])
    : []
}

const encodedOf = (schema: Schema.Top): SchemaAST.AST => SchemaAST.toEncoded(Schema.toCodecJson(schema).ast)

/** All marks there are, wherever they stand. */
const marksIn = (schema: SchemaAST.AST): ReadonlySet<Mark> => {
  const marks = new Set<Mark>()
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): void => {
    if (seen.has(ast)) return
    seen.add(ast)
    const mark = markOf(ast)
    if (mark !== undefined) marks.add(mark)
    for (const link of ast.encoding ?? []) visit(link.to)
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
  return marks
}

/** `undefined` where there is nothing to find. */
const compile = (
  what: string,
  ast: SchemaAST.AST,
  reached: Set<Mark>,
  known: Map<SchemaAST.AST, Visit | undefined>
): Visit | undefined => {
  if (known.has(ast)) return known.get(ast)
  // For a Schema that contains itself: by the time that anything is visited, it is compiled.
  known.set(ast, (encoded, found) => compiled?.(encoded, found))
  const recur = (inner: SchemaAST.AST) => compile(what, inner, reached, known)
  const compiled = compileNode(what, ast, reached, recur)
  known.set(ast, compiled)
  return compiled
}

const compileNode = (
  what: string,
  ast: SchemaAST.AST,
  reached: Set<Mark>,
  recur: (ast: SchemaAST.AST) => Visit | undefined
): Visit | undefined => {
  switch (ast._tag) {
    case "Objects":
      return compileObjects(what, ast, reached, recur)
    case "Arrays": {
      const elements = ast.elements.map(recur)
      const rest = recur(ast.rest[0] ?? SchemaAST.never)
      if (rest === undefined && elements.every((visit) => visit === undefined)) return undefined
      return (encoded, found) => {
        if (!Array.isArray(encoded)) return
        for (const [index, element] of encoded.entries()) {
          const visit = index < elements.length ? elements[index] : rest
          visit?.(element, found)
        }
      }
    }
    case "Union":
      return compileUnion(what, ast, recur)
    case "Suspend":
      return recur(ast.thunk())
    default:
      return undefined
  }
}

const compileObjects = (
  what: string,
  ast: SchemaAST.Objects,
  reached: Set<Mark>,
  recur: (ast: SchemaAST.AST) => Visit | undefined
): Visit | undefined => {
  const marked: Array<{ readonly field: string; readonly subject: string }> = []
  const inner = new Map<string, Visit>()
  for (const { name, type } of ast.propertySignatures) {
    const field = String(name)
    const mark = markOf(type)
    if (mark !== undefined) {
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
      reached.add(mark)
      marked.push({ field, subject: mark.subject })
    } else {
      const visit = recur(type)
      if (visit !== undefined) inner.set(field, visit)
    }
  }
  const others = ast.indexSignatures.flatMap(({ type }) => recur(type) ?? [])
  if (marked.length === 0 && inner.size === 0 && others.length === 0) return undefined
  return (encoded, found) => {
    if (!isHolder(encoded)) return
    for (const { field, subject } of marked) {
      if (!Object.hasOwn(encoded, field)) continue
      const value = encoded[field]
      // One of another subject did not come from here, and may say anything.
      if (isErased(value) && value.subject === encoded[subject]) continue
      found.push({ holder: encoded, field, subject: encoded[subject] })
    }
    for (const [field, value] of Object.entries(encoded)) {
      const visit = inner.get(field)
      if (visit !== undefined) visit(value, found)
      else for (const other of others) other(value, found)
    }
  }
}

const isHolder = (value: unknown): value is Record<string, Schema.Json> =>
  Predicate.isObject(value) && !Array.isArray(value)

/** Which member of a union has encoded a value is told by its literals, as `_tag`. */
const compileUnion = (
  what: string,
  ast: SchemaAST.Union,
  recur: (ast: SchemaAST.AST) => Visit | undefined
): Visit | undefined => {
  const members = ast.types.map((type) => ({ type, visit: recur(type), literals: literalsOf(type) }))
  if (members.every(({ visit }) => visit === undefined)) return undefined
  const objects = members.filter(({ type }) => SchemaAST.isObjects(type))
  if (objects.length > 1 && objects.some(({ literals }) => literals.length === 0)) {
    throw new Error(`${what}: the members of a union with personal fields must be told apart by a literal, as "_tag"`)
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
      SchemaAST.isLiteral(type) ? [[String(name), type.literal] as const] : []
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
 * Whether JSON text has what could be taken for sealed data.
 *
 * @since 0.1.0
 * @category guards
 */
export const looksSealed = (json: string): boolean => json.includes(`"${sealedKey}"`)

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
 * A text in which the personal data of an event is replaced by `[personal data]`: what went wrong with an event is kept and logged, and must
 * not tell what the event has encrypted.
 *
 * @since 0.1.0
 * @category messages
 */
export const scrub = (text: string, stored: Schema.Json, opened: Schema.Json): string => {
  const secrets = new Set<string>()
  const collect = (value: unknown): void => {
    if (Predicate.isObject(value)) Object.values(value).forEach(collect)
    else if (value !== null && String(value).length >= 3) secrets.add(String(value))
  }
  const compare = (kept: unknown, plain: unknown): void => {
    if (isSealed(kept)) return collect(plain)
    if (!Predicate.isObject(kept) || !Predicate.isObject(plain)) return
    for (const [field, value] of Object.entries(kept)) compare(value, Reflect.get(plain, field))
  }
  compare(stored, opened)
  // The longest first: one may contain another.
  return Array.from(secrets).toSorted((a, b) => b.length - a.length)
    .reduce((text, secret) => text.replaceAll(secret, "[personal data]"), text)
}
