/**
 * The event store driver in memory.
 *
 * @since 0.1.0
 */
import * as Digest from "effect/crypto/Digest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventHash from "../event/EventHash.ts"
import { matches } from "../event/EventQuery.ts"
import {
  type EncodedEvent,
  type EventPlacement,
  type NewEvent,
  type StoredEvent,
  toEncodedEvent
} from "../event/RecordedEvent.ts"
import * as MemorySnapshotDriver from "../snapshot/MemorySnapshotDriver.ts"
import type {
  AppendCondition,
  AppendRequest,
  AppendResult,
  ClosedStream,
  EventStoreDriver,
  LogFilter,
  LogPage,
  RestoreRequest,
  RestoreResult,
  StreamPage
} from "./EventStoreDriver.ts"
import * as HighWaterMark from "./HighWaterMark.ts"

/** What is kept: as in a database, text that nobody can change through a reference. */
type Row = StoredEvent

/**
 * - `hashChain`: links every event to the one before it in its stream by a hash, for `HashChain.verify`
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryOptions {
  readonly hashChain?: boolean | undefined
}

/**
 * A new, empty log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  options: MemoryOptions = {}
): Effect.fn.Return<EventStoreDriver, never, Scope.Scope> {
  const { digestHex } = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
  const log: Array<Row> = []
  const streams = new Map<string, Array<Row>>()
  /** The first event of each append under a command id. */
  const commands = new Map<string, Row>()
  const closed = new Map<string, ClosedStream>()
  const head = Effect.sync(() => headOf(log))
  const watch = yield* HighWaterMark.make({ head })
  // One append at a time, because `inTransaction` may suspend between the check and the write.
  const turn = Semaphore.makeUnsafe(1)

  const receiptOf = (commandId: string): Receipt.Receipt | undefined => {
    const first = commands.get(commandId)
    if (first === undefined) return undefined
    const rows = streams.get(first.stream)!.slice(first.version - 1, first.version - 1 + first.commandEvents!)
    return Receipt.fromEvents(
      first.stream,
      recordedOf(first).metadata.command,
      rows.map(({ id, position, type, version }) => ({ id, type, version, position }))
    )
  }

  const appendNow = Effect.fnUntraced(
    function*(request: AppendRequest): Effect.fn.Return<AppendResult, EventStoreError> {
      const { closes, commandId, condition, events, expected, inTransaction, stream } = request
      const first = commandId === undefined ? undefined : receiptOf(commandId)
      if (first !== undefined) return { _tag: "Duplicate", receipt: first }
      const end = closed.get(stream)
      if (end !== undefined) return { _tag: "Closed", version: end.version }
      const rows = streams.get(stream) ?? []
      const actual = Version.make(rows.length)
      if (!Version.meets(actual, expected)) return { _tag: "Conflict", actual }
      const changed = condition === undefined ? undefined : newestMatch(log, condition)
      if (changed !== undefined) return { _tag: "Changed", position: changed }
      const recordedAt = yield* DateTime.now
      const last = headOf(log)
      const unchained = events.map((event, index) =>
        rowOf(event, {
          stream,
          version: Version.make(actual + index + 1),
          position: Position.make(last + BigInt(index + 1)),
          recordedAt
        }, {
          ...(index === 0 && commandId !== undefined ? { commandId, commandEvents: events.length } : {}),
          ...(closes === true && index === events.length - 1 ? { closes } : {})
        })
      )
      const added = options.hashChain === true ? yield* chain(unchained, rows[rows.length - 1]?.hash) : unchained
      if (inTransaction !== undefined) {
        yield* inTransaction(events.map((event, index) => toEncodedEvent(event, added[index]!)))
      }
      for (const row of added) {
        log.push(row)
        rows.push(row)
      }
      streams.set(stream, rows)
      const version = Version.make(rows.length)
      if (closes === true) closed.set(stream, endOf(added[added.length - 1]!))
      if (commandId !== undefined) commands.set(commandId, added[0]!)
      yield* watch.wake
      return { _tag: "Appended", version, positions: added.map((row) => row.position), recordedAt }
    }
  )

  const restoreNow = ({ after, events }: RestoreRequest): RestoreResult => {
    const last = headOf(log)
    if (last !== after) return { _tag: "Elsewhere", last }
    // On a copy of what they touch, so that all or none are written.
    const touched = new Map<string, Array<Row>>()
    const added = new Map<string, Row>()
    let before: Position.Position = after
    for (const row of events) {
      let rows = touched.get(row.stream)
      if (rows === undefined) touched.set(row.stream, rows = Array.from(streams.get(row.stream) ?? []))
      const detail = row.position <= before
        ? `its position is not after ${before}`
        : rows[rows.length - 1]?.closes === true
        ? "its stream was closed before"
        : row.version !== rows.length + 1
        ? `its stream is at version ${rows.length}, so its version cannot be ${row.version}`
        : row.commandId !== undefined && (commands.has(row.commandId) || added.has(row.commandId))
        ? "its command id was used before"
        : undefined
      if (detail !== undefined) return { _tag: "Refused", position: row.position, detail }
      before = row.position
      rows.push(row)
      if (row.commandId !== undefined) added.set(row.commandId, row)
    }
    log.push(...events)
    for (const [commandId, row] of added) commands.set(commandId, row)
    for (const [stream, rows] of touched) {
      streams.set(stream, rows)
      const end = rows[rows.length - 1]!
      if (end.closes === true) closed.set(stream, endOf(end))
    }
    return { _tag: "Restored" }
  }

  const chain = Effect.fnUntraced(function*(events: ReadonlyArray<Row>, last: string | undefined) {
    const chained: Array<Row> = []
    let previous = last
    for (const event of events) {
      previous = yield* digestHex(Digest.sha256, EventHash.encode(event, previous))
      chained.push({ ...event, hash: previous })
    }
    return chained
  })

  /** The event before one in its stream. */
  const previousOf = ({ stream, version }: Row): Pick<StoredEvent, "previous"> => {
    const previous = streams.get(stream)?.[version - 2]
    return previous === undefined ? {} : {
      previous: { version: previous.version, ...(previous.hash === undefined ? {} : { hash: previous.hash }) }
    }
  }

  return {
    transactions: "memory",
    inTransaction: Effect.succeed(false),
    // Not to be interrupted between what `inTransaction` has written and the events.
    append: (request) => turn.withPermit(Effect.uninterruptible(appendNow(request))),
    readStream: (page) => Effect.sync(() => streamPage(streams.get(page.stream) ?? [], page).map(recordedOf)),
    readAll: (page) => Effect.sync(() => ({ events: logPage(log, page).map(recordedOf), head: headOf(log) })),
    readStored: ({ after, limit, links = false }) =>
      Effect.sync(() => {
        const first = indexAfter(log, after)
        const events = log.slice(first, first + limit)
        return { events: links ? events.map((row) => ({ ...row, ...previousOf(row) })) : events, head: headOf(log) }
      }),
    lag: ({ to, ...page }) =>
      Effect.sync(() => {
        const behind = logPage(log, page).filter((row) => row.position <= to)
        return { events: behind.length, since: Option.fromUndefinedOr(behind[0]?.recordedAt) }
      }),
    readByQuery: ({ after, limit, query }) =>
      Effect.sync(() => ({
        events: log.slice(indexAfter(log, after)).filter((row) => matches(query, row)).slice(0, limit).map(recordedOf),
        head: headOf(log)
      })),
    readCorrelation: ({ after, correlationId, limit }) =>
      Effect.sync(() =>
        log.slice(indexAfter(log, after)).map(recordedOf).filter(({ metadata }) =>
          metadata.correlationId === correlationId
        )
          .slice(0, limit)
      ),
    event: (id) => Effect.sync(() => Option.map(Option.fromUndefinedOr(log.find((row) => row.id === id)), recordedOf)),
    head,
    last: head,
    receipt: (commandId) => Effect.sync(() => Option.fromUndefinedOr(receiptOf(commandId))),
    streamStatus: (stream) =>
      Effect.sync(() => ({
        version: Version.make(streams.get(stream)?.length ?? 0),
        closed: Option.fromUndefinedOr(closed.get(stream))
      })),
    // There is no other place to move them to: it is noted.
    archive: (stream, at) =>
      Effect.map(DateTime.now, (now) => {
        const end = closed.get(stream)
        if (end === undefined) return Option.none()
        if (end.archivedAt !== undefined) return Option.some(0)
        closed.set(stream, { ...end, archivedAt: at ?? now })
        return Option.some(end.version)
      }),
    restore: (request) => turn.withPermit(Effect.tap(Effect.sync(() => restoreNow(request)), watch.wake)),
    closedStreams: ({ after, limit }) =>
      Effect.sync(() =>
        Array.from(closed.values()).filter(({ position }) => position > after).toSorted((a, b) =>
          a.position < b.position ? -1 : 1
        ).slice(0, limit)
      ),
    changed: watch.changed,
    snapshots: MemorySnapshotDriver.make()
  }
})

