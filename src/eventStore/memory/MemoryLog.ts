/**
 * The log of the event store in memory: its rows, their indexes, and the functions that read and extend them.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { EventCount, LogPosition } from "../../core/LogPosition.ts"
import { isInPartition } from "../../core/partitionHash.ts"
import * as Position from "../../core/Position.ts"
import * as Receipt from "../../core/Receipt.ts"
import * as StreamId from "../../core/StreamId.ts"
import * as Version from "../../core/Version.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import { matches } from "../../event/EventQuery.ts"
import * as EventTags from "../../event/EventTags.ts"
import { type EncodedEvent, type StoredEvent, toEncodedEvent } from "../../event/RecordedEvent.ts"
import type {
  AppendCondition,
  AppendRequest,
  AppendResult,
  ClosedPage,
  ClosedStream,
  CommandRecord,
  CorrelationPage,
  EventType,
  EventTypes,
  Lag,
  LagRequest,
  LogFilter,
  LogPage,
  PartitionLag,
  RestoreRequest,
  RestoreResult,
  StoredPage,
  StreamPage
} from "../driver/EventStoreDriver.ts"
import type { Limits } from "../Limits.ts"

/** A row holds JSON text, as a database does, so that no reference can change it. */
export type Row = StoredEvent

/**
 * The rows of a log, and where to find them.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryLog {
  readonly rows: Array<Row>
  readonly streams: Map<string, Array<Row>>
  /** The first event of each append under a command id. */
  readonly commands: Map<string, Row>
  readonly closed: Map<string, ClosedStream>
}

/**
 * Makes an empty log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): MemoryLog => ({ rows: [], streams: new Map(), commands: new Map(), closed: new Map() })

/**
 * Returns the position of the last event, 0 when there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const headOf = ({ rows }: MemoryLog): Position.Position => rows[rows.length - 1]?.position ?? Position.start

/**
 * Returns the rows of a stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const streamOf = ({ streams }: MemoryLog, stream: string): ReadonlyArray<Row> => streams.get(stream) ?? []

/**
 * Returns what was appended under a command id.
 *
 * @since 0.1.0
 * @category accessors
 */
export const receiptOf = (log: MemoryLog, commandId: string): Option.Option<CommandRecord> =>
  Option.map(Option.fromUndefinedOr(log.commands.get(commandId)), (first) => {
    const rows = streamOf(log, first.stream).slice(first.version - 1, first.version - 1 + first.commandEvents!)
    const { metadata } = encodedOf(first)
    const events = rows.map(({ id, position, type, version }) => ({ id, type, version, position }))
    return { receipt: Receipt.fromEvents(first.stream, metadata.command, events), metadata }
  })

/**
 * Returns the result of an append that must not be written, or `undefined` when it may.
 *
 * @since 0.1.0
 * @category guards
 */
export const rejectionOf = (
  log: MemoryLog,
  { commandId, condition, expected, lastEventId, stream }: AppendRequest
): AppendResult | undefined => {
  const first = commandId === undefined ? Option.none() : receiptOf(log, commandId)
  if (Option.isSome(first)) return { _tag: "Duplicate", first: first.value }
  const end = log.closed.get(stream)
  if (end !== undefined) return { _tag: "Closed", version: end.version }
  const actual = Version.make(streamOf(log, stream).length)
  if (!Version.meets(actual, expected)) return { _tag: "Conflict", actual }
  const lastEvent = streamOf(log, stream).at(-1)
  if (lastEventId !== undefined && lastEvent?.id !== lastEventId) return { _tag: "Diverged" }
  if (condition?.basis?.some((event) => isMissing(log, event)) === true) return { _tag: "Diverged" }
  const changed = condition === undefined ? undefined : newestMatch(log, condition)
  return changed === undefined ? undefined : { _tag: "Changed", position: changed }
}

