/**
 * Handlers of endpoints that are made from commands and queries.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Command from "../command/Command.ts"
import * as CommandBus from "../command/CommandBus.ts"
import type * as CommandContext from "../command/CommandContext.ts"
import { ConcurrencyConflict } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as Sha256 from "../core/Sha256.ts"
import type * as Query from "../query/Query.ts"
import * as QueryBus from "../query/QueryBus.ts"
import * as ErrorMapping from "./ErrorMapping.ts"
import * as HttpProblems from "./HttpProblems.ts"
import * as Kit from "./Kit.ts"
import type { CommandHeaders } from "./Requests.ts"

/**
 * The longest time that a request with `after` waits for the read model: 5 seconds.
 *
 * @since 0.1.0
 * @category references
 */
export const ReadTimeout = Context.Reference<Duration.Input>("evsrc/http/HttpHandlers/ReadTimeout", {
  defaultValue: () => "5 seconds"
})

/**
 * The parts of a request, as HttpApi has decoded them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts {
  readonly params?: unknown
  readonly query?: unknown
  readonly payload?: unknown
  readonly headers?: unknown
}

type Headers = (typeof CommandHeaders)["Type"]

/** Returns a UUID of version 8, the version for custom formats, that is derived from a key. */
const idFromKey = (key: string): string => {
  const hash = Array.from(Sha256.ofText(key), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return [hash.slice(0, 8), hash.slice(8, 12), `8${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`, hash.slice(20, 32)]
    .join("-")
}

const contextOf = (headers: Headers): CommandContext.CommandContext => ({
  commandId: headers["idempotency-key"],
  expected: headers["if-none-match"] === undefined ? headers["if-match"] : "noStream"
})

const headerOf = (headers: Headers) =>
  headers["if-none-match"] !== undefined ? "if-none-match" : headers["if-match"] !== undefined ? "if-match" : undefined

/** Adds the version of the receipt as the entity tag, and the location of the resource that the command created. */
const addHeaders = ({ version }: Receipt, location: string | undefined) =>
  HttpEffect.appendPreResponseHandler((_, response) =>
    Effect.succeed(HttpServerResponse.setHeaders(response, {
      etag: `"${version}"`,
      ...(location === undefined ? {} : { location })
    }))
  )

/**
 * Returns an effect whose errors of the stores are `HttpErrors.ReadError`, for an endpoint of your own that reads a store itself. The server logs the
 * details.
 *
 * @since 0.1.0
 * @category errors
 */
export const mapReadErrors = ErrorMapping.mapStoreErrors(ErrorMapping.ofRead)

/**
 * Returns an effect whose errors of the stores are `HttpErrors.WriteError`, for an endpoint of your own that writes.
 *
 * @since 0.1.0
 * @category errors
 */
export const mapWriteErrors = ErrorMapping.mapStoreErrors(ErrorMapping.ofWrite)

const send = <C extends Command.Any, E>(
  command: C,
  payload: Command.PayloadInput<C>,
  context: CommandContext.CommandContext,
  onConflict: (conflict: ConcurrencyConflict) => E
) =>
  CommandBus.dispatch(command, payload, context).pipe(
    Effect.mapError((error) => error instanceof ConcurrencyConflict ? onConflict(error) : error),
    mapWriteErrors
  )

/**
 * Dispatches a command in the handler of an endpoint of your own. The headers are those of `HttpCommand.headersWith`: the id of the command and the
 * expected version. Its errors, besides those that the command declares, are `HttpErrors.CommandError`. The response has the version as `ETag`.
 *
 * **Example** (an endpoint that checks something first)
 *
 * ```ts
 * others.handle("payOrder", ({ headers, params: { orderId }, payload }) =>
 *   Effect.andThen(requireOrder(orderId), HttpHandlers.dispatch(ReceivePayment, { orderId, ...payload }, headers)))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const dispatch = <C extends Command.Any>(
  command: C,
  payload: Command.PayloadInput<C>,
  headers: Headers
) =>
  Effect.tap(
    send(
      command,
      payload,
      contextOf(headers),
      (conflict) => ErrorMapping.ofConflict(conflict, headerOf(headers))
    ),
    (receipt) => addHeaders(receipt, undefined)
  )

/**
 * Asks a query in the handler of an endpoint of your own. `after` is the parameter of the request: the answer includes at least the events up to it.
 * Its errors, besides those that the query declares, are `HttpErrors.QueryError`.
 *
 * **Example** (an endpoint that asks one of two queries)
 *
 * ```ts
 * others.handle("getOrder", ({ params, query: { after, atVersion } }) =>
 *   atVersion === undefined
 *     ? HttpHandlers.ask(GetOrder, params, { after })
 *     : HttpHandlers.ask(GetOrderAsOf, { ...params, asOf: AsOf.version(atVersion) }))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const ask = <Q extends Query.Any>(
  query: Q,
  payload: Query.PayloadInput<Q>,
  { after }: { readonly after?: LogPosition | undefined } = {}
) =>
  Effect.gen(function*() {
    const timeout = yield* ReadTimeout
    return yield* QueryBus.ask(query, payload, { after, timeout })
  }).pipe(ErrorMapping.retryWhenBehind, mapReadErrors)

const dispatchOf = (kit: Kit.CommandKit) =>
  Effect.fnUntraced(function*(request: Parts) {
    // HttpApi has decoded the headers by this Schema.
    const headers = (request.headers ?? {}) as Headers
    const payload = kit.fields.payloadOf(request.params, request.payload)
    if (kit.generate !== undefined && payload[kit.generate] === undefined) {
      const key = headers["idempotency-key"]
      payload[kit.generate] = key === undefined ? (yield* IdGenerator)() : idFromKey(key)
    }
    const context = { ...kit.context(headers), ...contextOf(headers) }
    const receipt = yield* send(
      kit.command,
      payload,
      context,
      (conflict) => kit.onConflict?.(conflict, payload) ?? ErrorMapping.ofConflict(conflict, headerOf(headers))
    )
    yield* addHeaders(receipt, kit.location === undefined ? undefined : kit.fields.inPath(kit.location, payload))
    return kit.answer(receipt, payload)
  })

/** Returns the `next` of an answer; `undefined` if it is missing, `null`, or an `Option` without a value. */
const nextOf = (answer: unknown): unknown => {
  const next: unknown = Reflect.get(Object(answer), "next") ?? undefined
  return Option.isOption(next) ? Option.getOrUndefined(next) : next
}

/** Adds the next page as the header `Link`. A reference of a query string alone keeps the path. */
const addLink = Effect.fnUntraced(function*({ encode, parameter }: Kit.Page, answer: unknown) {
  const next = nextOf(answer)
  if (next === undefined) return
  const { url } = yield* HttpServerRequest.HttpServerRequest
  const parameters = new URLSearchParams(url.split("?")[1])
  parameters.set(parameter, encode(next))
  const link = `<?${parameters}>; rel="next"`
  yield* HttpEffect.appendPreResponseHandler((_, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, "link", link))
  )
})

