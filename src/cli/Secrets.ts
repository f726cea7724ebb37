/**
 * Keeps passwords out of what the command line prints.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * The passwords that this process knows.
 *
 * @since 0.1.0
 * @category references
 */
export const Secrets: Context.Reference<Set<string>> = Context.Reference("evsrc/cli/Secrets", {
  defaultValue: () => new Set<string>()
})

/** The user and the password of a URL. A password with an `@` that is not encoded ends at the last one. */
const inUrl = /([a-z][a-z0-9+.-]*:\/\/[^\s:@/"']*):([^\s"']*)@/gi

/** A parameter of a URL, or a word of a connection string. */
const inParameter = /(\b(?:ssl)?password\s*=\s*)('[^']*'|[^\s&"']+)/gi

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const passwordsIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(inUrl), ...text.matchAll(inParameter)].flatMap(([, , password = ""]) =>
    password === "" ? [] : [password, decoded(password)]
  )

/** Shorter ones are parts of ordinary words. They are hidden in URLs only. */
const minLength = 4

/**
 * Remembers the passwords in a text, such as a URL, so that `hide` finds them wherever they appear.
 *
 * @since 0.1.0
 * @category combinators
 */
export const remember = (text: string): Effect.Effect<void> =>
  Effect.map(Secrets, (secrets) => {
    for (const password of passwordsIn(text)) if (password.length >= minLength) secrets.add(password)
  })

/**
 * Remembers the passwords in the environment: those in URLs, and the values of variables whose names end in `PASSWORD`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const rememberEnvironment = (env: Readonly<Record<string, string | undefined>>): Effect.Effect<void> =>
  Effect.map(Secrets, (secrets) => {
    for (const [name, value = ""] of Object.entries(env)) {
      const found = /PASSWORD$/i.test(name) ? [value] : passwordsIn(value)
      for (const password of found) if (password.length >= minLength) secrets.add(password)
    }
  })

/**
 * Returns a text without the passwords that it contains.
 *
 * @since 0.1.0
 * @category combinators
 */
export const hide = (text: string): Effect.Effect<string> => Effect.map(Secrets, (secrets) => hideIn(secrets, text))

/**
 * Returns a text without the given passwords, and without those in URLs.
 *
 * @since 0.1.0
 * @category combinators
 */
export const hideIn = (secrets: ReadonlySet<string>, text: string): string => {
  let hidden = text.replaceAll(inUrl, "$1:***@").replaceAll(inParameter, "$1***")
  // The longest first: one may contain another.
  for (const secret of Array.from(secrets).toSorted((a, b) => b.length - a.length)) {
    hidden = hidden.replaceAll(secret, "***")
  }
  return hidden
}
