/**
 * Health: the store answers, and every read model gives signs of life.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { EventStore, Projector } from "evsrc"
import { Api } from "./contract/Api.ts"
import { Healthy, Unhealthy } from "./contract/SystemEndpoints.ts"

const patience = Duration.seconds(2)

/** A projector renews its lease every few seconds, so one that has been silent for this long has died. */
const silence = Duration.seconds(30)

export const layer = HttpApiBuilder.group(
  Api,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const store = yield* EventStore.EventStore
    const projector = yield* Projector.Projector

    return handlers.handle(
      "health",
      Effect.fnUntraced(function*() {
        const reachable = yield* store.head.pipe(
          Effect.timeout(patience),
          Effect.tapError((error) => Effect.logWarning("The store does not answer", error)),
          Effect.isSuccess
        )
        const now = yield* DateTime.now
        const projections = (yield* projector.status).map(({ detail, heartbeat, ...status }) => ({
          ...status,
          heartbeat: DateTime.makeUnsafe(heartbeat),
          ...(detail === undefined ? {} : { detail })
        }))
        const problems = [
          ...(reachable ? [] : ["the store cannot be reached"]),
          ...projections.flatMap(({ detail, heartbeat, projection, state }) =>
            state === "stuck" || state === "retrying"
              ? [`projection "${projection}" is ${state}: ${detail ?? "no reason given"}`]
              : Duration.isGreaterThan(DateTime.distance(heartbeat, now), silence)
              ? [`projection "${projection}" gives no sign of life`]
              : []
          )
        ]
        const report = { store: reachable ? "reachable" as const : "unreachable" as const, projections }
        return problems.length === 0
          ? Healthy.make({ status: "ok", ...report })
          : yield* Effect.fail(Unhealthy.make({ message: problems.join("; "), status: "unhealthy", ...report }))
      })
    )
  })
)
