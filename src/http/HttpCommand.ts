/**
 * Endpoints of commands.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import type * as CommandContext from "../command/CommandContext.ts"
import type { ConcurrencyConflict } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as Descriptions from "./Descriptions.ts"
import * as Fields from "./Fields.ts"
import * as HttpErrors from "./HttpErrors.ts"
import { HttpProblems } from "./HttpProblems.ts"
import * as Kit from "./Kit.ts"
import * as Requests from "./Requests.ts"

type Method = "POST" | "PUT" | "PATCH" | "DELETE"

type Wire<C extends Command.Any, Names> = Fields.Renamed<Command.Payload<C>, Names>

type WireName<Names, K extends PropertyKey> = K extends keyof Names ? Names[K] : K

/**
 * Returns the Schema of the headers of a command, together with further ones, for an endpoint of your own that calls `HttpHandlers.dispatch`.
 *
 * @since 0.1.0
 * @category models
 */
export const headersWith = Requests.headersWith

/**
 * The endpoint of a command.
 *
 * @since 0.1.0
 * @category models
 */
export type Endpoint<
  C extends Command.Any,
  Name extends string,
  Verb extends Method,
  Path extends string,
  Names,
  Generated extends PropertyKey,
  Answer,
  Extra extends Schema.Struct.Fields = {}
> = HttpApiEndpoint.HttpApiEndpoint<
  Name,
  Verb,
  Path,
  Kit.Part<Fields.InPath<Wire<C, Names>, Path>>,
  never,
  Kit.Part<Fields.Others<Wire<C, Names>, Path, WireName<Names, Generated> & PropertyKey>>,
  Schema.Codec<(typeof Requests.CommandHeaders)["Type"] & Schema.Struct.Type<Extra>, unknown>,
  Schema.Codec<Answer, unknown> & Kit.Made,
  Schema.Codec<Command.DeclaredError<C> | HttpErrors.CommandError, unknown>,
  HttpProblems,
  // The layer of the group requires what its middleware requires, so a missing handler does not compile.
  Command.HandlerOf<C>
>

/**
 * The options of the endpoint of a command.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<
  C extends Command.Any,
  Name extends string,
  Verb extends Method,
  Path extends `/${string}`,
  Names,
  Generated extends PropertyKey,
  Answer,
  Extra extends Schema.Struct.Fields = {}
> {
  /** The path. Its parameters are fields of the payload, such as `/orders/:orderId/payment`; the other fields are the JSON body. */
  readonly path: Path & Fields.PathOf<Wire<C, Names>, Path>
  /** `POST` by default. */
  readonly method?: Verb | undefined
  /** The name of the endpoint, which clients call; by default that of the command with a lower-case first letter. */
  readonly name?: Name | undefined
  /** The status of a success, 200 by default. */
  readonly success?: 200 | 201 | 202 | undefined
  /** The names of fields in the request, where they differ from those in the payload. */
  readonly rename?: Names | undefined
  /** Schemas of fields in the request, where they differ from those in the payload. */
  readonly fields?:
    | { readonly [K in keyof Command.Payload<C>]?: Schema.Codec<Command.Payload<C>[K], unknown> }
    | undefined
  /**
   * A field that a request may omit. The server then derives a UUID from the `Idempotency-Key`, so that a repeated request means the same instance. Without
   * a key the UUID is random.
   */
  readonly generate?: Generated | undefined
  /**
   * The path of the resource that the command creates, for the header `Location`, such as `/orders/:orderId`. Its parameters are fields of the payload, by
   * their names in the request.
   */
  readonly location?: `/${string}` | undefined
  /** Further headers of the request. The OpenAPI document lists them, and `context` gets their values. */
  readonly headers?: Extra | undefined
  /**
   * Returns what the further headers add to the context of the command, such as the actor. A client can send any header: use this only behind a proxy
   * that sets the header, or for values that need no authentication. `HttpActor` authenticates requests.
   */
  readonly context?: ((headers: Schema.Struct.Type<Extra>) => CommandContext.SharedContext) | undefined
  /**
   * Returns the error of the response to a conflict, such as the declared error for a stream that does not exist. By default a conflict with `If-Match` or
   * `If-None-Match` is `PreconditionFailed`, and any other is `ConcurrencyConflict`.
   */
  readonly onConflict?:
    | ((
      conflict: ConcurrencyConflict,
      payload: Command.Payload<C>
    ) => Command.DeclaredError<C> | ConcurrencyConflict | HttpErrors.PreconditionFailed)
    | undefined
  /** The response of the endpoint, if it is not the receipt. */
  readonly answer?: {
    readonly schema: Schema.Codec<Answer, unknown>
    readonly make: (receipt: Requests.HttpReceipt, payload: Command.Payload<C>) => NoInfer<Answer>
  } | undefined
}

