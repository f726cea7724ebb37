/**
 * The fingerprint of a Schema: a short text that is the same in every process, and changes when what the Schema
 * stores or accepts changes.
 *
 * **Details**
 *
 * It covers the JSON codec of the Schema on both sides: fields with their names and optionality, literals, enums, the order of union
 * members, checks with their parameters, recursion, and the places and kinds of transformations. It leaves out what changes
 * neither side: documentation, identifiers and brands, the order of fields and of literals, constructor defaults, and whether a schema is
 * written in place or shared.
 *
 * **Gotchas**
 *
 * The body of a function cannot be compared between processes. So a transformation between the same two sides (another default of
 * `withDecodingDefault`, an upcaster) and a custom filter or declaration may change without a new fingerprint. The fingerprint identifies a custom
 * filter or declaration by
 * its `representation` annotation (an id and a payload), or else by `expected`. A new version of Effect may store the same values by another
 * codec, which changes fingerprints too.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

/**
 * A fingerprint: 32 hexadecimal digits.
 *
 * @since 0.1.0
 * @category models
 */
export type Fingerprint = string

const cache = new WeakMap<SchemaAST.AST, Fingerprint>()

/**
 * Returns the fingerprint of what a Schema stores as JSON and accepts.
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
 * Returns the fingerprint of a text: its FNV-1a hash of 128 bits (Fowler, Noll and Vo), over UTF-8. It distinguishes texts that were not made to
 * collide.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromText = (text: string): Fingerprint => {
  // The hash has four digits to the base 2^32, lowest first, because bigints take ten times as long. It begins with the offset basis.
  let [a, b, c, d] = [0x6295c58d, 0x62b82175, 0x07bb0142, 0x6c62272e]
  for (const byte of new TextEncoder().encode(text)) {
    a = (a ^ byte) >>> 0
    // Multiplies by the prime, 2^88 + 0x13b; no product exceeds 2^53.
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

/** A schema with more recursive definitions than this makes a new one at each unfolding. */
const maxDefinitions = 1_000

/** The lines of a canonical text so far, and what they stand for. */
interface Writer {
  /** The number of each line, by its text. */
  readonly lines: Map<string, number>
  /** The reference to each node that was written. */
  readonly references: Map<SchemaAST.AST, string>
  /** The number of each recursive definition. */
  readonly definitions: Map<SchemaAST.AST, number>
}

/**
 * Returns the text that a fingerprint is made of, to compare two Schemas by eye. It has one line for each different node: `0: <node>`, after the
 * nodes that it refers to by `$<line>` or, within a recursion, by `#<definition>`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const canonical = (schema: Schema.Constraint): string => {
  const writer: Writer = { lines: new Map(), references: new Map(), definitions: new Map() }
  const root = write(writer, Schema.toCodecJson(schema).ast)
  const defined: Array<string> = []
  // The iterator of a Map also reaches the definitions that are added on the way.
  for (const [target, definition] of writer.definitions) {
    if (definition >= maxDefinitions) {
      throw new Error(
        `SchemaFingerprint: the schema has more than ${maxDefinitions} recursive definitions; make each Schema.suspend return the same `
          + `schema every time`
      )
    }
    defined.push(`#${definition}: ${write(writer, target)}`)
  }
  return [...Array.from(writer.lines, ([text, at]) => `${at}: ${text}`), ...defined, root].join("\n")
}

/** Writes a node after the nodes it consists of, and returns the reference to its line. */
const write = (writer: Writer, ast: SchemaAST.AST): string => {
  const written = writer.references.get(ast)
  if (written !== undefined) return written
  const text = `${body(writer, ast)}${checks(writer, ast.checks)}${encoding(writer, ast)}`
  const line = writer.lines.get(text) ?? writer.lines.size
  writer.lines.set(text, line)
  writer.references.set(ast, `$${line}`)
  return `$${line}`
}

/** Writes the node of a key. A key is optional or not on each side of a transformation by itself: this is one side. */
const keyed = (writer: Writer, ast: SchemaAST.AST): string =>
  `${write(writer, ast)}${ast.context?.isOptional === true ? "?" : ""}`

