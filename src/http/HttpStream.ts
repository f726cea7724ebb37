/**
 * Endpoints that stream server-sent events, for a browser's `EventSource`: changes of the log, from which a client resumes without gaps, and documents.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as Schema from "effect/Schema"
import { ProjectionBehind } from "../core/errors.ts"
import { fromJsonText } from "../core/json/parseJson.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Descriptions from "./Descriptions.ts"
import * as HttpErrors from "./HttpErrors.ts"
import { HttpProblems } from "./HttpProblems.ts"
import type * as Kit from "./Kit.ts"
import * as Problem from "./Problem.ts"
import * as Requests from "./Requests.ts"

/**
 * An event of a stream of changes: `change`, or `reached` without data, which comes first and then as a heartbeat. The id of both is the cursor up to which
 * the stream is complete. An endpoint may give both other names.
 *
 * @since 0.1.0
 * @category models
 */
export type Change<A, Changed extends string = "change", Reached extends string = "reached"> =
  | { readonly event: Changed; readonly id: LogPosition.LogPosition; readonly data: A }
  | { readonly event: Reached; readonly id: LogPosition.LogPosition; readonly data: "" }

/**
 * An event of a stream of documents: `document`, or `heartbeat` without data.
 *
 * @since 0.1.0
 * @category models
 */
export type Document<A> =
  | { readonly event: "document"; readonly data: A }
  | { readonly event: "heartbeat"; readonly data: "" }

type Encoded = { readonly id?: string; readonly event: string; readonly data: string }

type Endpoint<Name extends string, Path extends string, Params, Headers, Item, Err> = HttpApiEndpoint.HttpApiEndpoint<
  Name,
  "GET",
  Path,
  Kit.Part<Params>,
  Schema.Codec<{ readonly after?: LogPosition.LogPosition }, unknown>,
  never,
  Headers extends undefined ? never : Schema.Codec<Headers, unknown>,
  HttpApiSchema.StreamSse<Schema.Codec<Item, Encoded>, Schema.Never, Item>,
  Schema.Codec<Err, unknown>,
  HttpProblems
>

/**
 * The header with which a client resumes.
 *
 * @since 0.1.0
 * @category models
 */
export type LastEventId = { readonly "last-event-id"?: LogPosition.LogPosition }

/**
 * The endpoint of a stream of changes.
 *
 * @since 0.1.0
 * @category models
 */
export type Changes<
  Name extends string,
  Path extends string,
  Params,
  A,
  Changed extends string = "change",
  Reached extends string = "reached"
> = Endpoint<
  Name,
  Path,
  Params,
  LastEventId,
  Change<A, Changed, Reached>,
  HttpErrors.ReadError
>

/**
 * The names of the events of a stream of changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventNames<Changed extends string, Reached extends string> {
  readonly change: Changed
  readonly reached: Reached
}

const Names = Context.Reference<EventNames<string, string>>("evsrc/http/HttpStream/Names", {
  defaultValue: () => ({ change: "change", reached: "reached" })
})

/**
 * Returns the names of the events of a stream of changes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const namesOf = <
  Name extends string,
  Path extends string,
  Params,
  A,
  Changed extends string,
  Reached extends string
>(
  endpoint: Changes<Name, Path, Params, A, Changed, Reached>
): EventNames<Changed, Reached> =>
  // `changes` annotates the endpoint with the names of its type.
  Context.get(endpoint.annotations, Names) as EventNames<Changed, Reached>

/**
 * The endpoint of a stream of documents.
 *
 * @since 0.1.0
 * @category models
 */
export type Documents<Name extends string, Path extends string, Params, A> = Endpoint<
  Name,
  Path,
  Params,
  undefined,
  Document<A>,
  HttpErrors.ReadError | ProjectionBehind
>

interface Options<Path extends string, Fields extends Schema.Struct.Fields, A> {
  readonly path: Path
  /** The parameters of the path. */
  readonly params?: Fields | undefined
  /** The Schema of the data of each event. */
  readonly data: Schema.Codec<A, unknown>
}

