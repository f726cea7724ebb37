/**
 * Encodes a projection's documents for a store, and decodes them. Compiled once per projection.
 *
 * @since 0.1.0
 */
import * as Hash from "effect/Hash"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as JsonText from "../core/JsonText.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import { validateKey } from "./ProjectionDefinition.ts"

export { maxKeyLength, validateKey } from "./ProjectionDefinition.ts"

/**
 * The codec of a projection's documents. Failures are messages.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentCodec {
  readonly encode: (key: string, document: unknown) => Result.Result<EncodedDocument, string>
  readonly decode: (json: Schema.Json) => Result.Result<unknown, string>
  /** Returns the personal data in a document, value by value; `undefined` when it cannot be found, as the document does not encode. */
  readonly secretsOf: (document: unknown) => ReadonlyArray<unknown> | undefined
  /** Returns the index entry of the documents that have this value of an indexed field. */
  readonly indexEntry: (field: string, value: unknown) => Result.Result<string, string>
}

/** The maximum length of an entry that fits into an index of PostgreSQL. */
const maxEntryLength = 500

/**
 * Returns the index entry of a field's value: the name, `=`, and the value as JSON, which escapes control characters. A long value is replaced
 * by its beginning, its length and two hashes.
 */
const entryOf = (field: string, encoded: unknown): string => {
  const json = JSON.stringify(encoded ?? null)
  if (json.length <= maxEntryLength) return `${field}=${json}`
  // Cut between code points: PostgreSQL cannot store half of a surrogate pair.
  const start = json.slice(0, maxEntryLength).replace(/[\ud800-\udbff]$/, "")
  return `${field}~${json.length}:${Hash.string(json)}:${Hash.string(`${field}${json.slice(maxEntryLength)}`)}:${start}`
}

const cache = new WeakMap<Projection.Any, DocumentCodec>()

/**
 * Returns the codec of a projection's documents, compiled on the first call.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (projection: Projection.Any): DocumentCodec => {
  let codec = cache.get(projection)
  if (codec === undefined) {
    codec = compile(projection)
    cache.set(projection, codec)
  }
  return codec
}

const compile = ({ document, events, index, name }: Projection.Any): DocumentCodec => {
  const locateFields = PersonalFields.locateFields(`projection "${name}"`, document)
  const isPersonal = locateFields !== undefined || EventPersonalData.hasPersonalData(events)
  const json = Schema.toCodecJson(document)
  const encode = SchemaFailure.parser(document, Schema.encodeUnknownResult(json))
  const decode = SchemaFailure.parser(document, Schema.decodeUnknownResult(json))
  // A struct's field has a codec of its own; in any other document the fields are JSON already.
  const fields: unknown = Reflect.get(document, "fields")
  const fieldCodecs = new Map(index.map((field) => {
    const schema: unknown = Predicate.isObject(fields) ? Reflect.get(fields, field) : undefined
    return [
      field,
      Schema.isSchema(schema)
        ? SchemaFailure.parser(schema, Schema.encodeUnknownResult(Schema.toCodecJson(schema as Projection.Document)))
        : undefined
    ]
  }))
  const secretsIn = (encoded: Schema.Json) =>
    locateFields?.(encoded).flatMap(({ field, parent }) => EncryptedValue.leavesOf(parent[field])) ?? []
  return {
    secretsOf: (document) => {
      if (locateFields === undefined || document === undefined) return []
      const encoded = encode(document)
      return Result.isSuccess(encoded) ? secretsIn(encoded.success) : undefined
    },
    indexEntry: (field, value) => {
      const encode = fieldCodecs.get(field)
      if (encode === undefined) return Result.succeed(entryOf(field, value))
      return Result.mapBoth(encode(value), {
        onFailure: (error) => `"${field}": ${error.message}`,
        onSuccess: (encoded) => entryOf(field, encoded)
      })
    },
    encode: (key, value) => {
      const invalid = validateKey(key)
      if (invalid !== undefined) return Result.fail(invalid)
      if (value === undefined) return Result.succeed({ key, document: undefined, indexed: [] })
      const encoded = encode(value)
      if (Result.isFailure(encoded)) {
        return Result.fail(
          `the document "${key}" does not satisfy its Schema: ${SchemaFailure.messageOf(encoded.failure, isPersonal)}`
        )
      }
      const json = encoded.success
      return Result.mapBoth(JsonText.encode(json), {
        onFailure: (detail) => `the document "${key}": ${detail}`,
        onSuccess: (document) => ({
          key,
          document,
          indexed: index.map((field) => entryOf(field, Predicate.isObject(json) ? Reflect.get(json, field) : null)),
          ...(locateFields === undefined ? {} : { locateFields })
        })
      })
    },
    decode: (value) => Result.mapError(decode(value), (failure) => SchemaFailure.messageOf(failure, isPersonal))
  }
}
