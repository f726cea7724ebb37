/**
 * Replaces the personal data of events by values that their Schemas generate. What is generated does not depend on what it stands for: nobody can
 * tell from it whether a guess is right.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { StateSchema } from "../../decision/DecisionDefinition.ts"
import type * as Event from "../../event/Event.ts"
import { legacyOf, upcastersOf } from "../../event/EventAnnotations.ts"
import * as EventPersonalData from "../../event/EventPersonalData.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as EncryptedValue from "../../personalData/EncryptedValue.ts"
import * as PersonalData from "../../personalData/PersonalData.ts"
import * as PersonalFields from "../../personalData/PersonalFields.ts"

/**
 * The payload of an event with other personal data. Fails with a text where that is impossible.
 *
 * @since 0.1.0
 * @category models
 */
export type Replace = (event: EncodedEvent) => Effect.Effect<Schema.Json, string>

/** The personal fields of one version of one type; `isKnown`: whether there is a Schema of it. */
interface LocatedField {
  readonly isKnown: boolean
  readonly locateFields: PersonalFields.FieldLocator
}

/**
 * Replaces the personal data of events of some sets. What was erased stays so. The same value of the same subject is replaced by the same one each
 * time, where its Schema allows that; another by another one, where its Schema has so many.
 *
 * **Details**
 *
 * It keeps the values that it has replaced in memory, and writes them nowhere.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sets: ReadonlyArray<Event.Any>): Replace => {
  const generate = generator()
  const stands = new Map<string, Map<string, Array<Schema.Json>>>()
  const known = new Map<string, LocatedField>()

  const locatedOf = ({ schemaVersion, type }: EncodedEvent): LocatedField => {
    const name = `${schemaVersion} ${type}`
    let found = known.get(name)
    if (found === undefined) known.set(name, found = located(sets, type, schemaVersion))
    return found
  }

  const standIn = Effect.fnUntraced(function*(
    { field, parent, schema, subject }: PersonalFields.AnnotatedField
  ): Effect.fn.Return<Schema.Json, string> {
    const person = String(subject)
    const original = JSON.stringify(parent[field])
    const ofPerson = stands.get(person) ?? new Map<string, Array<Schema.Json>>()
    const given = ofPerson.get(original) ?? []
    const fitting = given.find(generate.fits(schema))
    if (fitting !== undefined) return fitting
    const made = yield* Effect.mapError(generate.next(schema), (detail) => `"${field}": ${detail}`)
    ofPerson.set(original, [...given, made])
    stands.set(person, ofPerson)
    return made
  })

  return Effect.fnUntraced(function*(recorded) {
    const decrypted = yield* Effect.fromResult(EventPersonalData.dataOf(recorded))
    const data = structuredClone(decrypted)
    const { isKnown, locateFields } = locatedOf(recorded)
    const replaced = new Map<object, Set<string>>()
    for (const found of locateFields(data)) {
      const value = yield* standIn(found)
      found.parent[found.field] = value
      replaced.set(found.parent, (replaced.get(found.parent) ?? new Set()).add(found.field))
    }
    const isLeft: IsLeft = (parent, field) => replaced.get(parent)?.has(field) !== true
    const unmarked = sealedLeft(recorded.data, data, isLeft)
    if (unmarked.length === 0) return data
    if (isKnown) {
      return yield* Effect.fail(
        `"${
          unmarked[0]!.field
        }" was written as personal data and is not marked as such in the Schema of this version, so nothing `
          + "can be generated for it: mark it by Personal.field"
      )
    }
    // Of a type that means nothing any more nobody reads what it was.
    for (const { field, parent, subject } of unmarked) parent[field] = PersonalData.Erased.make({ subject })
    return data
  })
}

/** Several sets may know one type; what only one of them marks is personal too. */
const located = (sets: ReadonlyArray<Event.Any>, type: string, schemaVersion: number): LocatedField => {
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

type IsLeft = (parent: object, field: string) => boolean

/** What is kept encrypted, stands in `data` in plaintext, and is left as it was. */
const sealedLeft = (kept: Schema.Json, data: Schema.Json, isLeft: IsLeft) => {
  const left: Array<{
    readonly parent: Record<string, Schema.Json>
    readonly field: string
    readonly subject: string
  }> = []
  const visit = (kept: unknown, data: unknown): void => {
    if (!isParentObject(kept) || !isParentObject(data)) return
    for (const [field, value] of Object.entries(kept)) {
      if (!EncryptedValue.isEncrypted(value)) visit(value, data[field])
      else if (!PersonalData.isErased(data[field]) && isLeft(data, field)) {
        left.push({ parent: data, field, subject: value.subject })
      }
    }
  }
  visit(kept, data)
  return left
}

/** An object or an array. */
const isParentObject = (json: unknown): json is Record<string, Schema.Json> => Predicate.isObject(json)

/** Values made at a time. */
const batch = 50

/** How often another value is tried for, as one may have been given to somebody else. */
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
        // A batch is never empty.
        return first!
      }
    })
  }
}

const generated = (schema: Schema.Constraint): Generated => {
  // The fields of events are encoded and decoded without services.
  const json = Schema.toCodecJson(schema as StateSchema)
  const encode = Schema.encodeUnknownResult(json)
  return {
    decode: Schema.decodeUnknownResult(json),
    more: Effect.suspend(() => Arbitrary.sampleEffect(Arbitrary.schema(schema), { count: batch, size: 12 })).pipe(
      Effect.flatMap((values) => Effect.fromResult(Result.all(values.map((value) => encode(value))))),
      Effect.map((values) => JSON.parse(JSON.stringify(values)) as ReadonlyArray<Schema.Json>),
      // A Schema that nothing can be generated from throws, or discards all that it tries.
      Effect.sandbox,
      Effect.mapError(() =>
        "nothing can be generated from its Schema; for a pattern with a lookahead or a class of Unicode, annotate another one to "
        + "generate by, as `arbitraryConstraint`"
      )
    ),
    left: []
  }
}
