/**
 * Commands: what a program is asked to do. A command is an `effect/rpc` Rpc, so one definition is dispatched in process,
 * served by `RpcServer`, exposed through `effect/http-api` and run as an `effect/cluster` entity.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { ConcurrencyConflict, EventStoreError, InvalidCommand } from "../core/errors.ts"
import { Receipt } from "../core/Receipt.ts"

/**
 * What every command may fail with besides its own declared errors.
 *
 * @since 0.1.0
 * @category errors
 */
export type BusError = InvalidCommand | ConcurrencyConflict | EventStoreError

type ErrorSchema<E extends Schema.Top> = Schema.Union<
  readonly [E, typeof InvalidCommand, typeof ConcurrencyConflict, typeof EventStoreError]
>

/**
 * A command: an Rpc that answers a `Receipt`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Command<
  in out Tag extends string,
  out Payload extends Schema.Top,
  out Error extends Schema.Top = Schema.Never
> extends Rpc.Rpc<Tag, Payload, typeof Receipt, ErrorSchema<Error>> {}

/**
 * Any command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends Rpc.AnyWithProps {
  readonly successSchema: typeof Receipt
}

/**
 * The marker service that stands for the handler of the command with this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<Tag extends string> = Rpc.Handler<Tag>

/**
 * The errors a command declares itself.
 *
 * @since 0.1.0
 * @category models
 */
export type DeclaredError<C> = Exclude<Rpc.Error<C>, BusError>

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
    /** The fields of the command; one of them is the id of the aggregate it is for. */
    readonly payload: Fields
    /** The errors with which deciding may refuse it. */
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
