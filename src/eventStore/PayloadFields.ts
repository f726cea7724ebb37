/**
 * What the fields of a command's payload are: secrets, personal data, the names of subjects, or what the events have in plaintext.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import { fieldAnnotationOf } from "../personalData/FieldAnnotation.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"

/** Names of fields. */
type Names = ReadonlySet<string>

/**
 * Calls `visit` for every node of a Schema, its encodings included, with the name of the innermost field that contains the node. Goes no deeper where
 * `visit` returns `true`.
 */
const walk = (schema: SchemaAST.AST, visit: (ast: SchemaAST.AST, field: string | undefined) => boolean): void => {
  const seen = new Map<SchemaAST.AST, Set<string | undefined>>()
  const inner = (ast: SchemaAST.AST, field: string | undefined): void => {
    const fields = seen.get(ast)
    if (fields?.has(field) === true) return
    if (fields === undefined) seen.set(ast, new Set([field]))
    else fields.add(field)
    if (visit(ast, field)) return
    for (const { to } of ast.encoding ?? []) inner(to, field)
    switch (ast._tag) {
      case "Objects":
        for (const { name, type } of ast.propertySignatures) inner(type, String(name))
        for (const { type } of ast.indexSignatures) inner(type, field)
        return
      case "Arrays":
        for (const element of [...ast.elements, ...ast.rest]) inner(element, field)
        return
      case "Union":
        for (const member of ast.types) inner(member, field)
        return
      case "Suspend":
        return inner(ast.thunk(), field)
      case "Declaration":
        for (const parameter of ast.typeParameters) inner(parameter, field)
    }
  }
  inner(schema, undefined)
}

const isRedacted = ({ annotations }: SchemaAST.AST): boolean => {
  const representation = annotations?.["representation"]
  return Predicate.isObject(representation) && Reflect.get(representation, "id") === "effect/schema/Redacted"
}

const containsRedacted = (schema: SchemaAST.AST): boolean => {
  let found = false
  walk(schema, (ast) => found ||= isRedacted(ast))
  return found
}

/** Returns the names of the innermost fields whose values are, or contain, `Redacted`. */
const secretsIn = (schema: SchemaAST.AST): Names => {
  const names = new Set<string>()
  walk(schema, (ast, field) => {
    if (field === undefined) return false
    // The encoded names of a struct may be others than those of its type.
    const isSecret = isRedacted(ast) || (ast._tag === "Objects" && ast.encoding !== undefined && containsRedacted(ast))
    if (isSecret) names.add(field)
    return isSecret
  })
  return names
}

/** Returns the names of the fields that name the subjects of a Schema's personal fields. */
const subjectsIn = (schema: SchemaAST.AST): Names => {
  const names = new Set<string>()
  walk(schema, (ast) => {
    const annotation = fieldAnnotationOf(ast)
    if (annotation !== undefined) names.add(annotation.subject)
    return false
  })
  return names
}

/**
 * The fields of a set of events.
 *
 * @since 0.1.0
 * @category models
 */
export interface OfEvents {
  /** Those that are, or contain, personal data in one of the events. */
  readonly personal: Names
  /** Those that name subjects. */
  readonly subjects: Names
}

const ofEventsCache = new WeakMap<Event.Any, OfEvents>()

/**
 * Returns what the fields of events are.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofEvents = (events: Event.Any): OfEvents => {
  let found = ofEventsCache.get(events)
  if (found === undefined) {
    const schemas = Object.values(events.cases)
    const personal = EventPersonalData.fieldNamesOf(events)
    found = { personal, subjects: new Set(schemas.flatMap(({ ast }) => [...subjectsIn(ast)])) }
    ofEventsCache.set(events, found)
  }
  return found
}

/**
 * The fields of a command's payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface OfPayload {
  /** Returns a payload as JSON, under the names of its type. A field that cannot be encoded is left as it is. */
  readonly encode: (payload: unknown) => unknown
  /** Those whose values are, or contain, `Redacted`. */
  readonly secret: Names
  /** Those that are, or contain, personal data. */
  readonly personal: Names
  /** Those that name subjects. */
  readonly subjects: Names
}

/** Returns the function that encodes a value as JSON, and a value that cannot be encoded as it is. */
const encoderOf = (schema: Schema.Top): (value: unknown) => unknown => {
  const codec = Result.try(() =>
    Schema.encodeUnknownResult(Schema.toCodecJson(schema as Schema.Codec<unknown, unknown>))
  )
  if (Result.isFailure(codec)) return (value) => value
  return (value) =>
    Result.getOrElse(Result.flatMap(Result.try(() => codec.success(value)), (result) => result), () => value)
}

const ofPayloadCache = new WeakMap<Schema.Top, OfPayload>()

/**
 * Returns what the fields of a payload are.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofPayload = (schema: Schema.Top): OfPayload => {
  let found = ofPayloadCache.get(schema)
  if (found === undefined) {
    found = {
      encode: payloadEncoder(schema),
      secret: secretsIn(schema.ast),
      personal: new Set(PersonalFields.fieldsOf(schema)),
      subjects: subjectsIn(schema.ast)
    }
    ofPayloadCache.set(schema, found)
  }
  return found
}

/** Each field of a struct is encoded by itself, so that one without a JSON form does not keep the others from theirs. */
const payloadEncoder = (schema: Schema.Top): OfPayload["encode"] => {
  const fields: unknown = Reflect.get(schema, "fields")
  if (!Predicate.isObject(fields)) return encoderOf(schema)
  const encoders = Object.entries(fields).map(([name, field]) =>
    // The fields of a struct are Schemas.
    [name, encoderOf(field as Schema.Top)] as const
  )
  return (payload) => {
    if (!Predicate.isObject(payload)) return payload
    const encoded: Array<readonly [string, unknown]> = []
    for (const [name, encode] of encoders) {
      const value: unknown = Reflect.get(payload, name)
      if (value !== undefined) encoded.push([name, encode(value)])
    }
    // An assignment would not store a field that is named `__proto__`.
    return Object.fromEntries(encoded)
  }
}

/**
 * Returns the names of the innermost fields of a value that are, or contain, `Redacted`: a Schema need not say so.
 *
 * @since 0.1.0
 * @category accessors
 */
export const secretsOf = (value: unknown): Names => {
  const names = new Set<string>()
  const seen = new Set<unknown>()
  const visit = (value: unknown, field: string | undefined): void => {
    if (!Predicate.isObjectOrArray(value)) return
    if (Redacted.isRedacted(value)) {
      if (field !== undefined) names.add(field)
      return
    }
    if (seen.has(value)) return
    seen.add(value)
    if (value instanceof Map || value instanceof Set || Array.isArray(value)) {
      for (const element of value) visit(element, field)
      return
    }
    const isRecord = Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null
    for (const [name, inner] of Object.entries(value)) visit(inner, isRecord ? name : field)
  }
  visit(value, undefined)
  return names
}
