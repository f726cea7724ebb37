/**
 * The event store driver in memory.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { type EventStoreError, InlineProjectionMissing, LogDiverged, storeError } from "../../core/errors.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Version from "../../core/Version.ts"
import * as EventHash from "../../event/EventHash.ts"
import { matches } from "../../event/EventQuery.ts"
import { toEncodedEvent } from "../../event/RecordedEvent.ts"
import * as MemorySnapshotDriver from "../../snapshot/MemorySnapshotDriver.ts"
import type { AppendRequest, AppendResult, EventStoreDriver, LogPage } from "../driver/EventStoreDriver.ts"
import { Limits } from "../Limits.ts"
import * as ReaderWakeups from "../ReaderWakeups.ts"
import * as MemoryInlineProjections from "./MemoryInlineProjections.ts"
import * as MemoryLog from "./MemoryLog.ts"

/**
 * Options of the event store in memory.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryOptions {
  /** Links every event by a hash to the one before it in its stream, for `HashChain.verify`; false by default. */
  readonly hashChain?: boolean | undefined
}

/**
 * Makes a driver with an empty log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  options: MemoryOptions = {}
): Effect.fn.Return<EventStoreDriver, never, Scope.Scope> {
  const digest = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
  const log = MemoryLog.make()
  const inlineProjections = MemoryInlineProjections.make()
  const head = Effect.sync(() => MemoryLog.headOf(log))
  const watch = yield* ReaderWakeups.make({ head, endsBelow: true })
  // One append at a time, because `inTransaction` may suspend between the check and the write.
  const turn = Semaphore.makeUnsafe(1)
  const hash = options.hashChain === true ? chain(digest) : Effect.succeed<ReadonlyArray<MemoryLog.Row>>

  return {
    ...lookups(log),
    transactions: "memory",
    inTransaction: (caller) => Context.get(caller, Turns).includes(turn),
    outsideTransaction: undefined,
    // An interruption must not come between what `inTransaction` has written and the events.
    append: (request) =>
      turn.withPermit(
        Effect.uninterruptible(
          Effect.tap(
            inTurn(turn, append(log, inlineProjections, request, hash)),
            ({ _tag }) => _tag === "Appended" ? watch.wake : Effect.void
          )
        )
      ),
    withoutAppends: (_keptOut, effect) => turn.withPermit(effect),
    highWaterMarkOf: () => head,
    readStream: (page) => Effect.sync(() => MemoryLog.streamPage(log, page)),
    readAll: (page) =>
      Effect.suspend(() => {
        const { after, afterCount, afterEventId = "", countSince } = page
        if (afterEventId !== "" && MemoryLog.eventIdAt(log, after) !== afterEventId) {
          return Effect.fail(storeError(new LogDiverged({ eventId: afterEventId, position: after })))
        }
        const found = afterCount && MemoryLog.countBetween(log, afterCount.since, after).events
        if (afterCount !== undefined && found !== afterCount.events) {
          const missing = afterCount.events - found!
          return Effect.fail(storeError(new LogDiverged({ eventId: afterEventId, position: after, missing })))
        }
        const head = MemoryLog.headOf(log)
        return Effect.map(Limits, ({ scannedPositions }) => ({
          ...pageOf(page, MemoryLog.find(log, { ...page, scannedPositions }, MemoryLog.partitionMatcher(page))),
          ...headOf(log),
          ...(countSince === undefined ? {} : { headCount: MemoryLog.countBetween(log, countSince, head) }),
          assigned: head
        }))
      }),
    readStored: (page) => Effect.sync(() => ({ events: MemoryLog.storedPage(log, page), head: MemoryLog.headOf(log) })),
    ...readsOfHealth(log),
    readByQuery: readByQuery(log),
    head,
    last: head,
    inFlight: Effect.map(DateTime.now, (readAt) => ({ readAt, appends: [] })),
    lockHolders: Effect.succeed([]),
    restore: (request) =>
      turn.withPermit(Effect.tap(
        Effect.sync(() => {
          const result = MemoryLog.restore(log, request)
          if (result._tag === "Restored") inlineProjections.record(inlineProjections.gapsOf(request.events))
          return result
        }),
        watch.wake
      )),
    closedStreams: (page) => Effect.sync(() => MemoryLog.closedPage(log, page)),
    eventTypes: Effect.sync(() => MemoryLog.eventTypes(log)),
    visibleEventTypes: (after) => Effect.sync(() => MemoryLog.eventTypes(log, after).types),
    // It searches the events themselves.
    unindexedTags: () => Effect.succeed([]),
    tagIndex: () => Effect.succeed({ extra: [], last: undefined }),
    changed: watch.changed,
    snapshots: MemorySnapshotDriver.make(),
    inlineProjections
  }
})

/** Fails if the log does not have one of these events. */
const requireBasis = (
  log: MemoryLog.MemoryLog,
  basis: ReadonlyArray<LogPosition.LogPosition> = []
): Effect.Effect<void, EventStoreError> => {
  const missing = basis.find((event) => MemoryLog.isMissing(log, event))
  if (missing === undefined) return Effect.void
  const { eventId = "", position } = missing
  return Effect.fail(storeError(new LogDiverged({ eventId, position })))
}

const readByQuery = (log: MemoryLog.MemoryLog): EventStoreDriver["readByQuery"] => (page) =>
  Effect.flatMap(Limits, ({ scannedPositions }) =>
    Effect.map(requireBasis(log, page.basis), () => ({
      ...pageOf(page, MemoryLog.find(log, { ...page, scannedPositions }, (row) => matches(page.query, row))),
      ...headOf(log)
    })))

