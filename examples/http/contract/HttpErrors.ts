/**
 * The errors of the HTTP API: a status, and a JSON body with `_tag`, `message`, and fields for programs. The domain's errors already have
 * these fields and no status; the schemas here encode them unchanged and add the status.
 */
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as Schema from "effect/Schema"
import { AsOf, Position, Version } from "evsrc"
import { OrderId, OrderStatus } from "../../fulfilment/contract/Orders.ts"
import { UserId } from "../../users/contract/User.ts"

const httpError = <const Tag extends string, const Fields extends Schema.Struct.Fields>(
  status: number,
  tag: Tag,
  fields: Fields
) =>
  Schema.Struct({ _tag: Schema.tag(tag), message: Schema.String, ...fields })
    .annotate({ identifier: tag })
    .pipe(HttpApiSchema.status(status))

const user = { userId: UserId }
const order = { orderId: OrderId }

/** A part of the request does not satisfy its Schema. `field` is a path within that part; empty for the whole part. */
export const InvalidInput = httpError(400, "InvalidInput", {
  in: Schema.Literals(["path", "query", "headers", "body"]),
  issues: Schema.Array(Schema.Struct({ field: Schema.String, message: Schema.String }))
})
export type InvalidInput = typeof InvalidInput.Type

export const InvalidRequest = httpError(400, "InvalidRequest", {})

export const UserNotFound = httpError(404, "UserNotFound", user)
export const UserNotYetRegistered = httpError(404, "UserNotYetRegistered", {
  ...user,
  registeredAt: Schema.DateTimeUtc
})
/** Points in time are encoded as in requests, such as `version:3`. */
export const AsOfNotReached = httpError(404, "AsOfNotReached", {
  asOf: AsOf.FromString,
  reached: AsOf.FromString
})

export const OrderNotFound = httpError(404, "OrderNotFound", order)
/** The process manager has not taken the order, or there is no order. */
export const FulfilmentNotFound = httpError(404, "FulfilmentNotFound", order)

export const UserAlreadyRegistered = httpError(409, "UserAlreadyRegistered", user)
export const UserIsDeactivated = httpError(409, "UserIsDeactivated", user)
export const OrderExists = httpError(409, "OrderExists", order)
export const AlreadyPaid = httpError(409, "AlreadyPaid", order)
export const NotShipping = httpError(409, "NotShipping", { ...order, status: OrderStatus })
export const ConcurrencyConflict = httpError(409, "ConcurrencyConflict", {
  expected: Schema.Union([Version.Version, Schema.Literals(["any", "noStream", "streamExists"])]),
  actual: Version.Version
})
/** The status is that of draft-ietf-httpapi-idempotency-key-header. */
export const IdempotencyKeyReused = httpError(422, "IdempotencyKeyReused", {})

export const ProjectionBehind = httpError(503, "ProjectionBehind", {
  wanted: Position.Position,
  reached: Position.Position
})
export const StoreUnavailable = httpError(503, "StoreUnavailable", {})
/** The write may or may not have happened. A repetition with the same `Idempotency-Key` is safe. */
export const OutcomeUnknown = httpError(503, "OutcomeUnknown", {})

/** The log was set back, and does not have the event of a cursor any more. The client starts again without it. */
export const LogDiverged = httpError(410, "LogDiverged", {})

/** The list that a cursor belongs to was rebuilt since. The client starts again without it. */
export const CursorExpired = httpError(410, "CursorExpired", {})

/** A fault of the server; its log has the details. */
export const InternalError = httpError(500, "InternalError", {})

/** The errors of every endpoint that reads. */
export const readErrors = [InvalidRequest, StoreUnavailable, InternalError] as const

/** The errors of every endpoint that writes. */
export const writeErrors = [...readErrors, ConcurrencyConflict, IdempotencyKeyReused, OutcomeUnknown] as const
