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
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { RegisteredInlineProjection } from "../eventStore/InlineProjectionsDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import * as InlineReads from "./InlineReads.ts"
import * as InlineRegistration from "./InlineRegistration.ts"
import type * as Projection from "./Projection.ts"

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
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  appendsWithout: InlineRegistration.AppendsWithout,
  { evenIf, waits = true }: CompleteOptions = {}
): Effect.fn.Return<boolean, EventStoreError> {
  const { documents, log: { inlineProjections } } = stores
  const find = inlineProjections.find(projection.id)
  const findChecked = Effect.gen(function*() {
    const found = yield* find
    if (found !== undefined) {
      yield* InlineRegistration.requireSameKind(
        projection,
        InlineReads.ofRegistered(found),
        ConsumerReads.of(projection)
      )
    }
    yield* InlineRegistration.setRequired(stores, found, appendsWithout)
    return found
  })
  if (InlineCompleteness.isComplete(projection, yield* findChecked)) return false
  const makeOnce = Effect.gen(function*() {
    // Another process may have done it while this one waited.
    const current = yield* findChecked
    if (InlineCompleteness.isComplete(projection, current)) return false
    if (current !== undefined && !(yield* mayReplace(stores, projection, current, evenIf))) return false
    yield* make(stores, projection, appendsWithout, current)
    return true
  })
  const isMade = waits
    ? yield* InlineRegistration.inTurn(stores, projection.id, makeOnce)
    : Option.getOrElse(
      yield* documents.transaction(inlineProjections.exclusively(projection.id, false, makeOnce)),
      () => false
    )
  // Not in that transaction, which keeps out appends. The next repair removes what an interruption leaves.
  if (isMade) yield* removeAside(stores, projection.id)
  return isMade
})

