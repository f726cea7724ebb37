/**
 * Errors as RFC 9457 problem details: how an error is sent, and how a client decodes it into the same error.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ProblemDetails from "effect/http/ProblemDetails"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as AsOf from "../core/AsOf.ts"
import { AsOfNotReached } from "../core/errors.ts"

const reasons = {
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  418: "I'm a teapot",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  423: "Locked",
  424: "Failed Dependency",
  425: "Too Early",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  451: "Unavailable For Legal Reasons",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage"
} as const

/**
 * A status of a response that is an error.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorStatus = keyof typeof reasons

/**
 * Returns whether a number is the status of an error.
 *
 * @since 0.1.0
 * @category guards
 */
export const isErrorStatus = (status: unknown): status is ErrorStatus =>
  typeof status === "number" && Object.hasOwn(reasons, status)

/** An error that can become a response. */
interface Tagged {
  readonly _tag: string
  readonly message?: string
}

/** Returns the fields that a response encodes as requests do: points in time as text. */
const asInRequests = (error: Schema.Top): Schema.Struct.Fields =>
  error === AsOfNotReached ? { asOf: AsOf.FromString, reached: AsOf.FromString } : {}

/** Returns the members of problem details. `message` repeats `detail`: clients of any language read it as in other errors. */
const membersOf = (error: Tagged, status: ErrorStatus) => {
  const message = error.message === undefined || error.message === "" ? reasons[status] : error.message
  return { type: ProblemDetails.blankType, title: reasons[status], status, detail: message, message }
}

const members = {
  type: Schema.optionalKey(Schema.String),
  title: Schema.optionalKey(Schema.String),
  status: Schema.optionalKey(Schema.Int),
  detail: Schema.optionalKey(Schema.String),
  message: Schema.optionalKey(Schema.String)
}

/**
 * Returns the fields of a Schema of tagged errors, and its tag; `undefined` when it has none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldsOf = (
  error: Schema.Top
): { readonly tag: string; readonly fields: Schema.Struct.Fields } | undefined => {
  if (!Predicate.hasProperty(error, "fields") || !Predicate.isObject(error.fields)) return undefined
  // Structs and classes have their fields in this property, and nothing else has it.
  const fields = error.fields as Schema.Struct.Fields
  const ast = fields["_tag"]?.ast
  return ast?._tag === "Literal" && typeof ast.literal === "string" ? { tag: ast.literal, fields } : undefined
}

/**
 * The Schema of an error as a response.
 *
 * @since 0.1.0
 * @category models
 */
export type ProblemOf<E extends Schema.Top> = Schema.Codec<
  E["Type"],
  unknown,
  E["DecodingServices"],
  E["EncodingServices"]
>

/**
 * Returns the Schema of a tagged error as a response: `application/problem+json` with the status. The body has the members of problem details,
 * `message`, and the error's own fields. A field of the error replaces a member of the same name.
 *
 * @since 0.1.0
 * @category models
 */
export const ofError = <E extends Schema.Top>(
  error: E,
  status: ErrorStatus,
  /** When the error occurs, for the OpenAPI document; by default the `description` of the Schema. */
  description: string | undefined = SchemaAST.resolveDescription(error.ast)
): ProblemOf<E> => {
  const found = fieldsOf(error)
  if (found === undefined) {
    throw new Error("evsrc: an error of an HTTP endpoint must be a Schema.TaggedError or a struct with a literal _tag")
  }
  const names = Object.keys(found.fields)
  const own = (from: object) =>
    Object.fromEntries(names.flatMap((name) => Object.hasOwn(from, name) ? [[name, Reflect.get(from, name)]] : []))
  const annotations = description === undefined ? {} : { description }
  const wire: Schema.Codec<unknown, unknown, unknown, unknown> = Schema.Struct({
    ...members,
    ...found.fields,
    ...asInRequests(error),
    // The encoded form of a struct loses its description; that of a literal has it.
    _tag: Schema.Literal(found.tag).annotate(annotations)
  }).annotate({ identifier: found.tag })
  const make = (fields: unknown): unknown =>
    // The value of a struct is its fields; a class makes an instance from them.
    typeof error === "function" ? Reflect.construct(error, [fields]) : fields
  return wire.pipe(
    Schema.decodeTo(
      Schema.toType<Schema.Top>(error),
      SchemaTransformation.transform<unknown, unknown>({
        decode: (body) => make(own(Object(body))),
        // The Schema of the error has a tag.
        encode: (value) => ({ ...membersOf(value as Tagged, status), ...own(Object(value)) })
      })
    ),
    HttpApiSchema.asJson({ contentType: ProblemDetails.contentType }),
    HttpApiSchema.status(status)
  ).annotate(annotations) as ProblemOf<E>
}

/**
 * Returns a response with problem details, for errors outside an endpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const response = (
  error: Tagged,
  status: ErrorStatus,
  headers: Readonly<Record<string, string>> = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.setHeaders(
    HttpServerResponse.jsonUnsafe({ ...membersOf(error, status), ...error, _tag: error._tag }, {
      status,
      contentType: ProblemDetails.contentType
    }),
    headers
  )
