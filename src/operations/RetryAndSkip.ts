/**
 * Requests that the owners of partitions retry or skip parked events, and waits until they have.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { CheckpointDriver } from "../consumer/CheckpointDriver.ts"
import type {
  Parked,
  ParkedPage,
  ParkingDriver,
  ParkingEntry,
  ParkingRequest,
  RequestProgress
} from "../consumer/parking/ParkingDriver.ts"
import * as ParkingRequestWakeups from "../consumer/parking/ParkingRequestWakeups.ts"
import { CircularWait, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import * as Position from "../core/Position.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import {
  type ConsumerId,
  type Filter,
  find,
  generationOf,
  type GenerationOptions,
  keysInPage,
  maxPartitions,
  parkedUnder
} from "./ParkedKeys.ts"
import { NotParked, StillParked } from "./ParkingError.ts"

/**
 * Options of a retry.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryOptions extends GenerationOptions {
  /** The person or program that asks; written to the parking log. */
  readonly actor?: string | undefined
  /** The reason; written to the parking log. */
  readonly reason?: string | undefined
  /** The position of the parked event. When the key is parked at another one by now, the call fails with `NotParked`. */
  readonly position?: Position.Position | undefined
  /** How long to wait for a worker to carry the request out; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Options of a skip, which requires a `reason`.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkipOptions extends RetryOptions {
  readonly reason: string
}

/**
 * Options of a retry of many keys.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryAllOptions extends Omit<RetryOptions, "position">, Filter {
  /** How long to wait for the workers to carry the requests out; 5 minutes by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Options of a skip of many keys, which requires a `reason`.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkipAllOptions extends RetryAllOptions {
  readonly reason: string
}

/**
 * The result of a retry or a skip.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly key: string
  /** Whether the event was applied, failed again or was skipped. */
  readonly outcome: "retried" | "failed" | "skipped"
  /** The entry in the parking log. */
  readonly entry: ParkingEntry
  /** Where the key is parked now, at the same event or at a later one; undefined when it is free. */
  readonly parked: Parked | undefined
}

/**
 * The result of a retry or a skip of many keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface BulkOutcome {
  /** The number of keys for which the request was queued. */
  readonly requested: number
  /** The number of keys of which the parked event was applied. */
  readonly retried: number
  /** The number of keys of which the parked event failed again. */
  readonly failed: number
  /** The number of keys of which the parked event was skipped. */
  readonly skipped: number
  /** The number of keys that were retried or skipped, and are parked at a later event now. */
  readonly parkedLater: number
}

const maxTextLength = 2_000

const validateText = (option: "actor" | "reason", text: string | undefined): Effect.Effect<void, EventStoreError> =>
  text === undefined || (text !== "" && text.length <= maxTextLength && !text.includes("\u0000"))
    ? Effect.void
    : Effect.fail(invalidRequest(
      `the ${option} has ${text.length} characters; use 1 to ${maxTextLength} characters without U+0000`
    ))

const validateTexts = ({ actor, reason }: Pick<RetryOptions, "actor" | "reason">) =>
  Effect.andThen(validateText("actor", actor), validateText("reason", reason))

/** Fails within a handler of the consumer: the owner carries out a request only after its handler has ended. */
const rejectWithinHandler = Effect.fnUntraced(function*({ id }: ConsumerId, position: Position.Position) {
  if ((yield* HandledEvent.active).some((one) => one.consumer === id)) {
    return yield* storeError(new CircularWait({ consumer: id, position, waiting: "handler" }))
  }
})

/** How often to check whether the workers have carried a request out: soon at first, and less often the longer it takes. */
const checkInterval = Schedule.min([Schedule.exponential("25 millis", 1.2), Schedule.spaced("500 millis")])

/** Fails when another version has continued from the generation. The parked keys and their requests are that version's then. */
const rejectContinued = Effect.fnUntraced(
  function*(consumer: ConsumerId, driver: Pick<CheckpointDriver, "progress">, generation: string) {
    const continuedBy = (yield* driver.progress(generation))[0]?.continuedBy
    if (continuedBy !== undefined) {
      return yield* invalidRequest(
        `"${consumer.id}" handles no more events, because "${continuedBy}" has continued from its checkpoints and has its parked keys; `
          + `call this for "${continuedBy}" instead`
      )
    }
  }
)

/** Waits until the workers have carried a request out. Returns none after the timeout. */
const awaitCarriedOut = (
  consumer: ConsumerId,
  driver: ParkingDriver & Pick<CheckpointDriver, "progress">,
  generation: string,
  id: string,
  timeout: Duration.Input
): Effect.Effect<Option.Option<RequestProgress>, EventStoreError> =>
  driver.requestProgress(generation, id).pipe(
    Effect.tap(({ waiting }) => waiting === 0 ? Effect.void : rejectContinued(consumer, driver, generation)),
    Effect.repeat({ until: ({ waiting }) => waiting === 0, schedule: checkInterval }),
    Effect.timeoutOption(timeout)
  )

