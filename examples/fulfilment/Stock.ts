/**
 * Stock: how much of a product is there, and for which orders it is reserved.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate } from "evsrc"
import { DeliverStock, OutOfStock, ReleaseStock, ReserveStock, StockEvent } from "./contract/Stock.ts"

const Stock = Aggregate.make("Stock", {
  id: "product",
  state: Schema.Struct({ available: Schema.Int, reserved: Schema.Record(Schema.String, Schema.Int) }),
  events: StockEvent,
  commands: [DeliverStock, ReserveStock, ReleaseStock]
})

export const StockDecider = Stock.decider({
  initial: { available: 0, reserved: {} },
  evolve: {
    StockDelivered: (state, { quantity }) => ({ ...state, available: state.available + quantity }),
    StockReserved: ({ available, reserved }, { orderId, quantity }) => ({
      available: available - quantity,
      reserved: { ...reserved, [orderId]: quantity }
    }),
    StockReleased: ({ available, reserved }, { orderId, quantity }) => ({
      available: available + quantity,
      reserved: Object.fromEntries(Object.entries(reserved).filter(([id]) => id !== orderId))
    })
  },
  decide: {
    DeliverStock: (_, delivery) => [StockEvent.cases.StockDelivered.make(delivery)],
    ReserveStock: ({ available, reserved }, reservation) =>
      Object.hasOwn(reserved, reservation.orderId)
        ? []
        : available < reservation.quantity
        ? Result.fail(new OutOfStock({ product: reservation.product, available }))
        : [StockEvent.cases.StockReserved.make(reservation)],
    ReleaseStock: ({ reserved }, { orderId, product }) => {
      const quantity = Object.hasOwn(reserved, orderId) ? reserved[orderId] : undefined
      return quantity === undefined ? [] : [StockEvent.cases.StockReleased.make({ product, orderId, quantity })]
    }
  }
})
