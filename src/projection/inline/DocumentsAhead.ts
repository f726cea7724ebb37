/**
 * The documents of inline projections after an append, computed before it. The store then writes events and documents by one statement. If a
 * document has changed meanwhile, it runs the projections in the transaction of the append.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { UpToDate } from "../../consumer/batch/BatchProcessor.ts"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import type { EventStoreError } from "../../core/errors.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type {
  AppendRequest,
  DocumentAhead,
  TouchedDocuments as TouchedDocumentsOf
} from "../../eventStore/driver/EventStoreDriver.ts"
import * as DocumentBatch from "../DocumentBatch.ts"
import * as DocumentFold from "../DocumentFold.ts"
import type * as Projection from "../Projection.ts"
import type { ProjectionStoreDriver, StoredDocument } from "../ProjectionStoreDriver.ts"
import * as TouchedDocuments from "./TouchedDocuments.ts"

/**
 * A projection that an append runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Touched {
  readonly documents: ProjectionStoreDriver
  /** The projection; undefined if it has handlers. */
  readonly projection: Projection.Any | undefined
  readonly follows: (event: EncodedEvent) => boolean
  readonly locked: TouchedDocumentsOf
}

/** A projection whose documents can be computed: their keys are known before the append. */
interface Computable {
  readonly projection: Projection.Any
  readonly follows: Touched["follows"]
  readonly locked: TouchedDocumentsOf
  readonly keys: ReadonlyArray<string>
}

/**
 * Returns the documents of projections after an append. Returns undefined if they cannot be computed before: a projection has handlers, its code reads the
 * place of an event in the log, or it fails, which the transaction of the append reports.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { events, stream }: AppendRequest,
  touched: ReadonlyArray<Touched>,
  upToDate: UpToDate
): Effect.Effect<ReadonlyArray<DocumentAhead> | undefined, EventStoreError> => {
  const [first] = touched
  if (first === undefined || touched.some(({ documents }) => documents !== first.documents)) return Effect.undefined
  const computable = touched.flatMap(({ follows, locked, projection }): ReadonlyArray<Computable> =>
    projection === undefined || locked.keys === undefined ? [] : [{ projection, follows, locked, keys: locked.keys }]
  )
  if (computable.length < touched.length) return Effect.undefined
  return Effect.gen(function*() {
    const unplaced = yield* upToDate(events.map((event) => TouchedDocuments.unplaced(stream, event)))
    const loaded = yield* first.documents.loadAll(
      computable.map(({ keys, projection }) => ({ generation: projection.id, keys }))
    )
    const ahead: Array<DocumentAhead> = []
    for (const [index, one] of computable.entries()) {
      const folded = yield* fold(one, unplaced.filter(one.follows), loaded[index]!)
      if (folded === undefined) return undefined
      const revisions = new Map(folded.reads.map(({ key, revision }) => [key, revision]))
      for (const { document, indexed, key } of yield* first.documents.toStored(folded.changes)) {
        ahead.push({ generation: one.projection.id, key, document, indexed, from: revisions.get(key) ?? 0n })
      }
    }
    return ahead
  })
}

/** Returns the documents after the events; undefined if the code of the projection reads their place, or fails. */
const fold = Effect.fnUntraced(function*(
  { keys, locked, projection }: Computable,
  events: ReadonlyArray<EncodedEvent>,
  loaded: ReadonlyArray<StoredDocument>
): Effect.fn.Return<DocumentBatch.FoldedBatch | undefined, EventStoreError> {
  let isUnknown = false
  const onRead = () => {
    isUnknown = true
  }
  const decode = (event: EncodedEvent) =>
    DocumentFold.decode(projection, event, (record) => TouchedDocuments.withoutPlace(record, onRead))
  const folded = yield* DocumentBatch.fold(
    projection,
    ConsumerKey.selectAll(projection, events),
    (wanted) => {
      if (TouchedDocuments.validate(projection, locked, wanted, events[0]!) !== undefined) isUnknown = true
      return Effect.succeed(loaded.filter(({ key }) => keys.includes(key) && wanted.includes(key)))
    },
    { onFailure: "stop", decode }
  )
  return isUnknown || folded.failures.length > 0 ? undefined : folded
})
