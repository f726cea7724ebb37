/**
 * Works on one partition of a follower of the log, for as long as the lease lasts: reads the log in batches, applies them, and moves the
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
import { type EventStoreError, isOfNewerCode } from "../domain/errors.ts"
import type { RecordedEvent } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import * as Version from "../domain/Version.ts"
import { segmentsOf } from "../store/Applied.ts"
import type { EventStore } from "../store/EventStore.ts"
import type { LogFilter } from "../store/EventStoreDriver.ts"
import { withinLog } from "../store/LogReading.ts"
import type { Held, Parked, ProjectionStoreDriver, Unprocessed } from "../store/ProjectionStoreDriver.ts"
import * as Telemetry from "../store/Telemetry.ts"
import type { Failure } from "./ProjectionFold.ts"
import * as TraceContext from "./TraceContext.ts"
import type { Applied, Committed, Work } from "./Work.ts"

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
 * - `batchSize`: events of a page; `growTo`: of those after a full one at most
 * - `requests`: opened when somebody has asked to retry or skip what is parked
 * - `retryDelay`: the pause before an event that stops the follower is tried again
 *
 * @since 0.1.0
 * @category options
 */
export interface PartitionOptions {
  readonly events: EventStore["Service"]
  readonly store: ProjectionStoreDriver
  readonly work: Work
  readonly target: string
  readonly batchSize: number
  readonly growTo: number
  readonly retryDelay: { readonly first: Duration.Duration; readonly most: Duration.Duration }
  readonly requests: Latch.Latch
  readonly report: (report: Report) => Effect.Effect<unknown>
}

/**
 * Which events are a partition's.
 *
 * @since 0.1.0
 * @category filters
 */
