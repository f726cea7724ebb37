/**
 * What the compiler infers of endpoints: their requests, answers and errors, and what their handlers require.
 */
import { Effect, type Layer, Schema } from "effect"
import { HttpApi, HttpApiClient, HttpApiGroup } from "effect/http-api"
import { Aggregate, AsOf, Command, type ConcurrencyConflict, type InvalidCommand, Query } from "evsrc"
import {
  HttpActor,
  HttpCommand,
  type HttpErrors,
  HttpHandlers,
  HttpQuery,
  type HttpReceipt,
  HttpStream
} from "evsrc/http"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const is = <A, B>(equal: Equal<A, B>) => equal

class WrongStatus extends Schema.TaggedError<WrongStatus>()("WrongStatus", { orderId: Schema.String }) {}
class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: Schema.String }) {}
const PayOrder = Command.make("PayOrder", {
  payload: { orderId: Schema.String, amount: Schema.Int, note: Schema.optionalKey(Schema.String) },
  error: WrongStatus
})
const Free = Command.make("Free", { payload: { orderId: Schema.String } })
const GetOrder = Query.make("GetOrder", {
  payload: { orderId: Schema.String, at: AsOf.AsOf },
  success: Schema.Struct({ amount: Schema.Int }),
  error: OrderNotFound
})

const payOrder = HttpCommand.endpoint(PayOrder, { path: "/orders/:orderId/payment", status: { WrongStatus: 409 } })
const createOrder = HttpCommand.endpoint(PayOrder, {
  name: "create",
  method: "PUT",
  path: "/orders",
  generate: "orderId",
  rename: { orderId: "id" },
  status: { WrongStatus: 409 }
})
const acted = HttpCommand.endpoint(PayOrder, {
  name: "acted",
  path: "/orders/:orderId/acted",
  headers: { "x-actor": Schema.optionalKey(Schema.String) },
  context: (headers) => ({ actor: headers["x-actor"] }),
  onConflict: (conflict, { orderId }) => conflict.actual === 0 ? new WrongStatus({ orderId }) : conflict,
  status: { WrongStatus: 409 }
})
const free = HttpCommand.endpoint(Free, {
  path: "/orders/:orderId/free",
  answer: { schema: Schema.Struct({ version: Schema.Int }), make: ({ version }) => ({ version }) }
})
const getOrder = HttpQuery.endpoint(GetOrder, {
  path: "/orders/:orderId",
  fields: { at: AsOf.FromString },
  status: { OrderNotFound: 404 }
})
const changes = HttpStream.changes("changes", { path: "/changes", data: Schema.Struct({ n: Schema.Int }) })

// The name, the method and the path are literal.
is<typeof payOrder["identifier"], "payOrder">(true)
is<typeof createOrder["identifier"], "create">(true)
is<typeof createOrder["method"], "PUT">(true)
is<typeof payOrder["path"], "/orders/:orderId/payment">(true)

// Fields of the path are not in the body; a generated field is optional, under its name in the request.
type PayRequest = typeof payOrder["~Request"]
is<PayRequest["params"], { readonly orderId: string }>(true)
is<PayRequest["payload"], { readonly amount: number; readonly note?: string }>(true)
const body: typeof createOrder["~Request"]["payload"] = { amount: 1 }
const named: typeof createOrder["~Request"]["payload"] = { amount: 1, id: "o1" }
is<typeof acted["~Request"]["headers"]["x-actor"], string | undefined>(true)
// @ts-expect-error the field is renamed
const unnamed: typeof createOrder["~Request"]["payload"] = { amount: 1, orderId: "o1" }
// @ts-expect-error the command has no other field, so that the request has no body
export type NoBody = typeof free["~Request"]["payload"]

// The answer is the receipt, or what `answer` makes of it.
is<typeof payOrder["~Success"]["Type"], HttpReceipt>(true)
is<typeof free["~Success"]["Type"], { readonly version: number }>(true)

// The errors are the declared ones and those of the kit.
is<typeof payOrder["~Error"]["Type"], WrongStatus | HttpErrors.CommandError>(true)
is<typeof free["~Error"]["Type"], HttpErrors.CommandError>(true)
is<typeof getOrder["~Error"]["Type"], OrderNotFound | HttpErrors.QueryError>(true)
export const known: Exclude<HttpErrors.CommandError, HttpErrors.WriteError> extends
  InvalidCommand | ConcurrencyConflict | HttpErrors.PreconditionFailed ? true : false = true

// A group requires the handlers of its commands and queries, and its own middleware.
const Api = HttpApi.make("shop").add(HttpApiGroup.make("orders").add(payOrder, getOrder)).middleware(
  HttpActor.HttpActor
)
const orders = HttpHandlers.layer(Api, "orders")
is<Layer.Services<typeof orders>, HttpActor.HttpActor | Command.Handler<"PayOrder"> | Command.Handler<"GetOrder">>(true)

// A client has the same types.
export const program = Effect.gen(function*() {
  const { orders } = yield* HttpApiClient.make(Api)
  const receipt = yield* orders.payOrder({ params: { orderId: "o1" }, payload: { amount: 1 }, headers: {} })
  const order = yield* orders.getOrder({
    params: { orderId: "o1" },
    query: { at: AsOf.version(1), after: receipt.cursor }
  })
  is<typeof order, { readonly amount: number }>(true)
  // @ts-expect-error the version of If-Match is not a text
  yield* orders.payOrder({ params: { orderId: "o1" }, payload: { amount: 1 }, headers: { "if-match": "1" } })
})

// An event of a stream has data of its Schema only when it is a change.
export const dataOf = (event: HttpStream.Change<{ readonly n: number }>): number =>
  event.event === "change" ? event.data.n : event.data.length

export const used = [Aggregate, body, named, unnamed, changes]
