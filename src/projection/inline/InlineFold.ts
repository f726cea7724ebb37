/**
 * Folds the events of an inline projection from the log into a generation of its own, or one beside the documents that are read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EncodedDocument } from "../../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import * as EventQuery from "../../event/EventQuery.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import { Limits } from "../../eventStore/Limits.ts"
import * as DocumentBatch from "../DocumentBatch.ts"
import type * as Projection from "../Projection.ts"
import type * as InlineRegistration from "./InlineRegistration.ts"

/**
 * Returns the generation to which the documents of a registered projection are made, while its own are read.
 *
 * @since 0.1.0
 * @category accessors
 */
export const asideOf = (projection: string): string => `${projection}~inline`

/**
 * Writes documents of a generation.
 *
 * @since 0.1.0
 * @category combinators
 */
export const write = (
  { documents }: InlineRegistration.Stores,
  generation: string,
  changes: ReadonlyArray<EncodedDocument>
) => documents.write([{ generation, changes }])

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

/** The maximum number of times that the events are folded which others have appended in the meantime. */
const maxRounds = 10

/** The last round folds at most this number of events. The events after it are folded while appends wait. */
const fewEvents = 100

/**
 * Folds the committed events, and returns the position up to which it did. It keeps no append out: only what others commit while it folds the last events
 * is left.
 *
 * @since 0.1.0
 * @category folding
 */
export const foldCommitted = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string
): Effect.fn.Return<Position.Position, EventStoreError> {
  let after = yield* foldUpToHead(stores, projection, aside)
  for (let rounds = 0; rounds < maxRounds && projection.reads.length > 0; rounds++) {
    // The high-water mark of the log may be far below while an append of another type is in flight.
    const upTo = yield* stores.log.highWaterMarkOf({
      types: projection.reads,
      waiter: `A change of inline projection "${projection.id}"`
    })
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
 * The result of a fold.
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded {
  /** The position up to which all visible events are folded. */
  readonly reached: Position.Position
  /** The keys of the documents that the events change. */
  readonly keys: ReadonlySet<string>
  /** The number of the events. */
  readonly count: number
}

/**
 * Folds the visible events after a position, also above the high-water mark. No further event of their types may appear at or below `upTo`; without it,
 * none at all meanwhile.
 *
 * @since 0.1.0
 * @category folding
 */
export const foldVisible = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string,
  range: { readonly after: Position.Position; readonly upTo?: Position.Position }
): Effect.fn.Return<Folded, EventStoreError> {
  const { pageSize: limit } = yield* Limits
  const follows = EventFilter.matcher({ types: projection.reads, ...projection.where })
  const query = EventQuery.ofStoredTypes([{ types: projection.reads, tags: projection.where.tags }])
  const isWithin = ({ position }: EncodedEvent) => range.upTo === undefined || position <= range.upTo
  let { after } = range
  let basis: ReadonlyArray<LogPosition.LogPosition> = []
  const keys = new Set<string>()
  let count = 0
  while (projection.reads.length > 0 && (range.upTo === undefined || after < range.upTo)) {
    // Not readAll: the high-water mark may be below an event of these types while an append of another type is in flight.
    const { events, head, reached } = yield* stores.log.readByQuery({ query, after, limit, basis })
    const selected = events.filter((event) => follows(event) && isWithin(event))
    for (const key of yield* foldPage(stores, projection, aside, selected)) keys.add(key)
    count += selected.length
    const last = events.at(-1)
    // The high-water mark may be below them; they must not be folded again.
    const next = last !== undefined && last.position > reached.position ? LogPosition.ofEvent(last) : reached
    after = Position.max(after, next.position)
    basis = [next]
    if (events.length < limit && reached.position >= head) break
  }
  return { reached: range.upTo ?? after, keys, count }
})

/** Folds events, and returns the keys of the documents that they change. */
const foldPage = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projection: Projection.Any,
  aside: string,
  events: ReadonlyArray<EncodedEvent>
): Effect.fn.Return<ReadonlyArray<string>, EventStoreError> {
  if (events.length === 0) return []
  const load = (keys: ReadonlyArray<string>) => stores.documents.load(aside, keys)
  const { changes, failures: [failure] } = yield* DocumentBatch.fold(
    projection,
    ConsumerKey.selectAll(projection, events),
    load,
    { onFailure: "stop" }
  )
  if (failure !== undefined) return yield* Effect.fail(failure.error)
  yield* write(stores, aside, changes)
  return changes.map(({ key }) => key)
})
