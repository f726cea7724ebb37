/**
 * Makes the documents of an inline projection from the log, when it is new or lacks events.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import type { InlineProjection } from "../eventStore/InlineProjectionsDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import type * as Projection from "./Projection.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * The stores of inline projections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stores {
  readonly log: EventStoreDriver
  readonly documents: ProjectionStoreDriver
}

/**
 * Returns what the log is to know of an inline projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const registrationOf = (
  { id, reads, where }: Projection.Any | Projection.AnyHandler,
  isRequired: boolean
): InlineProjection => ({ projection: id, reads: { types: reads, ...where }, isRequired })

/**
 * Registers a projection whose handlers write tables. Earlier events are not handled, and a gap remains, because only the user can correct the
 * tables.
 *
 * @since 0.1.0
 * @category constructors
 */
export const registerHandlers = Effect.fnUntraced(function*(
  { documents, log: { inlineProjections } }: Stores,
  projection: Projection.AnyHandler,
  isRequired: boolean
): Effect.fn.Return<void, EventStoreError> {
  const found = yield* inlineProjections.find(projection.id)
  const register = inlineProjections.register(registrationOf(projection, isRequired))
  if (found === undefined) {
    yield* documents.transaction(
      inlineProjections.exclusively(
        projection.id,
        true,
        Effect.andThen(requireNoCheckpoints(documents, projection), register)
      )
    )
  } else if (found.isRequired !== isRequired || !InlineCompleteness.hasSameReads(projection, found)) yield* register
  if (found?.missedFrom !== undefined) yield* logGap(projection.id, found.missedFrom)
})

/**
 * Fails when a projection has run in the background. Its documents would have some events twice or not at all: workers of other programs may go on, and
 * readers may read the documents of a rebuild.
 */
const requireNoCheckpoints = Effect.fnUntraced(function*(
  documents: ProjectionStoreDriver,
  { id }: Projection.Any | Projection.AnyHandler
): Effect.fn.Return<void, EventStoreError> {
  // Fails when it was discarded: a store without transactions would keep the documents.
  yield* documents.activeGeneration(id)
  const generations = yield* documents.generations(id)
  if (generations.every(({ status }) => status === "discarded")) return
  return yield* storeError(
    new StoreMisconfigured({
      message:
        `Projection "${id}" has checkpoints, because it has run in the background, so it cannot become inline; raise its version`,
      cause: undefined
    })
  )
})

const logGap = (projection: string, from: Position.Position) =>
  Effect.logError(
    `The tables of inline projection "${projection}" lack the event at position ${from}, and perhaps later ones, which a program `
      + "without the projection appended. Correct the tables, then call Projector.closeInlineGap"
  )

/**
 * Makes the documents of a projection from the log, unless they are complete, and registers the projection. Returns whether it made them. While another
 * process makes them it waits, or leaves it at that.
 *
 * **Details**
 *
 * It folds the log beside the current documents while others append. Only for the last events, and to replace the documents, it keeps appends of
 * the types that the projection reads out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const complete = Effect.fn("Projector.completeInline")(function*(
  stores: Stores,
  projection: Projection.Any,
  isRequired: boolean,
  waits = true
): Effect.fn.Return<boolean, EventStoreError> {
  const { documents, log } = stores
  const { inlineProjections } = log
  const registration = registrationOf(projection, isRequired)
  const find = inlineProjections.find(projection.id)
  const found = yield* find
  if (InlineCompleteness.isComplete(projection, found)) {
    if (found!.isRequired !== isRequired) {
      yield* inlineProjections.register({ ...found!, isRequired })
    }
    return false
  }
  const made = yield* documents.transaction(inlineProjections.exclusively(
    projection.id,
    waits,
    Effect.gen(function*() {
      // Another process may have done it while this one waited.
      const current = yield* find
      if (InlineCompleteness.isComplete(projection, current)) return false
      yield* requireNoCheckpoints(documents, projection)
      const aside = `${projection.id}~inline`
      yield* removeAll(stores, aside)
      const reached = yield* foldUpToHead(stores, projection, aside)
      // Appends of types that the projection does not read any more may be recording a gap.
      const types = Array.from(new Set([...projection.reads, ...(current?.reads.types ?? [])]))
      yield* log.withoutAppends(
        types,
        Effect.gen(function*() {
          yield* foldRest(stores, projection, aside, reached)
          yield* requireNoCheckpoints(documents, projection)
          yield* documents.replaceDocuments(projection.id, aside)
          yield* inlineProjections.register(registration)
          yield* inlineProjections.closeGaps(projection.id)
        })
      )
      return true
    })
  ))
  return Option.getOrElse(made, () => false)
})

const write = ({ documents }: Stores, generation: string, changes: ReadonlyArray<EncodedDocument>) =>
  documents.write([{ generation, changes }])

/**
 * Removes all documents of a generation. A store without transactions keeps documents of an attempt that failed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const removeAll = Effect.fnUntraced(function*(stores: Stores, generation: string) {
  const { pageSize: limit } = yield* Limits
  while (true) {
    const found = yield* stores.documents.generationPage({ generation, limit })
    if (found.length === 0) return
    yield* write(stores, generation, found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
  }
})

/** Folds the events up to the high-water mark, and returns it. */
const foldUpToHead = Effect.fnUntraced(function*(
  stores: Stores,
  projection: Projection.Any,
  aside: string
): Effect.fn.Return<Position.Position, EventStoreError> {
  const { pageSize: limit } = yield* Limits
  let after = Position.start
  while (projection.reads.length > 0) {
    const page = yield* stores.log.readAll({ after, limit, types: projection.reads, ...projection.where })
    yield* foldPage(stores, projection, aside, page.events)
    after = page.reached.position
    if (after >= page.head) return after
  }
  return after
})

