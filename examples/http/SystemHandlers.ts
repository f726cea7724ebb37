/**
 * Health: the store answers, and every read model is worked on and moves, in this process or in another.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { type EventStore, Health, type ProjectionStore, Projector } from "evsrc"
import { UsersProjection } from "../users/UsersProjection.ts"
import { Api } from "./contract/Api.ts"
import { Healthy, Unhealthy } from "./contract/SystemEndpoints.ts"

const consumers = [UsersProjection]

const timeoutDuration = Duration.seconds(2)

/** Of a consumer, what its contract tells. */
const consumerOf = ({ partitions, silentFor, throughput, ...consumer }: Health.ConsumerHealth) => ({
  ...consumer,
  ...(silentFor === undefined ? {} : { silentFor }),
  ...(throughput === undefined ? {} : { throughput }),
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

const handlers = HttpApiBuilder.group(
  Api,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const projector = yield* Projector.Projector
    const stores = yield* Effect.context<EventStore.EventStore | ProjectionStore.ProjectionStore>()
    const look = yield* Health.make(consumers)

    return handlers.handle(
      "health",
      Effect.fnUntraced(function*() {
        // Who has just started has given no heartbeat yet.
        yield* projector.status.pipe(
          Effect.repeat({
            until: (all) => all.every(({ state }) => state !== "starting"),
            schedule: Schedule.spaced("20 millis")
          }),
          Effect.timeoutOption(timeoutDuration)
        )
        const health = yield* look.pipe(
          Effect.timeout(timeoutDuration),
          Effect.tapError((error) => Effect.logWarning("The store does not answer", error)),
          Effect.option,
          Effect.provideContext(stores),
          Effect.map(Option.getOrUndefined)
        )
        const projections = (yield* projector.status).map(({ detail, heartbeat, ...status }) => ({
          ...status,
          heartbeat: DateTime.makeUnsafe(heartbeat),
          ...(detail === undefined ? {} : { detail })
        }))
        const problems = [
          ...(health === undefined ? ["the store cannot be reached"] : []),
          ...(health?.status === "red" ? health.reasons : []),
          ...projections.flatMap(({ consumer, detail, state }) =>
            state === "stuck" || state === "retrying"
              ? [`projection "${consumer}" is ${state}: ${detail ?? "no reason given"}`]
              : []
          )
        ]
        const report = {
          store: health === undefined ? "unreachable" as const : "reachable" as const,
          health: problems.length > 0 ? "red" as const : health?.status ?? "red" as const,
          reasons: health?.reasons ?? [],
          consumers: (health?.consumers ?? []).map(consumerOf),
          projections
        }
        return problems.length === 0
          ? Healthy.make({ status: "ok", ...report })
          : yield* Effect.fail(Unhealthy.make({ message: problems.join("; "), status: "unhealthy", ...report }))
      })
    )
  })
)

/** The gauges of /metrics are kept up to date, also while nobody asks how the program is. */
export const layer = Layer.merge(handlers, Layer.effectDiscard(Health.watch(consumers)))