export const filterOf = ({ partitions, reads, where }: Work["follower"], partition: number): LogFilter => ({
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
  held: Held
): Effect.fn.Return<EventStoreError | undefined, EventStoreError> {
  const { batchSize, growTo, report, requests, retryDelay, store, target, work } = options
  const { driver } = options.events
  const { follower } = work
  const { epoch, partition } = held
  const filter = filterOf(follower, partition)
  const eventsMetric = Metric.withAttributes(Telemetry.projectedEvents, { projection: follower.id })
  const parked = new Set((yield* store.parked(target, partition)).map(({ stream }) => stream))

  interface Page {
    readonly events: ReadonlyArray<RecordedEvent>
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
  const commit = (from: Position.Position, to: Position.Position) => ({ applied, changes, failures, reads }: Applied) =>
    Effect.gen(function*() {
      const stopped = failures.find(({ error }) => follower.onFailure === "stop" || isOfNewerCode(error))
      const setAside = failures.filter((failure) => failure !== stopped).map(unprocessed)
      // What a follower stops at is the next that it tries.
      const reached = stopped === undefined
        ? to
        : [...applied, ...setAside].reduce((most, { position }) => Position.max(most, position), from)
      const advance = store.advance({
        target,
        partition,
        epoch,
        from,
        to: reached,
        reads,
        changes,
        applied: segmentsOf(applied)
      })
      const advanced = setAside.length === 0
        ? yield* advance
        : yield* store.transaction(
          Effect.tap(
            advance,
            (advanced) => advanced === "advanced" ? store.park(target, partition, setAside) : Effect.void
          )
        )
      return { advanced, reached, stopped, applied: applied.length, setAside }
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
        const done = yield* work.apply(target, batch, commit(from, to))
        if (done.advanced === "lost") return undefined
        // Another partition has written a document in the meantime.
        if (done.advanced === "changed") continue
        const { applied, reached, setAside, stopped } = done
        for (const event of setAside) {
          parked.add(event.stream)
          yield* Effect.logError(`${follower.id} has parked ${event.stream}`, event.error)
        }
        if (applied > 0) yield* Metric.update(eventsMetric, applied)
        if (stopped !== undefined && !isOfNewerCode(stopped.error)) {
          yield* Effect.logError(`${follower.id} is stuck`, stopped.error)
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
    Effect.withSpan("Projector.step", { attributes: { "evsrc.projection": follower.id, "evsrc.partition": partition } })
  )

  interface Unparked extends Committed {
    readonly next: Failure | undefined
    readonly applied: number
  }
  /**
   * Does what was asked for one parked stream. Answers whether the partition is still ours. A stream that comes to an event of newer code is
   * set aside there, and the other streams go on, also where no such code ever comes.
   */
  const unpark = Effect.fnUntraced(function*(entry: Parked, position: Position.Position) {
    const { request, stream, version } = entry
    if (request === undefined) return true
    const first = request.action === "skip" ? Version.make(version + 1) : version
    const missed = yield* options.events.readStreamRecorded(stream, { from: first }).pipe(
      Stream.takeWhile((event) => event.position <= position),
      Stream.filter((event) => follows(filter, event)),
      Stream.runCollect
    )
    while (true) {
      const done = yield* work.apply(target, missed, (outcome): Effect.Effect<Unparked, EventStoreError> => {
        const next = outcome.failures[0]
        const again = next !== undefined && next.event.position === entry.position
        return store.transaction(Effect.gen(function*() {
          const { changes, reads } = outcome
          const advanced = yield* store.advance({
            target,
            partition,
            epoch,
            from: position,
            to: position,
            reads,
            changes,
            applied: []
          })
          if (advanced !== "advanced") return { advanced, next: undefined, applied: 0 }
          if (outcome.applied.length > 0) yield* store.applyLate(target, partition, segmentsOf(outcome.applied, 1))
          yield* store.unpark({
            target,
            partition,
            stream,
            action: again ? "failed" : request.action === "skip" ? "skipped" : "retried",
            next: next === undefined ? undefined : unprocessed(next)
          })
          return { advanced, next, applied: outcome.applied.length }
        }))
      })
      if (done.advanced === "lost") return false
      if (done.advanced === "changed") continue
      if (done.next === undefined) parked.delete(stream)
      else yield* Effect.logError(`${follower.id} has parked ${stream}`, done.next.error)
      if (done.applied > 0) yield* Metric.update(eventsMetric, done.applied)
      const state = head > position ? "catching-up" : "live"
      yield* report({ state, position, head, applied: done.applied, parked: parked.size, detail: undefined })
      return true
    }
  })

  let position = held.position
  let head = held.position
  let delay = retryDelay.first
  let next: Fiber.Fiber<Page, EventStoreError> | undefined
  const forget = Effect.suspend(() => next === undefined ? Effect.void : Fiber.interrupt(next))

  return yield* Effect.ensuring(
    Effect.gen(function*() {
      while (true) {
        if (requests.isOpen()) {
          yield* requests.close
          for (const entry of yield* store.parked(target, partition)) {
            if (!(yield* unpark(entry, position))) return undefined
          }
        }
        const page = yield* next === undefined ? read(position) : Fiber.join(next)
        const last = page.events.at(-1)
        // The next page is on its way while this one is applied.
        next = page.events.length >= page.limit
          ? yield* Effect.forkChild(read(last!.position, grown(page.events, batchSize, growTo)))
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
          delay = Duration.min(Duration.times(delay, 2), retryDelay.most)
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
const grown = (events: ReadonlyArray<RecordedEvent>, least: number, most: number): number => {
  if (most <= least) return least
  const step = Math.ceil(events.length / 8)
  const sample = events.filter((_, index) => index % step === 0)
  const characters = sample.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0) / sample.length
  return Math.max(least, Math.min(2 * events.length, most, Math.floor(pageCharacters / characters)))
}

const unprocessed = ({ error, event }: Failure): Unprocessed => ({
  stream: event.stream,
  version: event.version,
  position: event.position,
  eventId: event.id,
  type: event.type,
  error: error.message
})

/**
 * Whether a partition takes an event, of a stream that is its own.
 *
 * @since 0.1.0
 * @category filters
 */
export const follows = ({ tags, types }: LogFilter, event: RecordedEvent): boolean =>
  (types === undefined || types.includes(event.type)) &&
  (tags === undefined || tags.every((tag) => event.tags.includes(tag)))
