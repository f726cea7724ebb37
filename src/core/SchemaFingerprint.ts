/**
 * The fingerprint of a Schema: a short text that is the same in every process, and changes when what the Schema stores or accepts changes.
 *
 * **Details**
 *
 * It covers the JSON codec of the Schema on both sides: fields with their names and optionality, literals, enums, the order of union
 * members, checks with their parameters, recursion, and where a transformation stands and of which kind it is. It leaves out what changes
 * neither side: documentation, identifiers and brands, the order of fields and of literals, constructor defaults, and whether a schema is
 * written in place or shared.
 *
 * **Gotchas**
 *
 * The body of a function cannot be compared between processes. So a transformation between the same two sides (another default of
 * `withDecodingDefault`, an upcaster) and a custom filter or declaration may change unseen. A custom filter or declaration is told apart by
 * its `representation` annotation (an id and a payload), or else by `expected`. A new version of Effect may store the same values by another
 * codec, and then fingerprints change with it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

/**
 * 32 hexadecimal digits.
 *
 * @since 0.1.0
 * @category models
 */
export type Fingerprint = string

const cache = new WeakMap<SchemaAST.AST, Fingerprint>()

/**
 * The fingerprint of what a Schema stores as JSON and accepts.
 *
 * **Gotchas**
 *
 * Throws where `Schema.toCodecJson` does, and for a recursive schema that makes a new schema each time it is unfolded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (schema: Schema.Constraint): Fingerprint => {
  let found = cache.get(schema.ast)
  if (found === undefined) cache.set(schema.ast, found = fromText(canonical(schema)))
  return found
}

/**
 * The fingerprint of a text: its FNV-1a hash of 128 bits (Fowler, Noll and Vo), over UTF-8. It tells texts apart that were not made to
 * collide.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromText = (text: string): Fingerprint => {
  // The hash in digits to the base 2^32, lowest first: with bigints it takes ten times as long. It begins with the offset basis.
  let [a, b, c, d] = [0x6295c58d, 0x62b82175, 0x07bb0142, 0x6c62272e]
  for (const byte of new TextEncoder().encode(text)) {
    a = (a ^ byte) >>> 0
    // Times the prime, 2^88 + 0x13b; no product is beyond 2^53.
    const a1 = a * 0x13b
    const b1 = b * 0x13b + Math.floor(a1 / 0x1_0000_0000)
    const c1 = c * 0x13b + Math.floor(b1 / 0x1_0000_0000) + ((a << 24) >>> 0)
    const d1 = d * 0x13b + Math.floor(c1 / 0x1_0000_0000) + (((b << 24) | (a >>> 8)) >>> 0)
    a = a1 >>> 0
    b = b1 >>> 0
    c = c1 >>> 0
    d = d1 >>> 0
  }
  return [d, c, b, a].map((digit) => digit.toString(16).padStart(8, "0")).join("")
}

/** More recursive definitions than this in one schema are no definitions: each unfolding makes another. */
const maxDefinitions = 1_000

/**
 * The text that a fingerprint is made of, for comparing two Schemas by eye. One line a node, each different node once: `0: <node>` after
 * the nodes that it refers to by `$<line>`, or, within a recursion, by `#<definition>`.
 *
 * @since 0.1.0
 * @category getters
 */