const headOf = (log: MemoryLog.MemoryLog) => ({
  head: MemoryLog.headOf(log),
  headEventId: log.rows.at(-1)?.id
})

const readsOfHealth = (
  log: MemoryLog.MemoryLog
): Pick<EventStoreDriver, "lag" | "partitionLags" | "eventsAt" | "eventCounts"> => ({
  lag: (request) => Effect.map(Limits, ({ scannedPositions }) => MemoryLog.lag(log, { ...request, scannedPositions })),
  partitionLags: ({ dividedBy, partitions, ...request }) =>
    Effect.map(Limits, ({ scannedPositions }) =>
      partitions.map(({ after, index }) => {
        const partition = dividedBy && { ...dividedBy, index }
        return MemoryLog.partitionLag(log, { ...request, after, partition, scannedPositions })
      })),
  eventsAt: (positions) =>
    Effect.sync(() => log.rows.filter(({ position }) => positions.includes(position)).map(MemoryLog.encodedOf)),
  eventCounts: (ranges) =>
    Effect.sync(() => ranges.map(({ after, to }) => Math.max(0, MemoryLog.countBetween(log, after, to).events)))
})

const pageOf = (
  { after, afterEventId }: Pick<LogPage, "after" | "afterEventId">,
  { last, rows }: MemoryLog.FoundRows
) => ({
  events: rows.map(MemoryLog.encodedOf),
  reached: last === undefined ? LogPosition.make(after, afterEventId) : LogPosition.ofEvent(last)
})

/** The turns that the appends hold in whose transactions an effect runs. */
const Turns = Context.Reference<ReadonlyArray<Semaphore.Semaphore>>("evsrc/eventStore/MemoryEventStore/Turns", {
  defaultValue: () => []
})

const inTurn = <A, E>(turn: Semaphore.Semaphore, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Turns, (turns) => Effect.provideService(effect, Turns, [...turns, turn]))

type HashRows = (
  rows: ReadonlyArray<MemoryLog.Row>,
  last: string | undefined
) => Effect.Effect<ReadonlyArray<MemoryLog.Row>>

const append = Effect.fnUntraced(function*(
  log: MemoryLog.MemoryLog,
  inlineProjections: MemoryInlineProjections.MemoryInlineProjections,
  request: AppendRequest,
  hash: HashRows
): Effect.fn.Return<AppendResult, EventStoreError> {
  const { events, inTransaction, stream } = request
  const rejection = MemoryLog.rejectionOf(log, request)
  if (rejection !== undefined) return rejection
  const recordedAt = yield* DateTime.now
  const rows = yield* hash(
    MemoryLog.rowsOf(log, request, recordedAt),
    MemoryLog.streamOf(log, stream).at(-1)?.hash
  )
  const gaps = inlineProjections.gapsOf(rows, request.inlineProjections)
  const rejected = gaps.find(({ isRead, projection }) => isRead && projection.isRequired)
  if (rejected !== undefined) {
    const { event: { type }, projection: { projection } } = rejected
    return yield* storeError(new InlineProjectionMissing({ projection, stream, type }))
  }
  const retired = inlineProjections.rejectionOf(request.inlineProjections ?? [])
  if (retired !== undefined) return yield* retired
  if (inTransaction !== undefined) {
    yield* inTransaction(events.map((event, index) => toEncodedEvent(event, rows[index]!)))
  }
  MemoryLog.write(log, rows)
  inlineProjections.record(gaps)
  return {
    _tag: "Appended",
    version: rows[rows.length - 1]!.version,
    positions: rows.map(({ position }) => position),
    recordedAt
  }
})

/** Returns a function that adds to each row the hash of itself and the hash before it. */
const chain = ({ digestHex }: Digest.Digest["Service"]): HashRows =>
  Effect.fnUntraced(function*(rows, last) {
    const chained: Array<MemoryLog.Row> = []
    let previous = last
    for (const row of rows) {
      previous = yield* digestHex(Digest.sha256, EventHash.encode(row, previous))
      chained.push({ ...row, hash: previous })
    }
    return chained
  })

/** The operations that neither write events nor read the log in order. */
const lookups = (log: MemoryLog.MemoryLog) =>
  ({
    readCorrelation: (page) =>
      Effect.map(
        requireBasis(log, page.basis),
        () => ({ events: MemoryLog.correlationPage(log, page), head: MemoryLog.headOf(log) })
      ),
    event: (id) =>
      Effect.sync(() => Option.map(Option.fromUndefinedOr(log.rows.find((row) => row.id === id)), MemoryLog.encodedOf)),
    eventIds: (positions) => Effect.sync(() => positions.map((position) => MemoryLog.eventIdAt(log, position))),
    positionSince: ({ after, since, upTo }) =>
      Effect.sync(() => ({
        first: log.rows.find(({ position, recordedAt }) =>
          position > after && position <= upTo && DateTime.isGreaterThanOrEqualTo(recordedAt, since)
        )?.position,
        reached: upTo
      })),
    receipt: (commandId) => Effect.sync(() => MemoryLog.receiptOf(log, commandId)),
    streamStatus: (stream) =>
      Effect.sync(() => ({
        version: Version.make(MemoryLog.streamOf(log, stream).length),
        closed: Option.fromUndefinedOr(log.closed.get(stream))
      })),
    archive: (stream, at) => Effect.map(DateTime.now, (now) => MemoryLog.archive(log, stream, at ?? now))
  }) satisfies Partial<EventStoreDriver>
