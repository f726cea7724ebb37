/**
 * The messages of the compiler for the most common mistakes with an app: their first two lines name the culprit.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { compile, type Mistake } from "../support/CompileErrors.ts"

/** What every program begins with: commands, queries, layers and an app, correct and complete. */
const domain = `
import { Effect, Layer, Schema } from "effect"
import { Command, Event, EventBus, EventStore, Projection, ProjectionStore, Query, QueryBus } from "evsrc"
import { Evsrc } from "evsrc/promise"

class WrongStatus extends Schema.TaggedError<WrongStatus>()("WrongStatus", { orderId: Schema.String }) {}
const PayOrder = Command.make("PayOrder", {
  payload: { orderId: Schema.String, amount: Schema.Int },
  error: WrongStatus
})
const CancelOrder = Command.make("CancelOrder", { payload: { orderId: Schema.String } })
const GetOrder = Query.make("GetOrder", {
  payload: { orderId: Schema.String },
  success: Schema.Struct({ amount: Schema.Int })
})
const FindOrders = Query.make("FindOrders", { payload: {}, success: Schema.Array(Schema.String) })
const OrderEvent = Schema.TaggedUnion({ Placed: { orderId: Schema.String } }).pipe(
  Event.tags({ order: "orderId" })
)
const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Schema.Struct({ paid: Schema.Boolean }),
  key: ({ orderId }) => orderId,
  evolve: { Placed: () => ({ paid: false }) }
})
declare const pay: Layer.Layer<Command.Handler<"PayOrder">, never, EventStore.EventStore>
const get = QueryBus.handler(GetOrder, () => Effect.succeed({ amount: 1 }))
const unfinished = Layer.merge(pay, get)
const hidden = unfinished.pipe(Layer.provide(EventStore.layerMemory))
const complete = unfinished.pipe(Layer.provideMerge(EventStore.layerMemory))
declare const app: Evsrc.AppOf<typeof complete>
declare const narrow: Evsrc.AppOf<typeof hidden>
export const used = [
  CancelOrder, FindOrders, OrderEvent, Orders, ProjectionStore, EventBus, Evsrc, app, narrow, PayOrder, GetOrder
]
`

const mistakes: ReadonlyArray<Mistake> = [
  {
    name: "missingStore",
    program: `Evsrc.start(unfinished)`,
    says: [`MissingRequirements<EventStore>`]
  },
  {
    name: "commandWithoutHandler",
    program: `app.dispatch(CancelOrder, { orderId: "o1" })`,
    says: [`Type 'Handler<"CancelOrder">' is not assignable`]
  },
  {
    name: "queryWithoutHandler",
    program: `app.ask(FindOrders, {})`,
    says: [`Type 'Handler<"FindOrders">' is not assignable`]
  },
  {
    name: "jsonWithoutHandler",
    program: `app.dispatchUnknown(CancelOrder, {})`,
    says: [`Type 'Handler<"CancelOrder">' is not assignable`]
  },
  {
    name: "queryAsCommand",
    program: `app.dispatch(GetOrder, { orderId: "o1" })`,
    says: [`Query<"GetOrder"`]
  },
  {
    name: "misspeltField",
    program: `app.dispatch(PayOrder, { orderId: "o1", amuont: 1 })`,
    says: [`'amuont' does not exist in type`]
  },
  {
    name: "missingField",
    program: `app.dispatch(PayOrder, { orderId: "o1" })`,
    says: [`Property 'amount' is missing in type '{ orderId: string; }'`]
  },
  {
    name: "uncheckedReceipt",
    program: `app.dispatch(PayOrder, { orderId: "o1", amount: 1 }).then((paid) => paid.receipt)`,
    says: [`Property 'receipt' does not exist on type 'CommandResult<`]
  },
  {
    name: "uncheckedValue",
    program: `app.ask(GetOrder, { orderId: "o1" }).then((order) => order.value)`,
    says: [`Property 'value' does not exist on type 'QueryResult<`]
  },
  {
    name: "undeclaredError",
    program: `app.ask(GetOrder, { orderId: "o1" }).then((order) => !order.ok && order.error._tag === "OrderNotFound")`,
    says: [`no overlap`, `"OrderNotFound"`]
  },
  {
    name: "numberAsPosition",
    program: `app.ask(GetOrder, { orderId: "o1" }, { after: 3 })`,
    says: [`Type 'number' is not assignable to type 'After`]
  },
  {
    name: "storeOfItsOwn",
    program: `narrow.events(OrderEvent)`,
    says: [`Type 'EventStore' is not assignable`]
  },
  {
    name: "noProjectionStore",
    program: `app.watch(Orders, "o1")`,
    says: [`Type 'ProjectionStore' is not assignable`]
  },
  {
    name: "misspeltTag",
    program: `app.events(OrderEvent, { where: { tags: ["odrer:o1"] } })`,
    says: [`"odrer:o1"`, `order:`]
  },
  {
    name: "missingService",
    program: `app.run(Effect.flatMap(EventBus.EventBus, (bus) => Effect.succeed(bus)))`,
    says: [`Type 'EventBus' is not assignable`]
  }
]

describe("the first two lines of the compiler's message name the culprit", () => {
  let messages: ReadonlyMap<string, string> = new Map()
  beforeAll(async () => {
    messages = await compile(domain, mistakes)
  })

  it.each(mistakes)("$name", ({ name, says }) => {
    const message = messages.get(name)
    assert.isDefined(message, "the program must not compile")
    for (const part of says) assert.include(message, part)
  })

  it("reports no other errors", () => {
    assert.deepStrictEqual([...messages.keys()].toSorted(), mistakes.map(({ name }) => name).toSorted())
  })
})
