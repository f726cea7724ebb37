/**
 * Makes the documents of an inline projection from the log, when it is new or lacks events.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as Background from "../../core/telemetry/background.ts"
import * as OutageLog from "../../core/telemetry/OutageLog.ts"
import type { RegisteredInlineProjection } from "../../eventStore/driver/InlineProjectionsDriver.ts"
import { Limits } from "../../eventStore/Limits.ts"
import type * as Projection from "../Projection.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import * as InlineExchange from "./InlineExchange.ts"
import * as InlineFold from "./InlineFold.ts"
import * as InlineReads from "./InlineReads.ts"
import * as InlineRegistration from "./InlineRegistration.ts"

/**
 * Makes the documents of a projection from the log, unless they are complete, and registers the projection. Returns whether it made them. While another
 * process makes them it waits, or leaves it at that.
 *
 * **Details**
 *
 * It folds the log beside the current documents while others append. It keeps appends that the projection reads out for the last events only, and then
 * for each step in which it exchanges documents.
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
  const { log: { inlineProjections } } = stores
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
    return yield* make(stores, projection, appendsWithout, current)
  })
  const made: boolean | "retired" | InlineExchange.Exchange = waits
    ? yield* InlineRegistration.inTurn(stores, projection.id, makeOnce)
    : Option.getOrElse(yield* InlineRegistration.ifFree(stores, projection.id, false, makeOnce), () => false)
  if (made === false) return false
  const isMade = made === true || (made !== "retired" && (yield* InlineExchange.run(stores, made)))
  // Not in a transaction that keeps out appends. The next repair removes what an interruption leaves.
  if (isMade) yield* removeAside(stores, projection.id)
  return isMade || waits && (yield* complete(stores, projection, appendsWithout, { evenIf, waits }))
})

/** Removes the copies from which documents were replaced, unless another process makes them again at the moment. */
const removeAside = (
  stores: InlineRegistration.Stores,
  projection: string
): Effect.Effect<void, EventStoreError> =>
  Effect.asVoid(
    InlineRegistration.ifFree(stores, projection, false, InlineFold.removeAll(stores, InlineFold.asideOf(projection)))
  )

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

/**
 * Makes the documents. Those of a new projection are complete then. Those of a registered one were made beside the others, and an exchange has begun; or
 * it was retired in the meantime.
 */
const make = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  appendsWithout: InlineRegistration.AppendsWithout,
  current: RegisteredInlineProjection | undefined
): Effect.fn.Return<true | "retired" | InlineExchange.Exchange, EventStoreError> {
  const { documents, log } = stores
  yield* InlineRegistration.requireNoCheckpoints(documents, projection)
  // No program reads or writes documents of a projection that is not registered. But a store without transactions keeps those of a failed attempt.
  const isDirect = current === undefined && log.schema !== undefined
  const made = isDirect ? projection.id : InlineFold.asideOf(projection.id)
  yield* InlineFold.removeAll(stores, made)
  const after = yield* InlineFold.foldCommitted(stores, projection, made)
  // Appends of types that the projection does not read any more may be recording a gap.
  const types = Array.from(new Set([...projection.reads, ...(current?.reads.types ?? [])]))
  return yield* log.withoutAppends(
    { types, projection: projection.id, patience: "long" },
    Effect.gen(function*() {
      if (current !== undefined && (yield* log.inlineProjections.find(projection.id)) === undefined) return "retired"
      const { reached } = yield* InlineFold.foldVisible(stores, projection, made, { after })
      yield* InlineRegistration.requireNoCheckpoints(documents, projection)
      const registration = InlineReads.registrationOf(
        projection,
        ConsumerReads.of(projection),
        appendsWithout === "reject"
      )
      if (!isDirect) return yield* InlineExchange.begin(stores, projection, registration, reached)
      yield* log.inlineProjections.closeGaps(projection.id, log.inlineProjections.register(registration))
      return true
    })
  )
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
      yield* InlineFold.write(stores, generation, found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
    }
    return found.length
  })
  let hasRemoved = false
  // Its own documents last: they keep workers out.
  for (const generation of [InlineFold.asideOf(projection), projection]) {
    for (let isLast = false; !isLast;) {
      const removed = yield* InlineRegistration.inTurn(stores, projection, removePage(generation))
      hasRemoved ||= removed > 0
      isLast = removed < limit
    }
  }
  return hasRemoved
})

const readsAllOf = (registered: RegisteredInlineProjection, projection: Projection.Any): boolean => {
  const [reads, stored] = [ConsumerReads.of(projection), InlineReads.ofRegistered(registered)]
  return stored.keeps === reads.keeps && ConsumerReads.isWithin(stored, reads)
}

