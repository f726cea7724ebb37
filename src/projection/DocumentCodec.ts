/**
 * Encodes a projection's documents for a store, and decodes them. Compiled once per projection.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as JsonText from "../core/json/JsonText.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as JsonCodec from "../personalData/JsonCodec.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as DocumentEncryption from "./DocumentEncryption.ts"
import * as IndexedFields from "./list/IndexedFields.ts"
import * as IndexEntry from "./list/IndexEntry.ts"
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
  /** Returns the index entries of an encoded document; none when the projection has no index. */
  readonly indexEntries: (json: Schema.Json) => Result.Result<ReadonlyArray<string>, string>
  /** The indexed fields, in the order in which the projection declares them. */
  readonly fields: ReadonlyArray<IndexedFields.IndexedField>
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
  const { decode, encode } = JsonCodec.make(document)
  const fields = IndexedFields.make(document, index)
  const names = IndexEntry.namesOf(fields.map(({ index }) => index))
  const indexEntries = (json: Schema.Json): Result.Result<ReadonlyArray<string>, string> =>
    fields.length === 0 ? Result.succeed([]) : Result.map(
      Result.all(
        fields.map(({ field, inDocument }) => Result.map(inDocument(json), (value) => IndexEntry.make(field, value)))
      ),
      (entries) => [names, ...entries]
    )
  const secretsIn = (encoded: Schema.Json) =>
    locateFields?.(encoded).flatMap(({ field, parent }) => EncryptedValue.leavesOf(parent[field])) ?? []
  return {
    secretsOf: (document) => {
      if (locateFields === undefined || document === undefined) return []
      const encoded = encode(document)
      return Result.isSuccess(encoded) ? secretsIn(encoded.success) : undefined
    },
    fields,
    indexEntries,
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
      const text = Result.flatMap(JsonText.encode(json), (text) => {
        // Found at the write, it would fail the whole batch.
        const unencryptable = DocumentEncryption.validate(text, json, locateFields)
        return unencryptable === undefined ? Result.succeed(text) : Result.fail(unencryptable)
      })
      return Result.mapBoth(Result.all([text, indexEntries(json)]), {
        onFailure: (detail) => `the document "${key}": ${detail}`,
        onSuccess: ([document, indexed]) => ({
          key,
          document,
          indexed,
          ...(locateFields === undefined ? {} : { locateFields })
        })
      })
    },
    decode: (value) => Result.mapError(decode(value), (failure) => SchemaFailure.messageOf(failure, isPersonal))
  }
}
