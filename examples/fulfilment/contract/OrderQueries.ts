/**
 * The queries on orders and on the process that fulfils them.
 */
import * as Schema from "effect/Schema"
import { Query } from "evsrc"
import { Amount, CancelReason, OrderId, OrderNotFound, OrderStatus, Product, Quantity } from "./Orders.ts"

/** Where an order stands. The amounts are in cents. */
export const OrderView = Schema.Struct({
  orderId: OrderId,
  product: Product,
  quantity: Quantity,
  amount: Amount,
  status: OrderStatus,
  isReserved: Schema.Boolean,
  paid: Schema.Int,
  refunded: Schema.Int,
  reason: Schema.optionalKey(CancelReason),
  placedAt: Schema.DateTimeUtc
}).annotate({ identifier: "Order" })

const page = { after: Schema.optionalKey(Schema.String), limit: Schema.optionalKey(Schema.Int) }

export const GetOrder = Query.make("GetOrder", {
  payload: { orderId: OrderId },
  success: OrderView,
  error: OrderNotFound
})

/** Returns orders, the newest first. `after` is the `next` of the previous page. */
export const ListOrders = Query.make("ListOrders", {
  payload: { status: Schema.optionalKey(OrderStatus), ...page },
  success: Schema.Struct({ items: Schema.Array(OrderView), next: Schema.optionalKey(Schema.String) })
})

export const ProcessStatus = Schema.Literals(["running", "completed", "abandoned"])

const processFields = {
  orderId: OrderId,
  status: ProcessStatus,
  startedAt: Schema.DateTimeUtc,
  updatedAt: Schema.DateTimeUtc,
  /** When the next deadline is due. */
  nextDueAt: Schema.optionalKey(Schema.DateTimeUtc),
  /** When each pending deadline is due, by its name. */
  deadlines: Schema.Record(Schema.String, Schema.DateTimeUtc)
}

/** The process that fulfils an order: an instance of the process manager. */
export const FulfilmentView = Schema.Struct(processFields).annotate({ identifier: "Fulfilment" })

/** A process with its steps, and the event at which it is parked. */
export const FulfilmentDetails = Schema.Struct({
  ...processFields,
  isPaid: Schema.Boolean,
  isReserved: Schema.Boolean,
  steps: Schema.Array(Schema.Struct({ type: Schema.String, recordedAt: Schema.DateTimeUtc })),
  stuckAt: Schema.optionalKey(Schema.Struct({ type: Schema.String, error: Schema.String }))
}).annotate({ identifier: "FulfilmentDetails" })

export class FulfilmentNotFound extends Schema.TaggedError<FulfilmentNotFound>()(
  "FulfilmentNotFound",
  { orderId: OrderId },
  {
    description:
      "The process manager has taken no order of this id. It takes an order some milliseconds after it was placed."
  }
) {
  override get message(): string {
    return `No process has taken order "${this.orderId}": it does not exist, or was placed just now`
  }
}

export const GetFulfilment = Query.make("GetFulfilment", {
  payload: { orderId: OrderId },
  success: FulfilmentDetails,
  error: FulfilmentNotFound
})

/** Returns processes, the one whose next deadline is due first before the others. `after` is the `next` of the previous page. */
export const ListFulfilments = Query.make("ListFulfilments", {
  payload: { status: Schema.optionalKey(ProcessStatus), ...page },
  success: Schema.Struct({ items: Schema.Array(FulfilmentView), next: Schema.optionalKey(Schema.String) })
})
