/**
 * Replaces the personal data of events by values that their Schemas generate. A generated value does not depend on the original, so it cannot
 * confirm a guess.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseJson } from "../../core/json/parseJson.ts"
import type { StateSchema } from "../../decision/DecisionDefinition.ts"
import type * as Event from "../../event/Event.ts"
import { legacyOf, upcastersOf } from "../../event/EventAnnotations.ts"
import * as EventPersonalData from "../../event/EventPersonalData.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as EncryptedValue from "../../personalData/EncryptedValue.ts"
import * as PersonalData from "../../personalData/PersonalData.ts"
import * as PersonalFields from "../../personalData/PersonalFields.ts"

/**
 * Returns the payload of an event with replaced personal data. Fails with a text if a value cannot be generated.
 *
 * @since 0.1.0
 * @category models
 */
export type Replace = (event: EncodedEvent) => Effect.Effect<Schema.Json, string>

/** The personal fields of one version of one type. */
interface LocatedFields {
  /** Whether a set has a Schema of the version. */
  readonly isKnown: boolean
  readonly locateFields: PersonalFields.FieldLocator
}

/**
 * Returns a function that replaces the personal data of events of these sets. Erased data stays erased. Equal values of a subject get equal
 * replacements if their Schemas allow it. Different values get different replacements if the Schema has enough values.
 *
 * **Details**
 *
 * The original values are held in memory only.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sets: ReadonlyArray<Event.Any>): Replace => {
  const generate = generator()
  const replacements = new Map<string, Map<string, Array<Schema.Json>>>()
  const cache = new Map<string, LocatedFields>()

  const locatedOf = ({ schemaVersion, type }: EncodedEvent): LocatedFields => {
    const name = `${schemaVersion} ${type}`
    let found = cache.get(name)
    if (found === undefined) cache.set(name, found = located(sets, type, schemaVersion))
    return found
  }

  const replacementOf = Effect.fnUntraced(function*(
    { field, parent, schema, subject }: PersonalFields.AnnotatedField
  ): Effect.fn.Return<Schema.Json, string> {
    const person = String(subject)
    const original = JSON.stringify(parent[field])
    const ofPerson = replacements.get(person) ?? new Map<string, Array<Schema.Json>>()
    const given = ofPerson.get(original) ?? []
    const fitting = given.find(generate.fits(schema))
    if (fitting !== undefined) return fitting
    const made = yield* Effect.mapError(generate.next(schema), (detail) => `"${field}": ${detail}`)
    ofPerson.set(original, [...given, made])
    replacements.set(person, ofPerson)
    return made
  })

  return Effect.fnUntraced(function*(recorded) {
    const decrypted = yield* Effect.fromResult(EventPersonalData.dataOf(recorded))
    const data = structuredClone(decrypted)
    const { isKnown, locateFields } = locatedOf(recorded)
    const replaced = new Map<object, Set<string>>()
    for (const found of locateFields(data)) {
      const value = yield* replacementOf(found)
      found.parent[found.field] = value
      replaced.set(found.parent, (replaced.get(found.parent) ?? new Set()).add(found.field))
    }
    const isOriginal: IsOriginal = (parent, field) => replaced.get(parent)?.has(field) !== true
    const unannotated = unannotatedFields(recorded.data, data, isOriginal)
    if (unannotated.length === 0) return data
    if (isKnown) {
      return yield* Effect.fail(
        `"${
          unannotated[0]!.field
        }" is stored encrypted, but the Schema of this version does not annotate it as personal data, so no value `
          + "can be generated; annotate it with PersonalData.field"
      )
    }
    // A retired type has no Schema to generate from, and no code reads its payload.
    for (const { field, parent, subject } of unannotated) parent[field] = PersonalData.Erased.make({ subject })
    return data
  })
}

/** Several sets may contain a type. A field that one of them annotates is personal in all. */
const located = (sets: ReadonlyArray<Event.Any>, type: string, schemaVersion: number): LocatedFields => {
  const schemas = sets.flatMap((set) => schemaOf(set, type, schemaVersion) ?? [])
  const all = schemas.flatMap((schema) =>
    PersonalFields.locateFields(`event "${type}", version ${schemaVersion}`, schema) ?? []
  )
  return {
    isKnown: schemas.length > 0,
    locateFields: (data) => {
      const found: Array<PersonalFields.AnnotatedField> = []
      for (const one of all.flatMap((locateFields) => locateFields(data))) {
        if (!found.some(({ field, parent }) => parent === one.parent && field === one.field)) found.push(one)
      }
      return found
    }
  }
}

