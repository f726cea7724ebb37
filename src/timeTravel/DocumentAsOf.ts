/**
 * Projection documents as of a position or instant, folded from the log.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AsOf from "../core/AsOf.ts"
import {
  type AsOfNotReached,
  type EventStoreError,
  invalidRequest,
  storeError,
  UndecodableDocument
} from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import { hasPersonalData } from "../event/EventPersonalData.ts"
import type * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as DocumentFold from "../projection/DocumentFold.ts"
import * as LiveProjection from "../projection/LiveProjection.ts"
import type * as Projection from "../projection/ProjectionDefinition.ts"
import * as asOfReads from "./asOfReads.ts"
import * as upToDate from "./upToDate.ts"

/**
 * Options of the reads below.
 *
 * @since 0.1.0
 * @category options
 */
export interface DocumentOptions<in out P extends Projection.Any = Projection.Any> {
  /**
   * The query that selects the document's events, preferably by tags. It must select every event whose keys include that of the document. By
   * default the projection's own `find`, or all events of the types that the projection handles.
   */
  readonly find?: NoInfer<EventQuery.QueryOf<P["events"]>> | undefined
}

/**
 * A projection document as of a point in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentAsOf<out Document, out E> extends asOfReads.AsOfPoint {
  /** None if there was no document at that point. */
  readonly document: Option.Option<Document>
  /** The events from which the document was folded, oldest first. They are read when the Stream runs. */
  readonly events: Stream.Stream<RecordedEvent<E>, EventStoreError>
}

/**
 * One event of a document's history, and the document after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentStep<out Document, out E> {
  /** The event as stored, in the schema version of its time. */
  readonly encoded: EncodedEvent
  /** The event upcast to the current version: mostly one event, several if an upcaster splits it, none if it drops it. */
  readonly events: ReadonlyArray<E>
  /** The document after the event, if there is one. */
  readonly document: Option.Option<Document>
}

type DocumentOf<P extends Projection.Any> = P["document"]["Type"]
type EventOf<P extends Projection.Any> = Event.Of<P["events"]>

interface Step<P extends Projection.Any> {
  readonly encoded: EncodedEvent
  readonly recordedEvents: ReadonlyArray<RecordedEvent<EventOf<P>>>
  /** The JSON text of the document after the event, if there is one. */
  readonly text: string | undefined
}

/** Returns every event that contributes to the document, with the document after it. */
const steps = <P extends Projection.Any>(
  store: EventStore.EventStore["Service"],
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  { find }: DocumentOptions<P>
): Stream.Stream<Step<P>, AsOfNotReached | EventStoreError> =>
  upToDate.steps(store, hasPersonalData(projection.events))(Stream.unwrap(Effect.gen(function*() {
    const limits = yield* Limits
    const problem = DocumentCodec.validateKey(key)
      ?? LiveProjection.validateFind(projection, find ?? projection.find?.(key))
    if (problem !== undefined) return Stream.fail(invalidRequest(problem))
    if (projection.reads.length === 0) return Stream.empty
    const { documents, fold } = DocumentFold.inMemory(projection, limits, key)
    const stepOf = (encoded: EncodedEvent): Result.Result<Step<P> | undefined, EventStoreError> =>
      Result.map(fold(encoded), ({ keys, records }) => {
        if (!keys.has(key)) return undefined
        return {
          encoded,
          // The fold decodes with the projection's own events.
          recordedEvents: records as ReadonlyArray<RecordedEvent<EventOf<P>>>,
          text: documents.get(key)?.document
        }
      })
    const { driver } = store[internals]
    const query = LiveProjection.queryOf(projection, key, find)
    yield* LiveProjection.rejectUntagged(driver, projection, query)
    return asOfReads.matchesAsOf(store, query, asOf).pipe(
      Stream.mapEffect((encoded) => Effect.fromResult(stepOf(encoded))),
      Stream.filter((step) => step !== undefined)
    )
  })))

const jsonOf = ({ text }: Pick<Step<Projection.Any>, "text">): Option.Option<Schema.Json> =>
  // JSON.stringify made the text.
  text === undefined ? Option.none() : Option.some(parseJson(text))

/** Decodes a document as the projection store does. */
const decoded = <P extends Projection.Any>(
  projection: P,
  key: string,
  json: Option.Option<Schema.Json>
): Result.Result<Option.Option<DocumentOf<P>>, EventStoreError> =>
  Option.match(json, {
    onNone: () => Result.succeedNone,
    onSome: (json) =>
      Result.mapBoth(DocumentCodec.of(projection).decode(json), {
        onFailure: (detail) => storeError(new UndecodableDocument({ projection: projection.id, key, detail })),
        onSuccess: Option.some
      })
  })

