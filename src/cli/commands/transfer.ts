/**
 * `evsrc export` and `evsrc import`: copy the log to a file, and from one.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"
import * as LogTransfer from "../../transfer/LogTransfer.ts"
import * as Confirmation from "../Confirmation.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import * as Progress from "../output/Progress.ts"
import { counted, shellWord } from "../output/Style.ts"
import * as Stores from "../session/Stores.ts"

const summary = {
  file: Schema.String,
  events: Schema.Int,
  archived: Schema.Int,
  /** The position of the last event of the export. */
  head: Position
}

/**
 * The report of `export`, and of `import --verify`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Exported = Schema.toCodecJson(Schema.Struct(summary))

/**
 * The report of `import`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Imported = Schema.toCodecJson(Schema.Struct({
  ...summary,
  /** The number of events that this run wrote; the log already had the others. */
  written: Schema.Int
}))

const file = Argument.String("file").pipe(Argument.withDescription("The export file, one JSON document in each line"))

const barOf = ({ events, head, position }: LogTransfer.Progress): string =>
  Progress.ofPosition(position, head, `${events.toLocaleString("en")} events, `)

const upTo = (progress: LogTransfer.Progress | undefined): string =>
  progress === undefined ? "before the first event" : `at position ${progress.position} of ${progress.head}`

const exportLog = Effect.fnUntraced(function*(path: string, resume: boolean, yes: boolean) {
  const fs = yield* FileSystem.FileSystem
  const { dirname } = yield* Path.Path
  if (!(yield* fs.exists(dirname(path)))) {
    return yield* new WrongUse({ detail: `The folder ${dirname(path)} does not exist; create it, or export elsewhere` })
  }
  if (!resume && (yield* fs.exists(path))) {
    yield* Confirmation.confirm(`Overwrite ${path}? To continue an interrupted export instead, give --resume.`, yes)
  }
  const done = yield* Progress.withBar(
    barOf,
    (onProgress) => LogTransfer.exportToFile(path, { resume, onProgress }),
    (progress) => `The export stopped ${upTo(progress)}. To continue: evsrc export ${shellWord(path)} --resume`
  )
  yield* Output.document(Exported, { file: path, ...done }, (style) => [
    `${style.as("green", "exported")} ${counted(done.events, "event")} up to position ${done.head} to ${path}, ${
      counted(done.archived, "archived stream")
    }`
  ])
})

const exportCommand = Command.make(
  "export",
  {
    file,
    resume: Flag.Boolean("resume").pipe(
      Flag.withDescription("Continue an interrupted export after the last complete line of the file"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    yes: Confirmation.yes
  },
  Effect.fnUntraced(
    function*({ file, resume, yes }) {
      yield* exportLog(file, resume, yes)
    },
    Effect.provide(Stores.layer)
  )
).pipe(
  Command.withDescription("Export the whole log to a file; personal data stays encrypted"),
  Command.withExamples([{ command: "evsrc export log.ndjson", description: "After Ctrl-C, --resume continues" }])
)

/** Fails if there is no file. */
const requireFile = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  if (yield* fs.exists(path)) return
  return yield* new WrongUse({ detail: `The file ${path} does not exist; give that of an earlier evsrc export` })
})

const verifyFile = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const found = yield* Progress.withBar(
    barOf,
    (onProgress) => LogTransfer.verify(fs.stream(path), { onProgress }),
    (progress) => `The verification stopped ${upTo(progress)}; nothing was written`
  )
  yield* Output.document(Exported, { file: path, ...found }, (style) => [
    `${style.as("green", "intact")}: ${path} has ${counted(found.events, "event")} up to position ${found.head}, ${
      counted(found.archived, "archived stream")
    }`
  ])
})

const importFile = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  // A damaged file writes nothing, so all of it is read before.
  yield* LogTransfer.verify(fs.stream(path))
  const done = yield* Progress.withBar(
    barOf,
    (onProgress) => LogTransfer.import(fs.stream(path), { onProgress }),
    (progress) => `The import stopped ${upTo(progress)}. To continue, run it again: evsrc import ${shellWord(path)}`
  )
  yield* Output.document(Imported, { file: path, ...done }, (style) => [
    `${style.as("green", "imported")} ${done.written} of ${
      counted(done.events, "event")
    } up to position ${done.head} from ${path}`
    + (done.written < done.events ? "; the log had the others" : "")
  ])
})

const importCommand = Command.make(
  "import",
  {
    file,
    verify: Flag.Boolean("verify").pipe(
      Flag.withDescription("Write nothing; verify every line of the file. It needs no database"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*({ file, verify }) {
    yield* requireFile(file)
    if (verify) return yield* verifyFile(file)
    yield* Effect.provide(importFile(file), Stores.layer)
  })
).pipe(
  Command.withDescription("Import an export into an empty log, or continue an interrupted import"),
  Command.withExamples([{
    command: "evsrc import log.ndjson --verify",
    description: "Check that a file is complete and undamaged"
  }])
)

export {
  /**
   * The command `export`.
   *
   * @since 0.1.0
   * @category commands
   */
  exportCommand as export,
  /**
   * The command `import`.
   *
   * @since 0.1.0
   * @category commands
   */
  importCommand as import
}
