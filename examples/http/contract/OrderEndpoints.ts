/**
 * The endpoints of the shop: its orders, the processes that fulfil them, and its stock.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { LogPosition, Position } from "evsrc"
import { HttpCommand, HttpErrors, HttpProblems, HttpQuery, type HttpReceipt } from "evsrc/http"
import { GetFulfilment, GetOrder, ListFulfilments, ListOrders } from "../../fulfilment/contract/OrderQueries.ts"
import {
  Amount,
  OrderId,
  OrderNotFound,
  PayWithin,
  PlaceOrder,
  Product,
  ReportFailedShipment,
  ReportShipment
} from "../../fulfilment/contract/Orders.ts"
import { AlreadyPaid } from "../../fulfilment/contract/Payments.ts"
import { DeliverStock } from "../../fulfilment/contract/Stock.ts"
import { actor, pages } from "./Requests.ts"

const written = { position: Position.Position, cursor: LogPosition.FromString }

const OrderWritten = Schema.Struct({ orderId: OrderId, ...written }).annotate({
  identifier: "OrderWritten",
  description:
    "The position of the log after the write. The cursor also names the event there, so that the server detects a log that was set back."
})

const StockWritten = Schema.Struct({ product: Product, ...written }).annotate({ identifier: "StockWritten" })

const orderWritten = {
  ...actor,
  answer: {
    schema: OrderWritten,
    make: ({ cursor, position }: HttpReceipt, { orderId }: { readonly orderId: OrderId }) => ({
      orderId,
      position,
      cursor
    })
  }
}

const ofOrder = { rename: { orderId: "id" } } as const
const inCents = Amount.annotate({ description: "In cents." })

const place = HttpCommand.endpoint(PlaceOrder, {
  ...orderWritten,
  name: "place",
  path: "/orders",
  success: 201,
  generate: "orderId",
  location: "/orders/:orderId",
  fields: {
    amount: inCents,
    payWithin: Schema.optionalKey(PayWithin).annotate({
      description: "The time to pay, in seconds; 900 by default. After that the process manager cancels the order."
    })
  },
  status: { OrderExists: 409 }
}).annotateMerge(OpenApi.annotations({
  summary: "Place an order, with a new id unless one is given",
  description:
    "Places an order. The process manager reserves stock for the order. It cancels the order if there is no stock, or if the payment does not arrive in time. Without `orderId` the server generates the id."
}))

const list = HttpQuery.endpoint(ListOrders, {
  name: "list",
  path: "/orders",
  rename: { after: "cursor" },
  fields: pages,
  page: "after"
}).annotateMerge(OpenApi.annotations({
  summary: "List orders, the newest first",
  description: "Lists orders, the newest first."
}))

const get = HttpQuery.endpoint(GetOrder, {
  ...ofOrder,
  name: "get",
  path: "/orders/:id",
  status: { OrderNotFound: 404 }
})
  .annotateMerge(OpenApi.annotations({
    summary: "Get an order with its status",
    description: "Returns an order with its status: `placed`, `shipping`, `shipped` or `cancelled`."
  }))

/** A payment is an aggregate of its own, which does not know the orders. The handler in `OrderHandlers.ts` looks the order up first. */
const pay = HttpApiEndpoint.post("pay", "/orders/:id/payment", {
  params: { id: OrderId },
  headers: HttpCommand.headersWith(actor.headers),
  payload: Schema.Struct({ amount: inCents }),
  success: OrderWritten,
  error: [
    ...HttpErrors.ofCommands,
    HttpErrors.withStatus(OrderNotFound, 404),
    HttpErrors.withStatus(AlreadyPaid, 409)
  ]
}).middleware(HttpProblems.HttpProblems).annotateMerge(OpenApi.annotations({
  summary: "Pay an order; a late or wrong payment is refunded",
  description:
    "Reports the payment of an order. The process manager then requests the shipment. It refunds a payment of another amount, and a payment of a cancelled order."
}))

const shipment = { ...orderWritten, ...ofOrder, status: { OrderNotFound: 404, NotShipping: 409 } } as const

const reportShipment = HttpCommand.endpoint(ReportShipment, { ...shipment, path: "/orders/:id/shipment" })
  .annotateMerge(OpenApi.annotations({
    summary: "Report that the warehouse has shipped an order",
    description: "Reports that the warehouse has shipped an order, while it is `shipping`."
  }))

const reportFailedShipment = HttpCommand.endpoint(ReportFailedShipment, {
  ...shipment,
  path: "/orders/:id/failed-shipment"
}).annotateMerge(OpenApi.annotations({
  summary: "Report that an order cannot be shipped; it is cancelled and refunded",
  description:
    "Reports that an order cannot be shipped, while it is `shipping`. It is cancelled and refunded, and its stock is released."
}))

const fulfilment = HttpQuery.endpoint(GetFulfilment, {
  ...ofOrder,
  name: "fulfilment",
  path: "/orders/:id/fulfilment",
  status: { FulfilmentNotFound: 404 }
}).annotateMerge(OpenApi.annotations({
  summary: "Get the process that fulfils an order: its state, deadlines and steps",
  description:
    "Returns the process that fulfils an order: an instance of the process manager. `steps` are the types of its events. `stuckAt` names the event at which it is parked, and the error."
}))

const fulfilments = HttpQuery.endpoint(ListFulfilments, {
  name: "fulfilments",
  path: "/fulfilments",
  rename: { after: "cursor" },
  fields: pages,
  page: "after"
}).annotateMerge(OpenApi.annotations({
  summary: "List the processes that fulfil orders, by their next deadline",
  description: "Lists the processes by their next deadline, the earliest first. Processes without a deadline come last."
}))

export class OrderEndpoints extends HttpApiGroup.make("orders").add(
  place,
  list,
  get,
  pay,
  reportShipment,
  reportFailedShipment,
  fulfilment,
  fulfilments
) {}

const deliver = HttpCommand.endpoint(DeliverStock, {
  ...actor,
  name: "deliver",
  path: "/stock/:product/deliveries",
  answer: {
    schema: StockWritten,
    make: ({ cursor, position }, { product }) => ({ product, position, cursor })
  }
}).annotateMerge(OpenApi.annotations({
  summary: "Report a delivery of a product to the warehouse",
  description: "Reports a delivery of a product to the warehouse."
}))

export class StockEndpoints extends HttpApiGroup.make("stock").add(deliver) {}
