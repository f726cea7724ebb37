/**
 * Exports the log to a file, and imports it from one.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { type ExportState, initialState, readLines } from "./ExportReader.ts"
import { type ExportOptions, resumeExport } from "./LogExporter.ts"
import {
  type ExportSummary,
  hasEvent,
  importLog,
  type ImportOptions,
  type ImportSummary,
  summaryOf,
  verify
} from "./LogImporter.ts"
import * as Retagging from "./Retagging.ts"
import * as TagDefinitions from "./TagDefinitions.ts"
import { type DamagedExport, TransferRejected } from "./TransferError.ts"

/**
 * Options of an export to a file.
 *
 * @since 0.1.0
 * @category options
 */
export interface ExportToFileOptions extends ExportOptions {
  /**
   * Whether to continue an interrupted export after the last complete line of the file, which is verified first. A complete export stays as it
   * is. False by default: an existing file is overwritten.
   */
  readonly resume?: boolean | undefined
}

/**
 * Exports the log to a file. On success the file is complete and flushed to disk.
 *
 * @since 0.1.0
 * @category constructors
 */
export const exportToFile = (
  path: string,
  { resume = false, ...options }: ExportToFileOptions = {}
): Effect.Effect<
  ExportSummary,
  EventStoreError | DamagedExport | TransferRejected | PlatformError,
  EventStore | FileSystem.FileSystem
> =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const begun = resume && (yield* fs.exists(path)) ? yield* readPartial(fs.stream(path), options) : initialState
    if (begun.bytes > 0) yield* fs.truncate(path, begun.bytes)
    const file = yield* fs.open(path, { flag: begun.bytes > 0 ? "a" : "w" })
    const done = yield* Stream.runFoldEffect(
      resumeExport(begun, options),
      () => begun,
      (_, { state, texts }) => Effect.as(file.writeAll(encoder.encode(texts.join(""))), state)
    )
    yield* file.sync
    return summaryOf(done)
  }))

const encoder = new TextEncoder()

/** Returns whether the log has the event at which the export of a header ends. */
const isOfLog = (
  driver: EventStoreDriver,
  { head, headEventId }: Pick<ExportState, "headEventId"> & { readonly head: Position.Position }
): Effect.Effect<boolean, EventStoreError> =>
  Effect.map(
    driver.eventIds([head]),
    ([id]) => head === Position.start || id !== undefined && (headEventId ?? id) === id
  )

/** Fails unless an export that began with these definitions gets the same tags from the set of events. */
const requireTags = (
  begun: TagDefinitions.TagDefinitions | undefined,
  retag: Event.Any | undefined
): Effect.Effect<void, TransferRejected> => {
  const reject = (detail: string) => Effect.fail(new TransferRejected({ detail }))
  if (begun === undefined || retag === undefined) {
    return (begun === undefined) === (retag === undefined) ? Effect.void : reject(
      `The file was begun ${
        retag === undefined ? "with" : "without"
      } \`retag\`; resume it in the same way, choose another path, or export without resume`
    )
  }
  const difference = TagDefinitions.difference(begun, TagDefinitions.of(retag))
  return difference === undefined ? Effect.void : reject(
    `The file was begun with another set of events in \`retag\`: ${difference}; resume it with the release that began it, choose another path, `
      + "or export without resume"
  )
}

/** Verifies the beginning of an export in a file, which must be of this log, and returns the state after it. */
const readPartial = Effect.fnUntraced(function*<E>(
  lines: Stream.Stream<Uint8Array, E>,
  { retag }: ExportOptions
): Effect.fn.Return<ExportState, E | EventStoreError | DamagedExport | TransferRejected, EventStore> {
  const store = (yield* EventStore)[internals]
  const { driver } = store
  const retagging = retag === undefined ? undefined : Retagging.make(retag, store)
  const begun = yield* Stream.runFoldEffect(
    readLines(lines, { allowTruncated: true }),
    () => initialState,
    Effect.fnUntraced(function*(_, { lines, state }) {
      const [header] = lines
      if (header?.kind === "header" && !(yield* isOfLog(driver, header))) {
        return yield* new TransferRejected({
          detail:
            `The file was begun on another log, whose event at position ${header.head} is not in this one; choose another path, or export `
            + "without resume"
        })
      }
      if (header?.kind === "header") yield* requireTags(header.retagged, retag)
      const last = lines.findLast((line) => line.kind === "event")
      if (
        last?.kind === "event" && last.event.position === state.position &&
        !(yield* hasEvent(driver, last.event, retagging))
      ) {
        return yield* new TransferRejected({
          detail:
            `The file and the log have different events at position ${state.position}; choose another path, or export without resume`
        })
      }
      return state
    })
  )
  if (begun.head !== undefined && begun.head > (yield* driver.last)) {
    return yield* new TransferRejected({
      detail:
        `The file ends at position ${begun.head}, beyond the log's last event; choose another path, or export without resume`
    })
  }
  return begun
})

/**
 * Imports a file. Reads it twice: first to verify every line, then to write the events, so a damaged file writes nothing. Run an interrupted
 * import again to continue it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const importFromFile = (
  path: string,
  options: ImportOptions = {}
): Effect.Effect<
  ImportSummary,
  EventStoreError | DamagedExport | TransferRejected | PlatformError,
  EventStore | FileSystem.FileSystem
> =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => Effect.andThen(verify(fs.stream(path)), importLog(fs.stream(path), options))
  )
