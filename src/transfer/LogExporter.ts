/**
 * Writes a whole log as lines of JSON, with all that there is to know of its events, so that another store can be made of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { countExported } from "../core/metricUpdates.ts"
import * as Position from "../core/Position.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import * as ExportChecksums from "./ExportChecksums.ts"
import * as ExportFormat from "./ExportFormat.ts"
import { nothing, type ReadSoFar } from "./ExportReader.ts"

/**
 * How far an export or an import has come.
 *
 * - `line`: lines written or read
 * - `events`: events among them
 * - `position`: of the last of these
 * - `head`: of the last event there will be
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly line: number
  readonly events: number
  readonly position: Position.Position
  readonly head: Position.Position
}

/**
 * - `pageSize`: the most events read at a time; 500 by default. Less are read where they are large
 * - `onProgress`: runs after each page
 *
 * @since 0.1.0
 * @category options
 */
export interface ExportOptions {
  readonly pageSize?: number | undefined
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The log up to its high-water mark of now as NDJSON: a header, a line for each event, one for each archived stream, a footer; each ends with a
 * checksum. What is appended meanwhile is not in it. One page is in memory at a time, and the log is read as fast as the lines are taken.
 *
 * @since 0.1.0
 * @category exporting
 */
export const exportLog = (options: ExportOptions = {}): Stream.Stream<string, EventStoreError, EventStore> =>
  Stream.flattenIterable(Stream.map(exportAfter(nothing, options), ({ texts }) => texts))

/**
 * Some lines with their ends, and how far the export was written with them.
 *
 * @since 0.1.0
 * @category models
 */
export interface WrittenLines {
  readonly texts: ReadonlyArray<string>
  readonly soFar: ReadSoFar
}

/** As much text as a page should have. */
const pageText = 4 * 1024 * 1024

/**
 * The pages of an export after what was written of it before.
 *
 * @since 0.1.0
 * @category exporting
 */
export const exportAfter = (
  begun: ReadSoFar,
  { onProgress, pageSize = 500 }: ExportOptions
): Stream.Stream<WrittenLines, EventStoreError, EventStore> =>
  Stream.unwrap(Effect.gen(function*() {
    const { driver } = (yield* EventStore)[internals]
    const checksummer = yield* ExportChecksums.checksummer
    return Stream.paginate(
      { before: begun, limit: Math.min(pageSize, 100) },
      Effect.fnUntraced(function*({ before, limit }) {
        if (before.isComplete) return [[], Option.none()] as const
        const { lines, next } = yield* step(driver, checksummer, before, limit)
        const bodies = lines.map(ExportFormat.encode)
        const [sums, checksum] = yield* checksummer.sums(before.checksum, bodies)
        const texts = bodies.map((body, index) => `${ExportChecksums.withChecksum(body, sums[index]!)}\n`)
        const soFar = { ...next, checksum }
        yield* countExported(soFar.events - before.events)
        if (onProgress !== undefined) {
          const { events, head = Position.start, position } = soFar
          yield* onProgress({ line: checksum.line, events, position, head })
        }
        const text = texts.reduce((sum, line) => sum + line.length, 1)
        // Events may be large: the next page is to have about as much text as one should.
        const fits = Math.max(1, Math.floor((pageText / text) * texts.length))
        return [
          [{ texts, soFar }],
          Option.some({ before: soFar, limit: Math.min(pageSize, fits, limit * 4) })
        ] as const
      })
    )
  }))

interface Step {
  readonly lines: ReadonlyArray<ExportFormat.Line>
  readonly next: ReadSoFar
}

/** The next lines: first the header, then events, then archived streams, at last the footer. */
const step = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  checksummer: ExportChecksums.Checksummer,
  before: ReadSoFar,
  limit: number
): Effect.fn.Return<Step, EventStoreError> {
  const { head } = before
  if (head === undefined) {
    const head = yield* driver.head
    return {
      lines: [{ kind: "header", format: "evsrc-log", version: ExportFormat.formatVersion, head }],
      next: { ...before, head }
    }
  }
  if (before.position < head) {
    const page = yield* driver.readStored({ after: before.position, limit })
    const events = page.events.filter(({ position }) => position <= head)
    const last = events[events.length - 1]
    // The head may step back for a moment, to before an append in flight.
    if (last === undefined) yield* driver.changed(before.position)
    return {
      lines: events.map((event) => ({ kind: "event", event })),
      next: { ...before, position: last?.position ?? before.position, events: before.events + events.length }
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
  const { archived, events, checksum } = before
  return {
    lines: [{ kind: "footer", events, archived, digest: yield* checksummer.digest(checksum) }],
    next: { ...before, isComplete: true }
  }
})
