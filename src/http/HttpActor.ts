/**
 * Middleware that authenticates a request and provides the actor of its commands.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type { unhandled } from "effect/Types"
import * as CommandContext from "../command/CommandContext.ts"
import { Unauthenticated } from "./HttpErrors.ts"
import { internalError } from "./HttpProblems.ts"
import * as Problem from "./Problem.ts"

/**
 * The middleware. Add it to an endpoint, a group or an API by `.middleware(HttpActor.HttpActor)`. A middleware of your own, such as one with
 * `HttpApiSecurity`, passes the actor by `CommandContext.provide`.
 *
 * @since 0.1.0
 * @category services
 */
export class HttpActor extends HttpApiMiddleware.Service<HttpActor>()("evsrc/http/HttpActor", {
  error: Problem.ofError(Unauthenticated, 401)
}) {}

/**
 * Provides the middleware with a function that returns the actor of a request, or fails with `Unauthenticated` for a 401.
 *
 * **Example** (the actor of a session)
 *
 * ```ts
 * HttpActor.layer((request) => Effect.flatMap(Sessions, (sessions) => sessions.userOf(request.cookies["session"])))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <R>(
  authenticate: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<string, Unauthenticated, R>,
  options: {
    /** The header `WWW-Authenticate` of a 401; `Bearer` by default. */
    readonly challenge?: string | undefined
  } = {}
): Layer.Layer<HttpActor, never, R> =>
  Layer.effect(
    HttpActor,
    Effect.map(
      Effect.context<R>(),
      (services) => (handle: Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled>) =>
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
          authenticate(request).pipe(
            Effect.provideContext(services),
            // The route is uninterruptible; the authentication is interruptible.
            Effect.interruptible,
            Effect.tapError(() => addChallenge(options.challenge ?? "Bearer")),
            Effect.map((actor) => CommandContext.provide({ actor })(handle)),
            Effect.catchDefect((defect) =>
              Effect.as(
                Effect.logError("The function of HttpActor.layer threw an error", defect),
                Effect.succeed(Problem.response(internalError(), 500))
              )
            ),
            Effect.flatten
          ))
    )
  )

const addChallenge = (challenge: string) =>
  HttpEffect.appendPreResponseHandler((_, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, "www-authenticate", challenge))
  )

/** Without commas: servers join a header that a client sends twice by a comma. */
const actorName = /^[\x20-\x2b\x2d-\x7e]{1,256}$/

/**
 * Provides the middleware that takes the actor from a header. It authenticates nothing: use it only behind a proxy that authenticates
 * requests and always sets the header, also when the client has sent one.
 *
 * @since 0.1.0
 * @category layers
 */
export const fromHeader = (name: string): Layer.Layer<HttpActor> =>
  layer(({ headers }) => {
    const actor = headers[name.toLowerCase()]
    return actor !== undefined && actorName.test(actor)
      ? Effect.succeed(actor)
      : Effect.fail(
        new Unauthenticated({
          message: actor === undefined
            ? `The request has no header ${name}`
            : `The header ${name} must be one name of 1 to 256 printable ASCII characters without commas`
        })
      )
  })

/**
 * Returns the actor of the request, in a handler or a middleware; `undefined` without one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const current: Effect.Effect<string | undefined> = Effect.map(
  Effect.context<never>(),
  (context) => Context.get(context, CommandContext.CommandContext).actor
)
