/**
 * The headers and parameters that the endpoints of commands and queries share.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as LogPosition from "../core/LogPosition.ts"
import { Position } from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import { Version } from "../core/Version.ts"

/**
 * The value of `Idempotency-Key`. Without commas and spaces: servers join a header that a client sends twice by both.
 *
 * @since 0.1.0
 * @category models
 */
export const IdempotencyKey = Schema.String.check(
  Schema.isPattern(/^[\x21-\x2b\x2d-\x7e]{1,256}$/u, {
    expected: "one key of 1 to 256 printable ASCII characters without spaces and commas"
  })
)

/**
 * The value of `If-Match`: `"3"`, `3` or `*`.
 *
 * @since 0.1.0
 * @category models
 */
export const IfMatch = Schema.String.check(
  Schema.isPattern(/^(\*|[0-9]{1,15}|"[0-9]{1,15}")$/u, { expected: "one version such as \"3\", or *" })
).pipe(Schema.decodeTo(
  Schema.Union([Schema.Literal("streamExists"), Version]),
  SchemaTransformation.transform({
    decode: (text): "streamExists" | number => text === "*" ? "streamExists" : Number(text.replaceAll("\"", "")),
    encode: (expected) => expected === "streamExists" ? "*" : `"${expected}"`
  })
))

/**
 * Returns the Schema of a text with a description on its encoded form, which the OpenAPI document shows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const described = <A>(schema: Schema.Codec<A, string>, description: string): Schema.Codec<A, string> =>
  Schema.String.annotate({ description }).pipe(Schema.decodeTo(schema))

/** Not both conditions at once. */
const oneCondition = Schema.makeFilter<unknown>((headers) => {
  const has = (name: string) => Reflect.get(Object(headers), name) !== undefined
  return !has("if-match") || !has("if-none-match")
    || { path: ["if-none-match"], issue: "cannot be combined with if-match" }
})

const commandHeaders = {
  "idempotency-key": Schema.optionalKey(IdempotencyKey).annotate({
    description:
      "Identifies the request. The server executes a repeated request with the same key once, and sends the same response."
  }),
  "if-match": Schema.optionalKey(
    described(
      IfMatch,
      "The expected version, such as \"3\", as in the ETag of a response, or * for any existing stream."
    )
  ),
  "if-none-match": Schema.optionalKey(Schema.Literal("*")).annotate({
    description: "With *, the request succeeds only if the stream has no events yet."
  })
}

/**
 * The headers of requests with a command.
 *
 * @since 0.1.0
 * @category models
 */
export const CommandHeaders = Schema.Struct(commandHeaders).check(oneCondition)

/**
 * Returns the Schema of the headers of requests with a command, together with further ones.
 *
 * @since 0.1.0
 * @category constructors
 */
export const headersWith = <const Extra extends Schema.Struct.Fields>(extra: Extra) =>
  Schema.Struct({ ...commandHeaders, ...extra }).check(oneCondition)

/**
 * The position that a read waits for: the `cursor` of a receipt, or a bare position.
 *
 * @since 0.1.0
 * @category models
 */
export const after = Schema.optionalKey(
  described(
    LogPosition.FromString,
    "The `cursor` of an earlier response. The answer includes at least the events up to this cursor."
  )
)

/**
 * The receipt of a command as the answer to a request. A query takes `cursor` as `after`; an event stream starts after it.
 *
 * @since 0.1.0
 * @category models
 */
export const HttpReceipt = Schema.Struct({
  version: Version,
  position: Position,
  cursor: LogPosition.FromString,
  stream: Receipt.Receipt.fields.stream,
  events: Receipt.Receipt.fields.events
}).annotate({ identifier: "Receipt" })

/**
 * @since 0.1.0
 * @category models
 */
export interface HttpReceipt extends Schema.Schema.Type<typeof HttpReceipt> {}

/**
 * Returns the answer for a receipt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofReceipt = (receipt: Receipt.Receipt): HttpReceipt => ({
  version: receipt.version,
  position: receipt.position,
  cursor: { ...LogPosition.ofReceipt(receipt) },
  stream: receipt.stream,
  events: receipt.events
})
