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

const dayOf = (subject: string): Option.Option<DateTime.Utc> =>
  subject.startsWith(prefix) ? DateTime.make(subject.slice(prefix.length)) : Option.none()

/**
 * Returns subjects, and for the key of a day also that of the next day. A key that a transaction of the caller makes keeps all that need it waiting
 * until the transaction ends, so the key of a day is made the day before.
 *
 * @since 0.1.0
 * @category constructors
 */
export const withNextDay = (subjects: ReadonlyArray<string>): ReadonlySet<string> => {
  const all = new Set(subjects)
  for (const subject of subjects) {
    const day = dayOf(subject)
    if (Option.isSome(day)) all.add(subjectOf(DateTime.add(day.value, { days: 1 })))
  }
  return all
}

/**
 * Returns why the key of a subject cannot be erased yet, or `undefined`. The key of a day is in use until that day is over in every process; without
 * it, payloads of the day would not be compared.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateErasure = (subject: string, now: DateTime.Utc): string | undefined => {
  if (!subject.startsWith(prefix)) return undefined
  const unused = Option.map(dayOf(subject), DateTime.add({ days: 1, hours: 1 }))
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
