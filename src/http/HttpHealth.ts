/**
 * The endpoint of the health: whether the store responds, and whether each consumer makes progress.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Consumer from "../consumer/Consumer.ts"
import type { ConsumerStatus } from "../consumer/ConsumerStatus.ts"
import type { EventStoreError, ProjectionBehind } from "../core/errors.ts"
import { Position } from "../core/Position.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import * as Health from "../operations/Health.ts"
import * as HealthStatus from "../operations/HealthStatus.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import { HttpProblems } from "./HttpProblems.ts"
import * as Problem from "./Problem.ts"

const Status = Schema.Literals(["green", "yellow", "red"])

/** The number of waiting events, up to a limit (`isMore` beyond it), and the age of the first of them in seconds. */
const Lag = Schema.Struct({ events: Schema.Int, isMore: Schema.Boolean, seconds: Schema.Finite })

/**
 * The fields of a report.
 *
 * @since 0.1.0
 * @category models
 */
export const report = {
  store: Schema.Literals(["reachable", "unreachable"]),
  health: Status,
  /** Why the health is not green. */
  reasons: Schema.Array(Schema.String),
  /** The consumers of all processes, as the database shows them. */
  consumers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    generation: Schema.String,
    status: Status,
    reasons: Schema.Array(Schema.String),
    position: Position,
    lag: Lag,
    /** The number of parked keys. */
    parked: Schema.Int,
    secondsSinceHeartbeat: Schema.optionalKey(Schema.Finite),
    /** Missing in the first report, because it is measured between two reports. */
    eventsPerSecond: Schema.optionalKey(Schema.Finite),
    partitions: Schema.Array(Schema.Struct({
      partition: Schema.Int,
      status: Status,
      position: Position,
      lag: Lag,
      parked: Schema.Int,
      heartbeat: Schema.DateTimeUtc,
      owner: Schema.optionalKey(Schema.String)
    }))
  })),
  /** The workers of consumers in this process, if the handler has the option `workers`. */
  workers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    state: Schema.String,
    position: Position,
    head: Position,
    /** The number of positions behind the end of the log. */
    lag: Schema.BigInt,
    parked: Schema.Int,
    heartbeat: Schema.DateTimeUtc,
    detail: Schema.optionalKey(Schema.String)
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
export class Unhealthy extends Schema.TaggedError<Unhealthy>("evsrc/http/Unhealthy")(
  "Unhealthy",
  { ...report, message: Schema.String },
  { description: "The store cannot be reached, or a consumer does not make progress." }
) {}

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
 * The options of the check.
 *
 * @since 0.1.0
 * @category options
 */
export interface HandleOptions<R> extends Omit<Health.HealthOptions, "previous"> {
  /** Further assessments, such as `ProcessManager.health(Fulfilment)`. */
  readonly others?:
    | ReadonlyArray<Effect.Effect<HealthStatus.Assessment, EventStoreError | ProjectionBehind, R>>
    | undefined
  /**
   * The workers of this process, such as `Effect.flatMap(Projector.Projector, ({ status }) => status)`. The health is red while one of them is stuck or
   * retries.
   */
  readonly workers?: Effect.Effect<ReadonlyArray<ConsumerStatus>, never, R> | undefined
}

/**
 * Returns the handler of the endpoint. The check takes at most `timeout`, 2 seconds by default; after that the health is red. If a worker of this process
 * is starting, the handler first waits for it, for at most `timeout` too.
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
  const { others = [], timeout: maxWait = "2 seconds", workers: running, ...limits } = options
  const workers: Effect.Effect<ReadonlyArray<ConsumerStatus>, never, R> = running ?? Effect.succeed([])
  const timeout = Duration.fromInputUnsafe(maxWait)
  const check = Effect.runSync(Health.make(consumers, limits))
  const checked = Effect.all([check, Effect.all(others, { concurrency: "unbounded" })], { concurrency: "unbounded" })
    .pipe(
      Effect.timeout(timeout),
      Effect.tapError((error) => Effect.logWarning("The health check failed", error)),
      Effect.map(([health, others]): Checked => ({ health, others, failure: undefined })),
      Effect.catch((error) => Effect.succeed<Checked>({ health: undefined, others: [], failure: why(error, timeout) }))
    )
  return (): Effect.Effect<typeof Healthy.Type, Unhealthy, EventStore | ProjectionStore | R> =>
    started(workers, timeout).pipe(
      Effect.andThen(Effect.all([checked, workers])),
      Effect.flatMap(([found, workers]) => answer(found, workers))
    )
}

interface Checked {
  readonly health: Health.Health | undefined
  readonly others: ReadonlyArray<HealthStatus.Assessment>
  /** Why there is no health. */
  readonly failure: string | undefined
}

/** Returns the reason without details, because anyone can send the request. The log has the error. */
const why = (error: EventStoreError | ProjectionBehind | Cause.TimeoutError, timeout: Duration.Duration) =>
  Cause.isTimeoutError(error)
    ? `the store has not responded within ${Duration.format(timeout)}`
    : "the store cannot be reached"

/** Waits for workers that have no heartbeat yet. */
const started = <R>(workers: Effect.Effect<ReadonlyArray<ConsumerStatus>, never, R>, timeout: Duration.Duration) =>
  workers.pipe(
    Effect.repeat({
      until: (all) => all.every(({ state }) => state !== "starting"),
      schedule: Schedule.spaced("20 millis")
    }),
    Effect.timeoutOption(timeout)
  )

const hasFailed = ({ state }: ConsumerStatus) => state === "stuck" || state === "retrying"

const answer = ({ failure, health, others }: Checked, workers: ReadonlyArray<ConsumerStatus>) => {
  const all = [...(health === undefined ? [] : [health]), ...others]
  const status = all.map((one) => one.status).reduce(
    (worst, one) => HealthStatus.rank(one) > HealthStatus.rank(worst) ? one : worst,
    "green"
  )
  const reasons = Array.from(new Set(all.flatMap((one) => one.reasons)))
  const red = [
    ...(failure === undefined ? [] : [failure]),
    ...(status === "red" ? reasons : []),
    ...workers.filter(hasFailed).map(({ consumer, state }) =>
      `"${consumer}" is ${state}; the log of its process says why`
    )
  ]
  const found = {
    store: failure === undefined ? "reachable" as const : "unreachable" as const,
    health: red.length > 0 ? "red" as const : status,
    reasons: Array.from(new Set([...reasons, ...red])),
    consumers: (health?.consumers ?? []).map(consumerOf),
    workers: workers.map(workerOf)
  }
  return red.length > 0
    ? Effect.fail(new Unhealthy({ ...found, message: red.join("; ") }))
    : Effect.succeed(found)
}

const consumerOf = (found: Health.ConsumerHealth) => {
  const { consumer, generation, heartbeatAge, lag, parked, partitions, position, reasons, status, throughput } = found
  return {
    consumer,
    generation,
    status,
    reasons,
    position,
    lag,
    parked,
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
  }
}

const workerOf = (worker: ConsumerStatus) => {
  const { consumer, detail, head, heartbeat, lag, parked, position, state } = worker
  return {
    consumer,
    state,
    position,
    head,
    lag,
    parked,
    heartbeat: DateTime.makeUnsafe(heartbeat),
    // The text of an error is for the log, because anyone can send the request.
    ...(detail === undefined || hasFailed(worker) ? {} : { detail })
  }
}