/** Folds all visible events after a position, while no append of their types is in flight. */
const foldRest = Effect.fnUntraced(function*(
  stores: Stores,
  projection: Projection.Any,
  aside: string,
  from: Position.Position
): Effect.fn.Return<void, EventStoreError> {
  const { pageSize: limit } = yield* Limits
  const follows = EventFilter.matcher({ types: projection.reads, ...projection.where })
  const query = [{ types: projection.reads, tags: projection.where.tags }]
  let after = from
  while (projection.reads.length > 0) {
    // Not readAll: the high-water mark may be below an event of these types while an append of another type is in flight.
    const { events, head, reached } = yield* stores.log.readByQuery({ query, after, limit })
    yield* foldPage(stores, projection, aside, events.filter(follows))
    if (events.length < limit && reached.position >= head) return
    after = reached.position
  }
})

const foldPage = Effect.fnUntraced(function*(
  stores: Stores,
  projection: Projection.Any,
  aside: string,
  events: ReadonlyArray<EncodedEvent>
): Effect.fn.Return<void, EventStoreError> {
  const load = (keys: ReadonlyArray<string>) => stores.documents.load(aside, keys)
  const { changes, failures: [failure] } = yield* DocumentBatch.fold(
    projection,
    ConsumerKey.selectAll(projection, events),
    load,
    "stop"
  )
  if (failure !== undefined) return yield* Effect.fail(failure.error)
  yield* write(stores, aside, changes)
})

/** The longest pause between two repairs of a projection whose gaps return. */
const maxPause = Duration.minutes(5)

/**
 * Looks for gaps at intervals, forever, and makes the documents again. While programs without the projection keep appending, the pauses between
 * repairs grow. It does not make the documents of a projection that was retired.
 *
 * @since 0.1.0
 * @category combinators
 */
export const repairForever = (
  stores: Stores,
  projections: ReadonlyArray<Projection.Any>,
  isRequired: boolean,
  interval: Duration.Duration
): Effect.Effect<never> => {
  const pauses = projections.map((projection) => ({ projection, skipped: 0, skips: 0 }))
  const check = Effect.gen(function*() {
    const registered = yield* stores.log.inlineProjections.registered
    for (const pause of pauses) {
      const { projection } = pause
      const found = registered.find((one) => one.projection === projection.id)
      // Without a registration it was retired. If the registration has types that this definition does not read, programs with a newer one repair.
      const isOlder = found?.reads.types.some((type) => !projection.reads.includes(type)) === true
      if (found === undefined || isOlder || InlineCompleteness.isComplete(projection, found)) {
        pause.skips = Math.max(0, pause.skips - 1)
        continue
      }
      if (pause.skipped++ < pause.skips) continue
      pause.skipped = 0
      pause.skips = Math.min(
        pause.skips * 2 + 1,
        Math.ceil(Duration.toMillis(maxPause) / Math.max(1, Duration.toMillis(interval)))
      )
      const reason = found.missedFrom === undefined
        ? "were made by a program whose definition reads other events"
        : `lack the event at position ${found.missedFrom}, which a program without the projection appended`
      yield* Effect.logWarning(
        `The documents of inline projection "${projection.id}" ${reason}; they are made again from the log`
      )
      // Another process that does it must not make this one hold a connection.
      yield* Background.withSpans(complete(stores, projection, isRequired, false))
    }
  })
  const outages = OutageLog.make("The check of inline projections for gaps")
  return OutageLog.watch(outages, "Inline projections could not be checked for gaps", check).pipe(
    Effect.delay(interval),
    Effect.forever,
    Background.withoutSpans
  )
}