type ParamsOf<Fields extends Schema.Struct.Fields> = Schema.Struct.Type<Fields>

const json = <A>(data: Schema.Codec<A, unknown>) => fromJsonText(Schema.toCodecJson(data))

/**
 * Returns an endpoint that streams changes. A client that reconnects sends the id of the last event as `Last-Event-ID`, and gets the changes after it.
 * The parameter `after` sets the cursor after which the first connection starts; the default is the end of the log.
 *
 * **Example** (the changes of orders)
 *
 * ```ts
 * HttpStream.changes("orderChanges", { path: "/orders/changes", data: OrderChange })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const changes = <
  const Name extends string,
  const Path extends `/${string}`,
  A,
  Fields extends Schema.Struct.Fields = {},
  Changed extends string = "change",
  Reached extends string = "reached"
>(
  name: Name,
  { data, names, params, path }: Options<Path, Fields, A> & {
    /** Other names for the events. A browser's `EventSource` adds listeners for these names. */
    readonly names?: EventNames<Changed, Reached> | undefined
  }
): Changes<Name, Path, ParamsOf<Fields>, A, Changed, Reached> => {
  const { change, reached } = names ?? { change: "change", reached: "reached" }
  const events = Schema.Union([
    Schema.Struct({ id: LogPosition.FromString, event: Schema.Literal(change), data: json(data) }),
    Schema.Struct({ id: LogPosition.FromString, event: Schema.Literal(reached), data: Schema.Literal("") })
  ])
  const made = HttpApiEndpoint.get(name, path, {
    params: params === undefined ? undefined : Schema.Struct(params),
    headers: {
      "last-event-id": Schema.optionalKey(
        Requests.described(LogPosition.FromString, "The id of the last event received. The stream starts after it.")
      )
    },
    query: {
      after: Schema.optionalKey(
        Requests.described(
          LogPosition.FromString,
          "The `cursor` of an earlier response. The stream starts after it. Without it and the header, the stream starts now."
        )
      )
    },
    success: HttpApiSchema.StreamSse({ events }),
    error: HttpErrors.ofReads
  }).middleware(HttpProblems).annotate(Names, { change, reached }).annotateMerge(
    Descriptions.annotation({ path: params })
  )
  // The Schemas are those that the type says; the compiler cannot follow the generic fields.
  return made as HttpApiEndpoint.Constraint as Changes<Name, Path, ParamsOf<Fields>, A, Changed, Reached>
}

/**
 * Returns an endpoint that streams the state of a document, or of a page of them: the current one, then each later one. A client that reconnects gets
 * the current one again.
 *
 * **Example** (an order)
 *
 * ```ts
 * HttpStream.watch("watchOrder", { path: "/orders/:orderId/live", params: { orderId: OrderId }, data: OrderView })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const watch = <
  const Name extends string,
  const Path extends `/${string}`,
  A,
  Fields extends Schema.Struct.Fields = {}
>(
  name: Name,
  { data, params, path }: Options<Path, Fields, A>
): Documents<Name, Path, ParamsOf<Fields>, A> => {
  const events = Schema.Union([
    Schema.Struct({ event: Schema.Literal("document"), data: json(data) }),
    Schema.Struct({ event: Schema.Literal("heartbeat"), data: Schema.Literal("") })
  ])
  const made = HttpApiEndpoint.get(name, path, {
    params: params === undefined ? undefined : Schema.Struct(params),
    query: { after: Requests.after },
    success: HttpApiSchema.StreamSse({ events }),
    error: [...HttpErrors.ofReads, Problem.ofError(ProjectionBehind, 503)]
  }).middleware(HttpProblems).annotateMerge(Descriptions.annotation({ path: params }))
  // The Schemas are those that the type says; the compiler cannot follow the generic fields.
  return made as HttpApiEndpoint.Constraint as Documents<Name, Path, ParamsOf<Fields>, A>
}
