/**
 * Makes the documents of an inline projection from the log, when it is new or lacks events.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import { type EventStoreError, storeError, StoreMisconfigured, StoreUnavailable } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { describeMaker, type RegisteredInlineProjection } from "../eventStore/InlineProjectionsDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import * as InlineReads from "./InlineReads.ts"
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
 * What happens to an append that leaves out the projection; `undefined` keeps what was chosen before.
 *
 * @since 0.1.0
 * @category options
 */
export type AppendsWithout = "gap" | "reject" | undefined

/** Sets what happens to an append that leaves out a registered projection, whether or not its documents are complete. */
const setRequired = (
  { log }: Stores,
  found: RegisteredInlineProjection | undefined,
  appendsWithout: AppendsWithout
): Effect.Effect<void, EventStoreError> =>
  found === undefined || appendsWithout === undefined || found.isRequired === (appendsWithout === "reject")
    ? Effect.void
    : log.inlineProjections.setRequired(found.projection, appendsWithout === "reject")

/**
 * Registers a projection whose handlers write tables. Events from before its first start are not handled, and a gap remains, because only the user can
 * correct the tables. Fails with `StoreMisconfigured` when the log has events that only this definition reads: the programs before did not
 * handle them.
 *
 * **Details**
 *
 * A definition that reads less does not replace the registered one: appends of older programs would otherwise leave out events without a gap.
 *
 * @since 0.1.0
 * @category constructors
 */
export const registerHandlers = Effect.fnUntraced(function*(
  stores: Stores,
  projection: Projection.AnyHandler,
  appendsWithout: AppendsWithout
): Effect.fn.Return<void, EventStoreError> {
  const { documents, log } = stores
  const { inlineProjections } = log
  const { id } = projection
  const reads = ConsumerReads.of(projection)
  const register = Effect.gen(function*() {
    const found = yield* inlineProjections.find(id)
    if (found === undefined) {
      yield* requireNoCheckpoints(documents, projection)
      return yield* inlineProjections.register(
        InlineReads.registrationOf(projection, reads, appendsWithout === "reject")
      )
    }
    const stored = InlineReads.ofRegistered(found)
    yield* requireSameKind(projection, stored, reads)
    yield* setRequired(stores, found, appendsWithout)
    if (ConsumerReads.isWithin(reads, stored)) return
    const passed = projection.earlierEvents === "pass" ? undefined : yield* InlineReads.findBeyond(log, reads, stored)
    if (passed !== undefined) {
      return yield* rejected(
        `Inline projection "${id}" reads events that programs with its earlier definition did not handle, ${
          InlineReads.describe(passed)
        }; raise its version, or correct its tables and call Projector.closeInlineGap, or continue without these events by `
          + "`earlierEvents: \"pass\"`"
      )
    }
    yield* inlineProjections.register(InlineReads.registrationOf(projection, together(stored, reads), found.isRequired))
  })
  const found = yield* inlineProjections.find(id)
  if (InlineCompleteness.isComplete(projection, found)) {
    yield* setRequired(stores, found, appendsWithout)
  } else {
    yield* inTurn({ documents, log }, id, log.withoutAppends(projection.reads, register))
  }
  if (found?.missedFrom !== undefined) yield* logGap(id, found.missedFrom)
})

