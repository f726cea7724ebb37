/**
 * Exports in files.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { nothing, read, type ReadSoFar } from "./ExportReader.ts"
import { exportAfter, type ExportOptions } from "./LogExporter.ts"
import {
  holds,
  type Imported,
  importLog,
  type ImportOptions,
  type Verified,
  verifiedOf,
  verify
} from "./LogImporter.ts"
import { type DamagedExport, TransferRejected } from "./TransferError.ts"

/**
 * - `resume`: goes on with an export that was interrupted, after the last whole line of the file, which is read and checked first. One that is
 *   complete is left as it is. Without it, which is the default, a file of that name is written again
 *
 * @since 0.1.0
 * @category options
 */
export interface ExportToFileOptions extends ExportOptions {
  readonly resume?: boolean | undefined
}

/**
 * Exports the log to a file. When it succeeds, the file is complete and on the disk.
 *
 * @since 0.1.0
 * @category exporting
 */
export const exportToFile = (
  path: string,
  { resume = false, ...options }: ExportToFileOptions = {}
): Effect.Effect<
  Verified,
  EventStoreError | DamagedExport | TransferRejected | PlatformError,
  EventStore | FileSystem.FileSystem
> =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const begun = resume && (yield* fs.exists(path)) ? yield* readBegun(fs.stream(path)) : nothing
    if (begun.bytes > 0) yield* fs.truncate(path, begun.bytes)
    const file = yield* fs.open(path, { flag: begun.bytes > 0 ? "a" : "w" })
    const done = yield* Stream.runFoldEffect(
      exportAfter(begun, options),
      () => begun,
      (_, { soFar, texts }) => Effect.as(file.writeAll(encoder.encode(texts.join(""))), soFar)
    )
    yield* file.sync
    return verifiedOf(done)
  }))

const encoder = new TextEncoder()

/** How far an export was written, which must be of this log. */
const readBegun = Effect.fnUntraced(function*<E>(
  lines: Stream.Stream<Uint8Array, E>
): Effect.fn.Return<ReadSoFar, E | EventStoreError | DamagedExport | TransferRejected, EventStore> {
  const { driver } = (yield* EventStore)[internals]
  const begun = yield* Stream.runFoldEffect(
    read(lines, { cut: true }),
    () => nothing,
    Effect.fnUntraced(function*(_, { lines, soFar }) {
      const last = lines.findLast((line) => line.kind === "event")
      if (last?.kind === "event" && last.event.position === soFar.position && !(yield* holds(driver, last.event))) {
        return yield* new TransferRejected({
          detail:
            `The file has another event at position ${soFar.position} than the log; it is an export of another log`
        })
      }
      return soFar
    })
  )
  if (begun.head !== undefined && begun.head > (yield* driver.last)) {
    return yield* new TransferRejected({
      detail: `The file goes on to position ${begun.head}, beyond the log's last event; it is an export of another log`
    })
  }
  return begun
})

/**
 * Imports a file. It is read twice: nothing is written unless all of it is as it was exported. An import that was interrupted is run again,
 * and goes on after what the log has.
 *
 * @since 0.1.0
 * @category importing
 */
export const importFromFile = (
  path: string,
  options: ImportOptions = {}
): Effect.Effect<
  Imported,
  EventStoreError | DamagedExport | TransferRejected | PlatformError,
  EventStore | FileSystem.FileSystem
> =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => Effect.andThen(verify(fs.stream(path)), importLog(fs.stream(path), options))
  )
