/**
 * Exports the whole log as lines of JSON, from which another store can be restored.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type EventStoreError, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import { countExported } from "../core/telemetry/metricUpdates.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { awaitReached } from "../eventStore/HighWaterMark.ts"
import { requireEvents } from "../eventStore/LogIdentity.ts"
import * as ExportChecksums from "./ExportChecksums.ts"
import * as ExportFormat from "./ExportFormat.ts"
import { type ExportState, initialState } from "./ExportReader.ts"
import * as Retagging from "./Retagging.ts"
import * as TagDefinitions from "./TagDefinitions.ts"

/**
 * The progress of an export or import.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** The number of lines written or read. */
  readonly line: number
  /** The number of events among them. */
  readonly events: number
  /** The position of the last of these events. */
  readonly position: Position.Position
  /** The position at which the export ends. */
  readonly head: Position.Position
}

/**
 * Options of an export.
 *
 * @since 0.1.0
 * @category options
 */
export interface ExportOptions {
  /** The largest number of events read at a time; 500 by default. Pages of large events are smaller. */
  readonly pageSize?: number | undefined
  /**
   * A set of events. The export adds to each of its events the tags that the set declares today: an import of it into an empty store makes a log whose
   * events are found by them. The export resumes only with an equal set. An event that the set cannot decode ends the export with an error. The export has no hashes of a hash chain.
   */
  readonly retag?: Event.Any | undefined
  /** Runs after each page. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * Returns the log as NDJSON: a header, a line for each event, a line for each archived stream, a footer. Each line ends with a checksum. It has all
 * events that were committed before it began. If an append in flight holds back the high-water mark below one of these for 30 seconds, the export fails
 * with a `StoreUnavailable` that names the transaction. Events appended meanwhile are not included. If the log is set back meanwhile, the export
 * fails with `LogDiverged`. Only one page is in memory at a time; the consumer of the Stream sets
 * the pace.
 *
 * @since 0.1.0
 * @category constructors
 */
export const exportLog = (options: ExportOptions = {}): Stream.Stream<string, EventStoreError, EventStore> =>
  Stream.flattenIterable(Stream.map(resumeExport(initialState, options), ({ texts }) => texts))

/**
 * Some consecutive lines with their newlines, and the state after them.
 *
 * @since 0.1.0
 * @category models
 */
export interface WrittenLines {
  readonly texts: ReadonlyArray<string>
  readonly state: ExportState
}

/** The length of text that a page aims at. */
const targetPageLength = 4 * 1024 * 1024

/**
 * Returns the pages of an export that follow the given state.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resumeExport = (
  from: ExportState,
  { onProgress, pageSize = 500, retag }: ExportOptions
): Stream.Stream<WrittenLines, EventStoreError, EventStore> =>
  Stream.unwrap(Effect.gen(function*() {
    const store = (yield* EventStore)[internals]
    const retagging = retag === undefined ? undefined : Retagging.make(retag, store)
    const retagged = retag === undefined ? undefined : TagDefinitions.of(retag)
    const checksummer = yield* ExportChecksums.checksummer
    return Stream.paginate(
      { before: from, limit: Math.min(pageSize, 100) },
      Effect.fnUntraced(function*({ before, limit }) {
        if (before.isComplete) return [[], Option.none()] as const
        const { lines, next } = yield* nextLines(
          { driver: store.driver, checksummer, retagging, retagged },
          before,
          limit
        )
        const bodies = lines.map(ExportFormat.encode)
        const [sums, checksum] = yield* checksummer.sums(before.checksum, bodies)
        const texts = bodies.map((body, index) => `${ExportChecksums.withChecksum(body, sums[index]!)}\n`)
        const state = { ...next, checksum }
        yield* countExported(state.events - before.events)
        if (onProgress !== undefined) {
          const { events, head = Position.start, position } = state
          yield* onProgress({ line: checksum.line, events, position, head })
        }
        const length = texts.reduce((sum, line) => sum + line.length, 1)
        // Events differ in size, so the next page takes as many as fit by the average of this one.
        const fitting = Math.max(1, Math.floor((targetPageLength / length) * texts.length))
        return [
          [{ texts, state }],
          Option.some({ before: state, limit: Math.min(pageSize, fitting, limit * 4) })
        ] as const
      })
    )
  }))

interface ExportContext {
  readonly driver: EventStoreDriver
  readonly checksummer: ExportChecksums.Checksummer
  readonly retagging: Retagging.Retagging | undefined
  readonly retagged: TagDefinitions.TagDefinitions | undefined
}

interface ExportStep {
  readonly lines: ReadonlyArray<ExportFormat.Line>
  readonly next: ExportState
}

/** Returns the next lines: the header first, then events, then archived streams, then the footer. */
const nextLines = Effect.fnUntraced(function*(
  { checksummer, driver, retagged, retagging }: ExportContext,
  before: ExportState,
  limit: number
): Effect.fn.Return<ExportStep, EventStoreError> {
  const { head } = before
  if (head === undefined) {
    // Events above the high-water mark were committed, too, and their callers rely on them.
    const last = yield* driver.last
    yield* awaitReached(driver, LogPosition.make(last, undefined), "An export")
    const head = Position.max(last, yield* driver.head)
    const [headEventId] = yield* driver.eventIds([head])
    const id = headEventId === undefined ? {} : { headEventId }
    const definitions = retagged === undefined ? {} : { retagged }
    return {
      lines: [{
        kind: "header",
        format: "evsrc-log",
        version: ExportFormat.formatVersion,
        head,
        ...id,
        ...definitions
      }],
      next: { ...before, head, headEventId }
    }
  }
  if (before.position < head) {
    const page = yield* driver.readStored({ after: before.position, limit })
    const events = page.events.filter(({ position }) => position <= head)
    const last = events[events.length - 1]
    if (last === undefined) {
      if (page.head >= head) {
        return yield* storeError(new LogDiverged({ eventId: before.headEventId ?? "", position: head }))
      }
      // An append in flight may move the high-water mark back for a moment.
      yield* awaitReached(driver, LogPosition.make(head, before.headEventId), "An export")
    }
    const exported = retagging === undefined ? events : yield* retagging(events)
    return {
      lines: exported.map((event) => ({ kind: "event", event })),
      next: {
        ...before,
        position: last?.position ?? before.position,
        eventId: last?.id ?? before.eventId,
        events: before.events + events.length
      }
    }
  }
  const ended = yield* driver.closedStreams({ after: before.archivedTo, limit })
  const closed = ended.filter(({ position }) => position <= head)
  const lastClosed = closed[closed.length - 1]
  if (lastClosed !== undefined) {
    const lines = closed.flatMap(({ archivedAt, position, stream }) =>
      archivedAt === undefined ? [] : [{ kind: "archived", stream, position, archivedAt } as const]
    )
    const archived = before.archived + lines.length
    return { lines, next: { ...before, archived, archivedTo: lastClosed.position } }
  }
  // A log is only set back at its end, and what it was set back to may have grown again.
  yield* requireEvents(driver, [LogPosition.make(head, before.headEventId)])
  const { archived, events, checksum } = before
  return {
    lines: [{ kind: "footer", events, archived, digest: yield* checksummer.digest(checksum) }],
    next: { ...before, isComplete: true }
  }
})
