/** evsrc: inline projections, and queries after a receipt. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
// Not by name: bench is a package of its own, in whose scope there is no "evsrc".
import {
  Aggregate,
  Command,
  CommandBus,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  type Receipt
} from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"
import { payload } from "../contestant.ts"
import type { Subject } from "./measure.ts"

const order = { orderId: Schema.NonEmptyString, customer: Schema.String, amount: Schema.Int, note: Schema.String }
const OrderEvent = Schema.TaggedUnion({ OrderNoted: order })
const NoteOrder = Command.make("NoteOrder", { payload: order })
const Order = Aggregate.make("Order", { id: "orderId", state: Schema.Int, events: OrderEvent, commands: [NoteOrder] })
  .decider({
    initial: 0,
    evolve: { OrderNoted: (total) => total + 1 },
    decide: { NoteOrder: (_, command) => [OrderEvent.cases.OrderNoted.make(command)] }
  })

const orders = <L extends "inline" | "async">(name: string, lifecycle: L) =>
  Projection.make(name, {
    events: OrderEvent,
    document: Schema.Struct({ notes: Schema.Int }),
    lifecycle,
    key: ({ orderId }) => orderId,
    evolve: { OrderNoted: (before) => ({ notes: (before?.notes ?? 0) + 1 }) }
  })

const Orders = orders("orders", "async")
const GetOrder = Query.make("GetOrder", {
  payload: { orderId: Schema.String },
  success: Schema.Int
})
const answering = QueryBus.handler(GetOrder, ({ orderId }) =>
  Effect.map(
    ProjectionStore.ProjectionStore.use((store) => store.get(Orders, orderId)),
    (found) => found._tag === "Some" ? found.value.notes : 0
  ))

const stores = (url: string, schema = "evsrc") =>
  PgStores.layerWith({ schema }).pipe(
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 }))
  )

const withInline = (url: string, count: number) =>
  ManagedRuntime.make(
    Aggregate.layer(Order).pipe(
      Layer.provideMerge(
        Projector.layerInline(Array.from({ length: count }, (_, n) => orders(`inline-${count}-${n}`, "inline")))
      ),
      // In a schema of its own, because other appends lack the projections.
      Layer.provideMerge(stores(url, `inline_${count}`))
    )
  )

export const make = async (url: string): Promise<Subject> => {
  const main = ManagedRuntime.make(
    Layer.mergeAll(Aggregate.layer(Order), answering, Projector.layer([Orders])).pipe(Layer.provideMerge(stores(url)))
  )
  const other = ManagedRuntime.make(answering.pipe(Layer.provideMerge(stores(url))))
  const new_ = ManagedRuntime.make(
    Aggregate.layer(Order, { load: "assumeNew" }).pipe(Layer.provideMerge(stores(url)))
  )
  const [inline1, inline5] = [withInline(url, 1), withInline(url, 5)]
  const dispatch = (orderId: string) => CommandBus.dispatch(NoteOrder, payload(orderId))
  const ask = (orderId: string, after: Receipt) => QueryBus.ask(GetOrder, { orderId }, { after })
  // So that each process is ready.
  await main.runPromise(Effect.flatMap(dispatch("first"), (receipt) => ask("first", receipt)))
  for (const runtime of [inline1, inline5]) await runtime.runPromise(dispatch("first"))
  return {
    operations: {
      assumed: (run) => new_.runPromise(dispatch(`new-${run}`)),
      inline1: () => inline1.runPromise(dispatch("inline-1")),
      inline5: () => inline5.runPromise(dispatch("inline-5")),
      same: () => main.runPromise(Effect.flatMap(dispatch("same"), (receipt) => ask("same", receipt))),
      other: async () => {
        const receipt = await main.runPromise(dispatch("other"))
        await other.runPromise(ask("other", receipt))
      }
    }
  }
}
