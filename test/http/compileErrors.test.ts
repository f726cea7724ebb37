/**
 * The messages of the compiler for the most common mistakes with HTTP endpoints: their first two lines name the culprit.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { compile, type Mistake } from "../support/CompileErrors.ts"

/** What every program begins with: commands, queries, endpoints and an API, correct and complete. */
const domain = `
import { Effect, Layer, Schema } from "effect"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Command, Query, QueryBus } from "evsrc"
import { HttpActor, HttpCommand, HttpHandlers, HttpQuery } from "evsrc/http"

class WrongStatus extends Schema.TaggedError<WrongStatus>()("WrongStatus", { orderId: Schema.String }) {}
class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: Schema.String }) {}
const PayOrder = Command.make("PayOrder", {
  payload: { orderId: Schema.String, amount: Schema.Int },
  error: Schema.Union([WrongStatus, OrderNotFound])
})
const Untagged = Command.make("Untagged", { payload: { orderId: Schema.String }, error: Schema.String })
const GetOrder = Query.make("GetOrder", {
  payload: { orderId: Schema.String },
  success: Schema.Struct({ amount: Schema.Int }),
  error: OrderNotFound
})
const payOrder = HttpCommand.endpoint(PayOrder, {
  path: "/orders/:orderId/payment",
  status: { WrongStatus: 409, OrderNotFound: 404 }
})
const getOrder = HttpQuery.endpoint(GetOrder, { path: "/orders/:orderId", status: { OrderNotFound: 404 } })
const Api = HttpApi.make("shop").add(HttpApiGroup.make("orders").add(payOrder, getOrder))
const Mixed = HttpApi.make("shop").add(
  HttpApiGroup.make("orders").add(payOrder, HttpApiEndpoint.get("invoice", "/invoice"))
)
const getHandler = QueryBus.handler(GetOrder, () => Effect.succeed({ amount: 1 }))
const client = HttpApiClient.make(Api)
export const used = [HttpActor, HttpApiBuilder, HttpHandlers, HttpQuery, Layer, Untagged, Mixed, getHandler, client]
`

const mistakes: ReadonlyArray<Mistake> = [
  {
    name: "missingStatus",
    program: `HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId", status: { OrderNotFound: 404 } })`,
    says: [`Property 'WrongStatus' is missing in type '{ OrderNotFound: 404; }'`]
  },
  {
    name: "noStatuses",
    program: `HttpQuery.endpoint(GetOrder, { path: "/orders/:orderId" })`,
    says: [`Property 'status' is missing in type '{ path: "/orders/:orderId"; }'`, `Statuses<"OrderNotFound">`]
  },
  {
    name: "misspeltStatus",
    program:
      `HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId", status: { WrongStatus: 409, OrderNotFound: 404, OrderNotFnd: 404 } })`,
    says: [`'OrderNotFnd' does not exist in type 'Statuses<`, `Did you mean to write 'OrderNotFound'?`]
  },
  {
    name: "statusOfNoError",
    program:
      `HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId", status: { WrongStatus: 200, OrderNotFound: 404 } })`,
    says: [`Type '200' is not assignable to type`]
  },
  {
    name: "untaggedError",
    program: `HttpCommand.endpoint(Untagged, { path: "/orders/:orderId", status: {} })`,
    says: [`required in type 'UntaggedError<string>'`]
  },
  {
    name: "misspeltPathParameter",
    program: `HttpQuery.endpoint(GetOrder, { path: "/orders/:orderID", status: { OrderNotFound: 404 } })`,
    says: [`UnknownPathParameter<"orderID">`]
  },
  {
    name: "misspeltRename",
    program:
      `HttpQuery.endpoint(GetOrder, { path: "/orders/:id", rename: { orderID: "id" }, status: { OrderNotFound: 404 } })`,
    says: [`'orderID' does not exist in type`, `Did you mean to write 'orderId'?`]
  },
  {
    name: "fieldOfAnotherType",
    program:
      `HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId", fields: { amount: Schema.String }, status: { WrongStatus: 409, OrderNotFound: 404 } })`,
    says: [`is not assignable to type 'Codec<number, unknown`]
  },
  {
    name: "unknownGenerated",
    program:
      `HttpCommand.endpoint(PayOrder, { path: "/orders", generate: "id", status: { WrongStatus: 409, OrderNotFound: 404 } })`,
    says: [`Type '"id"' is not assignable to type '`, `"orderId"`]
  },
  {
    name: "missingHandler",
    program: `Layer.launch(HttpHandlers.layer(Api, "orders").pipe(Layer.provide(getHandler))).pipe(Effect.runPromise)`,
    says: [`Handler<"PayOrder">`]
  },
  {
    name: "endpointOfItsOwn",
    program: `HttpHandlers.layer(Mixed, "orders")`,
    says: [`NotMade<"invoice">`]
  },
  {
    name: "unknownGroup",
    program: `HttpHandlers.layer(Api, "order")`,
    says: [`Argument of type '"order"' is not assignable to parameter of type`, `"orders"`]
  },
  {
    name: "misspeltBody",
    program:
      `Effect.flatMap(client, (c) => c.orders.payOrder({ params: { orderId: "o1" }, payload: { amuont: 1 }, headers: {} }))`,
    says: [`'amuont' does not exist in type`, `Did you mean to write 'amount'?`]
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
