/**
 * Inline projections: an append brings their documents up to date in its own transaction.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { UpToDate } from "../../consumer/batch/BatchProcessor.ts"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../../consumer/ConsumerReads.ts"
import * as GenerationId from "../../consumer/GenerationId.ts"
import * as StoreSchemas from "../../consumer/StoreSchemas.ts"
import type { EventStoreError } from "../../core/errors.ts"
import * as HandledEvent from "../../core/HandledEvent.ts"
import { internals } from "../../core/internals.ts"
import type { Position } from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent, NewEvent } from "../../event/RecordedEvent.ts"
import type { AppendRequest, TouchedDocuments as TouchedDocumentsOf } from "../../eventStore/driver/EventStoreDriver.ts"
import {
  coverageOf,
  type InlineProjection,
  type RegisteredInlineProjection
} from "../../eventStore/driver/InlineProjectionsDriver.ts"
import * as EventEncryption from "../../eventStore/EventEncryption.ts"
import * as EventStore from "../../eventStore/EventStore.ts"
import type { Keys } from "../../personalData/KeyStoreLookup.ts"
import * as DocumentBatch from "../DocumentBatch.ts"
import * as KeyOrder from "../KeyOrder.ts"
import type * as Projection from "../Projection.ts"
import * as ProjectionStore from "../ProjectionStore.ts"
import type { ProjectionStoreDriver, StoredDocument } from "../ProjectionStoreDriver.ts"
import * as SharedTransaction from "../SharedTransaction.ts"
import * as DocumentsAhead from "./DocumentsAhead.ts"
import * as InlineDocuments from "./InlineDocuments.ts"
import * as InlineHandlers from "./InlineHandlers.ts"
import * as InlineReads from "./InlineReads.ts"
import type * as InlineRegistration from "./InlineRegistration.ts"
import * as TouchedDocuments from "./TouchedDocuments.ts"

/**
 * Options of inline projections.
 *
 * @since 0.1.0
 * @category options
 */
export interface InlineOptions {
  /**
   * What happens to an append of a program that does not run these projections, although they read its events: a program of another release, or
   * one without this layer.
   *
   * - `"gap"`, the default: the append succeeds. The documents lack its events, so reads fail with `ProjectionIncomplete` until the documents
   *   are made again. During a deployment, old programs continue to append.
   * - `"reject"`: the append fails with `InlineProjectionMissing`. Choose it for a projection that enforces a rule, once every program that
   *   appends has this layer.
   *
   * Without this option the projection keeps what a program has chosen before. A program that chooses otherwise changes it for all.
   */
  readonly appendsWithout?: InlineRegistration.AppendsWithout
  /** The time between two looks for gaps; 10 seconds by default. On a store in memory a program looks only after a change. */
  readonly repairInterval?: Duration.Input | undefined
}

