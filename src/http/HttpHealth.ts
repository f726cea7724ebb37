/**
 * The endpoint of the health: whether the store responds, and whether each consumer makes progress.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as Schema from "effect/Schema"
import type * as Consumer from "../consumer/Consumer.ts"
import type { EventStoreError } from "../core/errors.ts"
import { Position } from "../core/Position.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import * as Health from "../operations/Health.ts"
import * as HealthStatus from "../operations/HealthStatus.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import { HttpProblems } from "./HttpProblems.ts"
import * as Problem from "./Problem.ts"

const Status = Schema.Literals(["green", "yellow", "red"])

const report = {
  health: Status,
  /** Why the health is not green. */
  reasons: Schema.Array(Schema.String),
  /** The consumers as the database has them, in all processes. */
  consumers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    status: Status,
    reasons: Schema.Array(Schema.String),
    position: Position,
    /** The number of waiting events, up to a limit (`isMore` beyond it), and the age of the first of them in seconds. */
    lag: Schema.Struct({ events: Schema.Int, isMore: Schema.Boolean, seconds: Schema.Finite }),
    /** The number of parked keys. */
    parked: Schema.Int
  }))
}

/**
 * The report while the health is green or yellow.
 *
 * @since 0.1.0
 * @category models
 */
export const Healthy = Schema.Struct(report).annotate({ identifier: "Healthy" })

/**
 * The report while the health is red, or the store does not respond.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unhealthy extends Schema.TaggedError<Unhealthy>("evsrc/http/Unhealthy")("Unhealthy", {
  ...report,
  message: Schema.String
}) {}

/**
 * Returns the endpoint: 200 while the health is green or yellow, 503 with the reasons while it is red.
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint = <const Name extends string, const Path extends `/${string}`>(
  name: Name,
  { path }: { readonly path: Path }
) =>
  HttpApiEndpoint.get(name, path, { success: Healthy, error: Problem.ofError(Unhealthy, 503) }).middleware(HttpProblems)

/**
 * How the health is checked.
 *
 * @since 0.1.0
 * @category options
 */
export interface HandleOptions<R> extends Omit<Health.HealthOptions, "previous"> {
  /** Further assessments, such as `ProcessManager.health(Fulfilment)`. */
  readonly others?: ReadonlyArray<Effect.Effect<HealthStatus.Assessment, EventStoreError, R>> | undefined
}

/**
 * Returns the handler of the endpoint. The whole check takes at most `timeout`, 2 seconds by default. After that the health is red.
 *
 * **Example** (the health of two projections)
 *
 * ```ts
 * others.handle("health", HttpHealth.handle([Orders, Customers]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const handle = <R = never>(consumers: ReadonlyArray<Consumer.Consumer>, options: HandleOptions<R> = {}) => {
  const { others = [], ...limits } = options
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "2 seconds")
  const check = Effect.runSync(Health.make(consumers, { ...limits, timeout }))
  return (): Effect.Effect<typeof Healthy.Type, Unhealthy, EventStore | ProjectionStore | R> =>
    Effect.all([check, Effect.all(others, { concurrency: "unbounded" })], { concurrency: "unbounded" }).pipe(
      Effect.timeout(Duration.sum(timeout, Duration.seconds(2))),
      Effect.tapError((error) => Effect.logWarning("The health could not be checked", error)),
      Effect.mapError(() =>
        new Unhealthy({
          health: "red",
          reasons: ["the store does not respond"],
          consumers: [],
          message: "The store does not respond"
        })
      ),
      Effect.flatMap(([health, assessments]) => answer(health, assessments))
    )
}

const answer = (health: Health.Health, others: ReadonlyArray<HealthStatus.Assessment>) => {
  const all = [health, ...others]
  const status = all.map((one) => one.status).reduce((worst, one) =>
    HealthStatus.rank(one) > HealthStatus.rank(worst) ? one : worst
  )
  const reasons = Array.from(new Set(all.flatMap((one) => one.reasons)))
  const consumers = health.consumers.map(({ consumer, lag, parked, position, reasons, status }) => ({
    consumer,
    status,
    reasons,
    position,
    lag,
    parked
  }))
  return status === "red"
    ? Effect.fail(new Unhealthy({ health: status, reasons, consumers, message: reasons.join("; ") }))
    : Effect.succeed({ health: status, reasons, consumers })
}
