/**
 * Works on one partition of a consumer of the log, for as long as the lease lasts: reads the log in batches, applies them, and moves the
 * checkpoint.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as TraceContext from "../command/TraceContext.ts"
import { type EventStoreError, isOfNewerCode } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Metrics from "../core/Metrics.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type { LogFilter } from "../eventStore/EventStoreDriver.ts"
import { withinLog } from "../eventStore/LogReader.ts"
import type { BatchProcessor, CommitResult, Failure, ProcessedBatch } from "./BatchProcessor.ts"
import type { Assignment, ConsumerDriver } from "./CheckpointDriver.ts"
import { segmentsOf } from "./DeliveryLog.ts"
import type { FailedEvent, Parked } from "./ParkingDriver.ts"

/**
 * What a worker says of a partition whenever it has done something.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly state: "catching-up" | "live" | "stuck"
  readonly position: Position.Position
  readonly head: Position.Position
  readonly applied: number
  readonly parked: number
  readonly detail: string | undefined
}

/**
 * - `batchSize`: events of a page; `maxBatchSize`: of those after a full one at most
 * - `requests`: opened when somebody has asked to retry or skip what is parked
 * - `retryDelay`: the pause before an event that stops the consumer is tried again
 *
 * @since 0.1.0
 * @category options
 */
export interface PartitionOptions {
  readonly events: EventStore["Service"]
  readonly store: ConsumerDriver
  readonly processor: BatchProcessor
  readonly generation: string
  readonly batchSize: number
  readonly maxBatchSize: number
  readonly retryDelay: { readonly first: Duration.Duration; readonly max: Duration.Duration }
  readonly requests: Latch.Latch
  readonly report: (report: Report) => Effect.Effect<unknown>
}

/**
 * Which events are a partition's.
 *
 * @since 0.1.0
 * @category filters
 */
export const filterOf = ({ partitions, reads, where }: BatchProcessor["consumer"], partition: number): LogFilter => ({
  types: reads,
  ...where,
  ...partitions === 1 ? {} : { partition: { index: partition, of: partitions } }
})

/**
 * Ends when the partition is another's, or before an event that newer code has written, with its error: then it should become another's.
 *
 * @since 0.1.0
 * @category running
 */
