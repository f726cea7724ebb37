/**
 * A key store in which every subject is erased. With it a command folds states and prints them without personal data.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { invalidRequest } from "../../core/errors.ts"
import * as KeyStore from "../../personalData/KeyStore.ts"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "../../personalData/KeyStoreDriver.ts"

const foundOf = (subjects: Iterable<string>): Effect.Effect<FoundKeys> =>
  Effect.map(DateTime.now, (at) => ({
    keys: new Map(Array.from(subjects, (subject): [string, SubjectKey] => [subject, { _tag: "Erased", at }])),
    lastErasure: "withheld",
    durable: true
  }))

const driver: KeyStoreDriver = {
  find: foundOf,
  findOrCreate: (offered) => foundOf(offered.keys()),
  lastErasure: Effect.succeed("withheld"),
  erase: () => Effect.fail(invalidRequest("this command reads without keys, and cannot erase"))
}

/**
 * Provides the key store without keys.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = KeyStore.layer(Effect.succeed(driver))
