/**
 * The endpoints of the shop: dispatch requests as commands and queries, and return their results as responses.
 */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CommandBus, EventStore, IdGenerator, LogPosition, QueryBus, type Receipt } from "evsrc"
import { GetFulfilment, GetOrder, ListFulfilments, ListOrders } from "../fulfilment/contract/OrderQueries.ts"
import {
  OrderId,
  OrderNotFound,
  PlaceOrder,
  ReportFailedShipment,
  ReportShipment
} from "../fulfilment/contract/Orders.ts"
import { ReceivePayment } from "../fulfilment/contract/Payments.ts"
import { DeliverStock } from "../fulfilment/contract/Stock.ts"
import { OrderDecider } from "../fulfilment/Orders.ts"
import { Api } from "./contract/Api.ts"
import * as HttpErrorMapping from "./HttpErrorMapping.ts"
import { commandContext, idFromKey, ReadTimeout } from "./RequestContext.ts"

/** Returns what every response to a write has. */
const writtenOf = (receipt: Receipt) => ({ position: receipt.position, cursor: LogPosition.ofReceipt(receipt) })

/** Fails if there is no such order: a payment is an aggregate of its own, which does not know the orders. */
const requireOrder = (orderId: OrderId) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = OrderDecider.aggregate.streamOf(orderId)
    const first = yield* Stream.runHead(store.readStreamEncoded(stream, { limit: 1 }))
    if (Option.isNone(first)) return yield* new OrderNotFound({ orderId })
  })

/** Returns the payload of a query for a page, whose `cursor` the query calls `after`. */
const pageOf = <Query extends { readonly cursor?: string }>({ cursor, ...query }: Query) =>
  cursor === undefined ? query : { ...query, after: cursor }

const orders = HttpApiBuilder.group(
  Api,
  "orders",
  Effect.fnUntraced(function*(handlers) {
    const newId = yield* IdGenerator
    const timeout = yield* ReadTimeout

    return handlers
      .handle("place", ({ headers, payload }) => {
        const key = headers["idempotency-key"]
        const orderId = payload.orderId ?? OrderId.make(key === undefined ? newId() : idFromKey(key))
        return CommandBus.dispatch(PlaceOrder, { ...payload, orderId }, commandContext(headers)).pipe(
          Effect.map((receipt) => ({ orderId, ...writtenOf(receipt) })),
          HttpErrorMapping.mapCommandErrors
        )
      })
      .handle("pay", ({ headers, params: { id: orderId }, payload: { amount } }) =>
        requireOrder(orderId).pipe(
          Effect.andThen(CommandBus.dispatch(ReceivePayment, { orderId, amount }, commandContext(headers))),
          Effect.map((receipt) => ({ orderId, ...writtenOf(receipt) })),
          HttpErrorMapping.mapCommandErrors
        ))
      .handle(
        "reportShipment",
        ({ headers, params: { id: orderId } }) =>
          CommandBus.dispatch(ReportShipment, { orderId }, commandContext(headers)).pipe(
            Effect.map((receipt) => ({ orderId, ...writtenOf(receipt) })),
            HttpErrorMapping.mapCommandErrors
          )
      )
      .handle(
        "reportFailedShipment",
        ({ headers, params: { id: orderId } }) =>
          CommandBus.dispatch(ReportFailedShipment, { orderId }, commandContext(headers)).pipe(
            Effect.map((receipt) => ({ orderId, ...writtenOf(receipt) })),
            HttpErrorMapping.mapCommandErrors
          )
      )
      .handle(
        "get",
        ({ params: { id: orderId }, query: { after } }) =>
          QueryBus.ask(GetOrder, { orderId }, { after, timeout }).pipe(HttpErrorMapping.mapQueryErrors)
      )
      .handle(
        "list",
        ({ query: { after, ...query } }) =>
          QueryBus.ask(ListOrders, pageOf(query), { after, timeout }).pipe(
            HttpErrorMapping.mapCursorExpired,
            HttpErrorMapping.mapQueryErrors
          )
      )
      .handle("fulfilment", ({ params: { id: orderId } }) =>
        QueryBus.ask(GetFulfilment, { orderId }).pipe(
          HttpErrorMapping.neverBehind,
          HttpErrorMapping.mapReadErrors
        ))
      .handle("fulfilments", ({ query }) =>
        QueryBus.ask(ListFulfilments, pageOf(query)).pipe(
          HttpErrorMapping.neverBehind,
          HttpErrorMapping.mapCursorExpired,
          HttpErrorMapping.mapReadErrors
        ))
  })
)

const stock = HttpApiBuilder.group(
  Api,
  "stock",
  (handlers) =>
    handlers.handle(
      "deliver",
      ({ headers, params: { product }, payload: { quantity } }) =>
        CommandBus.dispatch(DeliverStock, { product, quantity }, commandContext(headers)).pipe(
          Effect.map((receipt) => ({ product, ...writtenOf(receipt) })),
          HttpErrorMapping.mapCommandErrors
        )
    )
)

export const layer = Layer.merge(orders, stock)