/**
 * Returns a layer of the event store whose appends bring inline projections up to date before they commit: the transaction commits events and
 * documents together, or neither. When a projection fails, the append fails with its error. Layers can be stacked: all of their projections
 * then run.
 *
 * **Details**
 *
 * The first start with a projection makes its documents from the events that the log has, while others append. Appends of the types that it
 * reads wait only at the end. For a projection with handlers nothing is done: it sees what is appended from then on.
 *
 * A definition that reads more under the same version makes the documents again. If it reads less, its reads fail until `repairInline`. Handlers that
 * read more fail to start if the log has such events; so does a projection that had handlers and has documents now, or the reverse.
 *
 * The log then knows the projection. An append of another program that leaves it out makes a gap, or fails: see `InlineOptions`. A program with
 * this layer finds the gap within `repairInterval`, and makes the documents again.
 *
 * **Gotchas**
 *
 * Every program that appends should use this layer with the same projections. The projection store must use the same database client as the
 * event store; otherwise the layer dies when it is built. When a projection is removed from all programs, call `retireInline`.
 *
 * **Example** (a store with one inline projection)
 *
 * ```ts
 * const Store = Projector.layerInline([Users]).pipe(
 *   Layer.provide(PgEventStore.layer),
 *   Layer.provideMerge(PgProjectionStore.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerInline = <const P extends Projection.Any<"inline"> | Projection.AnyHandler<"inline">>(
  projections: ReadonlyArray<P>,
  options: InlineOptions = {}
): Layer.Layer<
  EventStore.EventStore,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<P>
> =>
  Layer.effect(
    EventStore.EventStore,
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { changeAppends, driver: log, keys } = store[internals]
      const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
      if (log.transactions !== documents.transactions) {
        return yield* Effect.die(
          new Error("Projector.layerInline: the event store and the projection store must use the same database client")
        )
      }
      yield* StoreSchemas.requireSame("Projector.layerInline", log, documents)
      const all: ReadonlyArray<Projection.Any | Projection.AnyHandler> = projections
      const ids = [...stackedUnder.get(store) ?? [], ...all.map(({ id }) => id)]
      const twice = ids.find((id, index) => ids.indexOf(id) < index)
      if (twice !== undefined) {
        return yield* Effect.die(
          new Error(
            `Projector.layerInline: the event store already runs the projection "${twice}"; give it to one layer, once`
          )
        )
      }
      const bind = yield* SharedTransaction.make<Projection.Services<P>>("Projector.layerInline", documents, all)
      const inlines = all.map((projection): Inline => ({
        id: projection.id,
        registration: InlineReads.registrationOf(projection, ConsumerReads.of(projection), false),
        documents,
        touchedBy: (stream, events) => TouchedDocuments.of(projection, stream, events),
        follows: EventFilter.matcher({ types: projection.reads, ...projection.where }),
        ...projection._tag === "HandlerProjection"
          ? { projection: undefined, handle: InlineHandlers.inTime(projection, bind(projection)) }
          : { projection, handle: undefined }
      }))
      yield* register({ log, documents }, all, options)
      const changed = changeAppends((request) => withProjections(request, inlines, keys))
      stackedUnder.set(changed, ids)
      return changed
    })
  )

/** The ids of the inline projections that the appends of an event store run. */
const stackedUnder = new WeakMap<EventStore.EventStore["Service"], ReadonlyArray<string>>()

/** Makes the documents that are not complete, and looks for gaps from then on. */
const register = Effect.fnUntraced(function*(
  stores: InlineRegistration.Stores,
  projections: ReadonlyArray<Projection.Any | Projection.AnyHandler>,
  { appendsWithout, repairInterval = "10 seconds" }: InlineOptions
): Effect.fn.Return<void, EventStoreError, Scope.Scope> {
  yield* stores.documents.readInlineFrom(stores.log.inlineProjections)
  const withDocuments: Array<Projection.Any> = []
  for (const projection of projections) {
    if (projection._tag === "HandlerProjection") {
      yield* InlineHandlers.register(stores, projection, appendsWithout)
    } else {
      withDocuments.push(projection)
      yield* InlineDocuments.complete(stores, projection, appendsWithout)
    }
  }
  if (withDocuments.length > 0) {
    const interval = Duration.fromInputUnsafe(repairInterval)
    yield* Effect.forkScoped(InlineDocuments.repairForever(stores, withDocuments, interval))
  }
})

type Inline =
  & {
    readonly id: string
    /** What its appends name. */
    readonly registration: InlineProjection
    readonly follows: ReturnType<typeof EventFilter.matcher>
    readonly documents: ProjectionStoreDriver
    /** Returns the documents that new events will change. */
    readonly touchedBy: (
      stream: AppendRequest["stream"],
      events: ReadonlyArray<NewEvent>
    ) => TouchedDocumentsOf
  }
  & (
    | { readonly projection: Projection.Any; readonly handle: undefined }
    | { readonly projection: undefined; readonly handle: ReturnType<typeof InlineHandlers.inTime> }
  )

/** A projection that an append runs, with the documents that the append has locked for it. */
type Touched = Inline & { readonly locked: TouchedDocumentsOf }

type InTransaction = NonNullable<AppendRequest["inTransaction"]>

/** What the layers that are stacked around this one have added to an append, so that all of its projections run in one order. */
const added = new WeakMap<
  InTransaction,
  Pick<AppendRequest, "inTransaction"> & { readonly touched: ReadonlyArray<Touched> }
>()

/**
 * Returns the append request with the projections that its events touch added to its transaction. They run in the order of their ids, whatever
 * the order in which the program lists them: programs that lock documents in different orders would deadlock.
 */
