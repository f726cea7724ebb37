/**
 * The golden file of one event version: its content, its name, and how it is read and written.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { fromJsonText } from "../../core/json/parseJson.ts"
import * as storedVersions from "../storedVersions.ts"

/**
 * A difference between a golden file and the code:
 *
 * - `NotRecorded`: a version has no file yet.
 * - `UpcastNotRecorded`: the file was written while the version was current. It lacks the events that its payloads are upcast to.
 * - `ExampleNotRecorded`: the file lacks a given example.
 * - `SchemaChanged`: the Schema differs from the recorded one.
 * - `Undecodable`: an example does not decode to valid current events.
 * - `UpcastChanged`: an example decodes to other events than the recorded ones.
 * - `VersionLost`: the code has no version for the file.
 * - `InvalidFile`: the file is not a golden file, or its name is wrong.
 *
 * @since 0.1.0
 * @category models
 */
export const Problem = Schema.Struct({
  problem: Schema.Literals([
    "NotRecorded",
    "UpcastNotRecorded",
    "ExampleNotRecorded",
    "SchemaChanged",
    "Undecodable",
    "UpcastChanged",
    "VersionLost",
    "InvalidFile"
  ]),
  file: Schema.String,
  detail: Schema.String
})
export type Problem = typeof Problem.Type

export const Stored = Schema.Struct({ type: Schema.String, schemaVersion: Schema.Int, data: Schema.Json })
export type Stored = typeof Stored.Type

export const Example = Schema.Struct({
  data: Schema.Json,
  /** The events that the payload was upcast to when this was recorded, as then stored. Missing while the version is current. */
  upcastTo: Schema.optionalKey(Schema.Array(Stored))
})
export type Example = typeof Example.Type

export const Golden = Schema.Struct({
  type: Schema.String,
  schemaVersion: Schema.Int,
  fingerprint: Schema.String,
  examples: Schema.NonEmptyArray(Example)
})
export type Golden = typeof Golden.Type
const decodeGolden = Schema.decodeUnknownResult(fromJsonText(Golden))

export type Version = Pick<Golden, "type" | "schemaVersion">

/** Encodes the characters of a type that a file name cannot have. */
export const fileOf = ({ schemaVersion, type }: Version): string =>
  `${encodeURIComponent(type).replaceAll("*", "%2A")}.v${schemaVersion}.json`

export const describe = ({ schemaVersion, type }: Version): string => `schema version ${schemaVersion} of "${type}"`

/** Returns the golden files of a directory by name, and a problem for each invalid file. */
export const readFiles = Effect.fnUntraced(function*(directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const names = (yield* fs.exists(directory)) ? (yield* fs.readDirectory(directory)).toSorted() : []
  const goldens = new Map<string, Golden>()
  const invalid: Array<Problem> = []
  for (const file of names) {
    const golden = decodeGolden(yield* fs.readFileString(path.join(directory, file)))
    if (Result.isFailure(golden)) invalid.push({ problem: "InvalidFile", file, detail: golden.failure.message })
    else if (fileOf(golden.success) === file) goldens.set(file, golden.success)
    else {
      const detail = `its content belongs into a file with the name ${fileOf(golden.success)}`
      invalid.push({ problem: "InvalidFile", file, detail })
    }
  }
  return { goldens, invalid, names }
})

export const write = Effect.fnUntraced(function*(directory: string, file: string, golden: Golden, isNew: boolean) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (isNew) yield* fs.makeDirectory(directory, { recursive: true })
  const text = `${storedVersions.stable(golden, 2)}\n`
  yield* fs.writeFileString(path.join(directory, file), text, { flag: isNew ? "wx" : "w" })
})