/**
 * Returns the id of the event at a position.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventIdAt = (log: MemoryLog, position: Position.Position): string | undefined => {
  const row = log.rows[indexAfter(log, position) - 1]
  return row?.position === position ? row.id : undefined
}

/**
 * Returns whether the log does not have an event, of which the id is known.
 *
 * @since 0.1.0
 * @category guards
 */
export const isMissing = (log: MemoryLog, { eventId, position }: LogPosition): boolean =>
  eventId !== undefined && eventIdAt(log, position) !== eventId

/**
 * Returns the number of events after a position and up to another.
 *
 * @since 0.1.0
 * @category accessors
 */
export const countBetween = (log: MemoryLog, since: Position.Position, to: Position.Position): EventCount => ({
  since,
  events: indexAfter(log, to) - indexAfter(log, since)
})

/** Returns the position of the newest event that breaks a condition, or after which a known event is missing. */
const newestMatch = (log: MemoryLog, { after, known, query, seen }: AppendCondition): Position.Position | undefined => {
  if (known === undefined) {
    return rowsAfter(log, after).findLast((row) => matches(query, row) && !seen.includes(row.position))?.position
  }
  const broken = query.flatMap((item, index) => {
    const { after, seen, sent } = known[index]!
    const others = rowsAfter(log, after).filter((row) =>
      EventFilter.matchesItem(item, row) && !seen.includes(row.position)
    )
    const unknown = others.findLast(({ id }) => !sent.includes(id))
    if (unknown !== undefined) return [unknown.position]
    const last = seen.reduce((last, position) => Position.max(last, position), after)
    const inOrder = others.filter(({ position }) => position > last).map(({ id }) => id)
    return inOrder.join() === sent.join() ? [] : [after]
  })
  return broken.length === 0 ? undefined : broken.reduce((newest, position) => Position.max(newest, position))
}

/**
 * Returns the rows of an append, without hashes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rowsOf = (
  log: MemoryLog,
  { closes, commandId, events, stream }: AppendRequest,
  recordedAt: DateTime.Utc
): ReadonlyArray<Row> => {
  const actual = streamOf(log, stream).length
  const last = headOf(log)
  return events.map(({ data, id, metadata, schemaVersion, tags = [], type }, index) => ({
    stream,
    version: Version.make(actual + index + 1),
    position: Position.make(last + BigInt(index + 1)),
    recordedAt,
    id,
    type,
    schemaVersion,
    data,
    metadata,
    tags,
    ...(index === 0 && commandId !== undefined ? { commandId, commandEvents: events.length } : {}),
    ...(closes === true && index === events.length - 1 ? { closes } : {})
  }))
}

/**
 * Writes rows of one or several streams at the end of the log.
 *
 * @since 0.1.0
 * @category combinators
 */
export const write = (log: MemoryLog, rows: ReadonlyArray<Row>): void => {
  for (const row of rows) {
    log.rows.push(row)
    const stream = log.streams.get(row.stream)
    if (stream === undefined) log.streams.set(row.stream, [row])
    else stream.push(row)
    if (row.commandId !== undefined) log.commands.set(row.commandId, row)
    if (row.closes === true) log.closed.set(row.stream, closedBy(row))
  }
}

const closedBy = ({ position, recordedAt, stream, version }: Row): ClosedStream => ({
  stream,
  version,
  position,
  closedAt: recordedAt
})

/**
 * Writes rows of another log, all of them or none.
 *
 * @since 0.1.0
 * @category combinators
 */
export const restore = (log: MemoryLog, { after, events }: RestoreRequest): RestoreResult => {
  const last = headOf(log)
  if (last !== after) return { _tag: "WrongEnd", last }
  const ends = new Map<string, Row | undefined>()
  const commandIds = new Set<string>()
  let before: Position.Position = after
  for (const row of events) {
    const end = ends.has(row.stream) ? ends.get(row.stream) : streamOf(log, row.stream).at(-1)
    const isUsed = row.commandId !== undefined && (log.commands.has(row.commandId) || commandIds.has(row.commandId))
    const detail = restoreProblem(row, before, end, isUsed)
    if (detail !== undefined) return { _tag: "Rejected", position: row.position, detail }
    before = row.position
    ends.set(row.stream, row)
    if (row.commandId !== undefined) commandIds.add(row.commandId)
  }
  write(log, events)
  return { _tag: "Restored" }
}

