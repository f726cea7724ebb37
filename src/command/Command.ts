/**
 * Commands: requests to change something. A command is an `effect/rpc` Rpc, so one definition is dispatched in process, served by
 * `RpcServer`, exposed through `effect/http-api` and run as an `effect/cluster` entity.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { ConcurrencyConflict, EventStoreError, InvalidCommand } from "../core/errors.ts"
import { Receipt } from "../core/Receipt.ts"

/**
 * The errors that every command may fail with, besides those it declares.
 *
 * @since 0.1.0
 * @category errors
 */
export type BusError = InvalidCommand | ConcurrencyConflict | EventStoreError

/**
 * What the compiler looks at to tell a command from another Rpc. A comparison of all errors would cost much more for each command.
 *
 * @since 0.1.0
 * @category models
 */
export interface WithBusErrors {
  readonly errorSchema: { readonly members: readonly [unknown, typeof InvalidCommand, ...ReadonlyArray<unknown>] }
}

type ErrorSchema<E extends Schema.Top> = Schema.Union<
  readonly [E, typeof InvalidCommand, typeof ConcurrencyConflict, typeof EventStoreError]
>

/**
 * A command: an Rpc that succeeds with a `Receipt`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Command<
  in out Tag extends string,
  out Payload extends Schema.Top,
  out DeclaredError extends Schema.Top = Schema.Never
> extends Rpc.Rpc<Tag, Payload, typeof Receipt, ErrorSchema<DeclaredError>> {}

/**
 * Any command. It lists only what commands are used for: to compare a command with all of `Rpc.AnyWithProps` costs the compiler ten
 * times as much.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends Rpc.Any {
  readonly payloadSchema: { readonly Type: unknown; readonly "~type.make.in": unknown }
  readonly successSchema: typeof Receipt
  readonly errorSchema: { readonly Type: unknown }
}

/**
 * The service that marks the handler of the command with this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<Tag extends string> = Rpc.Handler<Tag>

/**
 * The service that marks the handlers of these commands.
 *
 * @since 0.1.0
 * @category models
 */
export type HandlerOf<C extends Rpc.Any> = EachHandler<C["_tag"]>

type EachHandler<Tag extends string> = Tag extends string ? Rpc.Handler<Tag> : never

// These read a property of the definition. `Rpc.Payload` and the like infer all six parameters of `Rpc`, which costs the compiler many
// times as much.

/**
 * The payload of a command, as its handler receives it.
 *
 * @since 0.1.0
 * @category models
 */
export type Payload<C extends Any> = C["payloadSchema"]["Type"]

/**
 * The payload of a command, as the caller gives it: fields with a default may be missing.
 *
 * @since 0.1.0
 * @category models
 */
export type PayloadInput<C extends Any> = C["payloadSchema"]["~type.make.in"]

/**
 * The errors of a command: those it declares, and `BusError`.
 *
 * @since 0.1.0
 * @category errors
 */
export type Error<C extends Any> = C["errorSchema"]["Type"]

/**
 * The errors that a command declares.
 *
 * @since 0.1.0
 * @category errors
 */
export type DeclaredError<C extends Any> = Exclude<Error<C>, BusError>

/**
 * Defines a command.
 *
 * **Example** (a command)
 *
 * ```ts
 * export const RegisterUser = Command.make("RegisterUser", {
 *   payload: { userId: UserId, email: Email },
 *   error: AlreadyRegistered
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Tag extends string,
  const Fields extends Schema.Struct.Fields,
  Error extends Schema.Top = Schema.Never
>(
  tag: Tag,
  options: {
    /** The fields of the command. One of them is the id of the aggregate. */
    readonly payload: Fields
    /** The Schema of the errors with which a decider may reject the command. */
    readonly error?: Error
  }
): Command<Tag, Schema.Struct<Fields>, Error> => {
  // An omitted error is `Schema.Never`, which is what `Error` defaults to; the conditional default is beyond the compiler.
  const declared = (options.error ?? Schema.Never) as Error
  return Rpc.make(tag, {
    payload: Schema.Struct(options.payload),
    success: Receipt,
    error: Schema.Union([declared, InvalidCommand, ConcurrencyConflict, EventStoreError])
  })
}
