/**
 * The parts that requests and responses of several endpoints share.
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { LogPosition, Version } from "evsrc"

/** Printable ASCII only, because HTTP defines no encoding of header bytes. */
const headerText = Schema.String.check(
  Schema.isPattern(/^[\x20-\x7e]{1,256}$/u, { expected: "1 to 256 printable ASCII characters" })
)

/** `3`, `"3"` (an entity tag) or `*` (any version, but the user must exist). */
const IfMatch = Schema.String.check(
  Schema.isPattern(/^(\*|[0-9]{1,15}|"[0-9]{1,15}")$/u, { expected: "a version such as 3 or \"3\", or *" })
).pipe(Schema.decodeTo(
  Schema.Union([Schema.Literal("streamExists"), Version.Version]),
  SchemaTransformation.transform({
    decode: (text): "streamExists" | number => text === "*" ? "streamExists" : Number(text.replaceAll("\"", "")),
    encode: (expected) => expected === "streamExists" ? "*" : `"${expected}"`
  })
))

/** The headers of every request that writes. */
export const writeHeaders = {
  "idempotency-key": Schema.optionalKey(headerText).annotate({
    description:
      "Identifies this request. A repetition with the same key is not executed again and gets the same response."
  }),
  "x-actor": Schema.optionalKey(headerText).annotate({
    description:
      "The actor, stored in the metadata of the events. The example trusts it as sent; authenticate in a program of your own."
  })
}

/** The headers of a request that changes a user. */
export const changeHeaders = {
  ...writeHeaders,
  "if-match": Schema.optionalKey(IfMatch).annotate({
    description: "The version that the user must have, such as 3 or \"3\"; * for any existing user."
  })
}

export interface WriteHeaders extends Schema.Struct.Type<typeof writeHeaders> {
  readonly "if-match"?: (typeof IfMatch)["Type"]
}

export const after = Schema.optionalKey(LogPosition.FromString).annotate({
  description:
    "The `cursor` or `position` of an earlier response. The read model includes at least the events up to there."
})

export const limit = Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))).annotate({
  description: "The largest number of items in a page, 1 to 1000; 100 by default."
})

/** The cursor of a list of documents. */
export const ListCursor = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_-]{1,8192}$/u, { expected: "a cursor of an earlier page" })
)

export const paged = <Item extends Schema.Top, Cursor extends Schema.Top>(item: Item, cursor: Cursor) =>
  Schema.Struct({
    items: Schema.Array(item),
    next: Schema.optionalKey(cursor).annotate({
      description: "The cursor of the next page; absent on the last page."
    })
  })
