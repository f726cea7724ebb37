/**
 * Imports an export into a log: the same events with the same positions, versions, ids, JSON texts and recorded times.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import { countImported } from "../core/telemetry/metricUpdates.ts"
import * as EventTags from "../event/EventTags.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { encode } from "./ExportFormat.ts"
import { type ExportState, initialState, readLines, type VerifiedLines } from "./ExportReader.ts"
import type { Progress } from "./LogExporter.ts"
import type { Retagging } from "./Retagging.ts"
import { DamagedExport, TransferRejected } from "./TransferError.ts"

/**
 * Options of an import.
 *
 * @since 0.1.0
 * @category options
 */
export interface ImportOptions {
  /** Runs after each group of lines. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The result of an import.
 *
 * @since 0.1.0
 * @category models
 */
export interface ImportSummary {
  /** The number of events in the export. */
  readonly events: number
  /** The number of events that the import wrote; the log already had the others. */
  readonly written: number
  /** The number of archived streams in the export. */
  readonly archived: number
  /** The position of the last event of the export. */
  readonly head: Position.Position
}

/**
 * The contents of an export.
 *
 * @since 0.1.0
 * @category models
 */
export type ExportSummary = Omit<ImportSummary, "written">

/**
 * Verifies every line of an export byte for byte, without writing anything. Fails with `DamagedExport` at the first line that differs.
 *
 * @since 0.1.0
 * @category accessors
 */
export const verify = <E, R>(
  lines: Stream.Stream<string | Uint8Array, E, R>,
  options: ImportOptions = {}
): Effect.Effect<ExportSummary, E | DamagedExport, R> =>
  Effect.map(
    Stream.runFoldEffect(
      readLines(lines),
      () => initialState,
      (_, { state }) => Effect.as(reportProgress(options, state), state)
    ),
    summaryOf
  )

/**
 * Writes the events of an export to an empty log, or to one that holds the beginning of the same export. In the second case it compares the
 * events that the log has with the export, and continues after them, so an interrupted import can simply run again. Each group of lines is verified, then written in a transaction of its own.
 *
 * **Gotchas**
 *
 * No other process may append during an import; otherwise it fails with `TransferRejected`. Asynchronous projections process imported events
 * as usual. Inline projections do not see them: their documents cannot be read until a program with `Projector.layerInline` has made them again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const importLog = <E, R>(
  lines: Stream.Stream<string | Uint8Array, E, R>,
  options: ImportOptions = {}
): Effect.Effect<ImportSummary, E | DamagedExport | TransferRejected | EventStoreError, R | EventStore> =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore)[internals]
    const last = yield* driver.last
    let written = 0
    const done = yield* Stream.runFoldEffect(
      readLines(lines),
      () => initialState,
      Effect.fnUntraced(function*(before: ExportState, group: VerifiedLines) {
        const { state } = group
        if (state.head !== undefined && last > state.head) {
          return yield* reject(
            `The log's last event is at position ${last}, beyond the export's last at ${state.head}; ${whatToDo}`
          )
        }
        yield* checkStored(driver, before, group, last)
        const events = group.lines.flatMap((line) =>
          line.kind === "event" && line.event.position > last ? [line.event] : []
        )
        let after = Position.max(before.position, last)
        for (const some of chunksByTags(events)) {
          yield* restore(driver, after, some, group)
          after = some.at(-1)!.position
          written += some.length
        }
        for (const line of group.lines) {
          if (line.kind !== "archived") continue
          const moved = yield* driver.archive(line.stream, line.archivedAt)
          if (Option.isNone(moved)) {
            return yield* reject(
              `The export archives stream "${line.stream}", which is not closed in the log; import into an empty log`
            )
          }
        }
        yield* reportProgress(options, state)
        return state
      })
    )
    return { ...summaryOf(done), written }
  })

/**
 * Returns the summary of an export from the state after its last line.
 *
 * @since 0.1.0
 * @category accessors
 */
export const summaryOf = ({ archived, events, head = Position.start }: ExportState): ExportSummary => ({
  events,
  archived,
  head
})

const whatToDo = "nothing was written. Import into an empty log, or into one that holds the beginning of this export"

const reject = (detail: string) => Effect.fail(new TransferRejected({ detail }))

const reportProgress = (
  { onProgress }: ImportOptions,
  { events, head = Position.start, position, checksum }: ExportState
) => onProgress === undefined ? Effect.void : onProgress({ line: checksum.line, events, position, head })

/** Fails unless the log and the export have the same events, from where the group begins up to `last`, the log's last event when the import began. */
const checkStored = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  { position }: ExportState,
  { lines, state }: VerifiedLines,
  last: Position.Position
): Effect.fn.Return<void, TransferRejected | EventStoreError> {
  if (last <= position || state.position === position) return
  const end = last < state.position ? last : state.position
  const expected = lines.flatMap((line) => line.kind === "event" && line.event.position <= end ? [line.event] : [])
  const stored = yield* driver.readStored({ after: position, limit: expected.length + 1, extent: "visible" })
  const own = stored.events.filter((event) => event.position <= end)
  for (let index = 0; index < Math.max(own.length, expected.length); index++) {
    const difference = differenceOf(own[index], expected[index])
    if (difference !== undefined) return yield* reject(`${difference}; ${whatToDo}`)
  }
})

