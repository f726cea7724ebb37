/**
 * What a follower of the log makes of events: documents, or effects of its own within the store's transaction or outside of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { type EventStoreError, isOfNewerCode, storeError } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import type { EventRecord, RecordedEvent } from "../domain/EventRecord.ts"
import * as Follower from "../domain/Follower.ts"
import * as Projection from "../domain/Projection.ts"
import type { Advanced, ProjectionStoreDriver } from "../store/ProjectionStoreDriver.ts"
import { causedBy, CommandContext } from "./CommandContext.ts"
import * as HandlerFailure from "./HandlerFailure.ts"
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
 * What moving the checkpoint has come to. Unless it is `advanced`, nothing of the events may remain.
 *
 * @since 0.1.0
 * @category models
 */
export interface Committed {
  readonly advanced: Advanced
}

/**
 * - `apply`: applies events, in order, for a target, and hands what became of them to `commit`, which moves the checkpoint. What is applied
 *   within a transaction commits with it. Answers what `commit` answers
 * - `grows`: whether more events at a time cost less: to fold them writes a document less often, while a handler would do more again after
 *   a failure
 *
 * @since 0.1.0
 * @category models
 */
export interface Work {
  readonly follower: Follower.Follower
  readonly grows: boolean
  readonly apply: <A extends Committed>(
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
  grows: true,
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
export type Handler = (record: EventRecord<Event.Tagged>) => Effect.Effect<unknown, unknown>

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
 * Effects outside of any transaction: each is done at least once. What this process has done it does not do again because the checkpoint
 * could not be moved.
 *
 * @since 0.1.0
 * @category constructors
 */
export const effects = (
  follower: Follower.Follower,
  handle: Handler,
  retry: Schedule.Schedule<unknown, unknown>
): Work => {
  /** The ids of events, by target, that are handled and not yet behind a checkpoint: at most a batch for each partition. */
  const handled = new Map<string, Set<string>>()
  const handledOf = (target: string): Set<string> => {
    const ids = handled.get(target) ?? new Set()
    handled.set(target, ids)
    return ids
  }
  return {
    follower,
    grows: false,
    apply: (target, events, commit) =>
      Effect.gen(function*() {
        const done = handledOf(target)
        const applied: Array<RecordedEvent> = []
        const failures: Array<ProjectionFold.Failure> = []
        const parked = new Set<string>()
        for (const event of events) {
          if (parked.has(event.stream)) continue
          const result = done.has(event.id)
            ? Result.void
            : yield* Effect.result(
              Effect.retry(handleOne(follower, handle)(event), { schedule: retry, while: mayPass })
            )
          if (Result.isSuccess(result)) {
            done.add(event.id)
            applied.push(event)
          } else if (isOfTheStore(result.failure)) return yield* result.failure
          else {
            failures.push({ event, error: result.failure })
            if (stopsAt(follower, result.failure)) break
            parked.add(event.stream)
          }
        }
        const committed = yield* commit({ applied, failures, changes: [], reads: undefined })
        for (const event of events) done.delete(event.id)
        return committed
      })
  }
}

/** Ends a transaction: the event at `index` has failed, and those before it are undone. */
class Undone {
  readonly _tag = "Undone"
  readonly index: number
  readonly error: EventStoreError
  constructor(index: number, error: EventStoreError) {
    this.index = index
    this.error = error
  }
}

/** Ends a transaction: the checkpoint could not be moved, so what the events have come to must not remain. */
class Refused<out A> {
  readonly _tag = "Refused"
  readonly answer: A
  constructor(answer: A) {
    this.answer = answer
  }
}

/**
 * Effects within the transaction that moves the checkpoint: each is done once, as far as it is done by that transaction.
 *
 * @since 0.1.0
 * @category constructors
 */
export const transactional = (
  follower: Follower.Follower,
  handle: Handler,
  retry: Schedule.Schedule<unknown, unknown>,
  store: ProjectionStoreDriver
): Work => ({
  follower,
  grows: false,
  apply: <A extends Committed>(
    _target: string,
    events: ReadonlyArray<RecordedEvent>,
    commit: (applied: Applied) => Effect.Effect<A, EventStoreError>
  ) => {
    const attempt = (
      batch: ReadonlyArray<RecordedEvent>,
      failures: ReadonlyArray<ProjectionFold.Failure>
    ): Effect.Effect<A, EventStoreError | Undone | Refused<A>> =>
      store.transaction(Effect.gen(function*() {
        for (const [index, event] of batch.entries()) {
          yield* Effect.mapError(handleOne(follower, handle)(event), (error) => new Undone(index, error))
        }
        const answer = yield* commit({ applied: batch, failures, changes: [], reads: undefined })
        return answer.advanced === "advanced" ? answer : yield* Effect.fail(new Refused(answer))
      }))
    /** Leaves out the events that fail, one after the other: a failure undoes those before it, which are then done again. */
    const run = Effect.fnUntraced(function*(): Effect.fn.Return<A, EventStoreError> {
      const policies = new Map<string, Effect.Success<ReturnType<typeof policyOf>>>()
      let batch = events
      let failures: ReadonlyArray<ProjectionFold.Failure> = []
      while (true) {
        const result = yield* Effect.result(attempt(batch, failures))
        if (Result.isSuccess(result)) return result.success
        if (result.failure instanceof Refused) return result.failure.answer
        if (!(result.failure instanceof Undone)) return yield* result.failure
        const { error, index } = result.failure
        if (isOfTheStore(error)) return yield* error
        const event = batch[index]!
        // The policy is for each event by itself.
        const policy = policies.get(event.id) ?? (yield* policyOf(retry))
        policies.set(event.id, policy)
        if (mayPass(error) && Result.isSuccess(yield* Effect.result(policy(error)))) continue
        const failure = { event, error }
        if (stopsAt(follower, error)) {
          // What comes after it is tried when it is.
          failures = [...failures.filter((other) => other.event.position < event.position), failure]
          batch = batch.slice(0, index)
        } else {
          // An event that was handled before may have failed only now, after a later one of its stream.
          failures = [...failures.filter((other) => other.event.stream !== event.stream), failure]
          batch = batch.filter((other, i) => i < index || other.stream !== event.stream)
        }
      }
    })
    return run()
  }
})

const policyOf = (retry: Schedule.Schedule<unknown, unknown>) => Schedule.toStepWithSleep(retry)

/**
 * Handles one event. What the handler fails with is told as an error of the store, and the commands that it dispatches are caused by the
 * event.
 *
 * @since 0.1.0
 * @category handling
 */
export const handleOne = (follower: Follower.Follower, handle: Handler) => {
  const { id } = follower
  const actor = id.startsWith(Projection.reservedPrefix) ? id : `projection:${id}`
  return (event: RecordedEvent): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const decoded = Follower.decode(follower, event)
      if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
      return Effect.forEach(decoded.success, (record) => Effect.suspend(() => handle(record)), { discard: true }).pipe(
        Effect.provideService(CommandContext, causedBy(event, actor)),
        Effect.catchCause((cause) => Effect.fail(HandlerFailure.of(id, event, cause)))
      )
    })
}

/** Whether nothing after the event may be tried: the follower is to stop, or newer code has written it, which another process may have. */
const stopsAt = (follower: Follower.Follower, error: EventStoreError): boolean =>
  follower.onFailure === "stop" || isOfNewerCode(error)

/** Whether it is not the event's fault: then nothing is set aside, and everything is tried again. */
const isOfTheStore = (error: EventStoreError): boolean => error.isRetryable

/** Whether trying the event again may help. What is in the log does not change, and the store is tried again by whoever works here. */
const mayPass = (error: EventStoreError): boolean => !isOfTheStore(error) && error.reason._tag !== "UndecodableEvent"
