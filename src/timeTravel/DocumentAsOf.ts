/**
 * Documents of projections as they were, folded from the log.
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
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as DocumentFold from "../projection/DocumentFold.ts"
import * as LiveProjection from "../projection/LiveProjection.ts"
import type * as Projection from "../projection/ProjectionDefinition.ts"
import * as asOfReads from "./asOfReads.ts"

/**
 * - `find`: by which query the events of the document are found, best by tags; it must select every event whose keys include that of the
 *   document. By default the projection's own `find`, or all events of the types that it takes
 *
 * @since 0.1.0
 * @category options
 */
export interface DocumentOptions {
  readonly find?: EventQuery.EventQuery | undefined
}

/**
 * A document at a moment, and the events that made it, oldest first, which are read when the Stream is run. None where there was no document.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentAsOf<out Document, out E> extends asOfReads.AsOfPoint {
  readonly document: Option.Option<Document>
  readonly events: Stream.Stream<RecordedEvent<E>, EventStoreError>
}

/**
 * - `recorded`: an event that touches the document, as it is in the log
 * - `events`: what it means today: mostly one event
 * - `document`: the document after it, if there is one
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentStep<out Document, out E> {
  readonly recorded: EncodedEvent
  readonly events: ReadonlyArray<E>
  readonly document: Option.Option<Document>
}

type DocumentOf<P extends Projection.Any> = P["document"]["Type"]
type EventOf<P extends Projection.Any> = Event.Of<P["events"]>

interface Step<P extends Projection.Any> {
  readonly recorded: EncodedEvent
  readonly records: ReadonlyArray<RecordedEvent<EventOf<P>>>
  /** For whoever wants it. */
  readonly encoded: Effect.Effect<Option.Option<Schema.Json>, EventStoreError>
}

/** Every event that touches the document, and the document after it. */
const steps = <P extends Projection.Any>(
  store: EventStore.EventStore["Service"],
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  { find }: DocumentOptions
): Stream.Stream<Step<P>, AsOfNotReached | EventStoreError> =>
  Stream.suspend(() => {
    const problem = DocumentCodec.validateKey(key)
    if (problem !== undefined) return Stream.fail(invalidRequest(problem))
    if (projection.reads.length === 0) return Stream.empty
    const { documents, encode, fold } = DocumentFold.inMemory(projection, key)
    const stepOf = (recorded: EncodedEvent): Result.Result<Step<P> | undefined, EventStoreError> =>
      Result.map(fold(recorded), ({ keys, records }) => {
        if (!keys.has(key)) return undefined
        const folded = documents.get(key)
        return {
          recorded,
          // The fold decodes with the projection's own events.
          records: records as ReadonlyArray<RecordedEvent<EventOf<P>>>,
          encoded: folded === undefined ? Effect.succeedNone : Effect.suspend(() =>
            Effect.fromResult(
              // The text was made by JSON.stringify, of a document that is there.
              Result.map(encode(key, folded), ({ document }) => Option.some(JSON.parse(document!) as Schema.Json))
            )
          )
        }
      })
    return asOfReads.matches(store[internals].driver, LiveProjection.queryOf(projection, key, find), asOf).pipe(
      Stream.mapEffect((recorded) => Effect.fromResult(stepOf(recorded))),
      Stream.filter((step) => step !== undefined)
    )
  })

/** A document as a store would answer it. */
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

interface Found<P extends Projection.Any> {
  readonly at: DocumentAsOf<DocumentOf<P>, EventOf<P>>
  readonly json: Option.Option<Schema.Json>
}

const find = Effect.fnUntraced(function*<P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  options: DocumentOptions
): Effect.fn.Return<Found<P>, AsOfNotReached | EventStoreError, EventStore.EventStore> {
  const store = yield* EventStore.EventStore
  const last = yield* Stream.runLast(steps(store, projection, key, asOf, options))
  const json = Option.isSome(last) ? yield* last.value.encoded : Option.none()
  const stood = asOfReads.pointOf(Option.getOrUndefined(Option.map(last, ({ recorded }) => recorded)))
  return {
    json,
    at: {
      ...stood,
      document: yield* Effect.fromResult(decoded(projection, key, json)),
      events: recordsOf(steps(store, projection, key, asOf, options), stood.position)
    }
  }
})

