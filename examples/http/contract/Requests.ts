/**
 * The parts that requests of several endpoints share.
 */
import * as Schema from "effect/Schema"
import { AsOf } from "evsrc"

/** Printable ASCII only, because HTTP defines no encoding of header bytes. */
const Actor = Schema.String.check(
  Schema.isPattern(/^[\x20-\x7e]{1,256}$/u, { expected: "1 to 256 printable ASCII characters" })
)

/** The options of an endpoint of a command: it takes the actor from a header. A program of your own authenticates requests by `HttpActor`. */
export const actor = {
  headers: {
    "x-actor": Schema.optionalKey(Actor).annotate({
      description:
        "The actor, stored in the metadata of the events. The example trusts it as sent; authenticate in a program of your own."
    })
  },
  context: (headers: { readonly "x-actor"?: string }) => ({ actor: headers["x-actor"] })
}

export const limit = Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))).annotate({
  description: "The largest number of items in a page, 1 to 1000; 100 by default."
})

/** The cursor of a list of documents. */
const ListCursor = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_-]{1,8192}$/u, { expected: "a cursor of an earlier page" })
)

/** The fields of a query for a page of documents. */
export const pages = {
  limit,
  after: Schema.optionalKey(ListCursor).annotate({
    description: "The `next` of the previous page, with the same filter and order."
  })
}

/** Returns the Schema of a point in time in a request. */
export const pointInTime = (what: string) =>
  AsOf.FromString.annotate({
    description: `${what}, such as \`version:3\`, \`position:42\`, \`instant:2030-01-31T12:00:00Z\` or \`now\`.`
  })

/** Returns the Schema of an optional parameter of the query string. Its description is on the text, because OpenAPI documents show the encoded form. */
export const parameter = <A>(schema: Schema.Codec<A, unknown>, description: string) =>
  Schema.optionalKey(
    Schema.String.annotate({ description }).pipe(Schema.decodeTo(Schema.toCodecStringTree(schema)))
  )