/** Removes the copies from which documents were replaced, unless another process makes them again at the moment. */
const removeAside = (
  { documents, log }: InlineRegistration.Stores,
  projection: string
): Effect.Effect<void, EventStoreError> =>
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
  { log }: InlineRegistration.Stores,
  projection: Projection.Any,
  registered: RegisteredInlineProjection,
  evenIf: CompleteOptions["evenIf"]
): Effect.fn.Return<boolean, EventStoreError> {
  const [reads, stored] = [ConsumerReads.of(projection), InlineReads.ofRegistered(registered)]
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
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  appendsWithout: InlineRegistration.AppendsWithout,
  current: RegisteredInlineProjection | undefined
): Effect.fn.Return<void, EventStoreError> {
  const { documents, log } = stores
  yield* InlineRegistration.requireNoCheckpoints(documents, projection)
  // No program reads or writes documents of a projection that is not registered. But a store without transactions keeps those of a failed attempt.
  const isDirect = current === undefined && log.schema !== undefined
  const made = isDirect ? projection.id : asideOf(projection.id)
  yield* removeAll(stores, made)
  const reached = yield* foldCommitted(stores, projection, made)
  // Appends of types that the projection does not read any more may be recording a gap.
  const types = Array.from(new Set([...projection.reads, ...(current?.reads.types ?? [])]))
  const { pageSize } = yield* Limits
  yield* log.withoutAppends(
    { types, projection: projection.id, patience: "long" },
    log.inlineProjections.closeGaps(
      projection.id,
      Effect.gen(function*() {
        yield* foldVisible(stores, projection, made, { after: reached })
        yield* InlineRegistration.requireNoCheckpoints(documents, projection)
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

const write = ({ documents }: InlineRegistration.Stores, generation: string, changes: ReadonlyArray<EncodedDocument>) =>
  documents.write([{ generation, changes }])

/**
 * Removes all documents of a generation.
 *
 * @since 0.1.0
 * @category combinators
 */
export const removeAll = Effect.fnUntraced(function*(stores: InlineRegistration.Stores, generation: string) {
  const { pageSize: limit } = yield* Limits
  while (true) {
    const found = yield* stores.documents.generationPage({ generation, limit })
    if (found.length === 0) return
    yield* write(stores, generation, found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
  }
})

/**
 * Removes the documents of a retired projection, and the copies that an interrupted repair has left, page by page, so that appends do not wait. Returns
 * whether there were any. It stops if a program makes them again, or if they are those of an asynchronous projection of the same name and version, which has
 * checkpoints: no worker claims it before the last document is removed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const removeRetired = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: string
): Effect.fn.Return<boolean, EventStoreError> {
  const { documents, log: { inlineProjections } } = stores
  const { pageSize: limit } = yield* Limits
  const removePage = Effect.fnUntraced(function*(generation: string) {
    if ((yield* inlineProjections.find(projection)) !== undefined) return 0
    if (generation === projection && (yield* documents.progress(projection)).length > 0) return 0
    const found = yield* documents.generationPage({ generation, limit })
    if (found.length > 0) {
      yield* write(stores, generation, found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
    }
    return found.length
  })
  let hasRemoved = false
  // Its own documents last: they keep workers out.
  for (const generation of [asideOf(projection), projection]) {
    for (let isLast = false; !isLast;) {
      const removed = yield* InlineRegistration.inTurn(stores, projection, removePage(generation))
      hasRemoved ||= removed > 0
      isLast = removed < limit
    }
  }
  return hasRemoved
})

/** The maximum number of times that the events are folded which others have appended in the meantime. */
const maxRounds = 10

/** So few events are folded while appends wait. */
const fewEvents = 100

/**
 * Folds the committed events, and returns the position up to which it did. It keeps no append out: only what
 * others commit while it folds the last events is left.
 */
const foldCommitted = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string
): Effect.fn.Return<Position.Position, EventStoreError> {
  let after = yield* foldUpToHead(stores, projection, aside)
  for (let rounds = 0; rounds < maxRounds && projection.reads.length > 0; rounds++) {
    // The high-water mark of the log may be far below while an append of another type is in flight.
    const upTo = yield* stores.log.highWaterMarkOf({ types: projection.reads, projection: projection.id })
    const { count } = yield* foldVisible(stores, projection, aside, { after, upTo })
    after = Position.max(after, upTo)
    if (count <= fewEvents) break
  }
  return after
})

/** Folds the events up to the high-water mark, and returns it. */
const foldUpToHead = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
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

/**
 * Folds the visible events after a position, also above the high-water mark, and returns their number. No further event of their types may appear at or
 * below `upTo`; without it, none at all meanwhile.
 */
const foldVisible = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string,
  range: { readonly after: Position.Position; readonly upTo?: Position.Position }
): Effect.fn.Return<{ readonly count: number }, EventStoreError> {
  const { pageSize: limit } = yield* Limits
  const follows = EventFilter.matcher({ types: projection.reads, ...projection.where })
  const query = EventQuery.ofStoredTypes([{ types: projection.reads, tags: projection.where.tags }])
  const isWithin = ({ position }: EncodedEvent) => range.upTo === undefined || position <= range.upTo
  let { after } = range
  let count = 0
  while (projection.reads.length > 0 && (range.upTo === undefined || after < range.upTo)) {
    // Not readAll: the high-water mark may be below an event of these types while an append of another type is in flight.
    const { events, head, reached } = yield* stores.log.readByQuery({ query, after, limit })
    const selected = events.filter((event) => follows(event) && isWithin(event))
    yield* foldPage(stores, projection, aside, selected)
    count += selected.length
    if (events.length < limit && reached.position >= head) break
    after = reached.position
  }
  return { count }
})

const foldPage = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string,
  events: ReadonlyArray<EncodedEvent>
): Effect.fn.Return<void, EventStoreError> {
  const load = (keys: ReadonlyArray<string>) => stores.documents.load(aside, keys)
  const { changes, failures: [failure] } = yield* DocumentBatch.fold(
    projection,
    ConsumerKey.selectAll(projection, events),
    load,
    { onFailure: "stop" }
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
  stores: InlineRegistration.Stores,
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