/** The events of steps up to a position, of those that are wanted. */
const recordsOf = <P extends Projection.Any>(
  steps: Stream.Stream<Step<P>, AsOfNotReached | EventStoreError>,
  last: Position.Position,
  wanted: (recorded: EncodedEvent) => boolean = () => true
): Stream.Stream<RecordedEvent<EventOf<P>>, EventStoreError> =>
  steps.pipe(
    Stream.takeWhile(({ recorded }) => recorded.position <= last),
    Stream.flatMap(({ records, recorded }) => wanted(recorded) ? Stream.fromIterable(records) : Stream.empty),
    // It had been reached when the document was read.
    Stream.catchTag("AsOfNotReached", Stream.die)
  )

/**
 * The document of a projection at a moment of the log: what its store would have answered once it had got there, had nothing been parked. It
 * is folded again with today's code, whatever the projection's lifecycle, from the events that `find` selects.
 *
 * **Gotchas**
 *
 * Without `find`, of the projection or of the options, it reads all events of the projection's types from the first on, up to a version or
 * position, or for an instant up to the last: positions grow, recorded times need not.
 *
 * **Example** (a user's document as it was at an instant)
 *
 * ```ts
 * const { document } = yield* TimeTravel.document(Users, userId, AsOf.instant(then))
 * ```
 *
 * @since 0.1.0
 * @category documents
 */
export const document = <P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog,
  options: DocumentOptions = {}
): Effect.Effect<
  DocumentAsOf<DocumentOf<P>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> => Effect.map(find(projection, key, asOf, options), ({ at }) => at)

/**
 * How a document came to a moment: the events that touch it, each with the document after it. Nothing but one page of events is held at a time.
 *
 * @since 0.1.0
 * @category documents
 */
export const documentHistory = <P extends Projection.Any>(
  projection: P,
  key: string,
  asOf: AsOf.OfLog = AsOf.now,
  options: DocumentOptions = {}
): Stream.Stream<
  DocumentStep<DocumentOf<P>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Stream.unwrap(Effect.map(EventStore.EventStore, (store) =>
    Stream.mapEffect(
      steps(store, projection, key, asOf, options),
      Effect.fnUntraced(function*({ encoded, recorded, records }) {
        const document = yield* Effect.fromResult(decoded(projection, key, yield* encoded))
        return { recorded, events: records.map(({ event }) => event), document }
      })
    )))

/**
 * What differs between two moments of a document; no document counts as `null`.
 *
 * @since 0.1.0
 * @category documents
 */
export const documentDiff = <P extends Projection.Any>(
  projection: P,
  key: string,
  { from, to }: asOfReads.Between<AsOf.OfLog>,
  options: DocumentOptions = {}
): Effect.Effect<
  asOfReads.Difference<DocumentAsOf<DocumentOf<P>, EventOf<P>>, EventOf<P>>,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const [before, after] = [yield* find(projection, key, from, options), yield* find(projection, key, to, options)]
    const all = steps(store, projection, key, AsOf.now, options)
    const between = Stream.suspend(() => {
      const [hadBefore, hadAfter] = [asOfReads.had(from), asOfReads.had(to)]
      return recordsOf(all, Position.max(before.at.position, after.at.position), (recorded) => {
        const inBefore = hadBefore(recorded) && recorded.position <= before.at.position
        const inAfter = hadAfter(recorded) && recorded.position <= after.at.position
        return inBefore !== inAfter
      })
    })
    return {
      from: before.at,
      to: after.at,
      changes: asOfReads.changes(before.json, after.json),
      events: between
    }
  })
