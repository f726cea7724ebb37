/**
 * Makes a log of an export: the same events with the same positions, versions, ids, texts and times.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { countImported } from "../core/metricUpdates.ts"
import * as Position from "../core/Position.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { encode } from "./ExportFormat.ts"
import { nothing, read, type ReadLines, type ReadSoFar } from "./ExportReader.ts"
import type { Progress } from "./LogExporter.ts"
import { DamagedExport, TransferRejected } from "./TransferError.ts"

/**
 * - `onProgress`: runs after each group of lines
 *
 * @since 0.1.0
 * @category options
 */
export interface ImportOptions {
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * - `events`: how many the export has
 * - `written`: how many of them the log did not have before
 * - `archived`: how many of its streams are archived
 * - `head`: the position of its last event
 *
 * @since 0.1.0
 * @category models
 */
export interface Imported {
  readonly events: number
  readonly written: number
  readonly archived: number
  readonly head: Position.Position
}

/**
 * What an import of an export is: read to its end, each line checked.
 *
 * @since 0.1.0
 * @category models
 */
export type Verified = Omit<Imported, "written">

/**
 * Reads an export to its end and writes nothing. Fails with the first line that is not as it was written.
 *
 * @since 0.1.0
 * @category importing
 */
export const verify = <E, R>(
  lines: Stream.Stream<string | Uint8Array, E, R>,
  options: ImportOptions = {}
): Effect.Effect<Verified, E | DamagedExport, R> =>
  Effect.map(
    Stream.runFoldEffect(read(lines), () => nothing, (_, { soFar }) => Effect.as(tell(options, soFar), soFar)),
    verifiedOf
  )

/**
 * Writes the events of an export to a log that has none, or the beginning of the same: then it goes on after the last event of the log, once
 * that is found in the export, so that an import which was interrupted is simply run again. Events are written in groups, each in a
 * transaction of its own, after its lines were checked.
 *
 * Nobody must append meanwhile: what was appended to the log is not in the export, and the import is refused when it meets it. Projections
 * follow as ever; inline ones do not see what is imported, and are to be rebuilt.
 *
 * @since 0.1.0
 * @category importing
 */
export const importLog = <E, R>(
  lines: Stream.Stream<string | Uint8Array, E, R>,
  options: ImportOptions = {}
): Effect.Effect<Imported, E | DamagedExport | TransferRejected | EventStoreError, R | EventStore> =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore)[internals]
    const last = yield* driver.last
    let written = 0
    const done = yield* Stream.runFoldEffect(
      read(lines),
      () => nothing,
      Effect.fnUntraced(function*(before: ReadSoFar, group: ReadLines) {
        const { soFar } = group
        if (soFar.head !== undefined && last > soFar.head) {
          return yield* reject(
            `The log goes on to position ${last}, beyond the export's last event at ${soFar.head}; ${whatToDo}`
          )
        }
        yield* matchLast(driver, before, group, last)
        const events = group.lines.flatMap((line) =>
          line.kind === "event" && line.event.position > last ? [line.event] : []
        )
        if (events.length > 0) yield* restore(driver, Position.max(before.position, last), events, group)
        written += events.length
        for (const line of group.lines) {
          if (line.kind !== "archived") continue
          const moved = yield* driver.archive(line.stream, line.archivedAt)
          if (Option.isNone(moved)) {
            return yield* reject(`The export has stream "${line.stream}" archived, which is not closed`)
          }
        }
        yield* tell(options, soFar)
        return soFar
      })
    )
    return { ...verifiedOf(done), written }
  })

/**
 * What was read.
 *
 * @since 0.1.0
 * @category getters
 */
export const verifiedOf = ({ archived, events, head = Position.start }: ReadSoFar): Verified => ({
  events,
  archived,
  head
})

/** Where the log was not the beginning of the export before either. */
const whatToDo = "nothing was written. Import to an empty log, or to one that is a beginning of the export"

const reject = (detail: string) => Effect.fail(new TransferRejected({ detail }))

const tell = ({ onProgress }: ImportOptions, { events, head = Position.start, position, checksum }: ReadSoFar) =>
  onProgress === undefined ? Effect.void : onProgress({ line: checksum.line, events, position, head })

/** The last event that the log had before must be in the export, and the same. */
const matchLast = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  before: ReadSoFar,
  { lines, soFar }: ReadLines,
  last: Position.Position
): Effect.fn.Return<void, TransferRejected | EventStoreError> {
  if (last <= before.position || last > soFar.position) return
  const found = lines.find((line) => line.kind === "event" && line.event.position === last)
  if (found?.kind !== "event" || !(yield* holds(driver, found.event))) {
    return yield* reject(
      `The log's last event, at position ${last}, is not that of the export; ${whatToDo}`
    )
  }
})

/**
 * Whether a log has an event, byte for byte.
 *
 * @since 0.1.0
 * @category checks
 */
export const holds = (driver: EventStoreDriver, event: StoredEvent): Effect.Effect<boolean, EventStoreError> =>
  Effect.map(
    driver.readStored({ after: Position.make(event.position - 1n), limit: 1 }),
    ({ events: [own] }) =>
      own !== undefined && encode({ kind: "event", event: own }) === encode({ kind: "event", event })
  )

const restore = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  after: Position.Position,
  events: ReadonlyArray<StoredEvent>,
  { first, lines }: ReadLines
): Effect.fn.Return<void, DamagedExport | TransferRejected | EventStoreError> {
  const result = yield* driver.restore({ after, events })
  switch (result._tag) {
    case "Restored":
      return yield* countImported(events.length)
    case "Elsewhere":
      return yield* reject(
        `The log ends at position ${result.last} and not at ${after}: somebody else writes to it; import to a log that nobody uses`
      )
    case "Refused": {
      const index = lines.findIndex((line) => line.kind === "event" && line.event.position === result.position)
      return yield* new DamagedExport({ line: first + index, detail: result.detail })
    }
  }
})