/** Returns how the log's event differs from the export's event in its place, or `undefined` if they are equal. */
const differenceOf = (own: StoredEvent | undefined, exported: StoredEvent | undefined): string | undefined => {
  if (own?.position !== exported?.position) {
    return `After the events that both have, the log has one at position ${
      own?.position ?? "(none)"
    }, and the export one at ${exported?.position ?? "(none)"}`
  }
  if (own === undefined || exported === undefined) return undefined
  if (encode({ kind: "event", event: own }) === encode({ kind: "event", event: exported })) return undefined
  const place = `The log's event at position ${own.position}`
  return own.id === exported.id && own.tags.join() !== exported.tags.join()
    // Without the values of the tags, which may be personal.
    ? `${place} has the tags ${namesOf(own.tags)}, and the export's has ${
      namesOf(exported.tags)
    }, or other values of them. `
      + "Export with the set of `retag` that was used for the log"
    : `${place} differs from the export's event there`
}

const namesOf = (tags: ReadonlyArray<string>): string =>
  tags.length === 0 ? "(none)" : Array.from(new Set(tags.map(EventTags.namePartOf))).join(", ")

/**
 * Returns whether the log contains the same event, byte for byte, or one from which `change` makes it.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasEvent = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  event: StoredEvent,
  change?: Retagging
): Effect.fn.Return<boolean, EventStoreError> {
  const { events } = yield* driver.readStored({
    after: Position.make(event.position - 1n),
    limit: 1,
    extent: "visible"
  })
  const [own] = change === undefined ? events : yield* change(events)
  return own !== undefined && encode({ kind: "event", event: own }) === encode({ kind: "event", event })
})

/** The maximum number of tags in a transaction, unless one event has more: each is a lock, of which the server has a few thousand by default. */
const maxTags = 1_000

/** Divides events into parts, each for a transaction of its own. */
const chunksByTags = (events: ReadonlyArray<StoredEvent>): ReadonlyArray<ReadonlyArray<StoredEvent>> => {
  const chunks: Array<Array<StoredEvent>> = []
  let left = 0
  for (const event of events) {
    if (chunks.length === 0 || event.tags.length > left) {
      chunks.push([])
      left = Math.max(maxTags, event.tags.length)
    }
    chunks.at(-1)!.push(event)
    left -= event.tags.length
  }
  return chunks
}

const restore = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  after: Position.Position,
  events: ReadonlyArray<StoredEvent>,
  { firstLine, lines }: VerifiedLines
): Effect.fn.Return<void, DamagedExport | TransferRejected | EventStoreError> {
  const result = yield* driver.restore({ after, events })
  switch (result._tag) {
    case "Restored":
      return yield* countImported(events.length)
    case "WrongEnd":
      return yield* reject(
        `The log ends at position ${result.last} instead of ${after}, because another process appends to it; import into a log that is not in use`
      )
    case "InUse":
      return yield* reject(
        `Another process appends to the log, so the events after position ${after} were not written; stop that process, and import again`
      )
    case "Rejected": {
      const index = lines.findIndex((line) => line.kind === "event" && line.event.position === result.position)
      return yield* new DamagedExport({ line: firstLine + index, detail: result.detail })
    }
  }
})