const encoding = (writer: Writer, ast: SchemaAST.AST): string =>
  (ast.encoding ?? []).map(({ to, transformation }) =>
    ` <- ${keyed(writer, to)} by ${transformation._tag}${
      transformation._tag === "Transformation" ? `(${transformation.decode._tag}, ${transformation.encode._tag})` : ""
    }`
  ).join("")

const checks = (writer: Writer, all: SchemaAST.Checks | undefined): string =>
  (all ?? []).map((check) =>
    ` & ${identity(writer, check.annotations)}${
      check._tag === "FilterGroup" ? `{${checks(writer, check.checks)} }` : ""
    }`
  ).join("")

/** The annotations that identify a check or a declaration, because its function cannot be compared. */
const identity = (writer: Writer, annotations: Schema.Annotations.Annotations | undefined): string => {
  const representation = annotations?.["representation"] as RepresentationOfCheck | undefined
  if (representation === undefined) return JSON.stringify(annotations?.["expected"] ?? null)
  const { id, payload, schemas = [] } = representation
  return `${id}(${[stable(payload), ...schemas.map((ast) => write(writer, ast))].join(", ")})`
}

const body = (writer: Writer, ast: SchemaAST.AST): string => {
  const writeAll = (asts: ReadonlyArray<SchemaAST.AST>) => asts.map((one) => write(writer, one))
  switch (ast._tag) {
    case "Literal":
      return literal(ast)
    case "UniqueSymbol":
      return String(ast.symbol)
    case "Enum":
      return `Enum ${ast.enums.map(([, value]) => JSON.stringify(value)).toSorted().join(" | ")}`
    case "TemplateLiteral":
      return `TemplateLiteral(${writeAll(ast.parts).join(", ")})`
    case "Arrays": {
      const elements = ast.elements.map((element) => keyed(writer, element))
      const rest = writeAll(ast.rest).map((reference) => `...${reference}`)
      return `[${[...elements, ...rest].join(", ")}]${checks(writer, ast.encodingChecks)}`
    }
    case "Objects":
      return objects(writer, ast)
    case "Union":
      return union(writer, ast)
    case "Suspend": {
      const target = ast.thunk()
      const definition = writer.definitions.get(target) ?? writer.definitions.size
      writer.definitions.set(target, definition)
      return `#${definition}`
    }
    case "Declaration":
      return `Declaration ${identity(writer, ast.annotations)}(${writeAll(ast.typeParameters).join(", ")})${
        checks(writer, ast.encodingChecks)
      }`
    default:
      return ast._tag
  }
}

const objects = (writer: Writer, ast: SchemaAST.Objects): string => {
  const fields = ast.propertySignatures
    .map(({ name, type }) => ({ name: typeof name === "symbol" ? String(name) : JSON.stringify(name), type }))
    .toSorted((a, b) => a.name < b.name ? -1 : 1)
    .map(({ name, type }) => `${name}: ${keyed(writer, type)}`)
  const records = ast.indexSignatures.map(({ parameter, type }) =>
    `[${write(writer, parameter)}]: ${write(writer, type)}`
  )
  return `{ ${[...fields, ...records].join(", ")} }${checks(writer, ast.encodingChecks)}`
}

const union = (writer: Writer, ast: SchemaAST.Union): string => {
  const literals = ast.types.filter((type) => type._tag === "Literal" && type.checks === undefined)
  // At most one of several literals matches, so their order does not matter; of other members the first match counts.
  const types = literals.length === ast.types.length
    ? literals.toSorted((a, b) => literal(a) < literal(b) ? -1 : 1)
    : ast.types
  return `${ast.options?.mode ?? "anyOf"}(${types.map((type) => write(writer, type)).join(" | ")})${
    checks(writer, ast.encodingChecks)
  }`
}

/** The `representation` annotation of a check, by which Effect itself gives it a persistent identity. */
interface RepresentationOfCheck {
  readonly id: string
  readonly payload: Schema.Json
  readonly schemas?: ReadonlyArray<SchemaAST.AST> | undefined
}

const literal = (ast: SchemaAST.AST): string =>
  ast._tag !== "Literal" ? "" : typeof ast.literal === "bigint" ? `${ast.literal}n` : JSON.stringify(ast.literal)

/** Returns JSON text with its keys in order. */
const stable = (json: Schema.Json): string =>
  JSON.stringify(json, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1))
      : value)
