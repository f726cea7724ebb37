/**
 * Queries: questions that a program answers from its read models or its log. Like a command, a query is an `effect/rpc` Rpc.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { EventStoreError, InvalidQuery, ProjectionBehind } from "../core/errors.ts"

/**
 * The errors that every query may fail with, besides those it declares.
 *
 * @since 0.1.0
 * @category errors
 */
export type BusError = InvalidQuery | ProjectionBehind | EventStoreError

type ErrorSchema<E extends Schema.Top> = Schema.Union<
  readonly [E, typeof InvalidQuery, typeof ProjectionBehind, typeof EventStoreError]
>

/**
 * A query: an Rpc that succeeds with `Success`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Query<
  in out Tag extends string,
  out Payload extends Schema.Top,
  out Success extends Schema.Top,
  out DeclaredError extends Schema.Top = Schema.Never
> extends Rpc.Rpc<Tag, Payload, Success, ErrorSchema<DeclaredError>> {}

/**
 * The service that marks the handler of the query with this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<Tag extends string> = Rpc.Handler<Tag>

/**
 * Any query, and any other Rpc.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends Rpc.Any {
  readonly payloadSchema: { readonly Type: unknown; readonly "~type.make.in": unknown }
  readonly successSchema: { readonly Type: unknown }
  readonly errorSchema: { readonly Type: unknown }
}

/**
 * The payload of a query, as its handler receives it.
 *
 * @since 0.1.0
 * @category models
 */
export type Payload<Q extends Any> = Q["payloadSchema"]["Type"]

/**
 * The payload of a query, as the caller gives it: fields with a default may be missing.
 *
 * @since 0.1.0
 * @category models
 */
export type PayloadInput<Q extends Any> = Q["payloadSchema"]["~type.make.in"]

/**
 * The answer of a query.
 *
 * @since 0.1.0
 * @category models
 */
export type Success<Q extends Any> = Q["successSchema"]["Type"]

/**
 * The errors of a query: those it declares, and `BusError`.
 *
 * @since 0.1.0
 * @category errors
 */
export type Error<Q extends Any> = Q["errorSchema"]["Type"]

/**
 * Defines a query.
 *
 * **Details**
 *
 * Besides its declared error it may fail with `InvalidQuery`, when its payload does not satisfy its Schema; with
 * `ProjectionBehind`, when its read model does not reach the position to wait for in time; and with `EventStoreError`.
 *
 * **Example** (a query)
 *
 * ```ts
 * export const GetUser = Query.make("GetUser", {
 *   payload: { userId: UserId },
 *   success: UserView,
 *   error: UserNotFound
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Tag extends string,
  const Fields extends Schema.Struct.Fields,
  Success extends Schema.Top,
  Error extends Schema.Top = Schema.Never
>(
  tag: Tag,
  options: {
    /** The fields of the query. */
    readonly payload: Fields
    /** The Schema of the answer. */
    readonly success: Success
    /** The errors that the query declares. */
    readonly error?: Error
  }
): Query<Tag, Schema.Struct<Fields>, Success, Error> => {
  // An omitted error is `Schema.Never`, which is what `Error` defaults to; the conditional default is beyond the compiler.
  const declared = (options.error ?? Schema.Never) as Error
  return Rpc.make(tag, {
    payload: Schema.Struct(options.payload),
    success: options.success,
    error: Schema.Union([declared, InvalidQuery, ProjectionBehind, EventStoreError])
  })
}
