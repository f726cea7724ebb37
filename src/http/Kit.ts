/**
 * What an endpoint knows about its command or query, so that `HttpHandlers` needs only the endpoint.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as HttpApi from "effect/http-api/HttpApi"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import type * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import type * as CommandContext from "../command/CommandContext.ts"
import type * as InProcessRpc from "../command/InProcessRpc.ts"
import type { ConcurrencyConflict } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import type * as Query from "../query/Query.ts"
import type * as Fields from "./Fields.ts"
import * as Problem from "./Problem.ts"

/**
 * What an endpoint of a command does.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandKit {
  readonly kind: "command"
  readonly command: Command.Any
  readonly fields: Fields.Fields
  readonly generate: string | undefined
  readonly location: string | undefined
  readonly answer: (receipt: Receipt, payload: unknown) => unknown
  /** Returns what the endpoint's own headers add to the context of the command. */
  readonly context: (headers: unknown) => CommandContext.CommandContext
  readonly onConflict: ((conflict: ConcurrencyConflict, payload: unknown) => unknown) | undefined
}

/**
 * How the pages of a query are linked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  /** The parameter that takes the `next` of the previous page. */
  readonly parameter: string
  /** Returns the value of the parameter for the `next` of an answer. */
  readonly encode: (next: unknown) => string
}

/**
 * What an endpoint of a query does.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueryKit {
  readonly kind: "query"
  readonly query: Query.Any
  readonly fields: Fields.Fields
  readonly page: Page | undefined
}

/**
 * The annotation of endpoints that are made from a command or a query.
 *
 * @since 0.1.0
 * @category references
 */
export const Kit = Context.Reference<CommandKit | QueryKit | undefined>("evsrc/http/Kit", {
  defaultValue: () => undefined
})

/**
 * Marks the answer of an endpoint that is made from a command or a query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Made {
  readonly "~evsrc/http": "made"
}

/**
 * The Schema of a part of a request; `never` when the part has no fields.
 *
 * @since 0.1.0
 * @category models
 */
export type Part<Fields> = [keyof Fields] extends [never] ? never : Schema.Codec<Fields, unknown>

/**
 * The statuses of declared errors, by their tags.
 *
 * @since 0.1.0
 * @category models
 */
export type Statuses<Tag extends string> = { readonly [T in Tag]: Problem.ErrorStatus }

/**
 * The type of `status` when a declared error has no tag, so that the compiler names the error.
 *
 * @since 0.1.0
 * @category models
 */
export interface UntaggedError<Error> {
  readonly "~an error of an HTTP endpoint needs a _tag": Error
}

type TagOf<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never
type Untagged<E> = E extends { readonly _tag: string } ? never : E

/**
 * The option `status`: required when errors are declared.
 *
 * @since 0.1.0
 * @category models
 */
export type StatusOption<E> = [E] extends [never] ? { readonly status?: Statuses<never> | undefined }
  : [Untagged<E>] extends [never] ? { readonly status: Statuses<TagOf<E>> }
  : { readonly status: UntaggedError<Untagged<E>> }

/** Returns the Schemas of a union, one for each tag. */
const membersOf = (schema: Schema.Top): ReadonlyArray<Schema.Top> =>
  // A union has its members in this property.
  "members" in schema ? (schema.members as ReadonlyArray<Schema.Top>).flatMap(membersOf) : [schema]

/**
 * Returns the Schemas of the errors that a command or a query declares, as responses. Throws when one has no status.
 *
 * @since 0.1.0
 * @category constructors
 */
export const declaredErrors = (
  rpc: InProcessRpc.AnyRpc,
  status: unknown
): ReadonlyArray<Schema.Top> => {
  // `Command.make` and `Query.make` put the declared error first.
  const [declared] = (rpc.errorSchema as Schema.Union<ReadonlyArray<Schema.Top>>).members
  return (declared === undefined ? [] : membersOf(declared)).filter((member) => member.ast._tag !== "Never").map(
    (member) => {
      const tag = Problem.fieldsOf(member)?.tag
      const code: unknown = tag === undefined ? undefined : Reflect.get(Object(status), tag)
      if (!Problem.isErrorStatus(code)) {
        throw new Error(
          tag === undefined
            ? `evsrc: an error of "${rpc._tag}" has no literal _tag; use Schema.TaggedError`
            : `evsrc: the error "${tag}" of "${rpc._tag}" has ${
              code === undefined ? "no status" : `the status ${String(code)}, which is not an error status`
            }; give it one by \`status: { ${tag}: 409 }\``
        )
      }
      return Problem.ofError(member, code)
    }
  )
}

/** Reports all problems at once, and unknown fields too, because the server would otherwise ignore a misspelt optional field. */
const strict = { errors: "all", onExcessProperty: "error" } as const

/**
 * Returns the annotations of an endpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const annotations = (kit: CommandKit | QueryKit): Context.Context<never> =>
  Context.empty().pipe(
    Context.add(HttpApi.PayloadParseOptions, strict),
    Context.add(HttpApi.QueryParseOptions, strict),
    Context.add(HttpApi.ParamsParseOptions, { errors: "all" }),
    Context.add(HttpApi.HeadersParseOptions, { errors: "all" }),
    Context.add(Kit, kit)
  ) as Context.Context<never>

/**
 * Returns what an endpoint does, or `undefined` when it is not made from a command or a query.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (endpoint: Pick<HttpApiEndpoint.Top, "annotations">): CommandKit | QueryKit | undefined =>
  Context.get(endpoint.annotations, Kit)
