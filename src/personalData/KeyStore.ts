/**
 * The key store: encrypts personal data under the key of its subject, and decrypts it for as long as that key exists.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Aead from "effect/crypto/Aead"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { type EventStoreError, invalidRequest, storeError, StoreFailure, SubjectErased } from "../core/errors.ts"
import * as nameRules from "../core/nameRules.ts"
import * as EncryptedValue from "./EncryptedValue.ts"
import type { FoundKeys, KeyStoreDriver } from "./KeyStoreDriver.ts"
import * as MemoryKeyStore from "./MemoryKeyStore.ts"
import type * as PersonalFields from "./PersonalFields.ts"

/**
 * - `maxAge`: for how long a process may use a key without asking whether a subject was erased since; 5 seconds by default. An erasure waits
 *   as long before it is done, so all processes of one key store must have the same
 * - `capacity`: how many keys a process keeps; 10,000 by default
 *
 * @since 0.1.0
 * @category options
 */
export interface KeyStoreOptions {
  readonly maxAge?: Duration.Input | undefined
  readonly capacity?: number | undefined
}

/**
 * Encoded data with its personal fields decrypted, each that was erased as `Erased`; or in words why one cannot be decrypted.
 *
 * @since 0.1.0
 * @category models
 */
export type Decrypted = Result.Result<Schema.Json, string>

/**
 * @since 0.1.0
 * @category services
 */
export class KeyStore extends Context.Service<KeyStore, {
  /**
   * Encrypts personal fields, each in its place: all of them or, where it fails, none. What belongs to a subject that was erased is refused with
   * the reason `SubjectErased`, or erased as well.
   */
  readonly encrypt: (
    fields: ReadonlyArray<PersonalFields.LocatedField>,
    ofErased: "reject" | "erase"
  ) => Effect.Effect<void, EventStoreError>

  /** Decrypts what is encrypted in some encoded data, one by one. */
  readonly decrypt: (encoded: ReadonlyArray<Schema.Json>) => Effect.Effect<ReadonlyArray<Decrypted>, EventStoreError>

  /** How many subjects were erased, as far as this process must know. What was decrypted while it was another is out of date. */
  readonly erasures: Effect.Effect<bigint, EventStoreError>

  /** Deletes the key of a subject. Until `maxAge` has passed, other processes may still use it. */
  readonly erase: (subject: string) => Effect.Effect<DateTime.Utc, EventStoreError>

  readonly maxAge: Duration.Duration
}>()("evsrc/personalData/KeyStore") {}

type CachedKey = { readonly _tag: "Key"; readonly key: Aead.Key } | {
  readonly _tag: "Erased"
  readonly at: DateTime.Utc
}

