/**
 * A small domain of orders, and its HTTP API, for the tests of the kit.
 */
import { Effect, Layer, Option, Result, Schema } from "effect"
import { HttpApi, HttpApiGroup } from "effect/http-api"
import {
  Aggregate,
  AsOf,
  AsOfNotReached,
  Command,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  TimeTravel
} from "evsrc"
import { HttpCommand, HttpQuery } from "evsrc/http"

export const OrderId = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9-]{1,64}$/)).pipe(Schema.brand("OrderId"))
export const Cents = Schema.Int.check(Schema.isGreaterThan(0))

export const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: { orderId: OrderId, amount: Cents },
  OrderPaid: { orderId: OrderId, amount: Cents }
})

export class OrderExists extends Schema.TaggedError<OrderExists>()("OrderExists", { orderId: OrderId }) {
  override get message() {
    return `Order "${this.orderId}" exists already`
  }
}
export class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: OrderId }) {
  override get message() {
    return `Order "${this.orderId}" does not exist`
  }
}
export class WrongStatus extends Schema.TaggedError<WrongStatus>()("WrongStatus", {
  orderId: OrderId,
  status: Schema.Literals(["placed", "paid"]),
  due: Schema.BigInt
}) {}

export const PlaceOrder = Command.make("PlaceOrder", {
  payload: { orderId: OrderId, amount: Cents, note: Schema.optionalKey(Schema.String) },
  error: OrderExists
})
export const PayOrder = Command.make("PayOrder", {
  payload: { orderId: OrderId, amount: Cents },
  error: Schema.Union([OrderNotFound, WrongStatus])
})
export const TouchOrder = Command.make("TouchOrder", { payload: { orderId: OrderId } })

const State = Schema.TaggedUnion({ Absent: {}, Placed: { amount: Cents }, Paid: {} })

export const Order = Aggregate.make("Order", {
  id: "orderId",
  state: State,
  events: OrderEvent,
  commands: [PlaceOrder, PayOrder, TouchOrder]
})

export const OrderDecider = Order.decider({
  initial: { _tag: "Absent" },
  evolve: {
    OrderPlaced: (_, { amount }) => ({ _tag: "Placed" as const, amount }),
    OrderPaid: () => ({ _tag: "Paid" as const })
  },
  decide: {
    PlaceOrder: (state, { amount, note, orderId }) => {
      if (note === "explode") throw new Error("the secret of the decider")
      return state._tag === "Absent"
        ? [OrderEvent.cases.OrderPlaced.make({ orderId, amount })]
        : Result.fail(new OrderExists({ orderId }))
    },
    PayOrder: (state, { amount, orderId }) =>
      state._tag === "Absent"
        ? Result.fail(new OrderNotFound({ orderId }))
        : state._tag === "Paid"
        ? Result.fail(new WrongStatus({ orderId, status: "paid", due: 0n }))
        : [OrderEvent.cases.OrderPaid.make({ orderId, amount })],
    TouchOrder: () => []
  }
})

export const OrderView = Schema.Struct({ orderId: OrderId, amount: Cents, paid: Schema.Boolean })

export const OrdersProjection = Projection.make("orders", {
  events: OrderEvent,
  document: OrderView,
  index: ["paid"],
  key: (event) => event.orderId,
  evolve: {
    OrderPlaced: (_, { amount, orderId }) => ({ orderId, amount, paid: false }),
    OrderPaid: (order) => order && { ...order, paid: true }
  }
})

export const GetOrder = Query.make("GetOrder", {
  payload: { orderId: OrderId },
  success: OrderView,
  error: OrderNotFound
})
export const ListOrders = Query.make("ListOrders", {
  payload: {
    paid: Schema.optionalKey(Schema.Boolean),
    limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 }))),
    after: Schema.optionalKey(Schema.String)
  },
  success: Schema.Struct({ items: Schema.Array(OrderView), next: Schema.optionalKey(Schema.String) })
})
export const FindOrders = Query.make("FindOrders", {
  payload: { orderIds: Schema.Array(OrderId), at: AsOf.AsOf },
  success: Schema.Array(Schema.String)
})

export const GetOrderAsOf = Query.make("GetOrderAsOf", {
  payload: { orderId: OrderId, asOf: Schema.optionalKey(AsOf.AsOf) },
  success: Schema.Struct({ version: Schema.Int, state: Schema.String }),
  error: AsOfNotReached
})

const getOrderAsOf = QueryBus.handler(GetOrderAsOf, ({ asOf = AsOf.now, orderId }) =>
  Effect.map(
    TimeTravel.aggregate(OrderDecider, orderId, asOf),
    ({ state, version }) => ({ version, state: state._tag })
  ))
const getOrder = QueryBus.handler(GetOrder, ({ orderId }) =>
  Effect.flatMap(
    ProjectionStore.get(OrdersProjection, orderId),
    Option.match({ onNone: () => Effect.fail(new OrderNotFound({ orderId })), onSome: Effect.succeed })
  ))
const listOrders = QueryBus.handler(ListOrders, ({ after, limit, paid }) =>
  Effect.map(
    ProjectionStore.list(OrdersProjection, { where: { paid }, after, limit }),
    ({ items, next }) => Option.match(next, { onNone: () => ({ items }), onSome: (next) => ({ items, next }) })
  ))
const findOrders = QueryBus.handler(FindOrders, ({ at, orderIds }) => Effect.succeed([AsOf.format(at), ...orderIds]))

/** The orders, over any stores. */
export const layer = Layer.mergeAll(Aggregate.layer(OrderDecider), getOrder, getOrderAsOf, listOrders, findOrders).pipe(
  Layer.provideMerge(Projector.layer([OrdersProjection]))
)

export const placeOrder = HttpCommand.endpoint(PlaceOrder, {
  path: "/orders",
  success: 201,
  generate: "orderId",
  location: "/orders/:orderId",
  status: { OrderExists: 409 }
})
export const payOrder = HttpCommand.endpoint(PayOrder, {
  path: "/orders/:orderId/payment",
  status: { OrderNotFound: 404, WrongStatus: 409 }
})
export const touchOrder = HttpCommand.endpoint(TouchOrder, {
  path: "/orders/:id",
  method: "PATCH",
  rename: { orderId: "id" },
  answer: {
    schema: Schema.Struct({ id: OrderId, version: Schema.Int }),
    make: ({ version }, { orderId }) => ({ id: orderId, version })
  }
})
export const getOrderEndpoint = HttpQuery.endpoint(GetOrder, {
  path: "/orders/:orderId",
  status: { OrderNotFound: 404 }
})
export const listOrdersEndpoint = HttpQuery.endpoint(ListOrders, { path: "/orders", rename: { after: "cursor" } })
export const findOrdersEndpoint = HttpQuery.endpoint(FindOrders, {
  path: "/orders/find",
  method: "POST",
  fields: { at: AsOf.FromString }
})

export const getOrderAsOfEndpoint = HttpQuery.endpoint(GetOrderAsOf, {
  path: "/orders/:orderId/history",
  rename: { asOf: "at" },
  fields: { asOf: Schema.optionalKey(AsOf.FromString) },
  status: { AsOfNotReached: 404 }
})

export class Orders extends HttpApiGroup.make("orders").add(
  placeOrder,
  payOrder,
  touchOrder,
  getOrderEndpoint,
  listOrdersEndpoint,
  findOrdersEndpoint,
  getOrderAsOfEndpoint
) {}

export class Api extends HttpApi.make("shop").add(Orders) {}