const restoreProblem = (
  row: Row,
  before: Position.Position,
  end: Row | undefined,
  isUsed: boolean
): string | undefined => {
  const version = end?.version ?? 0
  if (row.position <= before) return `its position is not after ${before}`
  if (end?.closes === true) return "its stream was closed before"
  if (row.version !== version + 1) return `its stream is at version ${version}, so its version cannot be ${row.version}`
  return isUsed ? "its command id was used before" : undefined
}

/**
 * Returns one page of a stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const streamPage = (
  log: MemoryLog,
  { direction, from, limit, stream }: StreamPage
): ReadonlyArray<EncodedEvent> => {
  const rows = streamOf(log, stream)
  const [start, end] = direction === "forward"
    ? [Math.max(from - 1, 0), Math.max(from - 1, 0) + limit]
    : [Math.max(Math.min(from, rows.length) - limit, 0), Math.min(from, rows.length)]
  const page = rows.slice(start, end).map(encodedOf)
  return direction === "forward" ? page : page.toReversed()
}

/**
 * Rows of the log, and the last row that was examined to find them, if any was.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundRows {
  readonly rows: ReadonlyArray<Row>
  readonly last: Row | undefined
}

/**
 * Returns up to `limit` rows after a position that match. Examines at most `scannedPositions` rows.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = (
  log: MemoryLog,
  { after, limit, scannedPositions }: Pick<LogPage, "after" | "limit"> & Pick<Limits, "scannedPositions">,
  isMatch: (row: Row) => boolean
): FoundRows => {
  const rows: Array<Row> = []
  let last: Row | undefined
  const first = indexAfter(log, after)
  const end = Math.min(log.rows.length, first + scannedPositions)
  for (let i = first; i < end && rows.length < limit; i++) {
    last = log.rows[i]!
    if (isMatch(last)) rows.push(last)
  }
  return { rows, last }
}

/**
 * Returns how far a consumer is behind.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lag = (log: MemoryLog, request: LagRequest & Pick<Limits, "scannedPositions">): Lag => {
  const { to } = request
  const isMatch = partitionMatcher(request)
  const { last, rows } = find(log, request, (row) => row.position <= to && isMatch(row))
  const reached = last === undefined || last.position >= to || last === log.rows.at(-1) ? to : last.position
  const next = reached < to ? log.rows[indexAfter(log, reached)] : undefined
  return { events: rows.length, since: Option.fromUndefinedOr((rows[0] ?? next)?.recordedAt), reached }
}

/**
 * Returns how far a partition is behind.
 *
 * @since 0.1.0
 * @category accessors
 */
export const partitionLag = (log: MemoryLog, request: LagRequest & Pick<Limits, "scannedPositions">): PartitionLag => {
  const isMatch = partitionMatcher(request)
  const { rows: [row] } = find(log, { ...request, limit: 1 }, (row) => row.position <= request.to && isMatch(row))
  return { ...lag(log, request), first: row?.position }
}

/**
 * Returns whether a filter selects a row.
 *
 * @since 0.1.0
 * @category guards
 */
export const partitionMatcher = ({ partition, ...filter }: LogFilter): (row: Row) => boolean => {
  const isMatch = EventFilter.matcher(filter)
  return (row) => isMatch(row) && (partition === undefined || isInPartition(row, partition))
}

/**
 * Returns one page of the log as it is stored.
 *
 * @since 0.1.0
 * @category accessors
 */
export const storedPage = (log: MemoryLog, { after, limit, links = false }: StoredPage): ReadonlyArray<StoredEvent> => {
  const first = indexAfter(log, after)
  const page = log.rows.slice(first, first + limit)
  return links ? page.map((row) => ({ ...row, ...previousOf(log, row) })) : page
}