const headOf = (log: ReadonlyArray<Row>): Position.Position => log[log.length - 1]?.position ?? Position.start

const newestMatch = (log: ReadonlyArray<Row>, { after, query, seen }: AppendCondition): Position.Position | undefined =>
  log.slice(indexAfter(log, after)).findLast((row) => matches(query, row) && !seen.includes(row.position))?.position

const streamPage = (rows: ReadonlyArray<Row>, { direction, from, limit }: StreamPage): ReadonlyArray<Row> => {
  if (direction === "forward") return rows.slice(Math.max(from - 1, 0), Math.max(from - 1, 0) + limit)
  const end = Math.min(from, rows.length)
  return rows.slice(Math.max(end - limit, 0), end).toReversed()
}

const logPage = (log: ReadonlyArray<Row>, page: LogPage): ReadonlyArray<Row> => {
  const { after, limit } = page
  const isFollowed = partitionMatcher(page)
  const rows: Array<Row> = []
  for (let i = indexAfter(log, after); i < log.length && rows.length < limit; i++) {
    const row = log[i]!
    if (isFollowed(row)) rows.push(row)
  }
  return rows
}

const partitionMatcher = ({ partition, ...filter }: LogFilter): (row: Row) => boolean => {
  const matches = EventFilter.matcher(filter)
  return (row) =>
    (partition === undefined || (Hash.string(row.stream) >>> 0) % partition.of === partition.index) && matches(row)
}

const rowOf = (
  { data, id, metadata, schemaVersion, tags = [], type }: NewEvent,
  place: EventPlacement,
  rest: Pick<StoredEvent, "commandId" | "commandEvents" | "closes">
): Row => ({ ...place, id, type, schemaVersion, data, metadata, tags, ...rest })

/** Positions are not contiguous where events were restored. The index of the first event after a position. */
const indexAfter = (log: ReadonlyArray<Row>, position: Position.Position): number => {
  let [low, high] = [0, log.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (log[middle]!.position > position) high = middle
    else low = middle + 1
  }
  return low
}

const endOf = ({ position, recordedAt, stream, version }: Row): ClosedStream => ({
  stream,
  version,
  position,
  closedAt: recordedAt
})

const recordedOf = (row: Row): EncodedEvent => toEncodedEvent(row, row)
