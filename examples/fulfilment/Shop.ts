/**
 * The shop as a layer: the handlers of its commands and queries, the process manager, and the projector of its read model. It requires the stores.
 */
import * as Layer from "effect/Layer"
import { Aggregate, ProcessManager, Projector } from "evsrc"
import { Fulfilment } from "./Fulfilment.ts"
import { OrderOverview } from "./OrderOverview.ts"
import * as OrderQueryHandlers from "./OrderQueryHandlers.ts"
import { OrderDecider } from "./Orders.ts"
import { PaymentDecider } from "./Payments.ts"
import { StockDecider } from "./Stock.ts"

const handlers = Layer.mergeAll(
  Aggregate.layer(OrderDecider),
  Aggregate.layer(PaymentDecider),
  Aggregate.layer(StockDecider),
  OrderQueryHandlers.layer
)

export const layer = Layer.merge(
  ProcessManager.layer([Fulfilment]),
  Projector.layer([OrderOverview])
).pipe(Layer.provideMerge(handlers))
