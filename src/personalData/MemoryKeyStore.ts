/**
 * The driver of the key store in memory.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "./KeyStoreDriver.ts"

/** One counter for all stores of this process, because a test may replace one store by another, like a backup. */
let drawn = 0
const newId = (): string => String(drawn++)

/**
 * Makes a driver without keys.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<KeyStoreDriver> = Effect.sync(() => {
  const stored = new Map<string, SubjectKey>()
  let lastErasure = newId()
  const found = (subjects: Iterable<string>): FoundKeys => {
    const keys = new Map<string, SubjectKey>()
    for (const subject of subjects) {
      const key = stored.get(subject)
      if (key !== undefined) keys.set(subject, key)
    }
    return { keys, lastErasure, durable: true }
  }
  return {
    find: (subjects) => Effect.sync(() => found(subjects)),
    findOrCreate: (offered) =>
      Effect.sync(() => {
        for (const [subject, key] of offered) {
          if (!stored.has(subject)) stored.set(subject, { _tag: "Key", key })
        }
        return found(offered.keys())
      }),
    lastErasure: Effect.sync(() => lastErasure),
    erase: (subject) =>
      Effect.map(DateTime.now, (at) => {
        const before = stored.get(subject)
        if (before?._tag === "Erased") return before.at
        stored.set(subject, { _tag: "Erased", at })
        lastErasure = newId()
        return at
      })
  }
})