export const canonical = (schema: Schema.Constraint): string => {
  const lines = new Map<string, number>()
  const visited = new Map<SchemaAST.AST, string>()
  const definitions = new Map<SchemaAST.AST, number>()

  const line = (text: string): string => {
    let at = lines.get(text)
    if (at === undefined) lines.set(text, at = lines.size)
    return `$${at}`
  }

  const visit = (ast: SchemaAST.AST): string => {
    let found = visited.get(ast)
    if (found === undefined) visited.set(ast, found = line(`${body(ast)}${checks(ast.checks)}${encoding(ast)}`))
    return found
  }

  /** A key is optional or not on each side by itself: this is one side's. */
  const keyed = (ast: SchemaAST.AST): string => `${visit(ast)}${ast.context?.isOptional === true ? "?" : ""}`

  const encoding = (ast: SchemaAST.AST): string =>
    (ast.encoding ?? []).map(({ to, transformation }) =>
      ` <- ${keyed(to)} by ${transformation._tag}${
        transformation._tag === "Transformation" ? `(${transformation.decode._tag}, ${transformation.encode._tag})` : ""
      }`
    ).join("")

  const checks = (all: SchemaAST.Checks | undefined): string =>
    (all ?? []).map((check) =>
      ` & ${known(check.annotations)}${check._tag === "FilterGroup" ? `{${checks(check.checks)} }` : ""}`
    )
      .join("")

  /** What a check or a declaration says of itself, since its function cannot be compared. */
  const known = (annotations: Schema.Annotations.Annotations | undefined): string => {
    const representation = annotations?.["representation"] as RepresentationOfCheck | undefined
    if (representation === undefined) return JSON.stringify(annotations?.["expected"] ?? null)
    const { id, payload, schemas = [] } = representation
    return `${id}(${[stable(payload), ...schemas.map(visit)].join(", ")})`
  }

  const body = (ast: SchemaAST.AST): string => {
    switch (ast._tag) {
      case "Literal":
        return literal(ast)
      case "UniqueSymbol":
        return String(ast.symbol)
      case "Enum":
        return `Enum ${ast.enums.map(([, value]) => JSON.stringify(value)).toSorted().join(" | ")}`
      case "TemplateLiteral":
        return `TemplateLiteral(${ast.parts.map(visit).join(", ")})`
      case "Arrays":
        return `[${[...ast.elements.map(keyed), ...ast.rest.map((rest) => `...${visit(rest)}`)].join(", ")}]${
          checks(ast.encodingChecks)
        }`
      case "Objects": {
        const fields = ast.propertySignatures
          .map(({ name, type }) => ({ name: typeof name === "symbol" ? String(name) : JSON.stringify(name), type }))
          .toSorted((a, b) => a.name < b.name ? -1 : 1)
          .map(({ name, type }) => `${name}: ${keyed(type)}`)
        const records = ast.indexSignatures.map(({ parameter, type }) => `[${visit(parameter)}]: ${visit(type)}`)
        return `{ ${[...fields, ...records].join(", ")} }${checks(ast.encodingChecks)}`
      }
      case "Union": {
        const literals = ast.types.filter((type) => type._tag === "Literal" && type.checks === undefined)
        // Of several literals at most one matches; of other members the first that does.
        const types = literals.length === ast.types.length
          ? literals.toSorted((a, b) => literal(a) < literal(b) ? -1 : 1)
          : ast.types
        return `${ast.options?.mode ?? "anyOf"}(${types.map(visit).join(" | ")})${checks(ast.encodingChecks)}`
      }
      case "Suspend": {
        const target = ast.thunk()
        let definition = definitions.get(target)
        if (definition === undefined) definitions.set(target, definition = definitions.size)
        return `#${definition}`
      }
      case "Declaration":
        return `Declaration ${known(ast.annotations)}(${ast.typeParameters.map(visit).join(", ")})${
          checks(ast.encodingChecks)
        }`
      default:
        return ast._tag
    }
  }

  const root = visit(Schema.toCodecJson(schema).ast)
  const defined: Array<string> = []
  // A Map's iterator also comes to what is added on the way.
  for (const [target, definition] of definitions) {
    if (definition >= maxDefinitions) {
      throw new Error(
        `Fingerprint: the schema has more than ${maxDefinitions} recursive definitions; a Schema.suspend must answer the same schema each time`
      )
    }
    defined.push(`#${definition}: ${visit(target)}`)
  }
  return [...Array.from(lines, ([text, at]) => `${at}: ${text}`), ...defined, root].join("\n")
}

/** The `representation` annotation of a check: Effect's own mark of persistent identity. */
interface RepresentationOfCheck {
  readonly id: string
  readonly payload: Schema.Json
  readonly schemas?: ReadonlyArray<SchemaAST.AST> | undefined
}

const literal = (ast: SchemaAST.AST): string =>
  ast._tag !== "Literal" ? "" : typeof ast.literal === "bigint" ? `${ast.literal}n` : JSON.stringify(ast.literal)

/** JSON with its keys in order. */
const stable = (json: Schema.Json): string =>
  JSON.stringify(json, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1))
      : value)
