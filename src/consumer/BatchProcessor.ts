/**
 * What a consumer of the log makes of events: documents, or effects of its own within the store's transaction or outside of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { causedBy, CommandContext } from "../command/CommandContext.ts"
import { type EventStoreError, isOfNewerCode, storeError } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { Advance, Advanced, ConsumerDriver, EncodedDocument } from "./CheckpointDriver.ts"
import type * as Consumer from "./Consumer.ts"
import * as ConsumerDefinition from "./ConsumerDefinition.ts"
import * as HandlerError from "./HandlerError.ts"

/**
 * What became of events, in order.
 *
 * - `applied`: those that were
 * - `failures`: those that could not be, and why; the events of the same streams after them were not tried
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly applied: ReadonlyArray<EncodedEvent>
  readonly failures: ReadonlyArray<Failure>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly event: EncodedEvent
  readonly error: EventStoreError
}

/**
 * Events applied, and what is left to write for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessedBatch extends Outcome {
  readonly changes: ReadonlyArray<EncodedDocument>
  readonly reads: Advance["reads"] | undefined
}

/**
 * What moving the checkpoint has come to. Unless it is `advanced`, nothing of the events may remain.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommitResult {
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
export interface BatchProcessor {
  readonly consumer: Consumer.Consumer
  readonly grows: boolean
  readonly apply: <A extends CommitResult>(
    generation: string,
    events: ReadonlyArray<EncodedEvent>,
    commit: (applied: ProcessedBatch) => Effect.Effect<A, EventStoreError>
  ) => Effect.Effect<A, EventStoreError>
}

/**
 * What to do with an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (record: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown>

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
  consumer: Consumer.Consumer,
  handle: Handler,
  retry: Schedule.Schedule<unknown, unknown>
): BatchProcessor => {
  /** The ids of events, by target, that are handled and not yet behind a checkpoint: at most a batch for each partition. */
  const handled = new Map<string, Set<string>>()
  const handledOf = (generation: string): Set<string> => {
    const ids = handled.get(generation) ?? new Set()
    handled.set(generation, ids)
    return ids
  }
  return {
    consumer,
    grows: false,
    apply: (generation, events, commit) =>
      Effect.gen(function*() {
        const done = handledOf(generation)
        const applied: Array<EncodedEvent> = []
        const failures: Array<Failure> = []
        const parked = new Set<string>()
        for (const event of events) {
          if (parked.has(event.stream)) continue
          const result = done.has(event.id)
            ? Result.void
            : yield* Effect.result(
              Effect.retry(handleOne(consumer, handle)(event), { schedule: retry, while: mayPass })
            )
          if (Result.isSuccess(result)) {
            done.add(event.id)
            applied.push(event)
          } else if (isOfTheStore(result.failure)) return yield* result.failure
          else {
            failures.push({ event, error: result.failure })
            if (stopsAt(consumer, result.failure)) break
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
  consumer: Consumer.Consumer,
  handle: Handler,
  retry: Schedule.Schedule<unknown, unknown>,
  store: ConsumerDriver
): BatchProcessor => ({
  consumer,
  grows: false,
  apply: <A extends CommitResult>(
    _target: string,
    events: ReadonlyArray<EncodedEvent>,
    commit: (applied: ProcessedBatch) => Effect.Effect<A, EventStoreError>
  ) => {
    const attempt = (
      batch: ReadonlyArray<EncodedEvent>,
      failures: ReadonlyArray<Failure>
    ): Effect.Effect<A, EventStoreError | Undone | Refused<A>> =>
      store.transaction(Effect.gen(function*() {
        for (const [index, event] of batch.entries()) {
          yield* Effect.mapError(handleOne(consumer, handle)(event), (error) => new Undone(index, error))
        }
        const answer = yield* commit({ applied: batch, failures, changes: [], reads: undefined })
        return answer.advanced === "advanced" ? answer : yield* Effect.fail(new Refused(answer))
      }))
    /** Leaves out the events that fail, one after the other: a failure undoes those before it, which are then done again. */
    const run = Effect.fnUntraced(function*(): Effect.fn.Return<A, EventStoreError> {
      const policies = new Map<string, Effect.Success<ReturnType<typeof policyOf>>>()
      let batch = events
      let failures: ReadonlyArray<Failure> = []
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
        if (stopsAt(consumer, error)) {
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
export const handleOne = (consumer: Consumer.Consumer, handle: Handler) => {
  const actor = `${consumer.kind}:${consumer.name}@${consumer.version}`
  return (event: EncodedEvent): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const decoded = ConsumerDefinition.decode(consumer, event)
      if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
      return Effect.forEach(decoded.success, (record) => Effect.suspend(() => handle(record)), { discard: true }).pipe(
        Effect.provideService(CommandContext, causedBy(event, actor)),
        Effect.catchCause((cause) => Effect.fail(HandlerError.of(consumer, event, cause)))
      )
    })
}

/** Whether nothing after the event may be tried: the consumer is to stop, or newer code has written it, which another process may have. */
const stopsAt = (consumer: Consumer.Consumer, error: EventStoreError): boolean =>
  consumer.onFailure === "stop" || isOfNewerCode(error)

/** Whether it is not the event's fault: then nothing is parked, and everything is tried again. */
const isOfTheStore = (error: EventStoreError): boolean => error.isRetryable

/** Whether trying the event again may help. What is in the log does not change, and the store is tried again by whoever works here. */
const mayPass = (error: EventStoreError): boolean => !isOfTheStore(error) && error.reason._tag !== "UndecodableEvent"
