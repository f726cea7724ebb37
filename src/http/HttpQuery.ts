/**
 * Endpoints of queries.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import type * as Query from "../query/Query.ts"
import * as Descriptions from "./Descriptions.ts"
import * as Fields from "./Fields.ts"
import * as HttpErrors from "./HttpErrors.ts"
import { HttpProblems } from "./HttpProblems.ts"
import * as Kit from "./Kit.ts"
import * as Requests from "./Requests.ts"

type DeclaredError<Q extends Query.Any> = Exclude<Query.Error<Q>, Query.BusError>

type Wire<Q extends Query.Any, Names> = Fields.Renamed<Query.Payload<Q>, Names>

type After = { readonly after?: LogPosition.LogPosition }

/**
 * The field of the query string that takes the `cursor` of a receipt, for an endpoint of your own that calls `HttpHandlers.ask`.
 *
 * @since 0.1.0
 * @category models
 */
export const after = Requests.after

/**
 * The endpoint of a query: `GET` with the fields in the query string, or `POST` with the fields in the body.
 *
 * @since 0.1.0
 * @category models
 */
export type Endpoint<
  Q extends Query.Any,
  Name extends string,
  Verb extends "GET" | "POST",
  Path extends string,
  Names
> = HttpApiEndpoint.HttpApiEndpoint<
  Name,
  Verb,
  Path,
  Kit.Part<Fields.InPath<Wire<Q, Names>, Path>>,
  Schema.Codec<(Verb extends "GET" ? Fields.Others<Wire<Q, Names>, Path, never> : unknown) & After, unknown>,
  Verb extends "GET" ? never : Kit.Part<Fields.Others<Wire<Q, Names>, Path, never>>,
  never,
  Schema.Codec<Query.Success<Q>, unknown> & Kit.Made,
  Schema.Codec<DeclaredError<Q> | HttpErrors.QueryError, unknown>,
  HttpProblems,
  // The layer of the group requires what its middleware requires, so a missing handler does not compile.
  Command.HandlerOf<Q>
>

/**
 * The options of the endpoint of a query.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<
  Q extends Query.Any,
  Name extends string,
  Verb extends "GET" | "POST",
  Path extends `/${string}`,
  Names
> {
  /** The path. Its parameters are fields of the payload, such as `/orders/:orderId`; the other fields are the query string. */
  readonly path: Path & Fields.PathOf<Wire<Q, Names>, Path>
  /** `GET` by default. With `POST` the other fields are the JSON body. */
  readonly method?: Verb | undefined
  /** The name of the endpoint, which clients call; by default that of the query with a lower-case first letter. */
  readonly name?: Name | undefined
  /** The names of fields in the request, where they differ from those in the payload. `after` is the endpoint's own name. */
  readonly rename?: Names | undefined
  /**
   * The field that takes the `next` of the previous page. If the answer has a `next`, the response has the header `Link` with the next page
   * (`rel="next"`). On the last page, `next` is missing, `null` or `Option.none()`. For `GET` only.
   */
  readonly page?: (keyof Query.Payload<Q> & string) | undefined
  /** Schemas of fields in the request, where they differ from those in the payload, such as `AsOf.FromString` for a point in time. */
  readonly fields?:
    | { readonly [K in keyof Query.Payload<Q>]?: Schema.Codec<Query.Payload<Q>[K], unknown> }
    | undefined
}

/**
 * Returns the endpoint of a query.
 *
 * **Details**
 *
 * It succeeds with the answer of the query. The parameter `after` takes the `cursor` of a receipt: the answer includes at least the events up to it,
 * or the request fails with `ProjectionBehind` after `HttpHandlers.ReadTimeout`. Errors are problem details: the declared errors with their status in the
 * option `status`, and `HttpErrors.QueryError`. `HttpHandlers` makes the handler.
 *
 * **Example** (a query of an order)
 *
 * ```ts
 * HttpQuery.endpoint(GetOrder, { path: "/orders/:orderId", status: { OrderNotFound: 404 } })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint = <
  Q extends Query.Any,
  const Path extends `/${string}`,
  const Name extends string = Uncapitalize<Q["_tag"]>,
  const Verb extends "GET" | "POST" = "GET",
  const Names extends { readonly [K in keyof Query.Payload<Q>]?: string } = {}
>(
  query: Q,
  options: Options<Q, Name, Verb, Path, Names> & Kit.StatusOption<DeclaredError<Q>>
): Endpoint<Q, Name, Verb, Path, Names> => {
  const { method, name, path, rename } = options
  const fields = Fields.make(query, { path, rename, fields: options.fields }, ["after"])
  const isGet = method !== "POST"
  const identifier = name ?? query._tag.charAt(0).toLowerCase() + query._tag.slice(1)
  const parts = {
    params: fields.path === undefined ? undefined : Schema.Struct(fields.path),
    query: Schema.Struct({ ...isGet ? fields.others : {}, after: Requests.after }),
    success: InProcessRpc.successSchema(query),
    error: [...Kit.declaredErrors(query, options.status), ...HttpErrors.ofQueries]
  }
  const bare = isGet
    ? HttpApiEndpoint.get(identifier, path, parts)
    : HttpApiEndpoint.post(identifier, path, {
      ...parts,
      payload: fields.others === undefined ? undefined : Schema.Struct(fields.others)
    })
  const made = (bare as HttpApiEndpoint.Constraint as HttpApiEndpoint.Top).middleware(HttpProblems).annotateMerge(
    Kit.annotations({
      kind: "query",
      query,
      fields,
      page: options.page === undefined ? undefined : pageOf(options.page, rename, parts.query.fields)
    })
  ).annotateMerge(
    Descriptions.annotation({ path: fields.path, query: parts.query.fields, body: isGet ? undefined : fields.others })
  )
  // The Schemas are those of the fields at the places that the type says; the compiler cannot follow the split.
  return made as HttpApiEndpoint.Top as Endpoint<Q, Name, Verb, Path, Names>
}

/** Returns how the parameter of a field takes the `next` of an answer. */
const pageOf = (
  field: string,
  rename: Readonly<Record<string, string | undefined>> | undefined,
  parameters: Schema.Struct.Fields
): Kit.Page => {
  const parameter = rename?.[field] ?? field
  const schema = parameters[parameter]
  if (schema === undefined) {
    throw new Error(
      `evsrc: \`page\` must name a field of the query string; "${field}" is in the path, in the body, or not a field`
    )
  }
  // HttpApi decodes the parameter by the same codec, which needs no services.
  const encode = Schema.encodeUnknownSync(Schema.toCodecStringTree(schema as Schema.Codec<unknown, unknown>))
  return { parameter, encode: (next) => String(encode(next)) }
}
