/**
 * The driver of the key store in memory.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "./KeyStoreDriver.ts"

/**
 * New, without keys.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<KeyStoreDriver> = Effect.sync(() => {
  const known = new Map<string, SubjectKey>()
  let erasures = 0n
  const found = (subjects: Iterable<string>): FoundKeys => {
    const keys = new Map<string, SubjectKey>()
    for (const subject of subjects) {
      const key = known.get(subject)
      if (key !== undefined) keys.set(subject, key)
    }
    return { keys, erasures, durable: true }
  }
  return {
    find: (subjects) => Effect.sync(() => found(subjects)),
    findOrCreate: (offered) =>
      Effect.sync(() => {
        for (const [subject, key] of offered) {
          if (!known.has(subject)) known.set(subject, { _tag: "Key", key })
        }
        return found(offered.keys())
      }),
    erasures: Effect.sync(() => erasures),
    erase: (subject) =>
      Effect.map(DateTime.now, (at) => {
        const before = known.get(subject)
        if (before?._tag === "Erased") return before.at
        known.set(subject, { _tag: "Erased", at })
        erasures++
        return at
      })
  }
})
