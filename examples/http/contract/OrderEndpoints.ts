/**
 * The endpoints of the shop: its orders, the processes that fulfil them, and its stock.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { LogPosition, Position } from "evsrc"
import { FulfilmentDetails, FulfilmentView, OrderView, ProcessStatus } from "../../fulfilment/contract/OrderQueries.ts"
import {
  Address,
  Amount,
  OrderId,
  OrderStatus,
  PayWithin,
  Product,
  Quantity
} from "../../fulfilment/contract/Orders.ts"
import {
  AlreadyPaid,
  CursorExpired,
  FulfilmentNotFound,
  LogDiverged,
  NotShipping,
  OrderExists,
  OrderNotFound,
  ProjectionBehind,
  readErrors,
  writeErrors
} from "./HttpErrors.ts"
import { after, limit, ListCursor, paged, writeHeaders } from "./Requests.ts"

const written = { position: Position.Position, cursor: LogPosition.FromString }

const OrderWritten = Schema.Struct({ orderId: OrderId, ...written }).annotate({
  identifier: "OrderWritten",
  description:
    "The position of the log after the write. The cursor also names the event there, so that the server detects a log that was set back."
})

const StockWritten = Schema.Struct({ product: Product, ...written }).annotate({ identifier: "StockWritten" })

const cursor = Schema.optionalKey(ListCursor).annotate({
  description: "The `next` of the page before, with the same filter."
})

const params = { id: OrderId }

export class OrderEndpoints extends HttpApiGroup.make("orders").add(
  HttpApiEndpoint.post("place", "/orders", {
    headers: writeHeaders,
    payload: Schema.Struct({
      orderId: Schema.optionalKey(OrderId),
      product: Product,
      quantity: Quantity,
      amount: Amount.annotate({ description: "In cents." }),
      address: Address,
      payWithin: Schema.optionalKey(PayWithin).annotate({
        description: "The time to pay, in seconds; 900 by default. The order is cancelled afterwards."
      })
    }),
    success: OrderWritten.pipe(HttpApiSchema.status(201)),
    error: [...writeErrors, OrderExists]
  }).annotate(OpenApi.Summary, "Place an order, with a new id unless one is given"),
  HttpApiEndpoint.get("list", "/orders", {
    query: { status: Schema.optionalKey(OrderStatus), limit, cursor, after },
    success: paged(OrderView, ListCursor),
    error: [...readErrors, CursorExpired, LogDiverged, ProjectionBehind]
  }).annotate(OpenApi.Summary, "List orders, the newest first"),
  HttpApiEndpoint.get("get", "/orders/:id", {
    params,
    query: { after },
    success: OrderView,
    error: [...readErrors, LogDiverged, ProjectionBehind, OrderNotFound]
  }).annotate(OpenApi.Summary, "Get where an order stands"),
  HttpApiEndpoint.post("pay", "/orders/:id/payment", {
    params,
    headers: writeHeaders,
    payload: Schema.Struct({ amount: Amount.annotate({ description: "In cents." }) }),
    success: OrderWritten,
    error: [...writeErrors, OrderNotFound, AlreadyPaid]
  }).annotate(OpenApi.Summary, "Pay an order; a late or wrong payment is refunded"),
  HttpApiEndpoint.post("reportShipment", "/orders/:id/shipment", {
    params,
    headers: writeHeaders,
    success: OrderWritten,
    error: [...writeErrors, OrderNotFound, NotShipping]
  }).annotate(OpenApi.Summary, "Report that the warehouse has shipped an order"),
  HttpApiEndpoint.post("reportFailedShipment", "/orders/:id/failed-shipment", {
    params,
    headers: writeHeaders,
    success: OrderWritten,
    error: [...writeErrors, OrderNotFound, NotShipping]
  }).annotate(OpenApi.Summary, "Report that an order cannot be shipped; it is cancelled and refunded"),
  HttpApiEndpoint.get("fulfilment", "/orders/:id/fulfilment", {
    params,
    success: FulfilmentDetails,
    error: [...readErrors, FulfilmentNotFound]
  }).annotate(OpenApi.Summary, "Get the process that fulfils an order: its state, deadlines and steps"),
  HttpApiEndpoint.get("fulfilments", "/fulfilments", {
    query: { status: Schema.optionalKey(ProcessStatus), limit, cursor },
    success: paged(FulfilmentView, ListCursor),
    error: [...readErrors, CursorExpired]
  }).annotate(OpenApi.Summary, "List the processes that fulfil orders, by their next deadline")
) {}

export class StockEndpoints extends HttpApiGroup.make("stock").add(
  HttpApiEndpoint.post("deliver", "/stock/:product/deliveries", {
    params: { product: Product },
    headers: writeHeaders,
    payload: Schema.Struct({ quantity: Quantity }),
    success: StockWritten,
    error: writeErrors
  }).annotate(OpenApi.Summary, "Report a delivery of a product to the warehouse")
) {}