interface FoldedAsOf<P extends Projection.Any> {
  readonly asOf: DocumentAsOf<DocumentOf<P>, EventOf<P>>
  readonly json: Option.Option<Schema.Json>
}

const foldAsOf = Effect.fnUntraced(function*<P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  options: DocumentOptions<P>
): Effect.fn.Return<FoldedAsOf<P>, AsOfNotReached | EventStoreError, EventStore.EventStore> {
  const store = yield* EventStore.EventStore
  const last = yield* Stream.runLast(steps(store, projection, key, asOf, options))
  const json = Option.flatMap(last, jsonOf)
  const point = asOfReads.pointOf(Option.getOrUndefined(Option.map(last, ({ encoded }) => encoded)))
  return {
    json,
    asOf: {
      ...point,
      document: yield* Effect.fromResult(decoded(projection, key, json)),
      events: eventsOf(steps(store, projection, key, asOf, options), point.position)
    }
  }
})

/** Returns the decoded events of steps up to a position that satisfy the predicate. */
const eventsOf = <P extends Projection.Any>(
  steps: Stream.Stream<Step<P>, AsOfNotReached | EventStoreError>,
  last: Position.Position,
  isIncluded: (event: EncodedEvent) => boolean = () => true
): Stream.Stream<RecordedEvent<EventOf<P>>, EventStoreError> =>
  steps.pipe(
    Stream.takeWhile(({ encoded }) => encoded.position <= last),
    Stream.flatMap(({ encoded, recordedEvents }) =>
      isIncluded(encoded) ? Stream.fromIterable(recordedEvents) : Stream.empty
    ),
    // The document was read before, so the log has reached this point.
    Stream.catchTag("AsOfNotReached", Stream.die)
  )

/**
 * Returns a projection document as of a position or instant: the document that the projection store would have returned at that point, had
 * no stream been parked. It is folded from the events that `find` selects, with the current code, whatever the projection's lifecycle.
 *
 * **Gotchas**
 *
 * Without `find`, of the projection or of the options, it reads all events of the projection's types, from the first up to the position.
 * For an instant it reads up to the last event, because recorded times need not grow with positions.
 *
 * **Example** (a user's document as of an instant)
 *
 * ```ts
 * const { document } = yield* TimeTravel.document(Users, userId, AsOf.instant(then))
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const document = <P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  options: DocumentOptions<P> = {}
): Effect.Effect<
  DocumentAsOf<DocumentOf<P>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> => Effect.map(foldAsOf(projection, key, asOf, options), (folded) => folded.asOf)

/**
 * Returns the history of a document: the events that contribute to it, up to a point in time, each with the document after it. Only one page
 * of events is in memory at a time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentHistory = <P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog = AsOf.now,
  options: DocumentOptions<P> = {}
): Stream.Stream<
  DocumentStep<DocumentOf<P>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Stream.unwrap(Effect.map(EventStore.EventStore, (store) =>
    Stream.mapEffect(
      steps(store, projection, key, asOf, options),
      ({ encoded, recordedEvents, text }) =>
        Effect.fromResult(Result.map(decoded(projection, key, jsonOf({ text })), (document) => ({
          encoded,
          events: recordedEvents.map(({ event }) => event),
          document
        })))
    )))

/**
 * Returns the difference between a document as of two points in time. A missing document counts as `null`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentDiff = <P extends Projection.Any>(
  projection: P,
  key: string,
  { from, to }: asOfReads.Between<AsOf.OfLog>,
  options: DocumentOptions<P> = {}
): Effect.Effect<
  asOfReads.Difference<DocumentAsOf<DocumentOf<P>, EventOf<P>>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  upToDate.read(
    hasPersonalData(projection.events),
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const before = yield* foldAsOf(projection, key, from, options)
      const after = yield* foldAsOf(projection, key, to, options)
      const all = steps(store, projection, key, AsOf.now, options)
      const between = Stream.suspend(() => {
        const [isBeforeFrom, isBeforeTo] = [asOfReads.includedAsOf(from), asOfReads.includedAsOf(to)]
        return eventsOf(all, Position.max(before.asOf.position, after.asOf.position), (event) => {
          const inBefore = isBeforeFrom(event) && event.position <= before.asOf.position
          const inAfter = isBeforeTo(event) && event.position <= after.asOf.position
          return inBefore !== inAfter
        })
      })
      return {
        from: before.asOf,
        to: after.asOf,
        changes: asOfReads.changes(before.json, after.json),
        events: between
      }
    })
  )
