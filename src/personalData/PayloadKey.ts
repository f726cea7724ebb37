/**
 * The keys for the payloads of commands that name no subject: one key for each day, so that a key store has few of them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

const prefix = "evsrc:payloads:"

/**
 * Returns the subject whose key encrypts the salts of a day, in UTC. The hash of a payload that names no subject begins with such a salt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const subjectOf = (now: DateTime.Utc): string => `${prefix}${DateTime.formatIsoDateUtc(now)}`

/**
 * Returns why the key of a subject cannot be erased yet, or `undefined`. The key of a day is in use until that day is over in every process; without
 * it, payloads of the day would not be compared.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateErasure = (subject: string, now: DateTime.Utc): string | undefined => {
  if (!subject.startsWith(prefix)) return undefined
  const unused = Option.map(DateTime.make(subject.slice(prefix.length)), DateTime.add({ days: 1, hours: 1 }))
  if (Option.isNone(unused)) {
    return `the subject "${subject}" has no key of evsrc; after "${prefix}" it must have a day, such as ${
      subjectOf(now)
    }`
  }
  return DateTime.isGreaterThan(unused.value, now)
    ? `the key of "${subject}" is in use, so it cannot be erased before ${
      DateTime.formatIso(unused.value)
    }; erase it then`
    : undefined
}
