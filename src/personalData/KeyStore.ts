/**
 * The key store: encrypts personal data under the key of its subject, and decrypts it for as long as that key exists.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Aead from "effect/crypto/Aead"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { type EventStoreError, invalidRequest, storeError, StoreFailure, SubjectErased } from "../core/errors.ts"
import * as EncryptedValue from "./EncryptedValue.ts"
import * as KeyCache from "./KeyCache.ts"
import * as KeyStoreDeadline from "./KeyStoreDeadline.ts"
import type { KeyStoreDriver } from "./KeyStoreDriver.ts"
import * as MemoryKeyStore from "./MemoryKeyStore.ts"
import * as PayloadKey from "./PayloadKey.ts"
import * as PersonalDataCipher from "./PersonalDataCipher.ts"
import type * as PersonalFields from "./PersonalFields.ts"
import * as SubjectName from "./SubjectName.ts"

/**
 * Options of a key store.
 *
 * @since 0.1.0
 * @category options
 */
export interface KeyStoreOptions {
  /**
   * For how long a process may use a key without asking whether a subject was erased since, and encrypt under a key without asking whether
   * the store still has it; 5 seconds by default. An erasure waits as long
   * before it reports success, so all processes of one key store must have the same value. A response of the store that takes longer is not
   * used: the process asks again, for up to `timeout`.
   */
  readonly maxAge?: Duration.Input | undefined
  /** How many keys a process caches; 10,000 by default. */
  readonly capacity?: number | undefined
  /**
   * How long a call of the driver may take before it fails with `KeyStoreUnavailable`; 25 seconds by default, which is more than the
   * statements of `PgKeyStore` may take by default. A finite duration.
   */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Encoded data with its personal fields decrypted, the erased ones as `Erased`; or a message that says why one cannot be decrypted.
 *
 * @since 0.1.0
 * @category models
 */
export type Decrypted = Result.Result<Schema.Json, string>

/**
 * The key store.
 *
 * @since 0.1.0
 * @category services
 */
export class KeyStore extends Context.Service<KeyStore, {
  /**
   * Encrypts personal fields in place: all of them or, on failure, none. A field of a subject that was erased fails with the reason
   * `SubjectErased`, or is replaced by `Erased`.
   */
  readonly encrypt: (
    fields: ReadonlyArray<PersonalFields.LocatedField>,
    ifErased: "reject" | "erase"
  ) => Effect.Effect<void, EventStoreError>

  /** Returns each encoded value with its personal data decrypted, or the reason why that failed. */
  readonly decrypt: (encoded: ReadonlyArray<Schema.Json>) => Effect.Effect<ReadonlyArray<Decrypted>, EventStoreError>

  /** Returns the id of the last erasure, at most `maxAge` ago. What was decrypted under another id is out of date. */
  readonly lastErasure: Effect.Effect<string, EventStoreError>

  /** Returns those of these subjects that were erased. */
  readonly erased: (subjects: ReadonlyArray<string>) => Effect.Effect<ReadonlySet<string>, EventStoreError>

  /** Deletes the key of a subject. Other processes may still use it until `maxAge` has passed. */
  readonly erase: (subject: string) => Effect.Effect<DateTime.Utc, EventStoreError>