export const run = Effect.fnUntraced(function*(
  options: PartitionOptions,
  assigned: Assignment
): Effect.fn.Return<EventStoreError | undefined, EventStoreError> {
  const { batchSize, maxBatchSize, report, requests, retryDelay, store, generation, processor } = options
  const { driver } = options.events[internals]
  const { consumer } = processor
  const { epoch, partition } = assigned
  const filter = filterOf(consumer, partition)
  const eventsMetric = Metric.withAttributes(Metrics.consumerEvents, { consumer: consumer.id })
  const parked = new Set((yield* store.parked(generation, partition)).map(({ stream }) => stream))

  interface Page {
    readonly events: ReadonlyArray<EncodedEvent>
    readonly head: Position.Position
    readonly limit: number
  }
  const read = (after: Position.Position, limit = batchSize): Effect.Effect<Page, EventStoreError> =>
    Effect.map(
      Effect.tap(
        driver.readAll({ after, limit, ...filter }),
        ({ events, head }) => withinLog(driver, after, events, head)
      ),
      (page) => ({ ...page, limit })
    )

  /** Writes what became of a batch, and moves the checkpoint. */
  const commit =
    (from: Position.Position, to: Position.Position) => ({ applied, changes, failures, reads }: ProcessedBatch) =>
      Effect.gen(function*() {
        const stopped = failures.find(({ error }) => consumer.onFailure === "stop" || isOfNewerCode(error))
        const toPark = failures.filter((failure) => failure !== stopped).map(failedEventOf)
        // What a consumer stops at is the next that it tries.
        const reached = stopped === undefined
          ? to
          : [...applied, ...toPark].reduce((max, { position }) => Position.max(max, position), from)
        const advance = store.advance({
          generation,
          partition,
          epoch,
          from,
          to: reached,
          reads,
          changes,
          applied: segmentsOf(applied)
        })
        const advanced = toPark.length === 0
          ? yield* advance
          : yield* store.transaction(
            Effect.tap(
              advance,
              (advanced) => advanced === "advanced" ? store.park(generation, partition, toPark) : Effect.void
            )
          )
        return { advanced, reached, stopped, applied: applied.length, toPark }
      })

  /** Applies one batch. Answers how far it came, or nothing when the partition is another's. */
  const step = Effect.fnUntraced(
    function*(from: Position.Position, { events, head, limit }: Page) {
      const full = events.length >= limit
      const to = full ? events.at(-1)!.position : Position.max(from, head)
      const batch = parked.size === 0 ? events : events.filter((event) => !parked.has(event.stream))
      if (batch.length === 0 && to === from) {
        yield* report({ state: "live", position: to, head, applied: 0, parked: parked.size, detail: undefined })
        return { position: to, full, stopped: undefined, applied: 0 }
      }
      yield* TraceContext.linkEvents(events)
      while (true) {
        const done = yield* processor.apply(generation, batch, commit(from, to))
        if (done.advanced === "lost") return undefined
        // Another partition has written a document in the meantime.
        if (done.advanced === "changed") continue
        const { applied, reached, toPark, stopped } = done
        for (const event of toPark) {
          parked.add(event.stream)
          yield* Effect.logError(`${consumer.id} has parked ${event.stream}`, event.error)
        }
        if (applied > 0) yield* Metric.update(eventsMetric, applied)
        if (stopped !== undefined && !isOfNewerCode(stopped.error)) {
          yield* Effect.logError(`${consumer.id} is stuck`, stopped.error)
        }
        yield* report({
          state: stopped !== undefined ? "stuck" : full ? "catching-up" : "live",
          position: reached,
          head,
          applied,
          parked: parked.size,
          detail: stopped?.error.message
        })
        return { position: reached, full, stopped, applied }
      }
    },
    Effect.withSpan("Consumer.step", { attributes: { "evsrc.consumer": consumer.id, "evsrc.partition": partition } })
  )

  interface Unparked extends CommitResult {
    readonly next: Failure | undefined
    readonly applied: number
  }
  /**
   * Does what was asked for one parked stream. Answers whether the partition is still ours. A stream that comes to an event of newer code is
   * parked there, and the other streams go on, also where no such code ever comes.
   */
  const unpark = Effect.fnUntraced(function*(entry: Parked, position: Position.Position) {
    const { request, stream, version } = entry
    if (request === undefined) return true
    const first = request.action === "skip" ? Version.make(version + 1) : version
    const missed = yield* options.events.readStreamEncoded(stream, { from: first }).pipe(
      Stream.takeWhile((event) => event.position <= position),
      Stream.filter(EventFilter.matcher(filter)),
      Stream.runCollect
    )
    while (true) {
      const done = yield* processor.apply(generation, missed, (outcome): Effect.Effect<Unparked, EventStoreError> => {
        const next = outcome.failures[0]
        const again = next !== undefined && next.event.position === entry.position
        return store.transaction(Effect.gen(function*() {
          const { changes, reads } = outcome
          const advanced = yield* store.advance({
            generation,
            partition,
            epoch,
            from: position,
            to: position,
            reads,
            changes,
            applied: []
          })
          if (advanced !== "advanced") return { advanced, next: undefined, applied: 0 }
          if (outcome.applied.length > 0) {
            yield* store.recordLateDelivery(generation, partition, segmentsOf(outcome.applied, 1))
          }
          yield* store.unpark({
            generation,
            partition,
            stream,
            action: again ? "failed" : request.action === "skip" ? "skipped" : "retried",
            next: next === undefined ? undefined : failedEventOf(next)
          })
          return { advanced, next, applied: outcome.applied.length }
        }))
      })
      if (done.advanced === "lost") return false
      if (done.advanced === "changed") continue
      if (done.next === undefined) parked.delete(stream)
      else yield* Effect.logError(`${consumer.id} has parked ${stream}`, done.next.error)
      if (done.applied > 0) yield* Metric.update(eventsMetric, done.applied)
      const state = head > position ? "catching-up" : "live"
      yield* report({ state, position, head, applied: done.applied, parked: parked.size, detail: undefined })
      return true
    }
  })

  let position = assigned.position
  let head = assigned.position
  let delay = retryDelay.first
  let next: Fiber.Fiber<Page, EventStoreError> | undefined
  const forget = Effect.suspend(() => next === undefined ? Effect.void : Fiber.interrupt(next))

  return yield* Effect.ensuring(
    Effect.gen(function*() {
      while (true) {
        if (requests.isOpen()) {
          yield* requests.close
          for (const entry of yield* store.parked(generation, partition)) {
            if (!(yield* unpark(entry, position))) return undefined
          }
        }
        const page = yield* next === undefined ? read(position) : Fiber.join(next)
        const last = page.events.at(-1)
        // The next page is on its way while this one is applied.
        next = page.events.length >= page.limit
          ? yield* Effect.forkChild(read(last!.position, grown(page.events, batchSize, maxBatchSize)))
          : undefined
        head = page.head
        const done = yield* step(position, page)
        if (done === undefined) return undefined
        position = done.position
        if (done.stopped !== undefined && isOfNewerCode(done.stopped.error)) return done.stopped.error
        if (done.stopped !== undefined) {
          yield* forget
          next = undefined
          if (done.applied > 0) delay = retryDelay.first
          yield* Effect.raceFirst(Effect.sleep(delay), requests.await)
          delay = Duration.min(Duration.times(delay, 2), retryDelay.max)
          continue
        }
        delay = retryDelay.first
        if (!done.full) yield* Effect.raceFirst(driver.changed(position), requests.await)
      }
    }),
    forget
  )
})

/** Of the payloads in a page, as JSON, that has grown: two pages are in memory. */
const pageCharacters = 4 * 1024 * 1024

/** Events of the page after a full one: twice as many while all of it stays small, by the payloads of a few. */
const grown = (events: ReadonlyArray<EncodedEvent>, least: number, max: number): number => {
  if (max <= least) return least
  const step = Math.ceil(events.length / 8)
  const sample = events.filter((_, index) => index % step === 0)
  const characters = sample.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0) / sample.length
  return Math.max(least, Math.min(2 * events.length, max, Math.floor(pageCharacters / characters)))
}

const failedEventOf = ({ error, event }: Failure): FailedEvent => ({
  stream: event.stream,
  version: event.version,
  position: event.position,
  eventId: event.id,
  type: event.type,
  error: error.message
})
