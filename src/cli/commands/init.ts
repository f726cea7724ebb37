/**
 * `evsrc init`: writes a small project.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { WrongUse } from "../ExitCode.ts"
import { filesOf, ofProject, stepsFor } from "../init/files.ts"
import * as Output from "../output/Output.ts"
import { shellWord } from "../output/Style.ts"
import { peers, specifierFor } from "../OwnCopy.ts"

/**
 * The report of `init`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Initialized = Schema.toCodecJson(Schema.Struct({
  folder: Schema.String,
  /** The files that were written. */
  files: Schema.Array(Schema.String),
  /** The files that the folder had, and kept as they were. */
  kept: Schema.Array(Schema.String)
}))

/** Returns the name of a folder as npm accepts it for a package. */
const nameOf = (folder: string): string =>
  folder.toLowerCase().replaceAll(/[^a-z0-9._~-]+/g, "-").replace(/^[._-]+/, "") || "my-events"

/**
 * The command `init`.
 *
 * @since 0.1.0
 * @category commands
 */
export const init = Command.make(
  "init",
  {
    folder: Argument.String("folder").pipe(
      Argument.withDescription("The folder of the project, by default this one; the command creates it if needed"),
      Argument.withDefault(".")
    )
  },
  Effect.fnUntraced(function*({ folder }) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const root = path.resolve(folder)
    const versions = { evsrc: specifierFor(root), peers }
    const all = Object.entries(filesOf(nameOf(path.basename(root)), versions))
    const existing = (yield* Effect.filter(all, ([name]) => fs.exists(path.join(root, name)))).map(([name]) => name)
    const inTheWay = existing.filter((name) => !ofProject.includes(name))
    if (inTheWay.length > 0) {
      return yield* new WrongUse({
        detail: `${root} has ${inTheWay.join(", ")} already, and nothing was written; choose another folder`
      })
    }
    const files = all.filter(([name]) => !existing.includes(name))
    for (const [name, text] of files) {
      const file = path.join(root, name)
      yield* fs.makeDirectory(path.dirname(file), { recursive: true })
      yield* fs.writeFileString(file, text)
    }
    const names = files.map(([name]) => name)
    yield* Output.document(Initialized, { folder: root, files: names, kept: existing }, (style) => [
      ...names.map((name) => `${style.as("green", "wrote")} ${path.join(folder, name)}`),
      ...existing.map((name) => `${style.as("yellow", "kept ")} ${path.join(folder, name)}`),
      "",
      ...existing.length === 0
        ? [
          `Next: ${
            folder === "." ? "" : `cd ${shellWord(folder)} && `
          }npm install && npm test && npm start && npm run status`
        ]
        : [
          "Next:",
          ...stepsFor(existing, versions).map((step) => `  ${step}`),
          "  node src/main.ts && npx evsrc status"
        ]
    ])
  })
).pipe(
  Command.withDescription(
    "Write a small project: an aggregate, a read model, a test, a program and a configuration. An existing project keeps its package.json and tsconfig.json"
  ),
  Command.withExamples([{ command: "npx evsrc init todo", description: "In the new folder todo" }])
)
