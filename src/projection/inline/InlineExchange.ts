/**
 * Exchanges the documents of an inline projection for those that were made from the log, in bounded steps, while others append.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { EventStoreError } from "../../core/errors.ts"
import type * as Position from "../../core/Position.ts"
import type { InlineProjection } from "../../eventStore/driver/InlineProjectionsDriver.ts"
import { Limits } from "../../eventStore/Limits.ts"
import type * as Projection from "../Projection.ts"
import * as InlineFold from "./InlineFold.ts"
import * as InlineRegistration from "./InlineRegistration.ts"

/**
 * An exchange that was begun.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exchange {
  readonly projection: Projection.Any
  readonly edition: bigint
  /** The position up to which all visible events are folded. */
  readonly reached: Position.Position
  /** The number of changes of documents by events that the projection does not read. */
  readonly changes: number
}

/**
 * Begins an exchange, in the transaction in which appends are kept out and the last events were folded. From its commit to the end of the exchange the
 * projection has a gap, so that no read returns the documents.
 *
 * @since 0.1.0
 * @category constructors
 */
export const begin = Effect.fnUntraced(function*(
  { log: { inlineProjections: { exchanges } } }: InlineRegistration.Stores,
  projection: Projection.Any,
  registration: InlineProjection,
  reached: Position.Position
): Effect.fn.Return<Exchange, EventStoreError> {
  const edition = yield* exchanges.begin(registration, reached)
  return { projection, edition, reached, changes: yield* exchanges.changes(projection.id) }
})

/** The maximum number of documents that one step compares, besides those that were changed since the one before. */
const maxPage = 1_000

/** How often it begins again with the first document; then one step compares all. */
const maxRestarts = 3

/**
 * Exchanges the documents, and closes the gaps. Returns false if another program has begun to, or the projection was retired.
 *
 * **Details**
 *
 * Each step is a transaction of its own, in which no append of the projection is in flight. It folds the events of the appends since the step before, and
 * copies the documents of these and the next page. So the documents up to that page are right, and appends fold on from them. If a program with another
 * definition has changed documents by an event that this one does not read, nothing says which: then it begins with the first page again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  { changes, edition, projection, reached }: Exchange
): Effect.fn.Return<boolean, EventStoreError> {
  const { inlineProjections } = stores.log
  const { exchanges } = inlineProjections
  const { id } = projection
  const limit = Math.min((yield* Limits).pageSize, maxPage)
  const aside = InlineFold.asideOf(id)
  const state = { after: reached, changes, restarts: 0, key: "", isLast: false }
  const copyPage = Effect.gen(function*() {
    const keys = yield* stores.documents.keysPage({ generations: [id, aside], after: state.key, limit })
    yield* stores.documents.copyDocuments(id, aside, keys)
    state.key = keys.at(-1) ?? state.key
    state.isLast = keys.length < limit
  })
  const step = Effect.gen(function*() {
    if (!(yield* exchanges.renew(id, edition))) return "lost"
    const folded = yield* InlineFold.foldVisible(stores, projection, aside, { after: state.after })
    state.after = folded.reached
    yield* stores.documents.copyDocuments(id, aside, Array.from(folded.keys))
    const found = yield* exchanges.changes(id)
    if (found !== state.changes) Object.assign(state, { changes: found, restarts: state.restarts + 1, key: "" })
    do yield* copyPage
    while (!state.isLast && state.restarts > maxRestarts)
    if (state.isLast) yield* inlineProjections.closeGaps(id, Effect.void)
    return state.isLast ? "ended" : "goes on"
  })
  const inTurn = InlineRegistration.inTurn(
    stores,
    id,
    stores.log.withoutAppends({ types: projection.reads, projection: id, patience: "long" }, step),
    edition
  )
  return yield* Effect.onExit(
    Effect.map(Effect.repeat(inTurn, { while: (result) => result === "goes on" }), (result) => result === "ended"),
    // Without it, others would wait for a minute.
    (exit) => Exit.isSuccess(exit) ? Effect.void : Effect.ignore(exchanges.end(id, edition))
  )
})
