/**
 * Recorded history against today's code. A recording has events of a real log, and how they changed aggregates and documents when it was made. A test
 * replays it and tells what would be another state today, from which event on.
 *
 * **Example** (a script that records a part of a log, and a test)
 *
 * ```ts
 * const lines = Recording.record({ aggregates: [UserDecider], projections: [Users], sample: { count: 100 } })
 * yield* Recording.save("test/recordings/users.ndjson", lines)
 *
 * it.effect("what has happened leads where it led", () =>
 *   Recording.checkFile("test/recordings/users.ndjson", { aggregates: [UserDecider], projections: [Users] }).pipe(
 *     Effect.provide(NodeServices.layer)
 *   ))
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { InvalidRecording } from "./RecordingFile.ts"
import * as RecordingMaker from "./RecordingMaker.ts"
import * as RecordingReplay from "./RecordingReplay.ts"
import * as RecordingReport from "./RecordingReport.ts"

export { InvalidRecording } from "./RecordingFile.ts"
export type { AnyDecider, Models } from "./RecordingFold.ts"
export { record, RecordingFailed, type RecordOptions, renew, type Replaceable } from "./RecordingMaker.ts"
export { type Normalise, replay, type ReplayOptions } from "./RecordingReplay.ts"
export { Difference, Failure, isSame, Place, print, type PrintOptions, Report } from "./RecordingReport.ts"
export type { Sample } from "./RecordingSample.ts"

/**
 * Today's code makes something else of a recording. The message is the printed report.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReplayDiffers extends Schema.TaggedError<ReplayDiffers>("evsrc/ReplayDiffers")("ReplayDiffers", {
  report: RecordingReport.Report,
  hint: Schema.String
}) {
  override get message(): string {
    return `Today's code makes something else of this recording.\n${RecordingReport.print(this.report)}\n${this.hint}`
      .trimEnd()
  }
}

/**
 * Replays a recording, and fails where today's code makes something else of it, or where nothing was compared.
 *
 * @since 0.1.0
 * @category replaying
 */
export const check = <E, R>(
  options: RecordingReplay.ReplayOptions,
  lines: Stream.Stream<string, E, R>
): Effect.Effect<RecordingReport.Report, E | InvalidRecording | ReplayDiffers, R> =>
  Effect.flatMap(RecordingReplay.replay(options, lines), (report) =>
    RecordingReport.isSame(report)
      ? Effect.succeed(report)
      : Effect.fail(new ReplayDiffers({ report, hint: hints(report).join("\n") })))

/** What to do where it is not enough to accept what is different. */
const hints = ({ compared, failures, missing }: RecordingReport.Report): ReadonlyArray<string> => [
  ...missing.length === 0 ? [] : [
    `Give ${
      missing.map(({ kind, name }) => `the ${kind} ${name}`).join(" and ")
    } to be replayed, or, if gone, name it in `
    + `\`removed\`: ${JSON.stringify(missing.map(({ name }) => name))}.`
  ],
  ...failures.some(({ when }) => when === "today")
    ? ["Mend the code that cannot process what is in the log any more: that is not accepted."]
    : [],
  ...missing.length === 0 && compared.every(({ items }) => items === 0)
    ? ["Give `aggregates` or `projections` that have events in the recording."]
    : []
]

/** Refuses to renew a recording where that would lose what it tells; nothing is written. */
const checkUpdate = <E, R>(options: RecordingReplay.ReplayOptions, lines: Stream.Stream<string, E, R>) =>
  Effect.gen(function*() {
    const reject = (report: RecordingReport.Report, reasons: ReadonlyArray<string>) => {
      const hint = ["The update was refused, and nothing was written.", ...reasons].join("\n")
      return new ReplayDiffers({ report, hint })
    }
    const before = yield* RecordingReplay.rehearse(options, lines)
    const isLoss = before.missing.length > 0 || before.failures.some(({ when }) => when === "today")
    if (isLoss) return yield* reject(before, hints(before))
    const after = yield* RecordingReplay.replay(options, RecordingMaker.renew(options, lines))
    if (!RecordingReport.isSame(after)) return yield* reject(after, hints(after))
  })

/**
 * Writes the lines of a recording into a file. It is written beside, as `<path>.part`, and takes the place of a file that was there when it is whole.
 * The folder must be there.
 *
 * @since 0.1.0
 * @category files
 */
export const save = Effect.fn("Recording.save")(function*<E, R>(
  path: string,
  lines: Stream.Stream<string, E, R>
): Effect.fn.Return<void, E | PlatformError.PlatformError, R | FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const part = `${path}.part`
  yield* lines.pipe(Stream.map((line) => `${line}\n`), Stream.encodeText, Stream.run(fs.sink(part)))
  yield* fs.rename(part, path)
})

/**
 * The lines of a file.
 *
 * @since 0.1.0
 * @category files
 */
export const open = (path: string): Stream.Stream<string, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (fs) => fs.stream(path).pipe(Stream.decodeText, Stream.splitLines)))

/**
 * - `update`: accepts what is different: renews the file, and then checks it. By default when the environment has `UPDATE_RECORDING=1`. It is refused,
 *   before anything is written, where a model of the file is neither given nor named in `removed`, where nothing would be compared, and where
 *   today's code fails on an event on which it did not fail; `save` of `renew` accepts such a failure
 *
 * @since 0.1.0
 * @category options
 */
export interface CheckFileOptions extends RecordingReplay.ReplayOptions {
  readonly update?: boolean | undefined
}

/**
 * Checks a recording in a file, for a test.
 *
 * @since 0.1.0
 * @category files
 */
export const checkFile = Effect.fn("Recording.checkFile")(function*(
  path: string,
  options: CheckFileOptions
): Effect.fn.Return<
  RecordingReport.Report,
  | ReplayDiffers
  | InvalidRecording
  | RecordingMaker.RecordingFailed
  | PlatformError.PlatformError
  | Config.ConfigError,
  FileSystem.FileSystem
> {
  const update = options.update ?? (yield* Config.Boolean("UPDATE_RECORDING").pipe(Config.withDefault(false)))
  if (update) {
    yield* checkUpdate(options, open(path))
    yield* save(path, RecordingMaker.renew(options, open(path)))
  }
  const accept =
    `If this is intended, accept it with UPDATE_RECORDING=1, look at the difference of ${path}, and commit it; or `
    + "declare it by `normalise`."
  return yield* Effect.mapError(
    check(options, open(path)),
    (error) =>
      error._tag === "ReplayDiffers" && error.hint === ""
        ? new ReplayDiffers({ report: error.report, hint: accept })
        : error
  )
})
