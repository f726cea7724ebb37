/**
 * What a follower of the log makes of events: documents, or effects of its own within the store's transaction or outside of it.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { isSqlError } from "effect/sql/SqlError"
import { type EventStoreError, storeError, StoreUnavailable } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import * as EventCodec from "../domain/EventCodec.ts"
import type { EventRecord, RecordedEvent } from "../domain/EventRecord.ts"
import type { Follower } from "../domain/Follower.ts"
import type * as Projection from "../domain/Projection.ts"
import type { ProjectionStoreDriver } from "../store/ProjectionStoreDriver.ts"
import * as ProjectionFold from "./ProjectionFold.ts"

/**
 * Events applied, and what is left to write for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Applied extends ProjectionFold.Outcome {
  readonly changes: ProjectionFold.Folded["changes"]
  readonly reads: ProjectionFold.Folded["reads"] | undefined
}

/**
 * - `apply`: applies events, in order, for a target, and hands what became of them to `commit`, which moves the checkpoint. What is applied
 *   within a transaction commits with it. Answers what `commit` answers
 *
 * @since 0.1.0
 * @category models
 */
export interface Work {
  readonly follower: Follower
  readonly apply: <A>(
    target: string,
    events: ReadonlyArray<RecordedEvent>,
    commit: (applied: Applied) => Effect.Effect<A, EventStoreError>
  ) => Effect.Effect<A, EventStoreError>
}

/**
 * The documents of a projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const documents = (projection: Projection.Any, store: ProjectionStoreDriver): Work => ({
  follower: projection,
  apply: (target, events, commit) =>
    Effect.flatMap(
      ProjectionFold.fold(projection, events, (keys) => store.load(target, keys), projection.onFailure),
      // Where there is one partition, nobody else writes its documents.
      (folded) => commit(projection.partitions === 1 ? { ...folded, reads: undefined } : folded)
    )
})

/**
 * What to do with an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (record: EventRecord<Event.Tagged>) => Effect.Effect<void, unknown>

/**
 * When to try a handler again that has failed on an event, by default: four times, after 100 to 800 milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultRetry: Schedule.Schedule<unknown, unknown> = Schedule.exponential("100 millis").pipe(
  Schedule.upTo({ times: 4 })
)

/**
 * Effects outside of any transaction: each is done at least once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const effects = (follower: Follower, handle: Handler, retry: Schedule.Schedule<unknown, unknown>): Work => ({
  follower,
  apply: (_target, events, commit) =>
    Effect.gen(function*() {
      const applied: Array<RecordedEvent> = []
      const failures: Array<ProjectionFold.Failure> = []
      const parked = new Set<string>()
      for (const event of events) {
        if (parked.has(event.stream)) continue
        const result = yield* Effect.result(Effect.retry(handleOne(follower, handle, event), {
          schedule: retry,
          while: (error) => !isOfTheStore(error)
        }))
        if (Result.isSuccess(result)) applied.push(event)
        else if (isOfTheStore(result.failure)) return yield* result.failure
        else {
          failures.push({ event, error: result.failure })
          if (follower.onFailure === "stop") break
          parked.add(event.stream)
        }
      }
      return yield* commit({ applied, failures, changes: [], reads: undefined })
    })
})

/** Ends a transaction: its events up to `index` were applied, which the failure has undone. */
class Undone {
  readonly _tag = "Undone"
  readonly index: number
  readonly error: EventStoreError
  constructor(index: number, error: EventStoreError) {
    this.index = index
    this.error = error
  }
}

/**
 * Effects within the transaction that moves the checkpoint: each is done once, as far as it is done by that transaction.
 *
 * @since 0.1.0
 * @category constructors
 */
export const transactional = (
  follower: Follower,
  handle: Handler,
  retry: Schedule.Schedule<unknown, unknown>,
  store: ProjectionStoreDriver
): Work => ({
  follower,
  apply: <A>(
    _target: string,
    events: ReadonlyArray<RecordedEvent>,
    commit: (applied: Applied) => Effect.Effect<A, EventStoreError>
  ) => {
    const attempt = (
      batch: ReadonlyArray<RecordedEvent>,
      failures: ReadonlyArray<ProjectionFold.Failure>
    ): Effect.Effect<A, EventStoreError | Undone> =>
      store.transaction(Effect.gen(function*() {
        for (const [index, event] of batch.entries()) {
          yield* Effect.mapError(handleOne(follower, handle, event), (error) => new Undone(index, error))
        }
        return yield* commit({ applied: batch, failures, changes: [], reads: undefined })
      }))
    /** Leaves out the events that fail, one after the other: a failure undoes those before it, which are then done again. */
    const run = Effect.fnUntraced(function*(): Effect.fn.Return<A, EventStoreError> {
      let batch = events
      let failures: ReadonlyArray<ProjectionFold.Failure> = []
      let again = yield* Schedule.toStepWithSleep(retry)
      let failing: string | undefined
      while (true) {
        const result = yield* Effect.result(attempt(batch, failures))
        if (Result.isSuccess(result)) return result.success
        if (!(result.failure instanceof Undone)) return yield* result.failure
        const { error, index } = result.failure
        if (isOfTheStore(error)) return yield* error
        const event = batch[index]!
        // The policy is for each event by itself.
        if (failing !== event.id) again = yield* Schedule.toStepWithSleep(retry)
        failing = event.id
        if (Result.isSuccess(yield* Effect.result(again(error)))) continue
        failures = [...failures, { event, error }]
        batch = follower.onFailure === "stop"
          ? batch.slice(0, index)
          : batch.filter((other, i) => i < index || other.stream !== event.stream)
      }
    })
    return run()
  }
})

const handleOne = (
  { events, id }: Follower,
  handle: Handler,
  event: RecordedEvent
): Effect.Effect<void, EventStoreError> =>
  Effect.suspend(() => {
    const decoded = EventCodec.of(events).decode(event)
    if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
    return Effect.catchCause(
      Effect.suspend(() => handle(decoded.success)),
      (cause) => {
        const [interrupt] = cause.reasons.filter(Cause.isInterruptReason)
        if (interrupt !== undefined) return Effect.failCause(Cause.fromReasons([interrupt]))
        const error = Cause.squash(cause)
        return Effect.fail(
          isSqlError(error) && error.isRetryable
            ? storeError(
              new StoreUnavailable({ message: `The database is unavailable: ${error.message}`, cause: error })
            )
            : ProjectionFold.failed(id, event, error)
        )
      }
    )
  })

/** Whether it is not the event's fault: then nothing is set aside, and everything is tried again. */
const isOfTheStore = (error: EventStoreError): boolean => error.isRetryable