/**
 * Registers a projection with handlers whose tables were corrected up to a position, and closes its gaps up to there. Returns the first of these gaps.
 * Fails with `StoreMisconfigured` when the log has later events that only this definition reads, because no gap records them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const closeHandlersGap = Effect.fnUntraced(function*(
  { documents, log }: Stores,
  projection: Projection.AnyHandler,
  correctedUpTo: Position.Position
): Effect.fn.Return<Option.Option<Position.Position>, EventStoreError> {
  const { inlineProjections } = log
  const { earlierEvents, id } = projection
  const find = inlineProjections.find(id)
  const reads = ConsumerReads.of(projection)
  const close = Effect.gen(function*() {
    const found = yield* find
    if (found === undefined) return Option.none()
    const stored = InlineReads.ofRegistered(found)
    yield* requireSameKind(projection, stored, reads)
    const later = earlierEvents === "pass"
      ? undefined
      : yield* InlineReads.findBeyond(log, reads, stored, correctedUpTo)
    if (later !== undefined) {
      return yield* rejected(
        `Inline projection "${id}" reads events after position ${correctedUpTo} that programs with its earlier definition did not handle, ${
          InlineReads.describe(later)
        }; correct its tables for these events too, and call Projector.closeInlineGap with a later position`
      )
    }
    const registration = InlineReads.registrationOf(projection, reads, found.isRequired)
    yield* inlineProjections.closeGaps(id, inlineProjections.register(registration), correctedUpTo)
    return Option.filter(Option.fromUndefinedOr(found.missedFrom), (position) => position <= correctedUpTo)
  })
  const closed = yield* documents.transaction(inlineProjections.exclusively(
    id,
    true,
    Effect.flatMap(
      find,
      (found) => log.withoutAppends([...new Set([...reads.types, ...found?.reads.types ?? []])], close)
    )
  ))
  return Option.flatten(closed)
})

/** Returns what two definitions with one filter read; otherwise what the second reads. */
const together = (
  stored: ConsumerReads.ConsumerReads,
  reads: ConsumerReads.ConsumerReads
): ConsumerReads.ConsumerReads =>
  ConsumerReads.isWithinFilter(stored, reads) && ConsumerReads.isWithinFilter(reads, stored)
    ? {
      ...reads,
      types: Array.from(new Set([...reads.types, ...stored.types])).toSorted(),
      ignores: { ...stored.ignores, ...reads.ignores }
    }
    : reads

