/**
 * Turns a projection's documents into what a store keeps, and back. Compiled once per projection.
 *
 * @since 0.1.0
 */
import * as Hash from "effect/Hash"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as nameRules from "../core/nameRules.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import type * as Projection from "./ProjectionDefinition.ts"

/**
 * Longest key of a document, in UTF-16 code units, for the same reason as that of a stream's name.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxKeyLength = 512

/**
 * What is wrong with the key of a document, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateKey = (key: string): string | undefined =>
  nameRules.validateName("the key of a document", key, maxKeyLength)

/**
 * `encode` and `decode` fail with a message.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentCodec {
  readonly encode: (key: string, document: unknown) => Result.Result<EncodedDocument, string>
  readonly decode: (json: Schema.Json) => Result.Result<unknown, string>
  /** Returns the personal data in a document, value by value; `undefined` when it cannot be found, as the document does not encode. */
  readonly secretsOf: (document: unknown) => ReadonlyArray<unknown> | undefined
  /** The entry under which documents with this value of an indexed field are found. */
  readonly indexEntry: (field: string, value: unknown) => Result.Result<string, string>
}

/** Beyond this an entry would not fit into an index of Postgres. */
const maxEntryLength = 500

/**
 * The entry under which a field's value is found: the name, `=`, and the value as JSON, which escapes every control character. Of a long
 * value the beginning, its length, and two hashes.
 */
const entryOf = (field: string, encoded: unknown): string => {
  const json = JSON.stringify(encoded ?? null)
  if (json.length <= maxEntryLength) return `${field}=${json}`
  // Cut between code points: half of a pair could not be stored.
  const start = json.slice(0, maxEntryLength).replace(/[\ud800-\udbff]$/, "")
  return `${field}~${json.length}:${Hash.string(json)}:${Hash.string(`${field}${json.slice(maxEntryLength)}`)}:${start}`
}

const cache = new WeakMap<Projection.Any, DocumentCodec>()

/**
 * The codec of a projection's documents. The same projection always answers the same codec.
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

const compile = ({ document, index, name }: Projection.Any): DocumentCodec => {
  const locateFields = PersonalFields.locateFields(`projection "${name}"`, document)
  const json = Schema.toCodecJson(document)
  const encode = Schema.encodeUnknownResult(json)
  const decode = Schema.decodeUnknownResult(json)
  // A struct's field encodes by its own codec; a document of another kind is one whose fields are JSON already.
  const fields: unknown = Reflect.get(document, "fields")
  const fieldCodecs = new Map(index.map((field) => {
    const schema: unknown = Predicate.isObject(fields) ? Reflect.get(fields, field) : undefined
    return [
      field,
      Schema.isSchema(schema)
        ? Schema.encodeUnknownResult(Schema.toCodecJson(schema as Projection.Document))
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
      const problem = validateKey(key)
      if (problem !== undefined) return Result.fail(problem)
      if (value === undefined) return Result.succeed({ key, document: undefined, indexed: [] })
      return Result.mapBoth(encode(value), {
        onFailure: (error) => `the document "${key}" does not satisfy its Schema: ${error.message}`,
        onSuccess: (encoded) => ({
          key,
          document: JSON.stringify(encoded),
          indexed: index.map((field) =>
            entryOf(field, Predicate.isObject(encoded) ? Reflect.get(encoded, field) : null)
          ),
          ...(locateFields === undefined ? {} : { locateFields })
        })
      })
    },
    decode: (value) => Result.mapError(decode(value), (error) => EncryptedValue.scrub(error.message, secretsIn(value)))
  }
}
