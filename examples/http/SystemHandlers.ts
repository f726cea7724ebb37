/**
 * The health endpoint: whether the store responds, whether each consumer has an owner and makes progress, and whether deadlines fire.
 */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import { type EventStore, ProcessManager, type ProjectionStore, Projector, Subscription } from "evsrc"
import { HttpHealth, HttpProblems } from "evsrc/http"
import { Fulfilment } from "../fulfilment/Fulfilment.ts"
import { OrderOverview } from "../fulfilment/OrderOverview.ts"
import { UsersProjection } from "../users/UsersProjection.ts"
import { Api } from "./contract/Api.ts"
import { Healthy, Unhealthy } from "./contract/SystemEndpoints.ts"

const consumers = [UsersProjection, OrderOverview, ...Object.values(ProcessManager.consumers(Fulfilment))]

const handlers = HttpApiBuilder.group(
  Api,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const [projector, subscriptions] = [yield* Projector.Projector, yield* Subscription.Subscriptions]
    const stores = yield* Effect.context<EventStore.EventStore | ProjectionStore.ProjectionStore>()
    const check = HttpHealth.handle(consumers, {
      others: [ProcessManager.health(Fulfilment)],
      workers: Effect.map(Effect.all([projector.status, subscriptions.status]), (all) => all.flat())
    })
    return handlers.handle("health", () =>
      check().pipe(
        Effect.provideContext(stores),
        Effect.mapBoth({
          onSuccess: (report) => Healthy.make({ status: "ok", ...report }),
          onFailure: ({ consumers, health, message, reasons, store, workers }) =>
            Unhealthy.make({ status: "unhealthy", message, store, health, reasons, consumers, workers })
        })
      ))
  })
).pipe(Layer.provide(HttpProblems.layer))

/** The checks at intervals keep the gauges of /metrics current, even if nothing calls /health. */
export const layer = Layer.merge(handlers, Layer.effectDiscard(ProcessManager.watch([Fulfilment], { consumers })))