const askOf = (kit: Kit.QueryKit) =>
  Effect.fnUntraced(function*(request: Parts) {
    // HttpApi has decoded the query string by a Schema with this field.
    const { after } = (request.query ?? {}) as { readonly after?: LogPosition }
    const payload = kit.fields.payloadOf(request.params, request.query, request.payload)
    const answer = yield* ask(kit.query, payload, { after })
    if (kit.page !== undefined) yield* addLink(kit.page, answer)
    return answer
  })

/** An endpoint, as far as its handler depends on it. */
interface Handled {
  readonly "~Success": Kit.Made & { readonly Type: unknown }
  readonly "~Error": { readonly Type: unknown }
  readonly "~MiddlewareServices": unknown
}

type Handler<E extends Handled> = (
  request: Parts
) => Effect.Effect<
  E["~Success"]["Type"],
  E["~Error"]["Type"],
  E["~MiddlewareServices"] | HttpServerRequest.HttpServerRequest
>

const notMade = (endpoint: { readonly identifier: string }): Error =>
  new Error(
    `evsrc: the endpoint "${endpoint.identifier}" is not made by HttpCommand.endpoint or HttpQuery.endpoint; handle it by HttpHandlers.layerWith`
  )

/** Returns the handler of an endpoint. `of` and `layer` give its result a type. */
const handlerOf = (endpoint: Pick<HttpApiEndpoint.Top, "annotations" | "identifier">) => {
  const kit = Kit.of(endpoint)
  if (kit === undefined) throw notMade(endpoint)
  const handle = kit.kind === "command" ? dispatchOf(kit) : askOf(kit)
  // The layer of the group requires the handler of the command or query; the server provides the request.
  return handle as (request: Parts) => Effect.Effect<never>
}

