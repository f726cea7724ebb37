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
import { type EventStoreError, KeyStoreUnavailable, storeError } from "../core/errors.ts"
import type { FoundKeys, KeyStoreDriver } from "./KeyStoreDriver.ts"
import { importKey } from "./PersonalDataCipher.ts"

/**
 * The key of a subject, ready for use; or when it was erased.
 *
 * @since 0.1.0
 * @category models
 */
export type CachedKey =
  | { readonly _tag: "Key"; readonly key: Aead.Key; readonly bytes: Uint8Array }
  | { readonly _tag: "Erased"; readonly at: DateTime.Utc }

interface Entry {
  readonly key: CachedKey
  /** When the request was sent that last returned this key. */
  readonly confirmedAt: number
}

/**
 * A cache of keys over a driver.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyCache {
  /** Returns the id of the last erasure, at most `maxAge` ago. */
  readonly lastErasure: Effect.Effect<string, EventStoreError>
  /** Returns the keys of subjects that have one. */
  readonly find: (subjects: ReadonlySet<string>) => Effect.Effect<ReadonlyMap<string, CachedKey>, EventStoreError>
  /**
   * Returns the keys of subjects, which the store had at most `maxAge` ago, and creates a key for each subject without one. If the store has
   * lost a cached key, because it was restored or failed over, it gets the key back.
   */
  readonly findOrCreate: (
    subjects: ReadonlySet<string>
  ) => Effect.Effect<ReadonlyMap<string, CachedKey>, EventStoreError>
  /** Fetches the keys of subjects again. Returns whether one of them is another than `used`. */
  readonly refetch: (
    subjects: ReadonlySet<string>,
    used: ReadonlyMap<string, CachedKey>
  ) => Effect.Effect<boolean, EventStoreError>
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
  /** For how long a caller asks again after answers that were older than `maxAge` when they came. */
  readonly timeout: Duration.Duration
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
  { capacity, maxAge, newKey, timeout }: KeyCacheOptions
): Effect.fn.Return<KeyCache> {
  const clock = yield* Clock.Clock
  const cached = new Map<string, Entry>()
  // The wall clock may be set back, and keys would live on.
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  const oldest = () => now() - Duration.toMillis(maxAge)
  const inTime = untilInTime({ now, maxAge, timeout })
  const erasures = watchErasures({ now, oldest, inTime, ask: driver.lastErasure, onChange: () => cached.clear() })

  const importAll = importing(erasures, cached, capacity)

  const lookUpOnce = Effect.fnUntraced(function*(
    subjects: ReadonlySet<string>,
    isUsable: (entry: Entry) => boolean,
    fetch: (missing: ReadonlyArray<string>) => Effect.Effect<FoundKeys, EventStoreError>
  ): Effect.fn.Return<Answer<Map<string, CachedKey>>, EventStoreError> {
    const lastErasure = yield* erasures.check
    const keys = new Map<string, CachedKey>()
    const missing: Array<string> = []
    for (const subject of subjects) {
      const entry = cached.get(subject)
      if (entry === undefined || !isUsable(entry)) missing.push(subject)
      else keys.set(subject, entry.key)
    }
    if (missing.length === 0) return { value: keys, askedAt: now() }
    const asked = erasures.asking()
    const found = yield* fetch(missing)
    const imported = yield* importAll(found, asked)
    // One of the cached keys may be that of a subject that was erased.
    if (keys.size > 0 && found.lastErasure !== lastErasure) return yield* lookUpOnce(subjects, isUsable, fetch)
    return { value: new Map([...keys, ...imported]), askedAt: asked.at }
  })

  const lookUp = (...request: Parameters<typeof lookUpOnce>) => inTime(lookUpOnce(...request))

  /** The cached key of a subject, which the store may have lost, or else a new one. */
  const offer = (subject: string) =>
    Effect.suspend(() => {
      const entry = cached.get(subject)
      const bytes = entry?.key._tag === "Key" ? Effect.succeed(entry.key.bytes) : newKey
      return Effect.map(bytes, (key) => [subject, key] as const)
    })

  return {
    lastErasure: erasures.check,
    find: (subjects) => lookUp(subjects, () => true, driver.find),
    findOrCreate: (subjects) =>
      lookUp(
        subjects,
        ({ confirmedAt, key }) => key._tag === "Erased" || confirmedAt > oldest(),
        (missing) => Effect.flatMap(Effect.forEach(missing, offer), (offered) => driver.findOrCreate(new Map(offered)))
      ),
    refetch: (subjects, used) =>
      Effect.map(lookUp(subjects, () => false, driver.find), (keys) => {
        return Array.from(keys).some(([subject, key]) => key !== used.get(subject))
      }),
    clear: Effect.sync(() => {
      cached.clear()
      erasures.expire()
    })
  }
})

