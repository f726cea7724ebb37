/**
 * Replay tests of real histories. A recording contains events of a log and the changes that they caused in aggregates and documents. A test replays
 * the events with the current code and reports every state that differs, from the first event on.
 *
 * **Example** (a script that records a sample, and a test)
 *
 * ```ts
 * const lines = Recording.record({ aggregates: [UserDecider], projections: [Users], sample: { count: 100 } })
 * yield* Recording.save("test/recordings/users.ndjson", lines)
 *
 * it.effect("replays recorded users to the same states", () =>
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
 * The replay of a recording differs, or compared nothing. The message is the printed report.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReplayDiffers extends Schema.TaggedError<ReplayDiffers>("evsrc/ReplayDiffers")("ReplayDiffers", {
  report: RecordingReport.Report,
  hint: Schema.String
}) {
  override get message(): string {
    return `The replay of the recording differs.\n${RecordingReport.print(this.report)}\n${this.hint}`
      .trimEnd()
  }
}

/**
 * Replays a recording and returns the report. Fails if a state differs or nothing was compared.
 *
 * @since 0.1.0
 * @category combinators
 */
export const check = <E, R>(
  options: RecordingReplay.ReplayOptions,
  lines: Stream.Stream<string, E, R>
): Effect.Effect<RecordingReport.Report, E | InvalidRecording | ReplayDiffers, R> =>
  Effect.flatMap(RecordingReplay.replay(options, lines), (report) =>
    RecordingReport.isSame(report)
      ? Effect.succeed(report)
      : Effect.fail(new ReplayDiffers({ report, hint: hints(report).join("\n") })))

/** Returns what to do about faults that an update cannot accept. */
const hints = ({ compared, failures, missing }: RecordingReport.Report): ReadonlyArray<string> => [
  ...missing.length === 0 ? [] : [
    `Give ${
      missing.map(({ kind, name }) => `the ${kind} ${name}`).join(" and ")
    } in the options; if it no longer exists, list it in `
    + `\`removed\`: ${JSON.stringify(missing.map(({ name }) => name))}.`
  ],
  ...failures.some(({ when }) => when === "today")
    ? ["Fix the code that fails on events of the log; an update does not accept this."]
    : [],
  ...missing.length === 0 && compared.every(({ items }) => items === 0)
    ? ["Give `aggregates` or `projections` that have events in the recording."]
    : []
]

/** Fails if an update would lose recorded states. Writes nothing. */
const checkUpdate = <E, R>(options: RecordingReplay.ReplayOptions, lines: Stream.Stream<string, E, R>) =>
  Effect.gen(function*() {
    const reject = (report: RecordingReport.Report, reasons: ReadonlyArray<string>) => {
      const hint = ["The update was rejected; nothing was written.", ...reasons].join("\n")
      return new ReplayDiffers({ report, hint })
    }
    const before = yield* RecordingReplay.rehearse(options, lines)
    const isLoss = before.missing.length > 0 || before.failures.some(({ when }) => when === "today")
    if (isLoss) return yield* reject(before, hints(before))
    const after = yield* RecordingReplay.replay(options, RecordingMaker.renew(options, lines))
    if (!RecordingReport.isSame(after)) return yield* reject(after, hints(after))
  })

/**
 * Writes the lines of a recording to a file. It writes `<path>.part` and renames it when it is complete. The directory must exist.
 *
 * @since 0.1.0
 * @category combinators
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
 * Returns the lines of a file.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = (path: string): Stream.Stream<string, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (fs) => fs.stream(path).pipe(Stream.decodeText, Stream.splitLines)))

/**
 * How a recording in a file is checked.
 *
 * @since 0.1.0
 * @category options
 */
export interface CheckFileOptions extends RecordingReplay.ReplayOptions {
  /**
   * Renews the file with the current states, then checks it. True by default if the environment has `UPDATE_RECORDING=1`. It writes nothing and
   * fails in three cases: a recorded model is neither given nor in `removed`, nothing would be compared, or an event fails that did not fail
   * before. `save` of `renew` accepts such a failure.
   */
  readonly update?: boolean | undefined
}

/**
 * Checks a recording in a file and returns the report.
 *
 * @since 0.1.0
 * @category combinators
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
    `If the change is intended, run the test with UPDATE_RECORDING=1, review the diff of ${path} and commit it; or `
    + "declare the change with `normalise`."
  return yield* Effect.mapError(
    check(options, open(path)),
    (error) =>
      error._tag === "ReplayDiffers" && error.hint === ""
        ? new ReplayDiffers({ report: error.report, hint: accept })
        : error
  )
})
