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
import type { EventStoreError } from "../domain/errors.ts"
import { matches } from "../domain/EventQuery.ts"
import { type NewEvent, type Place, type RawEvent, record, type RecordedEvent } from "../domain/EventRecord.ts"
import * as HashLink from "../domain/HashLink.ts"
import * as Position from "../domain/Position.ts"
import * as Receipt from "../domain/Receipt.ts"
import type { StreamId } from "../domain/StreamId.ts"
import * as Version from "../domain/Version.ts"
import type {
  AppendRequest,
  AppendResult,
  Condition,
  EventStoreDriver,
  LogFilter,
  LogPage,
  StreamPage
} from "./EventStoreDriver.ts"
import * as HeadWatch from "./HeadWatch.ts"
import * as MemorySnapshots from "./MemorySnapshots.ts"

/** What is kept: as in a database, text that nobody can change through a reference. */
type Row = RawEvent

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
  const receipts = new Map<string, Receipt.Receipt>()
  const head = Effect.sync(() => headOf(log))
  const watch = yield* HeadWatch.make({ head })
  // One append at a time, because `inTransaction` may suspend between the check and the write.
  const turn = Semaphore.makeUnsafe(1)

  const appendNow = Effect.fnUntraced(
    function*(request: AppendRequest): Effect.fn.Return<AppendResult, EventStoreError> {
      const { commandId, condition, events, expected, inTransaction, stream } = request
      const first = commandId === undefined ? undefined : receipts.get(commandId)
      if (first !== undefined) return { _tag: "Duplicate", receipt: first }
      const rows = streams.get(stream) ?? []
      const actual = Version.make(rows.length)
      if (!Version.meets(actual, expected)) return { _tag: "Conflict", actual }
      const changed = condition === undefined ? undefined : newestMatch(log, condition)
      if (changed !== undefined) return { _tag: "Changed", position: changed }
      const recordedAt = yield* DateTime.now
      const unchained = events.map((event, index) =>
        rowOf(event, {
          stream,
          version: Version.make(actual + index + 1),
          position: Position.make(BigInt(log.length + index + 1)),
          recordedAt
        }, index === 0 && commandId !== undefined ? { commandId, commandEvents: events.length } : {})
      )
      const added = options.hashChain === true ? yield* chain(unchained, rows[rows.length - 1]?.hash) : unchained
      if (inTransaction !== undefined) yield* inTransaction(events.map((event, index) => record(event, added[index]!)))
      for (const row of added) {
        log.push(row)
        rows.push(row)
      }
      streams.set(stream, rows)
      const version = Version.make(rows.length)
      if (commandId !== undefined) receipts.set(commandId, receiptOf(stream, added))
      yield* watch.nudge
      return { _tag: "Appended", version, positions: added.map((row) => row.position), recordedAt }
    }
  )

  const chain = Effect.fnUntraced(function*(events: ReadonlyArray<Row>, last: string | undefined) {
    const chained: Array<Row> = []
    let previous = last
    for (const event of events) {
      previous = yield* digestHex(Digest.sha256, HashLink.encode(event, previous))
      chained.push({ ...event, hash: previous })
    }
    return chained
  })

  /** The event before one in its stream. */
  const previousOf = ({ stream, version }: Row): Pick<RawEvent, "previous"> => {
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
    readRaw: ({ after, limit, links = false }) =>
      Effect.sync(() => {
        const events = log.slice(Number(after), Number(after) + limit)
        return { events: links ? events.map((row) => ({ ...row, ...previousOf(row) })) : events, head: headOf(log) }
      }),
    lag: ({ to, ...page }) =>
      Effect.sync(() => {
        const behind = logPage(log, page).filter((row) => row.position <= to)
        return { events: behind.length, since: Option.fromUndefinedOr(behind[0]?.recordedAt) }
      }),
    readQuery: ({ after, limit, query }) =>
      Effect.sync(() => ({
        events: log.slice(Number(after)).filter((row) => matches(query, row)).slice(0, limit).map(recordedOf),
        head: headOf(log)
      })),
    readConversation: ({ after, correlationId, limit }) =>
      Effect.sync(() =>
        log.slice(Number(after)).map(recordedOf).filter(({ metadata }) => metadata.correlationId === correlationId)
          .slice(0, limit)
      ),
    event: (id) => Effect.sync(() => Option.map(Option.fromUndefinedOr(log.find((row) => row.id === id)), recordedOf)),
    head,
    last: head,
    receipt: (commandId) => Effect.sync(() => Option.fromUndefinedOr(receipts.get(commandId))),
    changed: watch.changed,
    snapshots: MemorySnapshots.make()
  }
})

const headOf = (log: ReadonlyArray<Row>): Position.Position => log[log.length - 1]?.position ?? Position.start

const newestMatch = (log: ReadonlyArray<Row>, { after, query, seen }: Condition): Position.Position | undefined =>
  log.slice(Number(after)).findLast((row) => matches(query, row) && !seen.includes(row.position))?.position

const streamPage = (rows: ReadonlyArray<Row>, { direction, from, limit }: StreamPage): ReadonlyArray<Row> => {
  if (direction === "forward") return rows.slice(Math.max(from - 1, 0), Math.max(from - 1, 0) + limit)
  const end = Math.min(from, rows.length)
  return rows.slice(Math.max(end - limit, 0), end).toReversed()
}

const logPage = (log: ReadonlyArray<Row>, page: LogPage): ReadonlyArray<Row> => {
  const { after, limit } = page
  const isFollowed = followed(page)
  const rows: Array<Row> = []
  // Position n is at index n - 1, so the first event after `after` is at index `after`.
  for (let i = Number(after); i < log.length && rows.length < limit; i++) {
    const row = log[i]!
    if (isFollowed(row)) rows.push(row)
  }
  return rows
}

const followed = ({ partition, streamPrefix, tags, types }: LogFilter): (row: Row) => boolean => {
  const wanted = types === undefined ? undefined : new Set(types)
  return (row) =>
    (wanted === undefined || wanted.has(row.type))
    && (partition === undefined || (Hash.string(row.stream) >>> 0) % partition.of === partition.index)
    && (tags === undefined || tags.every((tag) => row.tags.includes(tag)))
    && (streamPrefix === undefined || row.stream.startsWith(streamPrefix))
}

const rowOf = (
  { data, id, metadata, schemaVersion, tags = [], type }: NewEvent,
  place: Place,
  command: Pick<RawEvent, "commandId" | "commandEvents">
): Row => ({ ...place, id, type, schemaVersion, data, metadata, tags, ...command })

const recordedOf = (row: Row): RecordedEvent => record(row, row)

const receiptOf = (stream: StreamId, rows: ReadonlyArray<Row>): Receipt.Receipt =>
  Receipt.fromEvents(
    stream,
    recordedOf(rows[0]!).metadata.command,
    rows.map(({ id, position, type, version }) => ({ id, type, version, position }))
  )