/** Queues a request, wakes the workers of this process, and waits until a worker has carried it out. */
const request = Effect.fnUntraced(function*(
  consumer: ConsumerId,
  key: string,
  action: ParkingRequest["action"],
  options: RetryOptions
): Effect.fn.Return<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> {
  const { actor, reason, timeout = "30 seconds" } = options
  yield* validateTexts(options)
  const { driver, generation } = yield* generationOf(consumer, options)
  yield* rejectContinued(consumer, driver, generation)
  // The request is for the event that is parked now, not for one that may take its place.
  const parked = yield* find(consumer, key, { generation, position: options.position })
  const { position } = parked
  yield* rejectWithinHandler(consumer, position)
  const id = (yield* IdGenerator)()
  const notParked = new NotParked({ consumer: consumer.id, key, position })
  const places = yield* driver.parkedPlaces(generation, { key, position })
  const requested = yield* driver.request(generation, { id, action, actor, reason }, places)
  if (requested === 0) return yield* notParked
  yield* ParkingRequestWakeups.wake(driver, consumer.id)

  if (Option.isNone(yield* awaitCarriedOut(consumer, driver, generation, id, timeout))) {
    return yield* new StillParked({ consumer: consumer.id, key, position, action, keys: 1 })
  }
  // With an unknown key, every partition has parked the event. One that still fails says more than the others.
  const entries = (yield* driver.parkingLog(generation, { request: id, limit: 2 * maxPartitions }))
    .filter((entry) => entry.action !== "parked" && entry.action !== "moved")
  const entry = entries.find((entry) => entry.action === "failed") ?? entries[0]
  // Without an entry the generation was discarded, or another request has taken the place of this one.
  if (entry === undefined || entry.action === "parked" || entry.action === "moved") return yield* notParked
  const [after] = yield* parkedUnder(driver, generation, key)
  return { key, outcome: entry.action, entry, parked: after }
})

/**
 * Retries the parked event of a key, and then applies the events that wait behind it, in order. When one of them fails, the key is parked
 * there.
 *
 * **Details**
 *
 * The owner of the partition carries out the request: a worker of this process at once, a worker of another process within a second. If its code does
 * not read the parked event, the outcome is `failed`, and the key stays parked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retry = (
  consumer: ConsumerId,
  key: string,
  options: RetryOptions = {}
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, key, "retry", options)

/**
 * Skips the parked event of a key for good, and applies the events that wait behind it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const skip = (
  consumer: ConsumerId,
  key: string,
  options: SkipOptions
): Effect.Effect<Outcome, NotParked | StillParked | EventStoreError, ProjectionStore> =>
  request(consumer, key, "skip", options)

/**
 * Calls `update` for one page of the keys that are parked now after the other. Returns the number of keys that it has changed. All are read before,
 * as of one moment: workers carry the first requests out meanwhile, and a key that is parked at a later event then is another case.
 */
const forEachPage = Effect.fnUntraced(function*(
  driver: ParkingDriver,
  generation: string,
  { error, isRequested, parkedBefore, type }: Filter & Pick<ParkedPage, "isRequested">,
  update: ParkingDriver["withdraw"]
): Effect.fn.Return<number, EventStoreError> {
  let changed = 0
  const places = yield* driver.parkedPlaces(generation, { error, isRequested, parkedBefore, type })
  for (const page of Arr.chunksOf(places, keysInPage)) changed += yield* update(generation, page)
  return changed
})

const requestAll = Effect.fnUntraced(function*(
  consumer: ConsumerId,
  action: ParkingRequest["action"],
  options: RetryAllOptions
): Effect.fn.Return<BulkOutcome, StillParked | EventStoreError, ProjectionStore> {
  const { actor, reason, timeout = "5 minutes" } = options
  yield* validateTexts(options)
  const { driver, generation } = yield* generationOf(consumer, options)
  yield* rejectContinued(consumer, driver, generation)
  yield* rejectWithinHandler(consumer, Position.start)
  const id = (yield* IdGenerator)()
  const requested = yield* forEachPage(driver, generation, options, (generation, keys) =>
    Effect.tap(
      driver.request(generation, { id, action, actor, reason }, keys),
      () => ParkingRequestWakeups.wake(driver, consumer.id)
    ))
  const done = yield* awaitCarriedOut(consumer, driver, generation, id, timeout)
  if (Option.isNone(done)) {
    const { waiting } = yield* driver.requestProgress(generation, id)
    return yield* new StillParked({ consumer: consumer.id, action, keys: waiting })
  }
  const { parked: parkedLater, ...entries } = done.value.entries
  return { requested, ...entries, parkedLater }
})

/**
 * Retries every key that is parked now, or those that satisfy the filter. Keys that are parked in the meantime are not retried.
 *
 * **Details**
 *
 * The owners of the partitions carry the requests out in batches, while other keys go on. When the call fails with `StillParked` or is interrupted,
 * the requests stay queued; `withdraw` withdraws them.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retryAll = (
  consumer: ConsumerId,
  options: RetryAllOptions = {}
): Effect.Effect<BulkOutcome, StillParked | EventStoreError, ProjectionStore> => requestAll(consumer, "retry", options)

/**
 * Skips the parked event of every key that is parked now, or of those that satisfy the filter, for good, and applies the events that wait behind
 * it. Otherwise as `retryAll`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const skipAll = (
  consumer: ConsumerId,
  options: SkipAllOptions
): Effect.Effect<BulkOutcome, StillParked | EventStoreError, ProjectionStore> => requestAll(consumer, "skip", options)

/**
 * Withdraws the requests that wait for a worker, of all keys or of those that satisfy the filter. Returns the number of keys: these stay parked. A key
 * of which a worker has skipped or applied the parked event is freed, and not among them.
 *
 * **Details**
 *
 * A handler that runs at this moment for the retry of a key ends first. The key stays parked at its event all the same.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withdraw = Effect.fnUntraced(function*(
  consumer: ConsumerId,
  options: GenerationOptions & Filter = {}
): Effect.fn.Return<number, EventStoreError, ProjectionStore> {
  const { driver, generation } = yield* generationOf(consumer, options)
  return yield* forEachPage(driver, generation, { ...options, isRequested: true }, driver.withdraw)
})