/**
 * Returns the endpoint of a command.
 *
 * **Details**
 *
 * It succeeds with the receipt, with the version as `ETag`. The request may have `Idempotency-Key`, the id of the command; `If-Match`, the expected version;
 * and `If-None-Match: *`, which expects no events. Errors are problem details: the declared errors with their status in the option `status`, and
 * `HttpErrors.CommandError`. `HttpHandlers` makes the handler.
 *
 * **Example** (a command of an order)
 *
 * ```ts
 * HttpCommand.endpoint(PayOrder, {
 *   path: "/orders/:orderId/payment",
 *   status: { AlreadyPaid: 409, OrderNotFound: 404 }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint = <
  C extends Command.Any,
  const Path extends `/${string}`,
  const Name extends string = Uncapitalize<C["_tag"]>,
  const Verb extends Method = "POST",
  const Names extends { readonly [K in keyof Command.Payload<C>]?: string } = {},
  const Generated extends keyof Command.Payload<C> = never,
  Answer = Requests.HttpReceipt,
  const Extra extends Schema.Struct.Fields = {}
>(
  command: C,
  options:
    & Options<C, Name, Verb, Path, Names, Generated, Answer, Extra>
    & Kit.StatusOption<Command.DeclaredError<C>>
): Endpoint<C, Name, Verb, Path, Names, Generated, Answer, Extra> => {
  const { answer, generate, location, method, name, onConflict, path, rename, success = 200 } = options
  const fields = Fields.make(command, {
    path,
    rename,
    generate: generate === undefined ? undefined : String(generate),
    location,
    fields: options.fields
  })
  const headers: Schema.Top = Requests.headersWith(options.headers ?? {})
  const made = HttpApiEndpoint.make(method ?? "POST")(
    name ?? command._tag.charAt(0).toLowerCase() + command._tag.slice(1),
    path,
    {
      params: fields.path === undefined ? undefined : Schema.Struct(fields.path),
      headers,
      payload: fields.others === undefined ? undefined : Schema.Struct(fields.others),
      success: HttpApiSchema.status(success)(answer?.schema ?? Requests.HttpReceipt),
      error: [...Kit.declaredErrors(command, options.status), ...HttpErrors.ofCommands]
    }
  ).middleware(HttpProblems).annotateMerge(Kit.annotations({
    kind: "command",
    command,
    fields,
    generate: generate === undefined ? undefined : String(generate),
    location,
    answer: (receipt: Receipt, payload: unknown) =>
      answer === undefined
        ? Requests.ofReceipt(receipt)
        // It is the payload of the command, whose handler has accepted it.
        : answer.make(Requests.ofReceipt(receipt), payload as Command.Payload<C>),
    // HttpApi has decoded the headers by a Schema with these fields.
    context: (headers) => options.context?.(headers as Schema.Struct.Type<Extra>) ?? {},
    // It is the payload of the command, whose handler has accepted it.
    onConflict: onConflict && ((conflict, payload) => onConflict(conflict, payload as Command.Payload<C>))
  })).annotateMerge(Descriptions.annotation({ path: fields.path, header: options.headers, body: fields.others }))
  // The Schemas are those of the fields at the places that the type says; the compiler cannot follow the split.
  return made as HttpApiEndpoint.Top as Endpoint<C, Name, Verb, Path, Names, Generated, Answer, Extra>
}