/** Returns the link to the event before one in its stream. */
const previousOf = (log: MemoryLog, { stream, version }: Row): Pick<StoredEvent, "previous"> => {
  const previous = streamOf(log, stream)[version - 2]
  return previous === undefined ? {} : {
    previous: { version: previous.version, ...(previous.hash === undefined ? {} : { hash: previous.hash }) }
  }
}

/**
 * Returns one page of the events with a correlation id.
 *
 * @since 0.1.0
 * @category accessors
 */
export const correlationPage = (
  log: MemoryLog,
  { after, correlationId, limit }: CorrelationPage
): ReadonlyArray<EncodedEvent> =>
  rowsAfter(log, after).map(encodedOf).filter(({ metadata }) => metadata.correlationId === correlationId).slice(
    0,
    limit
  )

/** A log whose streams have no categories has one for each stream. All after so many count as the category "". */
const maxCategories = 1000

/**
 * Returns the types of the events after a position, by the categories of their streams.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventTypes = (log: MemoryLog, after: Position.Position = Position.start): EventTypes => {
  const categories = new Set<string>()
  const types = new Map<string, CountedType>()
  for (const { position: first, schemaVersion, stream, tags, type } of rowsAfter(log, after)) {
    const ofStream = StreamId.category(stream)
    if (categories.size < maxCategories) categories.add(ofStream)
    const category = categories.has(ofStream) ? ofStream : ""
    const key = JSON.stringify([category, type])
    const found = types.get(key) ?? { type, category, first, events: 0, versions: new Map() }
    types.set(key, found)
    found.events++
    const version = found.versions.get(schemaVersion) ?? { schemaVersion, events: 0, tagged: new Map() }
    found.versions.set(schemaVersion, version)
    version.events++
    for (const name of new Set(tags.map(EventTags.namePartOf))) {
      if (name !== "") version.tagged.set(name, (version.tagged.get(name) ?? 0) + 1)
    }
  }
  const position = headOf(log)
  return {
    position,
    head: position,
    types: Array.from(types.values(), (one) => ({ ...one, versions: Array.from(one.versions.values()) }))
  }
}

interface CountedType extends Omit<EventType, "events" | "versions"> {
  events: number
  readonly versions: Map<
    number,
    { readonly schemaVersion: number; events: number; readonly tagged: Map<string, number> }
  >
}

/**
 * Returns one page of the closed streams, by the position of their last event.
 *
 * @since 0.1.0
 * @category accessors
 */
export const closedPage = ({ closed }: MemoryLog, { after, limit }: ClosedPage): ReadonlyArray<ClosedStream> =>
  Array.from(closed.values())
    .filter(({ position }) => position > after)
    .toSorted((a, b) => a.position < b.position ? -1 : 1)
    .slice(0, limit)

/**
 * Notes that a closed stream is archived, and returns how many events it has: 0 when it was archived before, none when it is not closed. Memory
 * has no other place to move the events to.
 *
 * @since 0.1.0
 * @category combinators
 */
export const archive = ({ closed }: MemoryLog, stream: string, at: DateTime.Utc): Option.Option<number> => {
  const end = closed.get(stream)
  if (end === undefined) return Option.none()
  if (end.archivedAt !== undefined) return Option.some(0)
  closed.set(stream, { ...end, archivedAt: at })
  return Option.some(end.version)
}

/**
 * Returns a row as an encoded event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodedOf = (row: Row): EncodedEvent => toEncodedEvent(row, row)

const rowsAfter = (log: MemoryLog, position: Position.Position): ReadonlyArray<Row> =>
  log.rows.slice(indexAfter(log, position))

/** Returns the index of the first event after a position. Positions are not contiguous where events were restored. */
const indexAfter = ({ rows }: MemoryLog, position: Position.Position): number => {
  let [low, high] = [0, rows.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (rows[middle]!.position > position) high = middle
    else low = middle + 1
  }
  return low
}