const withProjections = (request: AppendRequest, projections: ReadonlyArray<Inline>, keys: Keys): AppendRequest => {
  const { inlineProjections: outerProjections, stream } = request
  const followers = request.events.map(({ tags = [], type }) =>
    projections.filter(({ follows }) => follows({ stream, tags, type }))
  )
  const touched = projections.flatMap((one): ReadonlyArray<Touched> => {
    const events = request.events.filter((_, index) => followers[index]!.includes(one))
    return events.length === 0 ? [] : [{ ...one, locked: one.touchedBy(stream, events) }]
  })
  if (touched.length === 0) return request
  const outer = request.inTransaction && added.get(request.inTransaction)
  const all = [...touched, ...outer?.touched ?? []].toSorted((one, other) => KeyOrder.compare(one.id, other.id))
  const rest = outer === undefined ? request.inTransaction : outer.inTransaction
  const upToDate = (events: ReadonlyArray<EncodedEvent>) => EventEncryption.appendUpToDate(keys, request.events, events)
  const inTransaction = project(all, rest, upToDate)
  added.set(inTransaction, { touched: all, inTransaction: rest })
  return {
    ...request,
    inTransaction,
    documentsAhead: rest === undefined ? inSpan(DocumentsAhead.make(request, all, upToDate)) : undefined,
    touchedDocuments: TouchedDocuments.merge([
      ...request.touchedDocuments ?? [],
      ...touched.map(({ locked }) => locked)
    ]),
    inlineProjections: followers.map((ofEvent, index) => [
      ...(outerProjections?.[index] ?? []),
      ...ofEvent.map(({ registration }) => coverageOf(registration, request.events[index]!.type))
    ])
  }
}

const inSpan = Effect.withSpan("Projector.inline")

/** Returns the function that brings the projections up to date in an append's transaction, and then runs the rest of what belongs to it. */
const project = (
  touched: ReadonlyArray<Touched>,
  rest: InTransaction | undefined,
  upToDate: UpToDate
): InTransaction =>
  Effect.fnUntraced(
    function*(appended: ReadonlyArray<EncodedEvent>): Effect.fn.Return<void, EventStoreError> {
      // The append may have waited for locks.
      const events = yield* upToDate(appended)
      // Fold all before writing any: a store without transactions must not keep a part when one of them fails.
      const loaded = yield* loadAll(touched)
      const writes = yield* Effect.forEach(touched, (inline) => fold(inline, events, loaded.get(inline.id)))
      for (const { follows, handle, id } of touched) {
        if (handle === undefined) continue
        yield* HandledEvent.provide(id, events[0]?.position)(
          // One that ran before may have taken its time.
          Effect.forEach(
            events.filter(follows),
            (event) => Effect.flatMap(upToDate([event]), ([now = event]) => handle(now)),
            { discard: true }
          )
        )
      }
      if (rest !== undefined) yield* rest(events)
      for (const [documents, ofStore] of Map.groupBy(writes.flat(), ({ documents }) => documents)) {
        yield* documents.write(ofStore)
      }
    },
    inSpan
  )

/** Returns the documents whose keys are known before the events, by projection: those of each store by one statement. */
const loadAll = Effect.fnUntraced(function*(touched: ReadonlyArray<Touched>) {
  const loaded = new Map<string, ReadonlyArray<StoredDocument>>()
  const known = touched.flatMap(({ documents, id, locked: { keys }, projection }) =>
    projection === undefined || keys === undefined ? [] : [{ documents, generation: id, keys }]
  )
  for (const [documents, ofStore] of Map.groupBy(known, ({ documents }) => documents)) {
    const found = yield* documents.loadAll(ofStore)
    for (const [index, { generation }] of ofStore.entries()) loaded.set(generation, found[index]!)
  }
  return loaded
})

/** Returns the documents that the events touch as they are after the events. */
const fold = (
  { documents, follows, locked, projection }: Touched,
  events: ReadonlyArray<EncodedEvent>,
  loaded: ReadonlyArray<StoredDocument> | undefined
): Effect.Effect<ReadonlyArray<DocumentWrite>, EventStoreError> =>
  projection === undefined ? Effect.succeed([]) : Effect.flatMap(
    DocumentBatch.fold(
      projection,
      ConsumerKey.selectAll(projection, events.filter(follows)),
      (keys) => {
        const error = TouchedDocuments.validate(projection, locked, keys, events.find(follows)!)
        return error !== undefined
          ? Effect.fail(error)
          : loaded === undefined
          ? documents.load(projection.id, keys)
          : Effect.succeed(loaded.filter(({ key }) => keys.includes(key)))
      },
      { onFailure: "stop" }
    ),
    ({ changes, failures: [failure] }) =>
      failure === undefined
        ? Effect.succeed([{ documents, generation: projection.id, changes }])
        : Effect.fail(failure.error)
  )