const rejected = (message: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(storeError(new StoreMisconfigured({ message, cause: undefined })))

/**
 * Fails when a definition keeps documents and the registered one has handlers, or the reverse: nothing has made what it keeps.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireSameKind = (
  { id }: { readonly id: string },
  stored: ConsumerReads.ConsumerReads,
  reads: ConsumerReads.ConsumerReads
): Effect.Effect<void, EventStoreError> =>
  stored.keeps === reads.keeps
    ? Effect.void
    : rejected(
      `Inline projection "${id}" cannot change its kind: ${
        InlineReads.difference(stored, reads)
      }; raise its version, or call `
        + "Projector.retireInline when no program runs the other one any more"
    )

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
  return yield* rejected(
    `Projection "${id}" has checkpoints, because it has run in the background, so it cannot become inline; raise its version`
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
 * When the documents contain events that this definition does not read, it leaves them, unless `evenIf` says otherwise: programs of two releases
 * would make them in turns.
 *
 * @since 0.1.0
 * @category constructors
 */
export const complete = Effect.fn("Projector.completeInline")(function*(
  stores: Stores,
  projection: Projection.Any,
  appendsWithout: AppendsWithout,
  { evenIf, waits = true }: CompleteOptions = {}
): Effect.fn.Return<boolean, EventStoreError> {
  const { documents, log: { inlineProjections } } = stores
  const find = inlineProjections.find(projection.id)
  const found = yield* find
  yield* setRequired(stores, found, appendsWithout)
  if (InlineCompleteness.isComplete(projection, found)) return false
  const makeOnce = Effect.gen(function*() {
    // Another process may have done it while this one waited.
    const current = yield* find
    yield* setRequired(stores, current, appendsWithout)
    if (InlineCompleteness.isComplete(projection, current)) return false
    if (current !== undefined && !(yield* mayReplace(stores, projection, current, evenIf))) return false
    yield* make(stores, projection, appendsWithout, current)
    return true
  })
  const isMade = waits
    ? yield* inTurn(stores, projection.id, makeOnce)
    : Option.getOrElse(
      yield* documents.transaction(inlineProjections.exclusively(projection.id, false, makeOnce)),
      () => false
    )
  // Not in that transaction, which keeps out appends. The next repair removes what an interruption leaves.
  if (isMade) yield* removeAside(stores, projection.id)
  return isMade
})

/** The longest pause between two looks whether another program has ended, in milliseconds. */
const maxTurnPause = 1_000

/**
 * Runs an effect in a transaction, while no other program makes or registers the projection. While one does it looks again at intervals, and occupies no
 * connection in between.
 */
const inTurn = Effect.fnUntraced(function*<A>(
  { documents, log: { inlineProjections } }: Stores,
  projection: string,
  effect: Effect.Effect<A, EventStoreError>
): Effect.fn.Return<A, EventStoreError> {
  const began = yield* Clock.currentTimeMillis
  for (let attempts = 1; true; attempts++) {
    const result = yield* documents.transaction(inlineProjections.exclusively(projection, true, effect))
    if (Option.isSome(result)) return result.value
    const maker = yield* inlineProjections.maker(projection)
    const byWhom = maker === undefined ? "another program" : describeMaker(maker)
    if ((yield* Clock.currentTimeMillis) - began >= inlineProjections.maxWait) {
      return yield* Effect.fail(storeError(
        new StoreUnavailable({
          message: `Inline projection "${projection}" is being made by ${byWhom}, and this program has waited ${
            Duration.format(Duration.millis(inlineProjections.maxWait))
          } (maintenanceTimeout); try again later, or end the session`,
          cause: undefined
        })
      ))
    }
    if (attempts === 1 && maker !== undefined) {
      yield* Effect.logInfo(`This program waits: inline projection "${projection}" is being made by ${byWhom}`)
    }
    yield* Effect.sleep(Math.min(50 * 2 ** attempts, maxTurnPause))
  }
})

/** Removes the copies from which documents were replaced, unless another process makes them again at the moment. */
const removeAside = ({ documents, log }: Stores, projection: string): Effect.Effect<void, EventStoreError> =>
  Effect.asVoid(documents.transaction(
    log.inlineProjections.exclusively(projection, false, removeAll({ log, documents }, asideOf(projection)))
  ))

/**
 * @since 0.1.0
 * @category options
 */
export interface CompleteOptions {
  /** Whether to replace documents that contain events which this definition does not read. */
  readonly evenIf?: "reads less" | undefined
  /** Whether to wait while another process makes the documents; `true` by default. */
  readonly waits?: boolean | undefined
}

/** Returns whether a definition may replace the registered one: it reads all events that are in the documents. */
const mayReplace = Effect.fnUntraced(function*(
  { log }: Stores,
  projection: Projection.Any,
  registered: RegisteredInlineProjection,
  evenIf: CompleteOptions["evenIf"]
): Effect.fn.Return<boolean, EventStoreError> {
  const [reads, stored] = [ConsumerReads.of(projection), InlineReads.ofRegistered(registered)]
  yield* requireSameKind(projection, stored, reads)
  const left = evenIf === undefined ? yield* InlineReads.findBeyond(log, stored, reads) : undefined
  if (left === undefined) return true
  yield* Effect.logError(
    `The documents of inline projection "${projection.id}" contain events that this program does not read, ${
      InlineReads.describe(left)
    }, so its reads of them fail. Raise the version, or end the programs of the other release and call Projector.repairInline`
  )
  return false
})

const make = Effect.fnUntraced(function*(
  stores: Stores,
  projection: Projection.Any,
  appendsWithout: AppendsWithout,
  current: RegisteredInlineProjection | undefined
): Effect.fn.Return<void, EventStoreError> {
  const { documents, log } = stores
  yield* requireNoCheckpoints(documents, projection)
  // No program reads or writes documents of a projection that is not registered. But a store without transactions keeps those of a failed attempt.
  const isDirect = current === undefined && log.schema !== undefined
  const made = isDirect ? projection.id : asideOf(projection.id)
  yield* removeAll(stores, made)
  const reached = yield* foldUpToHead(stores, projection, made)
  // Appends of types that the projection does not read any more may be recording a gap.
  const types = Array.from(new Set([...projection.reads, ...(current?.reads.types ?? [])]))
  const { pageSize } = yield* Limits
  yield* log.withoutAppends(
    types,
    log.inlineProjections.closeGaps(
      projection.id,
      Effect.gen(function*() {
        yield* foldRest(stores, projection, made, reached)
        yield* requireNoCheckpoints(documents, projection)
        if (!isDirect) yield* documents.replaceDocuments(projection.id, made, pageSize)
        yield* log.inlineProjections.register(
          InlineReads.registrationOf(projection, ConsumerReads.of(projection), appendsWithout === "reject")
        )
      })
    )
  )
})

/** Returns the generation to which the documents of a registered projection are made, while its own are read. */
const asideOf = (projection: string): string => `${projection}~inline`

const write = ({ documents }: Stores, generation: string, changes: ReadonlyArray<EncodedDocument>) =>
  documents.write([{ generation, changes }])

/**
 * Removes all documents of a generation.
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

/**
 * Removes the documents of a retired projection, page by page, so that appends do not wait. It stops if a program makes them again, or if they are those of
 * an asynchronous projection of the same name and version, which has checkpoints.
 *
 * @since 0.1.0
 * @category combinators
 */
export const removeRetired = Effect.fnUntraced(function*(
  stores: Stores,
  projection: string
): Effect.fn.Return<void, EventStoreError> {
  const { documents, log: { inlineProjections } } = stores
  const { pageSize: limit } = yield* Limits
  const removePage = Effect.gen(function*() {
    if ((yield* inlineProjections.find(projection)) !== undefined) return false
    if ((yield* documents.progress(projection)).length > 0) return false
    const found = yield* documents.generationPage({ generation: projection, limit })
    yield* write(stores, projection, found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
    return found.length === limit
  })
  let hasMore = true
  while (hasMore) {
    const page = yield* documents.transaction(inlineProjections.exclusively(projection, false, removePage))
    hasMore = Option.getOrElse(page, () => false)
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
  const query = EventQuery.ofStoredTypes([{ types: projection.reads, tags: projection.where.tags }])
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

const readsAllOf = (registered: RegisteredInlineProjection, projection: Projection.Any): boolean => {
  const [reads, stored] = [ConsumerReads.of(projection), InlineReads.ofRegistered(registered)]
  return stored.keeps === reads.keeps && ConsumerReads.isWithin(stored, reads)
}

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
  interval: Duration.Duration
): Effect.Effect<never> => {
  const pauses = projections.map((projection) => ({ projection, skipped: 0, skips: 0 }))
  const check = Effect.gen(function*() {
    const registered = yield* stores.log.inlineProjections.registered
    for (const pause of pauses) {
      const { projection } = pause
      const found = registered.find((one) => one.projection === projection.id)
      // Without a registration it was retired. If the registered definition reads more than this one, programs with that one repair.
      if (found === undefined || !readsAllOf(found, projection) || InlineCompleteness.isComplete(projection, found)) {
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
        : `lack the event at position ${found.missedFrom}, or should not contain it: a program without the projection, or with another `
          + "definition of it, appended it"
      yield* Effect.logWarning(
        `The documents of inline projection "${projection.id}" ${reason}; they are made again from the log`
      )
      // Another process that does it must not make this one hold a connection.
      yield* Background.withSpans(complete(stores, projection, undefined, { waits: false }))
    }
  })
  const outages = OutageLog.make("The check of inline projections for gaps")
  return OutageLog.watch(outages, "Inline projections could not be checked for gaps", check).pipe(
    Effect.delay(interval),
    Effect.forever,
    Background.withoutSpans
  )
}
