/**
 * The health endpoint: whether the store responds, whether each consumer has an owner and makes progress, and whether deadlines fire.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import {
  type EventStore,
  type EventStoreError,
  Health,
  ProcessManager,
  type ProjectionBehind,
  type ProjectionStore,
  Projector,
  Subscription
} from "evsrc"
import { Fulfilment } from "../fulfilment/Fulfilment.ts"
import { OrderOverview } from "../fulfilment/OrderOverview.ts"
import { UsersProjection } from "../users/UsersProjection.ts"
import { Api } from "./contract/Api.ts"
import { Healthy, Unhealthy } from "./contract/SystemEndpoints.ts"

const consumers = [UsersProjection, OrderOverview, ...Object.values(ProcessManager.consumers(Fulfilment))]

const maxWait = Duration.seconds(2)

/** Converts the health of a consumer to the contract's form. */
const consumerOf = ({ partitions, heartbeatAge, throughput, ...consumer }: Health.ConsumerHealth) => ({
  ...consumer,
  ...(heartbeatAge === undefined ? {} : { secondsSinceHeartbeat: heartbeatAge }),
  ...(throughput === undefined ? {} : { eventsPerSecond: throughput }),
  partitions: partitions.map(({ heartbeat, lag, owner, parked, partition, position, status }) => ({
    partition,
    status,
    position,
    lag,
    parked,
    heartbeat,
    ...(owner === undefined ? {} : { owner })
  }))
})

/** Adds what only the health of the process manager has: overdue deadlines, and instances that are parked or deferred. */
const withProcess = (health: Health.Health, process: ProcessManager.ProcessHealth): Health.Health => ({
  ...health,
  status: health.status === "green" || process.status === "red" ? process.status : health.status,
  reasons: Array.from(new Set([...health.reasons, ...process.reasons]))
})

/** Says no more, because anyone can call the endpoint. The log has the error. */
const whyUnknown = (error: EventStoreError | ProjectionBehind | Cause.TimeoutError): string =>
  Cause.isTimeoutError(error)
    ? `the store has not responded within ${Duration.format(maxWait)}`
    : "the store cannot be reached"

const handlers = HttpApiBuilder.group(
  Api,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const [projector, subscriptions] = [yield* Projector.Projector, yield* Subscription.Subscriptions]
    const statuses = Effect.map(Effect.all([projector.status, subscriptions.status]), (all) => all.flat())
    const stores = yield* Effect.context<EventStore.EventStore | ProjectionStore.ProjectionStore>()
    const check = yield* Health.make(consumers)

    return handlers.handle(
      "health",
      Effect.fnUntraced(function*() {
        // A worker that has just started has no heartbeat yet.
        yield* statuses.pipe(
          Effect.repeat({
            until: (all) => all.every(({ state }) => state !== "starting"),
            schedule: Schedule.spaced("20 millis")
          }),
          Effect.timeoutOption(maxWait)
        )
        const checked = yield* Effect.all([check, ProcessManager.health(Fulfilment)]).pipe(
          Effect.timeout(maxWait),
          Effect.tapError((error) => Effect.logWarning("The store does not respond", error)),
          Effect.map(([health, process]) => withProcess(health, process)),
          Effect.result,
          Effect.provideContext(stores)
        )
        const health = Option.getOrUndefined(Result.getSuccess(checked))
        const workers = (yield* statuses).map(({ detail, heartbeat, ...status }) => ({
          ...status,
          heartbeat: DateTime.makeUnsafe(heartbeat),
          ...(detail === undefined ? {} : { detail })
        }))
        const reasons = [
          ...Option.toArray(Option.map(Result.getFailure(checked), whyUnknown)),
          ...(health?.status === "red" ? health.reasons : []),
          ...workers.flatMap(({ consumer, detail, state }) =>
            state === "stuck" || state === "retrying"
              ? [`"${consumer}" is ${state}: ${detail ?? "no reason given"}`]
              : []
          )
        ]
        const report = {
          store: health === undefined ? "unreachable" as const : "reachable" as const,
          health: reasons.length > 0 ? "red" as const : health?.status ?? "red" as const,
          reasons: health?.reasons ?? [],
          consumers: (health?.consumers ?? []).map(consumerOf),
          workers
        }
        return reasons.length === 0
          ? Healthy.make({ status: "ok", ...report })
          : yield* Effect.fail(Unhealthy.make({ message: reasons.join("; "), status: "unhealthy", ...report }))
      })
    )
  })
)

/** The checks at intervals keep the gauges of /metrics current, even if nothing calls /health. */
export const layer = Layer.merge(handlers, Layer.effectDiscard(ProcessManager.watch([Fulfilment], { consumers })))