/** The longest pause between two repairs of a projection whose gaps return. */
const maxPause = Duration.minutes(5)

/** How many projections are made again at a time. Each occupies a connection, and others of the program need some too. */
const maxRepairs = 2

/** A projection that is checked for gaps. */
interface Checked {
  readonly projection: Projection.Any
  skipped: number
  skips: number
}

/**
 * Looks for gaps at intervals, forever, and makes the documents again. If only this process can change the store, it waits for a change before it looks again.
 * While programs without the projection keep appending, the pauses between repairs grow. It does not make the documents of a projection that was retired. A
 * projection whose repair waits or fails does not hold up the others.
 *
 * @since 0.1.0
 * @category combinators
 */
export const repairForever = Effect.fnUntraced(
  function*(
    stores: InlineRegistration.Stores,
    projections: ReadonlyArray<Projection.Any>,
    interval: Duration.Duration
  ): Effect.fn.Return<never, never, Scope.Scope> {
    const allChecked = projections.map((projection): Checked => ({ projection, skipped: 0, skips: 0 }))
    const maxSkips = Math.ceil(Duration.toMillis(maxPause) / Math.max(1, Duration.toMillis(interval)))
    const outages = OutageLog.make("The check of inline projections for gaps")
    const turn = yield* Semaphore.make(maxRepairs)
    const repairs = yield* FiberMap.make<string>()
    const { inlineProjections: { listen, registered: all } } = stores.log
    const changed = Latch.makeUnsafe(false)
    if (listen !== undefined) {
      yield* Effect.acquireRelease(
        Effect.sync(() => listen(() => changed.openUnsafe())),
        (stop) => Effect.sync(stop)
      )
    }
    let hasSucceeded = false
    const check = Effect.gen(function*() {
      changed.closeUnsafe()
      hasSucceeded = false
      const registered = yield* all
      for (const checked of allChecked) {
        const { projection } = checked
        if (FiberMap.hasUnsafe(repairs, projection.id)) continue
        const found = registered.find((one) => one.projection === projection.id)
        if (!needsRepair(projection, found)) {
          checked.skips = Math.max(0, checked.skips - 1)
          yield* outages.succeeded(projection.id)
          continue
        }
        if (checked.skipped++ < checked.skips) continue
        checked.skipped = 0
        checked.skips = Math.min(checked.skips * 2 + 1, maxSkips)
        yield* Effect.logWarning(repairLine(projection, found))
        yield* FiberMap.run(
          repairs,
          projection.id,
          OutageLog.watch(
            outages,
            `Inline projection "${projection.id}" could not be repaired`,
            Background.withSpans(repair(stores, projection, turn)),
            projection.id
          )
        )
      }
      hasSucceeded = true
    })
    // After a repair, the pause before the next one becomes shorter with each look.
    const isOutstanding = () => !hasSucceeded || allChecked.some(({ skips }) => skips > 0)
    return yield* OutageLog.watch(outages, "Inline projections could not be checked for gaps", check).pipe(
      Effect.delay(interval),
      Effect.andThen(Effect.suspend(() => listen === undefined || isOutstanding() ? Effect.void : changed.await)),
      Effect.forever
    )
  },
  Effect.scoped,
  Background.withoutSpans
)

/** Returns whether a program with this definition makes the documents again. */
const needsRepair = (
  projection: Projection.Any,
  found: RegisteredInlineProjection | undefined
): found is RegisteredInlineProjection =>
  // Without a registration it was retired. If the registered definition reads more than this one, programs with that one repair.
  found !== undefined && readsAllOf(found, projection) && !InlineCompleteness.isComplete(projection, found)

const repairLine = ({ id }: Projection.Any, { missedFrom }: RegisteredInlineProjection): string =>
  `The documents of inline projection "${id}" ${
    missedFrom === undefined
      ? "were made by a program whose definition reads other events"
      : `lack the event at position ${missedFrom}, or should not contain it: a program without the projection, or with another `
        + "definition of it, appended it"
  }; they are made again from the log`

const repair = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  turn: Semaphore.Semaphore
): Effect.fn.Return<void, EventStoreError> {
  const { inlineProjections } = stores.log
  // It waits here for the appends in flight, where it occupies no connection and has no turn.
  yield* stores.log.highWaterMarkOf({
    types: projection.reads,
    waiter: `A change of inline projection "${projection.id}"`
  })
  const repaired = Effect.flatMap(
    inlineProjections.find(projection.id),
    // Another process that does it must not make this one hold a connection.
    (found) => needsRepair(projection, found) ? complete(stores, projection, undefined, { waits: false }) : Effect.void
  )
  yield* turn.withPermit(repaired)
})
