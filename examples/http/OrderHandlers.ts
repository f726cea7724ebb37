/**
 * Handles the endpoints of the shop. Those of commands and queries need no code.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CommandContext, EventStore, LogPosition } from "evsrc"
import { HttpHandlers } from "evsrc/http"
import { type OrderId, OrderNotFound } from "../fulfilment/contract/Orders.ts"
import { ReceivePayment } from "../fulfilment/contract/Payments.ts"
import { OrderDecider } from "../fulfilment/Orders.ts"
import { Api } from "./contract/Api.ts"
import { actor } from "./contract/Requests.ts"

/** Fails if there is no such order: a payment is an aggregate of its own, which does not know the orders. */
const requireOrder = Effect.fnUntraced(function*(orderId: OrderId) {
  const stream = OrderDecider.aggregate.streamOf(orderId)
  const first = yield* Stream.runHead(EventStore.readStreamEncoded(stream, { limit: 1 }))
  if (Option.isNone(first)) return yield* new OrderNotFound({ orderId })
}, HttpHandlers.mapWriteErrors)

const orders = HttpHandlers.layerWith(Api, "orders", (others) =>
  others.handle(
    "pay",
    Effect.fnUntraced(function*({ headers, params: { id: orderId }, payload: { amount } }) {
      yield* requireOrder(orderId)
      const receipt = yield* HttpHandlers.dispatch(ReceivePayment, { orderId, amount }, headers).pipe(
        CommandContext.provide(actor.context(headers))
      )
      return { orderId, position: receipt.position, cursor: LogPosition.ofReceipt(receipt) }
    }),
    // So that the server answers a write that its shutdown interrupts.
    { uninterruptible: true }
  ))

export const layer = Layer.merge(orders, HttpHandlers.layer(Api, "stock"))
