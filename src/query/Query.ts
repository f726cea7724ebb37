/**
 * Queries: what a program is asked to tell. Like a command, a query is an `effect/rpc` Rpc.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { EventStoreError, ProjectionBehind } from "../core/errors.ts"

type ErrorSchema<E extends Schema.Top> = Schema.Union<readonly [E, typeof ProjectionBehind, typeof EventStoreError]>

/**
 * A query: an Rpc that answers `Success`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Query<
  in out Tag extends string,
  out Payload extends Schema.Top,
  out Success extends Schema.Top,
  out Error extends Schema.Top = Schema.Never
> extends Rpc.Rpc<Tag, Payload, Success, ErrorSchema<Error>> {}

/**
 * The marker service that stands for the handler of the query with this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<Tag extends string> = Rpc.Handler<Tag>

/**
 * Defines a query. Besides its declared error it may fail with `ProjectionBehind`, when it was asked to wait for a position
 * that its read model did not reach in time, and with `EventStoreError`.
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
    readonly payload: Fields
    readonly success: Success
    readonly error?: Error
  }
): Query<Tag, Schema.Struct<Fields>, Success, Error> => {
  // An omitted error is `Schema.Never`, which is what `Error` defaults to; the conditional default is beyond the compiler.
  const declared = (options.error ?? Schema.Never) as Error
  return Rpc.make(tag, {
    payload: Schema.Struct(options.payload),
    success: options.success,
    error: Schema.Union([declared, ProjectionBehind, EventStoreError])
  })
}
