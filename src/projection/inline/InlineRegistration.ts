/**
 * What registering an inline projection with documents and one with handlers have in common: its options, when it is rejected, and that one program
 * after the other does it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import { type EventStoreError, storeError, StoreMisconfigured, StoreUnavailable } from "../../core/errors.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import { logEvent } from "../../core/telemetry/logEvent.ts"
import type { EventStoreDriver } from "../../eventStore/driver/EventStoreDriver.ts"
import { describeMaker, type RegisteredInlineProjection } from "../../eventStore/driver/InlineProjectionsDriver.ts"
import type * as Projection from "../Projection.ts"
import type { ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as InlineReads from "./InlineReads.ts"

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

/**
 * Sets what happens to an append that leaves out a registered projection, whether or not its documents are complete. The definition must have passed
 * `requireSameKind`: a program that fails to start changes nothing for others.
 *
 * @since 0.1.0
 * @category combinators
 */
export const setRequired = (
  { log }: Stores,
  found: RegisteredInlineProjection | undefined,
  appendsWithout: AppendsWithout
): Effect.Effect<void, EventStoreError> =>
  found === undefined || appendsWithout === undefined || found.isRequired === (appendsWithout === "reject")
    ? Effect.void
    : log.inlineProjections.setRequired(found.projection, appendsWithout === "reject")

/**
 * Fails with `StoreMisconfigured`.
 *
 * @since 0.1.0
 * @category errors
 */
export const rejected = (message: string): Effect.Effect<never, EventStoreError> =>
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
 *
 * @since 0.1.0
 * @category guards
 */
export const requireNoCheckpoints = Effect.fnUntraced(function*(
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

/** The longest pause between two looks whether another program has ended, in milliseconds. */
const maxTurnPause = 1_000

/**
 * Runs an effect in a transaction, unless another program makes or registers the projection, or exchanges its documents. Then it returns none. With
 * `edition`, the exchange of that edition is the caller's own.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ifFree = <A>(
  { documents, log: { inlineProjections } }: Stores,
  projection: string,
  waits: boolean,
  effect: Effect.Effect<A, EventStoreError>,
  edition?: bigint
): Effect.Effect<Option.Option<A>, EventStoreError> =>
  Effect.map(
    documents.transaction(inlineProjections.exclusively(
      projection,
      waits,
      Effect.flatMap(
        inlineProjections.exchanges.isHeld(projection, edition),
        (isHeld) => isHeld ? Effect.succeedNone : Effect.asSome(effect)
      )
    )),
    Option.flatten
  )

/**
 * Runs an effect in a transaction, while no other program makes or registers the projection, or exchanges its documents. While one does it looks again at
 * intervals, and occupies no connection in between. With `edition`, the exchange of that edition is the caller's own.
 *
 * @since 0.1.0
 * @category combinators
 */
export const inTurn = Effect.fnUntraced(function*<A>(
  stores: Stores,
  projection: string,
  effect: Effect.Effect<A, EventStoreError>,
  edition?: bigint
): Effect.fn.Return<A, EventStoreError> {
  const { inlineProjections } = stores.log
  const began = yield* monotonicMillis
  for (let attempts = 1; true; attempts++) {
    const result = yield* ifFree(stores, projection, true, effect, edition)
    if (Option.isSome(result)) return result.value
    const maker = yield* inlineProjections.maker(projection)
    const byWhom = maker === undefined ? "another program" : describeMaker(maker)
    if ((yield* monotonicMillis) - began >= inlineProjections.maxWait) {
      return yield* Effect.fail(storeError(
        new StoreUnavailable({
          message: `Inline projection "${projection}" is being made by ${byWhom}, and this program has waited ${
            Duration.format(Duration.millis(inlineProjections.maxWait))
          } (maintenanceTimeout); try again later, or end the session`,
          cause: undefined
        })
      ))
    }
    if (attempts === 1 && edition === undefined && maker !== undefined) {
      yield* logEvent(
        "inline.waiting",
        `This program waits: inline projection "${projection}" is being made by ${byWhom}`,
        { consumer: projection }
      )
    }
    // In its own exchange it only meets programs that look whether it has ended.
    yield* Effect.sleep(Math.min((edition === undefined ? 50 : 2) * 2 ** attempts, maxTurnPause))
  }
})
