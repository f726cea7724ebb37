/**
 * Whether the documents of an inline projection lack no event.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Consumer } from "../../consumer/Consumer.ts"
import * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import { type EventStoreError, ProjectionIncomplete, storeError } from "../../core/errors.ts"
import type { RegisteredInlineProjection } from "../../eventStore/driver/InlineProjectionsDriver.ts"
import type * as Projection from "../ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as InlineReads from "./InlineReads.ts"

/** The parts of a projection that say which events it reads. */
type Reading = Pick<Consumer, "documentKeysOf" | "events" | "handles" | "reads" | "where">

/**
 * Returns whether the documents of an inline projection, as the log knows it, have exactly the events that a definition reads.
 *
 * @since 0.1.0
 * @category guards
 */
export const isComplete = (
  projection: Reading,
  registered: RegisteredInlineProjection | undefined
): boolean =>
  registered !== undefined && registered.missedFrom === undefined
  && InlineReads.isSame(InlineReads.ofRegistered(registered), ConsumerReads.of(projection))

/**
 * Returns the error of a read of an inline projection, if it is not complete. Handlers of an older definition leave out what it does not read: the tables
 * are complete all the same.
 *
 * @since 0.1.0
 * @category accessors
 */
export const whyIncomplete = (
  consumer: Reading & Pick<Consumer, "id">,
  registered: RegisteredInlineProjection | undefined
): ProjectionIncomplete | undefined => {
  if (isComplete(consumer, registered)) return undefined
  if (registered === undefined) return new ProjectionIncomplete({ projection: consumer.id })
  const [reads, stored] = [ConsumerReads.of(consumer), InlineReads.ofRegistered(registered)]
  const isHandled = reads.keeps === "handlers" && stored.keeps === "handlers" && ConsumerReads.isWithin(reads, stored)
  const difference = isHandled ? undefined : InlineReads.difference(stored, reads)
  const position = registered.missedFrom
  if (difference === undefined && position === undefined) return undefined
  return new ProjectionIncomplete({
    projection: consumer.id,
    ...(difference === undefined ? {} : { difference }),
    ...(position === undefined ? {} : { position })
  })
}

/** How often a read is repeated because the documents were made again in the meantime. */
const maxReads = 5

/**
 * Returns a function that reads documents of an inline projection, and fails when they may lack events.
 *
 * **Details**
 *
 * It looks after the read whether there is a gap. In between, a gap may have been closed; then the edition is another than before the read, and
 * it reads again. Editions are remembered, so that a read needs one look only.
 *
 * @since 0.1.0
 * @category constructors
 */
export const reader = (documents: ProjectionStoreDriver) => {
  const editions = new Map<string, bigint>()
  return Effect.fnUntraced(function*<A>(
    projection: Projection.Any,
    read: Effect.Effect<A, EventStoreError>
  ): Effect.fn.Return<A, EventStoreError> {
    for (let reads = 0; reads < maxReads; reads++) {
      const before = editions.get(projection.id)
      const result = yield* read
      const registered = yield* documents.inlineProjection(projection.id)
      const reason = whyIncomplete(projection, registered)
      if (reason !== undefined) return yield* storeError(reason)
      if (registered?.edition === before) return result
      editions.set(projection.id, registered!.edition)
    }
    return yield* storeError(new ProjectionIncomplete({ projection: projection.id }))
  })
}