/** Returns the function that makes the keys of a result ready for use, and caches those that are durable. */
const importing = (erasures: ErasureWatch, cached: Map<string, Entry>, capacity: number) =>
  Effect.fnUntraced(function*({ durable, keys, lastErasure }: FoundKeys, asked: Asked) {
    const imported = new Map<string, CachedKey>()
    for (const [subject, found] of keys) {
      if (found._tag === "Erased") {
        imported.set(subject, found)
        continue
      }
      const before = cached.get(subject)?.key
      imported.set(
        subject,
        before?._tag === "Key" && isSameKey(before.bytes, found.key)
          ? before
          : { _tag: "Key", key: yield* importKey(subject, found.key), bytes: found.key }
      )
    }
    // Last, and in one step: another fiber may have learnt of an erasure while a key was imported.
    if (erasures.update(lastErasure, asked) && durable) {
      for (const [subject, key] of imported) put(cached, capacity, subject, { key, confirmedAt: asked.at })
    }
    return imported
  })

interface ErasureWatch {
  /** Returns the id of the last erasure, at most `maxAge` ago. */
  readonly check: Effect.Effect<string, EventStoreError>
  /** Begins a request whose result contains the id of the last erasure. */
  readonly asking: () => Asked
  /**
   * Takes over the id of the last erasure that a request returned. Returns false if another request brought another id meanwhile: which of the
   * two is the later one is not known, so the next caller asks again.
   */
  readonly update: (found: string, asked: Asked) => boolean
  /** Lets the next caller ask again. */
  readonly expire: () => void
}

const watchErasures = ({ ask, inTime, now, oldest, onChange }: {
  readonly now: () => number
  readonly inTime: InTime
  /** Returns when a check may have been sent at the earliest. */
  readonly oldest: () => number
  readonly ask: Effect.Effect<string, EventStoreError>
  /** Called before another id than before is taken over. */
  readonly onChange: () => void
}): ErasureWatch => {
  let lastErasure: string | undefined
  let changes = 0
  let checkedAt = -Infinity

  const asking = (): Asked => ({ at: now(), changes })

  const update = (found: string, asked: Asked): boolean => {
    if (found === lastErasure) {
      checkedAt = Math.max(checkedAt, asked.at)
      return true
    }
    const overlapped = asked.changes !== changes
    // It brings nothing, and does not count as a change: otherwise requests whose results alternate would never agree.
    if (overlapped && lastErasure === undefined) return false
    onChange()
    changes++
    lastErasure = overlapped ? undefined : found
    checkedAt = overlapped ? -Infinity : asked.at
    return !overlapped
  }

  const checkOnce: Effect.Effect<Answer<string>, EventStoreError> = Effect.suspend(() => {
    if (lastErasure !== undefined && checkedAt > oldest()) {
      return Effect.succeed({ value: lastErasure, askedAt: now() })
    }
    const asked = asking()
    return Effect.flatMap(
      ask,
      (value) => update(value, asked) ? Effect.succeed({ value, askedAt: asked.at }) : checkOnce
    )
  })

  return {
    check: inTime(checkOnce),
    asking,
    update,
    expire: () => {
      checkedAt = -Infinity
    }
  }
}

/** A result, and when the request was sent that returned it. */
interface Answer<out A> {
  readonly value: A
  readonly askedAt: number
}

type InTime = <A>(ask: Effect.Effect<Answer<A>, EventStoreError>) => Effect.Effect<A, EventStoreError>

/**
 * Returns a function that asks until an answer is not older than `maxAge`. An erasure may have ended after a request was sent, and before an answer came that
 * took longer. With a `maxAge` of 0 every use asks the store, and the first answer is taken.
 */
const untilInTime = ({ maxAge, now, timeout }: {
  readonly now: () => number
  readonly maxAge: Duration.Duration
  readonly timeout: Duration.Duration
}): InTime => {
  const [maxMillis, timeoutMillis] = [Duration.toMillis(maxAge), Duration.toMillis(timeout)]
  return (ask) =>
    Effect.suspend(() => {
      const begun = now()
      const next: typeof ask = Effect.flatMap(ask, (answer) => {
        const late = now() - answer.askedAt
        if (maxMillis === 0 || late < maxMillis) return Effect.succeed(answer)
        return now() - begun < timeoutMillis ? next : Effect.fail(tooLate(maxAge, timeout, late))
      })
      return Effect.map(next, ({ value }) => value)
    })
}

const tooLate = (maxAge: Duration.Duration, timeout: Duration.Duration, late: number): EventStoreError =>
  storeError(
    new KeyStoreUnavailable({
      message:
        `The key store responds too late: its last response took ${
          Duration.format(Duration.millis(late))
        }, and a subject may have been erased `
        + `meanwhile, because an erasure waits for ${Duration.format(maxAge)} (maxAge). This was so for ${
          Duration.format(timeout)
        } (timeout); try again, or raise maxAge in all programs of the key store`,
      cause: undefined
    })
  )

/** When a request was sent, and how often the id had changed by then. */
interface Asked {
  readonly at: number
  readonly changes: number
}

const isSameKey = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index])

/** Adds the newest entry and removes the oldest one beyond the capacity. */
const put = (cached: Map<string, Entry>, capacity: number, subject: string, entry: Entry): void => {
  cached.delete(subject)
  cached.set(subject, entry)
  const [oldest] = cached.keys()
  if (cached.size > capacity && oldest !== undefined) cached.delete(oldest)
}