  /** For how long a process may use a key without asking whether a subject was erased since. */
  readonly maxAge: Duration.Duration
}>()("evsrc/personalData/KeyStore") {}

/**
 * Makes a key store over a driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(
  function*(
    unbounded: KeyStoreDriver,
    options: KeyStoreOptions = {}
  ): Effect.fn.Return<KeyStore["Service"], never, Aead.Aead | SecureRandom.SecureRandom> {
    const timeout = Duration.fromInputUnsafe(options.timeout ?? "25 seconds")
    if (!Duration.isFinite(timeout) || !Duration.isPositive(timeout)) {
      return yield* Effect.die(
        new Error(
          `KeyStore.make: \`timeout\` is ${
            Duration.format(timeout)
          }; use a finite duration above 0, because every read or write that needs a key waits for so long`
        )
      )
    }
    const driver = KeyStoreDeadline.make(unbounded, timeout)
    const cipher = yield* PersonalDataCipher.make
    const maxAge = Duration.fromInputUnsafe(options.maxAge ?? "5 seconds")
    const capacity = options.capacity ?? 10_000
    const cache = yield* KeyCache.make(driver, { maxAge, timeout, capacity, newKey: cipher.newKey })
    return KeyStore.of({
      maxAge,
      lastErasure: cache.lastErasure,
      encrypt: Effect.fnUntraced(function*(fields, ifErased) {
        const subjects = yield* Effect.fromResult(subjectsOf(fields))
        const keys = yield* cache.findOrCreate(PayloadKey.withNextDay(subjects))
        const encrypted = yield* Effect.forEach(
          fields,
          ({ field, parent }, index) =>
            encryptField(cipher, parent[field] ?? null, subjects[index]!, keys.get(subjects[index]!), ifErased),
          { concurrency: "unbounded" }
        )
        for (const [index, { field, parent }] of fields.entries()) parent[field] = encrypted[index]!
      }),
      decrypt: Effect.fnUntraced(function*(encoded) {
        const copies = encoded.map(EncryptedValue.copyEncrypted)
        const markers = copies.flatMap(({ found }) => found.map(({ encrypted }) => encrypted))
        const decryptAll = (found: ReadonlyMap<string, KeyCache.CachedKey>) =>
          Effect.forEach(markers, (marker) => decryptField(cipher, marker, found.get(marker.subject)), {
            concurrency: "unbounded"
          })
        const subjects = new Set(markers.map(({ subject }) => subject))
        const keys = yield* cache.find(subjects)
        let values = yield* decryptAll(keys)
        // After a restore of the key store, another process may have made another key than the cached one.
        const failed = new Set(
          markers.map(({ subject }) => subject).filter((subject, index) =>
            keys.has(subject) && Result.isFailure(values[index]!)
          )
        )
        if (failed.size > 0 && (yield* cache.refetch(failed, keys))) {
          values = yield* decryptAll(yield* cache.find(subjects))
        }
        let next = 0
        return copies.map((copy) => putBack(copy, values.slice(next, next += copy.found.length)))
      }),
      erased: (subjects) => {
        // Another name has no key, and a store may not take it.
        const valid = new Set(subjects.filter((subject) => SubjectName.validate(subject) === undefined))
        return Effect.map(
          cache.find(valid),
          (keys) => new Set(Array.from(valid).filter((subject) => keys.get(subject)?._tag === "Erased"))
        )
      },
      erase: (subject) =>
        Effect.flatMap(DateTime.now, (now) => {
          const wrong = SubjectName.validate(subject) ?? PayloadKey.validateErasure(subject, now)
          return wrong === undefined
            ? Effect.tap(driver.erase(subject), cache.clear)
            : Effect.fail(invalidRequest(wrong))
        })
    })
  },
  Effect.provide(Aead.layerWebCrypto.pipe(Layer.provideMerge(SecureRandom.layerWebCrypto)))
)

const subjectsOf = (
  fields: ReadonlyArray<PersonalFields.LocatedField>
): Result.Result<ReadonlyArray<string>, EventStoreError> => {
  const wrong = fields.map(SubjectName.validateField).find((message) => message !== undefined)
  // Each is a string, or `validateField` had rejected it.
  return wrong === undefined
    ? Result.succeed(fields.map(({ subject }) => subject as string))
    : Result.fail(invalidRequest(wrong))
}

const encryptField = (
  cipher: PersonalDataCipher.PersonalDataCipher,
  value: Schema.Json,
  subject: string,
  key: KeyCache.CachedKey | undefined,
  ifErased: "reject" | "erase"
): Effect.Effect<Schema.Json, EventStoreError> => {
  if (key === undefined) {
    const message = `The key store returned no key of the subject "${subject}" and created none; repair its driver`
    return Effect.fail(storeError(new StoreFailure({ message, cause: undefined })))
  }
  if (key._tag === "Key") return cipher.encrypt(subject, value, key.key)
  return ifErased === "erase"
    ? Effect.succeed({ _tag: "Erased", subject })
    : Effect.fail(storeError(new SubjectErased({ subject, erasedAt: key.at })))
}

const decryptField = (
  cipher: PersonalDataCipher.PersonalDataCipher,
  marker: EncryptedValue.EncryptedMarker,
  key: KeyCache.CachedKey | undefined
): Effect.Effect<Decrypted> => {
  const { subject } = marker
  if (key === undefined) {
    return Effect.succeed(
      Result.fail(
        `the key store has no key of the subject "${subject}"; provide the key store that belongs to this log`
      )
    )
  }
  return key._tag === "Erased"
    ? Effect.succeed(Result.succeed({ _tag: "Erased", subject }))
    : cipher.decrypt(marker, key.key)
}

/** Writes decrypted values into a copy. */
const putBack = ({ copy, found }: EncryptedValue.Copy, values: ReadonlyArray<Decrypted>): Decrypted => {
  for (const [index, value] of values.entries()) {
    if (Result.isFailure(value)) return Result.fail(`its personal data cannot be decrypted: ${value.failure}`)
    const { field, parent } = found[index]!
    parent[field] = value.success
  }
  return Result.succeed(copy)
}

/**
 * Returns a layer of the key store over a driver.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<KeyStoreDriver, E, R>,
  options: KeyStoreOptions = {}
): Layer.Layer<KeyStore, E, R> => Layer.effect(KeyStore, Effect.flatMap(driver, (driver) => make(driver, options)))

/**
 * A key store in memory. Its keys end with the process; use it in tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<KeyStore> = layer(MemoryKeyStore.make)

/**
 * Returns a layer of a key store in memory with options. With a short `maxAge` the erasures of a test need not wait for 5 seconds; under a
 * `TestClock` they wait until the test adjusts it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: KeyStoreOptions): Layer.Layer<KeyStore> => layer(MemoryKeyStore.make, options)