const schemaOf = (set: Event.Any, type: string, schemaVersion: number): Schema.Constraint | undefined => {
  const legacy = legacyOf(set)[type]
  if (legacy !== undefined) return legacy.end === "retired" ? undefined : legacy.past[schemaVersion - 1]?.schema
  const past = upcastersOf(set)[type]?.past ?? []
  return schemaVersion === past.length + 1 && Object.hasOwn(set.cases, type)
    ? set.cases[type]
    : past[schemaVersion - 1]?.schema
}

type IsOriginal = (parent: object, field: string) => boolean

/** Returns the fields that are stored encrypted and still have their original plaintext in `data`. */
const unannotatedFields = (stored: Schema.Json, data: Schema.Json, isOriginal: IsOriginal) => {
  const found: Array<{
    readonly parent: Record<string, Schema.Json>
    readonly field: string
    readonly subject: string
  }> = []
  const visit = (stored: unknown, data: unknown): void => {
    if (!isParentObject(stored) || !isParentObject(data)) return
    for (const [field, value] of Object.entries(stored)) {
      if (!EncryptedValue.isEncrypted(value)) visit(value, data[field])
      else if (!PersonalData.isErased(data[field]) && isOriginal(data, field)) {
        found.push({ parent: data, field, subject: value.subject })
      }
    }
  }
  visit(stored, data)
  return found
}

/** Returns whether the value is an object or an array. */
const isParentObject = (json: unknown): json is Record<string, Schema.Json> => Predicate.isObject(json)

/** The number of values generated at once. */
const batch = 50

/** The highest number of attempts to generate a value that is not used yet. */
const attempts = 10

interface Generated {
  readonly decode: (json: unknown) => Result.Result<unknown, unknown>
  readonly more: Effect.Effect<ReadonlyArray<Schema.Json>, string>
  left: ReadonlyArray<Schema.Json>
}

const generator = () => {
  const used = new Set<string>()
  const all = new Map<Schema.Constraint, Generated>()

  const of = (schema: Schema.Constraint): Generated => {
    let found = all.get(schema)
    if (found === undefined) all.set(schema, found = generated(schema))
    return found
  }

  return {
    fits: (schema: Schema.Constraint) => (json: Schema.Json): boolean => Result.isSuccess(of(schema).decode(json)),
    next: Effect.fnUntraced(function*(schema: Schema.Constraint): Effect.fn.Return<Schema.Json, string> {
      const values = of(schema)
      for (let attempt = 1;; attempt++) {
        if (values.left.length === 0) values.left = yield* values.more
        const [first, ...left] = values.left
        values.left = left
        const text = JSON.stringify(first)
        if (used.has(text) && attempt < attempts) continue
        used.add(text)
        // `more` never returns an empty batch.
        return first!
      }
    })
  }
}

const generated = (schema: Schema.Constraint): Generated => {
  // Encoding and decoding fields of events needs no services.
  const json = Schema.toCodecJson(schema as StateSchema)
  const encode = Schema.encodeUnknownResult(json)
  return {
    decode: Schema.decodeUnknownResult(json),
    more: Effect.suspend(() => Arbitrary.sampleEffect(Arbitrary.schema(schema), { count: batch, size: 12 })).pipe(
      Effect.flatMap((values) => Effect.fromResult(Result.all(values.map((value) => encode(value))))),
      Effect.map((values) => parseJson(JSON.stringify(values)) as ReadonlyArray<Schema.Json>),
      // A Schema that generates no value throws or discards every attempt.
      Effect.sandbox,
      Effect.mapError(() =>
        "its Schema cannot generate values; for a pattern with a lookahead or a Unicode class, annotate a simpler pattern as "
        + "`arbitraryConstraint`"
      )
    ),
    left: []
  }
}