/**
 * Returns the handler of one endpoint, for a group that has other endpoints too.
 *
 * **Example** (a group with an endpoint of its own)
 *
 * ```ts
 * HttpApiBuilder.group(Api, "orders", (handlers) =>
 *   handlers.handle("payOrder", HttpHandlers.of(payOrder)).handle("invoice", () => makeInvoice))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = <E extends Handled & Pick<HttpApiEndpoint.Top, "annotations" | "identifier">>(
  endpoint: E
): Handler<E> => handlerOf(endpoint)

/**
 * The type of the name of a group with an endpoint that is not made from a command or a query, so that the compiler names the endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface NotMade<Name> {
  readonly "~not an endpoint of a command or a query; handle it by HttpHandlers.layerWith": Name
}

type NotMadeOf<E> = E extends { readonly "~Success": Kit.Made } ? never : HttpApiEndpoint.Identifier<E>

type AllMade<E> = [NotMadeOf<E>] extends [never] ? unknown : NotMade<NotMadeOf<E>>

type EndpointsOf<Groups extends HttpApiGroup.Constraint, Name extends string> = HttpApiGroup.Endpoints<
  HttpApiGroup.WithIdentifier<Groups, Name>
>

type LayerOf<Id extends string, Groups extends HttpApiGroup.Constraint, Name extends string, E, R> = Layer.Layer<
  HttpApiGroup.Service<Id, Name>,
  E,
  | Exclude<HttpApiEndpoint.Middleware<EndpointsOf<Groups, Name>> | R, HttpProblems.HttpProblems>
  | HttpApiEndpoint.MiddlewareServices<EndpointsOf<Groups, Name>>
>

/**
 * Provides a whole group of endpoints of commands and queries. It requires their handlers, and the middleware that the group has besides
 * `HttpProblems`.
 *
 * **Example** (the group of orders)
 *
 * ```ts
 * HttpApiBuilder.layer(Api).pipe(
 *   Layer.provide(HttpHandlers.layer(Api, "orders")),
 *   Layer.provide(Orders.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  Id extends string,
  Groups extends HttpApiGroup.Constraint,
  const Name extends HttpApiGroup.Identifier<Groups>
>(
  api: HttpApi.HttpApi<Id, Groups>,
  group: Name & AllMade<EndpointsOf<Groups, Name>>
): LayerOf<Id, Groups, Name, never, never> => provide(api, group, (handlers) => handlers as never)

type Others<Groups extends HttpApiGroup.Constraint, Name extends string> = {
  readonly [E in EndpointsOf<Groups, Name> as NotMadeOf<E>]: E
}

/**
 * Provides a group that has other endpoints besides those of commands and queries, such as streams. The function handles these others.
 *
 * **Example** (a stream beside commands and queries)
 *
 * ```ts
 * HttpHandlers.layerWith(Api, "orders", (others) =>
 *   others.handle("orderChanges", HttpSource.changes(orderChanges, HttpSource.ofEvents(OrderEvent, changeOf))))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <
  Id extends string,
  Groups extends HttpApiGroup.Constraint,
  const Name extends HttpApiGroup.Identifier<Groups>,
  Return
>(
  api: HttpApi.HttpApi<Id, Groups>,
  group: Name,
  build: (
    others: HttpApiBuilder.Handlers<never, Others<Groups, Name>>
  ) => HttpApiBuilder.Handlers.ValidateReturn<Return>
): LayerOf<
  Id,
  Groups,
  Name,
  HttpApiBuilder.Handlers.Error<Return>,
  Exclude<HttpApiBuilder.Handlers.Context<Return>, Scope.Scope>
> => provide(api, group, build as (handlers: never) => never)

/** Handles the endpoints of commands and queries, and lets `build` handle the others. */
const provide = <Out>(
  api: HttpApi.Constraint,
  group: string,
  build: (handlers: never) => never
): Layer.Layer<Out> => {
  // The handler of each endpoint follows from its annotation; the compiler cannot follow that through the names of the group.
  const { groups } = api as HttpApi.Top
  const handlers = HttpApiBuilder.group(api as HttpApi.Top, group, (handlers) => {
    for (const [name, endpoint] of Object.entries(groups[group]?.endpoints ?? {})) {
      if (Kit.of(endpoint) !== undefined) {
        handlers.handle(name, handlerOf(endpoint), { uninterruptible: true })
      }
    }
    return build(handlers as never)
  })
  return handlers.pipe(Layer.provide(HttpProblems.layer)) as never
}
