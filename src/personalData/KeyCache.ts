/**
 * Keys that this process has fetched from the driver of a key store, valid for as long as no subject was erased since.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Aead from "effect/crypto/Aead"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import type { FoundKeys, KeyStoreDriver } from "./KeyStoreDriver.ts"
import { importKey } from "./PersonalDataCipher.ts"

/**
 * The key of a subject, ready for use; or when it was erased.
 *
 * @since 0.1.0
 * @category models
 */
export type CachedKey =
  | { readonly _tag: "Key"; readonly key: Aead.Key }
  | { readonly _tag: "Erased"; readonly at: DateTime.Utc }

/**
 * A cache of keys over a driver.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyCache {
  /** Returns how many subjects were erased, at most `maxAge` ago. */
  readonly erasures: Effect.Effect<bigint, EventStoreError>
  /** Returns the keys of subjects that have one. */
  readonly find: (subjects: ReadonlySet<string>) => Effect.Effect<ReadonlyMap<string, CachedKey>, EventStoreError>
  /** Returns the keys of subjects, and creates a key for each subject without one. */
  readonly findOrCreate: (
    subjects: ReadonlySet<string>
  ) => Effect.Effect<ReadonlyMap<string, CachedKey>, EventStoreError>
  /** Forgets all keys. */
  readonly clear: Effect.Effect<void>
}

/**
 * Options of a key cache.
 *
 * @since 0.1.0
 * @category options
 */
export interface KeyCacheOptions {
  /** For how long a process may use a key without asking whether a subject was erased since. */
  readonly maxAge: Duration.Duration
  /** How many keys the cache holds; the least recently fetched leave first. */
  readonly capacity: number
  /** Returns the bytes of a new key. */
  readonly newKey: Effect.Effect<Uint8Array>
}

/**
 * Makes an empty cache.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  driver: KeyStoreDriver,
  { capacity, maxAge, newKey }: KeyCacheOptions
): Effect.fn.Return<KeyCache> {
  const clock = yield* Clock.Clock
  const cached = new Map<string, CachedKey>()
  let erasures: bigint | undefined
  let checkedAt = -Infinity

  // The wall clock may be set back, and keys would live on.
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

  /**
   * Takes over the number of erasures that a request, sent at `askedAt`, returned. Another number than before empties the cache. Returns false
   * when the number is older than the one the cache already has.
   */
  const updateErasures = (found: bigint, askedAt: number): boolean => {
    if (erasures !== undefined && found < erasures) return false
    if (found !== erasures) cached.clear()
    erasures = found
    checkedAt = Math.max(checkedAt, askedAt)
    return true
  }

  const checkErasures = Effect.suspend(() => {
    const askedAt = now()
    if (erasures !== undefined && askedAt - checkedAt < Duration.toMillis(maxAge)) return Effect.succeed(erasures)
    return Effect.map(driver.erasures, (found) => {
      updateErasures(found, askedAt)
      return erasures!
    })
  })

  const importAll = Effect.fnUntraced(function*({ durable, erasures, keys }: FoundKeys, askedAt: number) {
    const imported = new Map<string, CachedKey>()
    for (const [subject, found] of keys) {
      imported.set(
        subject,
        found._tag === "Erased" ? found : { _tag: "Key", key: yield* importKey(subject, found.key) }
      )
    }
    // Last, and in one step: another fiber may have learnt of an erasure while a key was imported.
    if (updateErasures(erasures, askedAt) && durable) {
      for (const [subject, key] of imported) put(cached, capacity, subject, key)
    }
    return imported
  })

  const lookUp = Effect.fnUntraced(function*(
    subjects: ReadonlySet<string>,
    fetch: (missing: ReadonlyArray<string>) => Effect.Effect<FoundKeys, EventStoreError>
  ) {
    yield* checkErasures
    const keys = new Map<string, CachedKey>()
    const missing: Array<string> = []
    for (const subject of subjects) {
      const key = cached.get(subject)
      if (key === undefined) missing.push(subject)
      else keys.set(subject, key)
    }
    if (missing.length === 0) return keys
    const askedAt = now()
    return new Map([...keys, ...yield* importAll(yield* fetch(missing), askedAt)])
  })

  return {
    erasures: checkErasures,
    find: (subjects) => lookUp(subjects, driver.find),
    findOrCreate: (subjects) =>
      lookUp(subjects, (missing) =>
        Effect.flatMap(
          Effect.forEach(missing, (subject) => Effect.map(newKey, (key) => [subject, key] as const)),
          (offered) => driver.findOrCreate(new Map(offered))
        )),
    clear: Effect.sync(() => {
      cached.clear()
      checkedAt = -Infinity
    })
  }
})

/** Adds the newest entry and removes the oldest one beyond the capacity. */
const put = (cached: Map<string, CachedKey>, capacity: number, subject: string, key: CachedKey): void => {
  cached.delete(subject)
  cached.set(subject, key)
  const [oldest] = cached.keys()
  if (cached.size > capacity && oldest !== undefined) cached.delete(oldest)
}
