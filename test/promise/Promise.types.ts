/**
 * What the compiler infers of an app: results, errors, subscriptions, and what the layer must provide.
 */
import { Effect, Layer, Schema } from "effect"
import {
  Command,
  type ConcurrencyConflict,
  EventStore,
  type EventStoreError,
  type InvalidCommand,
  type InvalidQuery,
  Position,
  Projection,
  type ProjectionBehind,
  ProjectionStore,
  Query,
  QueryBus,
  type Receipt,
  type RecordedEvent
} from "evsrc"
import { type AppClosed, Evsrc } from "evsrc/promise"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const is = <A, B>(equal: Equal<A, B>) => equal

class WrongStatus extends Schema.TaggedError<WrongStatus>()("WrongStatus", { orderId: Schema.String }) {}
class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: Schema.String }) {}
const PayOrder = Command.make("PayOrder", {
  payload: { orderId: Schema.String, amount: Schema.Int, note: Schema.optionalKey(Schema.String) },
  error: WrongStatus
})
const CancelOrder = Command.make("CancelOrder", { payload: { orderId: Schema.String } })
const GetOrder = Query.make("GetOrder", {
  payload: { orderId: Schema.String },
  success: Schema.Struct({ amount: Schema.Int }),
  error: OrderNotFound
})
const OrderEvent = Schema.TaggedUnion({ Placed: { orderId: Schema.String } })
const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Schema.Struct({ paid: Schema.Boolean }),
  index: ["paid"],
  key: ({ orderId }) => orderId,
  evolve: { Placed: () => ({ paid: false }) }
})

declare const pay: Layer.Layer<Command.Handler<"PayOrder">, WrongStatus>
const get = QueryBus.handler(GetOrder, () => Effect.succeed({ amount: 1 }))
const handlers = Layer.merge(pay, get)
const complete = Layer.mergeAll(handlers, EventStore.layerMemory, ProjectionStore.layerMemory)

export const results = async () => {
  const app = await Evsrc.start(complete)
  is<typeof app, Evsrc.AppOf<typeof complete>>(true)

  const paid = await app.dispatch(PayOrder, { orderId: "o1", amount: 1 }, { commandId: "k1", actor: "ann" })
  if (paid.ok) {
    is<typeof paid.receipt, Receipt>(true)
    is<typeof paid.cursor, string>(true)
  } else {
    is<
      typeof paid.error,
      WrongStatus | InvalidCommand | ConcurrencyConflict | EventStoreError | AppClosed
    >(true)
  }

  const order = await app.ask(GetOrder, { orderId: "o1" }, { after: paid.ok ? paid.receipt : undefined })
  if (order.ok) is<typeof order.value, { readonly amount: number }>(true)
  else {
    is<
      typeof order.error,
      OrderNotFound | InvalidQuery | ProjectionBehind | EventStoreError | AppClosed
    >(true)
  }

  for await (const recorded of app.events(OrderEvent, { after: Position.make(3n), stream: "Order-o1" })) {
    is<typeof recorded, RecordedEvent<typeof OrderEvent.Type>>(true)
  }
  for await (const document of app.watch(Orders, "o1")) {
    is<typeof document, { readonly paid: boolean } | undefined>(true)
  }
  for await (const { items, next } of app.watchList(Orders, { where: { paid: true } })) {
    is<typeof items, ReadonlyArray<{ readonly paid: boolean }>>(true)
    is<typeof next, string | undefined>(true)
  }
  const head = await app.run(Effect.flatMap(EventStore.EventStore, ({ head }) => head))
  is<typeof head, Position.Position>(true)

  // @ts-expect-error the payload lacks a field
  await app.dispatch(PayOrder, { orderId: "o1" })
  // @ts-expect-error the layer has no handler of the command
  await app.dispatch(CancelOrder, { orderId: "o1" })
  // @ts-expect-error a number is not a position
  await app.ask(GetOrder, { orderId: "o1" }, { after: 3 })
}

export const withoutStores = async () => {
  const app = await Evsrc.start(handlers)
  await app.dispatch(PayOrder, { orderId: "o1", amount: 1 })
  // @ts-expect-error the layer does not provide the event store
  app.events(OrderEvent)
  // @ts-expect-error the layer does not provide the projection store
  app.watch(Orders, "o1")
  // @ts-expect-error the layer does not provide the event store
  await app.run(Effect.flatMap(EventStore.EventStore, ({ head }) => head))
  // @ts-expect-error the handler needs a store that nothing provides
  await Evsrc.start(QueryBus.handler(GetOrder, () => Effect.as(EventStore.EventStore, { amount: 1 })))
}

type Pays = Evsrc.App<Command.Handler<"PayOrder">>
declare const two: Evsrc.App<Command.Handler<"PayOrder"> | Command.Handler<"GetOrder">>

/** An app with more services is assignable to a type with fewer. */
export const fewer = () => {
  const pay = (app: Pays) => app.dispatch(PayOrder, { orderId: "o1", amount: 1 })
  const payWithOthers = <Others>(app: Evsrc.App<Others | Command.Handler<"PayOrder">>) =>
    app.dispatch(PayOrder, { orderId: "o1", amount: 1 })
  is<ReturnType<typeof pay>, Promise<Evsrc.CommandResult<typeof PayOrder>>>(true)
  const pays: Pays = two
  // @ts-expect-error an app with fewer services is not
  const more: typeof two = pays
  return [pay(two), payWithOthers(two), more]
}

/** A function over commands in general names the handler that it needs. */
export const route = <C extends Command.Any>(app: Evsrc.App<Command.HandlerOf<C>>, command: C) => (body: unknown) =>
  app.dispatchUnknown(command, body)

export const routes = (either: typeof PayOrder | typeof CancelOrder, pays: Pays) => {
  const paid = route(two, PayOrder)({})
  is<typeof paid, Promise<Evsrc.CommandResult<typeof PayOrder>>>(true)
  // @ts-expect-error no handler of the command
  route(pays, CancelOrder)
  // @ts-expect-error one of the commands has no handler
  return pays.dispatchUnknown(either, {})
}

/** Methods are called on the app: the type of a method alone has lost the services. */
export const destructured = () => {
  const { dispatch, run } = two
  // @ts-expect-error the method has no app
  dispatch(PayOrder, { orderId: "o1", amount: 1 })
  return run(Effect.void)
}
