/**
 * Runs the handlers of inline projections that write tables, registers these projections, and closes their gaps. evsrc cannot make such tables again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as EventHandling from "../../consumer/batch/EventHandling.ts"
import * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import * as HandlerTimeout from "../../consumer/HandlerTimeout.ts"
import * as EventInHand from "../../consumer/worker/EventInHand.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type * as Projection from "../Projection.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import * as InlineReads from "./InlineReads.ts"
import * as InlineRegistration from "./InlineRegistration.ts"

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
export const register = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.AnyHandler,
  appendsWithout: InlineRegistration.AppendsWithout
): Effect.fn.Return<void, EventStoreError> {
  const { documents, log } = stores
  const { inlineProjections } = log
  const { id } = projection
  const reads = ConsumerReads.of(projection)
  const register = Effect.fnUntraced(function*(isPassed: IsPassed) {
    const found = yield* inlineProjections.find(id)
    if (found === undefined) {
      yield* InlineRegistration.requireNoCheckpoints(documents, projection)
      return yield* inlineProjections.register(
        InlineReads.registrationOf(projection, reads, appendsWithout === "reject")
      )
    }
    const stored = InlineReads.ofRegistered(found)
    yield* InlineRegistration.requireSameKind(projection, stored, reads)
    if (!ConsumerReads.isWithin(reads, stored)) {
      const passed = yield* isPassed(stored)
      if (passed !== undefined) {
        return yield* InlineRegistration.rejected(
          `Inline projection "${id}" reads events that programs with its earlier definition did not handle, ${
            InlineReads.describe(passed)
          }; raise its version, or correct its tables and call Projector.closeInlineGap, or continue without these events by `
            + "`earlierEvents: \"pass\"`"
        )
      }
      yield* inlineProjections.register(
        InlineReads.registrationOf(projection, together(stored, reads), found.isRequired)
      )
    }
    yield* InlineRegistration.setRequired(stores, found, appendsWithout)
  })
  const found = yield* inlineProjections.find(id)
  if (InlineCompleteness.isComplete(projection, found)) {
    yield* InlineRegistration.setRequired(stores, found, appendsWithout)
  } else {
    yield* InlineRegistration.inTurn(
      stores,
      id,
      Effect.flatMap(
        searchPassed(stores, projection, Position.start),
        (isPassed) => log.withoutAppends({ types: projection.reads, projection: id }, register(isPassed))
      )
    )
  }
  if (found?.missedFrom !== undefined) yield* logGap(id, found.missedFrom)
})

/** Returns an event that a definition reads and programs with the registered one did not handle. */
type IsPassed = (
  registered: ConsumerReads.ConsumerReads
) => ReturnType<typeof InlineReads.findBeyond>

/**
 * Searches for such an event after a position, while others append. The function that it returns searches only later events, so that appends wait for a
 * short time, unless the registration has changed meanwhile.
 */
const searchPassed = Effect.fnUntraced(function*(
  { log }: InlineRegistration.Stores,
  projection: Projection.AnyHandler,
  from: Position.Position
): Effect.fn.Return<IsPassed, EventStoreError> {
  if (projection.earlierEvents === "pass") return () => Effect.undefined
  const reads = ConsumerReads.of(projection)
  const found = yield* log.inlineProjections.find(projection.id)
  const before = found === undefined ? undefined : InlineReads.ofRegistered(found)
  if (before === undefined || before.keeps !== reads.keeps || ConsumerReads.isWithin(reads, before)) {
    return (registered) => InlineReads.findBeyond(log, reads, registered, from)
  }
  const search = yield* InlineReads.searchBeyond(log, projection.id, reads, before, from)
  return (registered) =>
    !InlineReads.isSame(registered, before)
      ? InlineReads.findBeyond(log, reads, registered, from)
      : search.found === undefined
      ? InlineReads.findBeyond(log, reads, registered, search.reached)
      : Effect.succeed(search.found)
})

/**
 * Registers a projection with handlers whose tables were corrected up to a position, and closes its gaps up to there. Returns the first of these gaps.
 * Fails with `StoreMisconfigured` when the log has later events that only this definition reads, because no gap records them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const closeGap = Effect.fnUntraced(function*(
  { documents, log }: InlineRegistration.Stores,
  projection: Projection.AnyHandler,
  correctedUpTo: Position.Position
): Effect.fn.Return<Option.Option<Position.Position>, EventStoreError> {
  const stores = { documents, log }
  const { inlineProjections } = log
  const { id } = projection
  const find = inlineProjections.find(id)
  const reads = ConsumerReads.of(projection)
  const close = Effect.fnUntraced(function*(isPassed: IsPassed) {
    const found = yield* find
    if (found === undefined) return Option.none()
    const stored = InlineReads.ofRegistered(found)
    yield* InlineRegistration.requireSameKind(projection, stored, reads)
    const later = yield* isPassed(stored)
    if (later !== undefined) {
      return yield* InlineRegistration.rejected(
        `Inline projection "${id}" reads events after position ${correctedUpTo} that programs with its earlier definition did not handle, ${
          InlineReads.describe(later)
        }; correct its tables for these events too, and call Projector.closeInlineGap with a later position`
      )
    }
    const registration = InlineReads.registrationOf(projection, reads, found.isRequired)
    yield* inlineProjections.closeGaps(id, inlineProjections.register(registration), correctedUpTo)
    return Option.filter(Option.fromUndefinedOr(found.missedFrom), (position) => position <= correctedUpTo)
  })
  return yield* InlineRegistration.inTurn(
    stores,
    id,
    Effect.gen(function*() {
      const found = yield* find
      const isPassed = yield* searchPassed(stores, projection, correctedUpTo)
      const types = [...new Set([...reads.types, ...found?.reads.types ?? []])]
      return yield* log.withoutAppends({ types, projection: id }, close(isPassed))
    })
  )
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

const logGap = (projection: string, from: Position.Position) =>
  Effect.logError(
    `The tables of inline projection "${projection}" lack the event at position ${from}, and perhaps later ones, which a program `
      + "without the projection appended. Correct the tables, then call Projector.closeInlineGap"
  )

/**
 * Returns the handler of an event, which is interrupted after its timeout. The append then fails.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inTime = (projection: Projection.AnyHandler, handler: EventHandling.Handler) => {
  const handle = EventHandling.handleOne(projection, handler)
  return (event: EncodedEvent): Effect.Effect<void, EventStoreError> => {
    const limit = HandlerTimeout.limitOf(projection, projection.handlerTimeout, event)
    return EventInHand.endInTime(handle(event), limit.onAbandoned, limit)
  }
}
