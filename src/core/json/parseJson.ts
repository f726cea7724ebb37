/**
 * Parses JSON text. `JSON.parse` of V8, in Node 24 to 26 at least, may read a key with an escape, such as `"\n"`, as another key that has a
 * backslash, if the process has read such a key before (https://github.com/nodejs/node/issues/63785). All other texts it reads correctly.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"

/**
 * Returns the value of a JSON text. Throws a `SyntaxError`, whose message may quote the text, if it is not JSON.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parseJson = (text: string): Schema.Json => {
  const value = nativeParse(text)
  // From here on the text is known to be JSON.
  return hasEscapedKey(text) ? read(text) : value
}

/**
 * Returns a Schema that decodes a JSON text: `Schema.fromJsonString` over `parseJson`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromJsonText = <S extends Schema.Constraint>(schema: S): Schema.decodeTo<S, Schema.String> =>
  Schema.String.pipe(Schema.decodeTo(schema, textCodec))

const textCodec = {
  decode: SchemaGetter.transformEffect((text: string, options) =>
    Effect.try({
      try: (): unknown => parseJson(text),
      catch: () => new SchemaIssue.InvalidValue({ expected: "a valid JSON string" }, text, options)
    })
  ),
  encode: SchemaGetter.stringifyJson()
}

// oxlint-disable-next-line evsrc/parse-json -- the one place where it is known which texts it reads correctly
const nativeParse = (text: string): Schema.Json => JSON.parse(text)

const quote = 0x22
const comma = 0x2c
const colon = 0x3a
const openBracket = 0x5b
const backslash = 0x5c
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d

const skipSpace = (text: string, from: number): number => {
  let at = from
  while (isSpace(text.charCodeAt(at))) at++
  return at
}

/** Returns the end of the string that is open at `from`, where no escape is. */
const endOfString = (text: string, from: number): number => {
  for (let at = from;; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at + 1
    if (code === backslash) at++
  }
}

/** Returns the end of a number or a literal. */
const endOfLiteral = (text: string, from: number): number => {
  let at = from
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === comma || code === closeBrace || code === closeBracket || isSpace(code)) break
  }
  return at
}

const hasEscapedKey = (text: string): boolean => {
  // In JSON, a backslash is always within a string.
  for (let at = text.indexOf("\\"); at >= 0; at = text.indexOf("\\", at)) {
    at = skipSpace(text, endOfString(text, at))
    if (text.charCodeAt(at) === colon) return true
  }
  return false
}

interface OpenObject {
  readonly object: Record<string, Schema.Json>
  /** The key whose value is read next. */
  key: string | undefined
}

/** Reads a text that is known to be JSON; `JSON.parse` gets its strings, numbers and literals only. */
const read = (text: string): Schema.Json => {
  // A list, because a recursion could not read each depth that JSON.parse can.
  const open: Array<OpenObject | Array<Schema.Json>> = []
  let result: Schema.Json = null
  const put = (value: Schema.Json): void => {
    const parent = open.at(-1)
    if (parent === undefined) result = value
    else if (Array.isArray(parent)) parent.push(value)
    else if (parent.key === undefined) parent.key = String(value)
    else {
      define(parent.object, parent.key, value)
      parent.key = undefined
    }
  }
  for (let at = skipSpace(text, 0); at < text.length; at = skipSpace(text, at)) {
    const from = at
    const code = text.charCodeAt(at)
    if (code === openBrace) open.push({ object: {}, key: undefined })
    else if (code === openBracket) open.push([])
    else if (code === closeBrace || code === closeBracket) {
      const closed = open.pop()!
      put(Array.isArray(closed) ? closed : closed.object)
    } else if (code !== comma && code !== colon) {
      at = code === quote ? endOfString(text, from + 1) : endOfLiteral(text, from)
      put(nativeParse(text.slice(from, at)))
      continue
    }
    at++
  }
  return result
}

const define = (object: Record<string, Schema.Json>, key: string, value: Schema.Json): void => {
  // An assignment would set the prototype.
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true })
  } else object[key] = value
}
