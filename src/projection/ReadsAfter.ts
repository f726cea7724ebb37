/**
 * Reads of a projection that wait until it has reached a position.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { GenerationPosition } from "../consumer/CheckpointDriver.ts"
import { CircularWait, type EventStoreError, LogDiverged, ProjectionBehind, storeError } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import * as Position from "../core/Position.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type * as ReaderWakeups from "../eventStore/ReaderWakeups.ts"
import type { Awaited, ReaderOptions, ReadReached } from "./ProjectionReader.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/** What the reads need of the projection store. */
interface Options {
  readonly driver: ProjectionStoreDriver
  /** The event store of the layer. That of the caller takes precedence. */
  readonly log: Option.Option<EventStore["Service"]>
  /** Returns the watcher of a consumer's checkpoint. */
  readonly watcherOf: (consumer: string) => ReaderWakeups.ReaderWakeups
}

/** How many callers read at once, before they know that the projection has reached the position. */
const maxAtOnce = 8

/**
 * Returns the `readAfter` of a reader of projections.
 *
 * **Details**
 *
 * The caller reads at once, because the projection may have reached the position. Otherwise it waits for the checkpoint, and reads again. When many callers
 * do so, the others wait first: one statement reads the checkpoint for all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): ReaderOptions["readAfter"] => {
  const callers = new Map<string, number>()
  const count = (consumer: string, difference: number): number => {
    const counted = (callers.get(consumer) ?? 0) + difference
    if (counted === 0) callers.delete(consumer)
    else callers.set(consumer, counted)
    return counted
  }
  return Effect.fnUntraced(function*(projection, read, readReached) {
    const after = yield* ReadAfter
    if (after === undefined) return yield* read
    const wanted = LogPosition.make(after.position, after.eventId)
    if (projection.lifecycle !== "async" || after.position <= Position.start) {
      const found = yield* read
      // After the read: the log may be set back between the two.
      yield* requireEvents(options.log, [wanted])
      return found
    }
    yield* rejectCircularWait(options.driver, projection.id, after.position)
    const readOne = readWith(options.driver, projection, wanted, read, readReached)
    return yield* Effect.acquireUseRelease(
      Effect.sync(() => count(projection.id, 1) > maxAtOnce),
      (waitsFirst) => readWhenReached(options, projection, { ...after, wanted }, readOne, waitsFirst),
      () => Effect.sync(() => count(projection.id, -1))
    )
  })
}

const readWhenReached = Effect.fnUntraced(function*<A>(
  options: Options,
  projection: Awaited,
  { position, timeout, wanted }: {
    readonly position: Position.Position
    readonly timeout: Duration.Duration
    readonly wanted: LogPosition.LogPosition
  },
  read: Effect.Effect<ReachedBy<A>, EventStoreError>,
  waitsFirst: boolean
): Effect.fn.Return<A, ProjectionBehind | EventStoreError> {
  const watcher = options.watcherOf(projection.id)
  const end = (yield* monotonicMillis) + Duration.toMillis(timeout)
  const wait = Effect.flatMap(monotonicMillis, (now) =>
    Effect.timeoutOption(
      watcher.changed(Position.make(position - 1n), { mayEndEarly: true }),
      Math.max(0, end - now)
    ))
  if (waitsFirst) yield* wait
  while (true) {
    const isLast = (yield* monotonicMillis) >= end
    const { found, reached } = yield* read
    const isReached = reached.position >= position && found !== undefined
    // A position that was lost with the end of the log is not reached, or by other events.
    if (isReached || isLast) yield* checkLog(options, projection, wanted, reached)
    if (isReached) return found
    if (isLast) {
      return yield* new ProjectionBehind({ projection: projection.id, wanted: position, reached: reached.position })
    }
    yield* wait
  }
})

/** What a projection has, and how far it has come. */
interface ReachedBy<A> {
  readonly found: A | undefined
  readonly reached: GenerationPosition
}

