/**
 * Encrypts the personal data of documents before a driver writes them, and decrypts it after a read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as GenerationId from "../consumer/GenerationId.ts"
import { type EventStoreError, invalidRequest, storeError, UndecodableDocument } from "../core/errors.ts"
import * as JsonText from "../core/json/JsonText.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import { type Fields, type Keys, subjectsOf } from "../personalData/KeyStoreLookup.ts"
import type * as PersonalFields from "../personalData/PersonalFields.ts"
import type { GenerationView, ProjectionStoreDriver, StoredDocument } from "./ProjectionStoreDriver.ts"

const subjectsKey = "~subjects"

const isEncryptedDocument = ({ document }: StoredDocument): boolean => namesSubjects(document)

const namesSubjects = (document: Schema.Json): document is Schema.JsonObject =>
  Predicate.isObject(document) && Object.hasOwn(document, subjectsKey)

/**
 * Returns a driver whose callers see documents in plaintext, while the given driver stores their personal data encrypted. The field `~subjects`
 * of a stored document names the subjects of its encrypted data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  keys: Pick<Keys, "encrypt" | "decrypt">,
  driver: ProjectionStoreDriver
): ProjectionStoreDriver => {
  const decryptAll = <Stored extends StoredDocument>(documents: ReadonlyArray<Stored>) => {
    const encrypted = documents.filter(isEncryptedDocument)
    if (encrypted.length === 0) return Effect.succeed(documents)
    return Effect.map(keys.decrypt(encrypted.map(({ document }) => document)), (decrypted) => {
      let next = 0
      return documents.map((stored): Stored => {
        if (!isEncryptedDocument(stored)) return stored
        const document = decrypted[next++]!
        // Only reads of this document fail.
        if (Result.isFailure(document)) return { ...stored, unreadable: document.failure }
        const { [subjectsKey]: _, ...fields } = document.success as Schema.JsonObject
        return { ...stored, document: fields }
      })
    })
  }
  const decryptView = Effect.fnUntraced(function*(
    generation: string,
    { documents, ...view }: GenerationView
  ): Effect.fn.Return<GenerationView, EventStoreError> {
    const decrypted = yield* decryptAll(Array.from(documents.values()))
    for (const { key, unreadable } of decrypted) {
      // An encrypted document cannot be compared.
      if (unreadable !== undefined) {
        return yield* storeError(
          new UndecodableDocument({ projection: GenerationId.parse(generation).consumer, key, detail: unreadable })
        )
      }
    }
    return { ...view, documents: new Map(decrypted.map((stored) => [stored.key, stored])) }
  })
  return {
    ...driver,
    load: (generation, wanted) => Effect.flatMap(driver.load(generation, wanted), decryptAll),
    loadAll: (wanted) =>
      Effect.flatMap(driver.loadAll(wanted), (all) => Effect.forEach(all, (found) => decryptAll(found))),
    toStored: (changes) => Effect.flatMap(encryptDocuments(keys, changes), driver.toStored),
    list: (page) =>
      Effect.flatMap(
        driver.list(page),
        (found) => Effect.map(decryptAll(found.documents), (documents) => ({ ...found, documents }))
      ),
    unindexed: (consumer, indexes, limit) =>
      Effect.flatMap(
        driver.unindexed(consumer, indexes, limit),
        (found) => Effect.map(decryptAll(found.documents), (documents) => ({ ...found, documents }))
      ),
    get: (consumer, key, after) =>
      Effect.flatMap(
        driver.get(consumer, key, after),
        ({ document, ...found }) =>
          Effect.map(decryptAll(Option.toArray(document)), ([stored]) => ({
            ...found,
            document: Option.fromUndefinedOr(stored)
          }))
      ),
    generationPage: (page) => Effect.flatMap(driver.generationPage(page), decryptAll),
    views: ([a, b], wanted) =>
      Effect.flatMap(
        driver.views([a, b], wanted),
        ([first, second]) => Effect.all([decryptView(a, first), decryptView(b, second)])
      ),
    advance: (request) =>
      Effect.flatMap(encryptDocuments(keys, request.changes), (changes) => driver.advance({ ...request, changes })),
    write: (writes) =>
      Effect.flatMap(
        Effect.forEach(writes, ({ changes, generation }) =>
          Effect.map(encryptDocuments(keys, changes), (changes) => ({ generation, changes }))),
        driver.write
      )
  }
}

const mayNameSubjects = (text: string): boolean => text.includes(`"${subjectsKey}":`)

/**
 * Returns why the personal data of a document cannot be encrypted, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (
  text: string,
  document: Schema.Json,
  locateFields: PersonalFields.FieldLocator | undefined
): string | undefined => {
  if (mayNameSubjects(text) && namesSubjects(document)) {
    return `the field name "${subjectsKey}" is reserved for documents with encrypted data; rename the field`
  }
  const fields = locateFields?.(document) ?? []
  return fields.length === 0 ? undefined : KeyStoreLookup.validate(text, fields)
}

const encryptDocuments = Effect.fnUntraced(function*(
  keys: Pick<Keys, "encrypt">,
  changes: ReadonlyArray<EncodedDocument>
): Effect.fn.Return<ReadonlyArray<EncodedDocument>, EventStoreError> {
  const encrypted: Array<{ readonly index: number; readonly document: Schema.Json; readonly fields: Fields }> = []
  for (const [index, { document: text, key, locateFields }] of changes.entries()) {
    if (text === undefined) continue
    if (locateFields === undefined && !mayNameSubjects(text)) continue
    const document = parseJson(text)
    const invalid = validate(text, document, locateFields)
    if (invalid !== undefined) return yield* invalidRequest(`document "${key}": ${invalid}`)
    const fields = locateFields?.(document) ?? []
    if (fields.length === 0) continue
    encrypted.push({ index, document, fields })
  }
  if (encrypted.length === 0) return changes
  yield* keys.encrypt(encrypted.flatMap(({ fields }) => fields), "erase")
  const result = Array.from(changes)
  for (const { document, fields, index } of encrypted) {
    const { locateFields: _, ...change } = changes[index]!
    const text = JsonText.make({ ...document as Schema.JsonObject, [subjectsKey]: subjectsOf(fields) })
    result[index] = { ...change, document: text }
  }
  return result
})
