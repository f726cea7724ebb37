/**
 * Handles the queries on orders from the read model, and those on processes from the process manager.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { ProcessManager, ProjectionStore, QueryBus } from "evsrc"
import { FulfilmentNotFound, GetFulfilment, GetOrder, ListFulfilments, ListOrders } from "./contract/OrderQueries.ts"
import { OrderId, OrderNotFound } from "./contract/Orders.ts"
import { Fulfilment } from "./Fulfilment.ts"
import { OrderOverview } from "./OrderOverview.ts"

const getOrder = QueryBus.handler(
  GetOrder,
  ({ orderId }) =>
    Effect.flatMap(
      ProjectionStore.get(OrderOverview, orderId),
      Option.match({ onNone: () => Effect.fail(new OrderNotFound({ orderId })), onSome: Effect.succeed })
    )
)

/** Returns a page in the form of the contract. */
const pageOf = <Item>(items: ReadonlyArray<Item>, next: Option.Option<string>) =>
  Option.match(next, { onNone: () => ({ items }), onSome: (next) => ({ items, next }) })

const listOrders = QueryBus.handler(
  ListOrders,
  ({ after, limit, status }) =>
    Effect.map(
      ProjectionStore.list(OrderOverview, {
        where: { status },
        orderBy: { field: "placedAt", direction: "desc" },
        after,
        limit
      }),
      ({ items, next }) => pageOf(items, next)
    )
)

const processOf = ({ deadlines, id, nextDueAt, startedAt, status, updatedAt }: ProcessManager.Instance) => ({
  orderId: OrderId.make(id),
  status,
  startedAt,
  updatedAt,
  ...(nextDueAt === null ? {} : { nextDueAt }),
  deadlines: Object.fromEntries(Object.entries(deadlines).map(([name, { dueAt }]) => [name, dueAt]))
})

const getFulfilment = QueryBus.handler(
  GetFulfilment,
  Effect.fnUntraced(function*({ orderId }) {
    const found = yield* ProcessManager.inspect(Fulfilment, orderId)
    if (Option.isNone(found)) return yield* new FulfilmentNotFound({ orderId })
    const { history, instance, parked, state: { state } } = found.value
    return {
      ...processOf(instance),
      isPaid: state.isPaid,
      isReserved: state.isReserved,
      steps: history.map(({ event, recordedAt }) => ({
        type: ProcessManager.eventName(Fulfilment, event),
        recordedAt
      })),
      ...Option.match(parked, {
        onNone: () => ({}),
        onSome: ({ error, type }) => ({ stuckAt: { type, error } })
      })
    }
  })
)

const listFulfilments = QueryBus.handler(
  ListFulfilments,
  ({ after, limit, status }) =>
    Effect.map(
      ProcessManager.list(Fulfilment, { where: { status }, orderBy: { field: "nextDueAt" }, after, limit }),
      ({ items, next }) => pageOf(items.map(processOf), next)
    )
)

export const layer = Layer.mergeAll(getOrder, listOrders, getFulfilment, listFulfilments)