/** Reads what the projection has of the generation that has reached the position; undefined if it has not, or is not the active one any more. */
const readWith = <A extends { readonly generation: string | undefined }>(
  driver: ProjectionStoreDriver,
  { id }: Awaited,
  wanted: LogPosition.LogPosition,
  read: Effect.Effect<A, EventStoreError>,
  readReached: ReadReached<A> | undefined
): Effect.Effect<ReachedBy<A>, EventStoreError> => {
  const readLater = Effect.gen(function*() {
    const before = yield* driver.checkpoint(id, wanted)
    if (before.position < wanted.position) return { found: undefined, reached: before }
    const found = yield* read
    // Another generation may have become the active one. It may be an older one. Or the log was set back, and the checkpoint with it.
    const reached = yield* driver.checkpoint(id, wanted)
    const isOfReached = found.generation === undefined ||
      (found.generation === before.generation && found.generation === reached.generation)
    return { found: isOfReached ? found : undefined, reached }
  })
  return readReached === undefined
    ? readLater
    : Effect.flatMap(
      readReached(wanted),
      (found) => found.reached === undefined ? readLater : Effect.succeed({ found, reached: found.reached })
    )
}

/**
 * Fails when the wait could never end: a handler of the consumer waits, or the transaction that appends the event.
 *
 * @since 0.1.0
 * @category guards
 */
export const rejectCircularWait = Effect.fnUntraced(function*(
  driver: ProjectionStoreDriver,
  consumer: string,
  position: Position.Position
): Effect.fn.Return<void, EventStoreError> {
  const handled = yield* HandledEvent.active
  if (handled.some((one) => one.consumer === consumer)) {
    // What the consumer has reached already needs no wait.
    if ((yield* driver.checkpoint(consumer)).position >= position) return
    return yield* storeError(new CircularWait({ consumer, position, waiting: "handler" }))
  }
  const above = yield* driver.uncommittedAbove
  if (
    handled.some(({ uncommitted }) => uncommitted !== undefined && uncommitted <= position)
    || Option.exists(above, (above) => above < position)
  ) {
    return yield* storeError(new CircularWait({ consumer, position, waiting: "transaction" }))
  }
})

/**
 * Fails with `LogDiverged` when the log does not have the event at a position, or at a checkpoint of the projection: it was set back. Without the
 * event store, or for a bare position, it checks nothing.
 */
const checkLog = Effect.fnUntraced(function*(
  { driver, log: ofLayer }: Options,
  { id }: Awaited,
  wanted: LogPosition.LogPosition,
  { lost }: GenerationPosition
): Effect.fn.Return<void, EventStoreError> {
  const { eventId } = wanted
  if (eventId === undefined) return
  const log = yield* logOf(ofLayer)
  if (log === undefined) return
  if (lost !== undefined && LogIdentity.isInDatabaseOf(log, driver)) {
    if (lost === "none") return
    return yield* storeError(new LogDiverged({ eventId: lost.eventId ?? eventId, position: lost.position }))
  }
  yield* LogIdentity.requireEvents(log, [wanted, ...yield* driver.progress(yield* driver.activeGeneration(id))])
})

/** Returns the log of the context, or of the layer. */
const logOf = (ofLayer: Option.Option<EventStore["Service"]>): Effect.Effect<EventStoreDriver | undefined> =>
  Effect.map(
    Effect.serviceOption(EventStore),
    (ofContext) => Option.getOrUndefined(Option.orElse(ofContext, () => ofLayer))?.[internals].driver
  )

/**
 * Fails with `LogDiverged` when the log of the context, or of the layer, does not have these events; without a log it checks nothing.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireEvents = (
  ofLayer: Option.Option<EventStore["Service"]>,
  positions: ReadonlyArray<LogPosition.LogPosition>
): Effect.Effect<void, EventStoreError> =>
  Effect.flatMap(
    logOf(ofLayer),
    (log) => log === undefined ? Effect.void : LogIdentity.requireEvents(log, positions)
  )