/**
 * Longest name of a subject, in UTF-16 code units.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxSubjectLength = 512

/**
 * What is wrong with the name of a subject, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateSubject = (subject: unknown, what = "the subject of personal data"): string | undefined =>
  typeof subject === "string" ? nameRules.validateName(what, subject, maxSubjectLength) : `${what} must be a string`

/**
 * What is wrong with the subject of a personal field, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateField = (
  { field, subject }: Pick<PersonalFields.LocatedField, "field" | "subject">
): string | undefined => validateSubject(subject, `the subject of the personal field "${field}"`)

const nonceLength = Aead.aes256Gcm.nonceLength
const prefix = "1."

/**
 * A key store over a driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(
  function*(
    driver: KeyStoreDriver,
    options: KeyStoreOptions = {}
  ): Effect.fn.Return<KeyStore["Service"], never, Aead.Aead | SecureRandom.SecureRandom> {
    const aead = yield* Aead.Aead
    const random = yield* SecureRandom.SecureRandom
    const clock = yield* Clock.Clock
    const maxAge = Duration.fromInputUnsafe(options.maxAge ?? "5 seconds")
    const capacity = options.capacity ?? 10_000

    const known = new Map<string, CachedKey>()
    let erasures: bigint | undefined
    let asOf = -Infinity

    // Not the wall clock, which may be set back, and keys would live on.
    const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

    /**
     * Takes note of how many erasures there were when it was asked for; where there are others, no key is known any more. Answers whether that
     * is the latest that is known.
     */
    const note = (found: bigint, asked: number): boolean => {
      if (erasures !== undefined && found < erasures) return false
      if (found !== erasures) known.clear()
      erasures = found
      asOf = Math.max(asOf, asked)
      return true
    }

    const current = Effect.suspend(() => {
      const asked = now()
      if (erasures !== undefined && asked - asOf < Duration.toMillis(maxAge)) return Effect.succeed(erasures)
      return Effect.map(driver.erasures, (found) => {
        note(found, asked)
        return erasures!
      })
    })

    const keep = (subject: string, key: CachedKey) => {
      known.delete(subject)
      known.set(subject, key)
      const [oldest] = known.keys()
      if (known.size > capacity && oldest !== undefined) known.delete(oldest)
    }

    const imported = Effect.fnUntraced(function*(
      { durable, erasures, keys }: FoundKeys,
      asked: number,
      into: Map<string, CachedKey>
    ) {
      for (const [subject, found] of keys) {
        into.set(subject, found._tag === "Erased" ? found : { _tag: "Key", key: yield* keyOf(subject, found.key) })
      }
      // All at once, and last: while a key was made ready, somebody may have heard of another erasure.
      if (!note(erasures, asked) || !durable) return
      for (const subject of keys.keys()) keep(subject, into.get(subject)!)
    })

    /** The keys of subjects: those that are known, and the others from the driver. */
    const keysOf = Effect.fnUntraced(function*(subjects: ReadonlySet<string>, create: boolean) {
      yield* current
      const keys = new Map<string, CachedKey>()
      const missing: Array<string> = []
      for (const subject of subjects) {
        const key = known.get(subject)
        if (key === undefined) missing.push(subject)
        else keys.set(subject, key)
      }
      if (missing.length === 0) return keys
      const asked = now()
      if (!create) {
        yield* imported(yield* driver.find(missing), asked, keys)
        return keys
      }
      const offered = yield* Effect.forEach(
        missing,
        (subject) => Effect.map(orDie(random.randomBytes(Aead.aes256Gcm.keyLength)), (key) => [subject, key] as const)
      )
      yield* imported(yield* driver.findOrCreate(new Map(offered)), asked, keys)
      return keys
    })

    const encryptOne = Effect.fnUntraced(function*(subject: string, value: Schema.Json, key: Aead.Key) {
      const nonce = yield* random.randomBytes(nonceLength)
      const text = new TextEncoder().encode(JSON.stringify(value))
      const ciphertext = yield* aead.encrypt(key, text, { nonce, aad: new TextEncoder().encode(subject) })
      const bytes = new Uint8Array(nonceLength + ciphertext.length)
      bytes.set(nonce)
      bytes.set(ciphertext, nonceLength)
      return EncryptedValue.encrypted(subject, prefix + Base64.encode(bytes))
    }, orDie)

    const openOne = (
      { subject, "~encrypted": text }: EncryptedValue.EncryptedMarker,
      keys: ReadonlyMap<string, CachedKey>
    ): Effect.Effect<Decrypted> => {
      const key = keys.get(subject)
      if (key === undefined) {
        return Effect.succeed(
          Result.fail(`the key store has no key of the subject "${subject}"; is it the one of this log?`)
        )
      }
      if (key._tag === "Erased") return Effect.succeed(Result.succeed({ _tag: "Erased", subject }))
      const bytes = text.startsWith(prefix) ? Base64.decode(text.slice(prefix.length)) : undefined
      if (bytes === undefined || Result.isFailure(bytes) || bytes.success.length < nonceLength) {
        return Effect.succeed(Result.fail("its form is not known to this program"))
      }
      const nonce = bytes.success.subarray(0, nonceLength)
      const aad = new TextEncoder().encode(subject)
      return Effect.match(aead.decrypt(key.key, bytes.success.subarray(nonceLength), { nonce, aad }), {
        onFailure: (): Decrypted => Result.fail(`it was changed, or is under another key of the subject "${subject}"`),
        // It was made by JSON.stringify, and is authentic.
        onSuccess: (plain) => Result.succeed(JSON.parse(new TextDecoder().decode(plain)) as Schema.Json)
      })
    }

    return KeyStore.of({
      maxAge,
      erasures: current,
      encrypt: Effect.fnUntraced(function*(fields, ofErased) {
        const subjects = new Set<string>()
        for (const located of fields) {
          const problem = validateField(located)
          if (problem !== undefined) return yield* invalidRequest(problem)
          subjects.add(located.subject as string)
        }
        const keys = yield* keysOf(subjects, true)
        const encrypted = yield* Effect.forEach(fields, ({ field, parent, subject }) => {
          const name = subject as string
          const key = keys.get(name)
          if (key?._tag === "Key") return encryptOne(name, parent[field] ?? null, key.key)
          if (key === undefined) {
            const message = `the key store has neither found nor made a key of the subject "${name}"`
            return Effect.fail(storeError(new StoreFailure({ message, cause: undefined })))
          }
          return ofErased === "erase"
            ? Effect.succeed<Schema.JsonObject>({ _tag: "Erased", subject: name })
            : Effect.fail(storeError(new SubjectErased({ subject: name, erasedAt: key.at })))
        }, { concurrency: "unbounded" })
        for (const [index, { field, parent }] of fields.entries()) parent[field] = encrypted[index]!
      }),
      decrypt: Effect.fnUntraced(function*(encoded) {
        const copies = encoded.map((value) => {
          const found: Parameters<typeof EncryptedValue.copyEncrypted>[1] = []
          return { copy: EncryptedValue.copyEncrypted(value, found), found }
        })
        const all = copies.flatMap(({ found }) => found)
        const keys = yield* keysOf(new Set(all.map(({ encrypted }) => encrypted.subject)), false)
        const decrypted = yield* Effect.forEach(all, ({ encrypted }) => openOne(encrypted, keys), {
          concurrency: "unbounded"
        })
        let next = 0
        return copies.map(({ copy, found }): Decrypted => {
          const values = decrypted.slice(next, next += found.length)
          for (const [index, value] of values.entries()) {
            if (Result.isFailure(value)) return Result.fail(`its personal data cannot be decrypted: ${value.failure}`)
            const { field, parent } = found[index]!
            parent[field] = value.success
          }
          return Result.succeed(copy)
        })
      }),
      erase: (subject) =>
        Effect.suspend(() => {
          const problem = validateSubject(subject)
          if (problem !== undefined) return Effect.fail(invalidRequest(problem))
          return Effect.tap(driver.erase(subject), () =>
            Effect.sync(() => {
              known.clear()
              asOf = -Infinity
            }))
        })
    })
  },
  Effect.provide(Aead.layerWebCrypto.pipe(Layer.provideMerge(SecureRandom.layerWebCrypto)))
)

const keyOf = (subject: string, bytes: Uint8Array): Effect.Effect<Aead.Key, EventStoreError> =>
  Effect.mapError(Aead.key(Aead.aes256Gcm, bytes), (cause) => {
    const message = `the key store has something else than a key of 32 bytes for the subject "${subject}"`
    return storeError(new StoreFailure({ message, cause }))
  })

/** The arguments are ours, so that a failure of the cryptography is a defect. */
const orDie = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, never, R> => Effect.orDie(effect)

/**
 * A layer from a driver's effect.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<KeyStoreDriver, E, R>,
  options: KeyStoreOptions = {}
): Layer.Layer<KeyStore, E, R> => Layer.effect(KeyStore, Effect.flatMap(driver, (driver) => make(driver, options)))

/**
 * Keys in memory, gone with the process. For tests and trials.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<KeyStore> = layer(MemoryKeyStore.make)