interface DocumentWrite {
  readonly documents: ProjectionStoreDriver
  readonly generation: string
  readonly changes: DocumentBatch.FoldedBatch["changes"]
}

/**
 * Returns the inline projections that the log knows, and from where each lacks events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inlineProjections: Effect.Effect<
  ReadonlyArray<RegisteredInlineProjection>,
  EventStoreError,
  EventStore.EventStore
> = Effect.flatMap(EventStore.EventStore, (store) => store[internals].driver.inlineProjections.registered)

/**
 * Makes the documents of an inline projection from the log now, if they lack events, or contain events that this definition does not read. Returns
 * whether they did. A program that appends without the projection makes the next gap.
 *
 * **Gotchas**
 *
 * Call it for a definition that reads less than the one before only after the programs of the other release have ended. While they run, they make
 * the documents again by their own.
 *
 * @since 0.1.0
 * @category combinators
 */
export const repairInline = Effect.fnUntraced(function*(
  projection: Projection.Any<"inline">
): Effect.fn.Return<boolean, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore> {
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  const { driver: documents } = (yield* ProjectionStore.ProjectionStore)[internals]
  return yield* InlineDocuments.complete({ log, documents }, projection, undefined, {
    evenIf: "reads less"
  })
})

/**
 * Options of `closeInlineGap`.
 *
 * @since 0.1.0
 * @category options
 */
export interface CloseInlineGapOptions {
  /**
   * The position up to which the tables contain all events. Read it with `EventStore.head` before you read the events that the tables lack: an event at
   * or below it cannot appear later.
   */
  readonly correctedUpTo: Position
}

/**
 * Declares that the tables of an inline projection with handlers contain the events up to a position that it missed, or that this definition reads and an
 * earlier one did not. Returns the position of the first missed event, if there was a gap up to there. Later gaps stay.
 *
 * @since 0.1.0
 * @category combinators
 */
export const closeInlineGap = Effect.fnUntraced(function*(
  projection: Projection.AnyHandler<"inline">,
  { correctedUpTo }: CloseInlineGapOptions
): Effect.fn.Return<Option.Option<Position>, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore> {
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  const { driver: documents } = (yield* ProjectionStore.ProjectionStore)[internals]
  return yield* InlineHandlers.closeGap({ log, documents }, projection, correctedUpTo)
})

/**
 * Retires an inline projection that no program runs any more, given by its id, such as `"orders@1"`: appends do not look for it any more, and its
 * documents are removed. Returns whether the log knew it, or had documents of it. A program that still has it and is started again makes its documents
 * again. When it was interrupted, call it again: until the last document is removed, no worker runs a projection of this id in the background.
 *
 * **Gotchas**
 *
 * Appends of a program that still runs it fail with `StoreMisconfigured` until it is started again. They would change documents that another
 * consumer may have by then.
 *
 * The tables of handlers keep what they have. Empty them before a projection with the same tables runs in the background.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retireInline = Effect.fn("Projector.retireInline")(function*(
  projection: string
): Effect.fn.Return<boolean, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore> {
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  const { driver: documents } = (yield* ProjectionStore.ProjectionStore)[internals]
  const registered = yield* log.inlineProjections.find(projection)
  // An append that runs the projection has ended, or finds it retired.
  const isKnown = registered !== undefined && (yield* documents.transaction(
    log.withoutAppends({ types: registered.reads.types, projection }, log.inlineProjections.unregister(projection))
  ))
  // A name of a generation is the id of no projection.
  if (GenerationId.parse(projection).consumer !== projection) return isKnown
  // Also without a registration: an earlier call may have been interrupted.
  const hasRemoved = yield* InlineDocuments.removeRetired({ log, documents }, projection)
  return isKnown || hasRemoved
})
