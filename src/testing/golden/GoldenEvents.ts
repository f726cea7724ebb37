/**
 * Golden files for the versions of events: example payloads, the current events that they decode to, and the fingerprint of the Schema. A test
 * fails when stored events would no longer decode, or would decode to other events.
 *
 * **Example** (a test)
 *
 * ```ts
 * it.effect("decodes every stored version", () =>
 *   GoldenEvents.check(UserEvent, { directory: "test/golden/users" }).pipe(Effect.provide(NodeServices.layer)))
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Event from "../../event/Event.ts"
import { legacyOf } from "../../event/EventAnnotations.ts"
import * as storedVersions from "../storedVersions.ts"
import { checkExamples, make, makeUpcast, missingExamples, summarise, type Upcast } from "./GoldenExamples.ts"
import { describe, fileOf, type Golden, Problem, readFiles, write } from "./GoldenFile.ts"

export { Problem } from "./GoldenFile.ts"

const fixes: { readonly [P in Problem["problem"]]: string } = {
  NotRecorded: "run the test with UPDATE_GOLDEN=1, review the new file and commit it",
  UpcastNotRecorded: "run the test with UPDATE_GOLDEN=1, review the upcast events and commit them",
  ExampleNotRecorded: "run the test with UPDATE_GOLDEN=1, review the upcast events and commit them",
  SchemaChanged:
    "add the recorded Schema to Event.upcasters as a past version, with an upcaster to the new one; or, if the version was "
    + "never deployed, remove the file and record it again",
  Undecodable: "fix the Schema or the upcaster: stored events must stay readable",
  UpcastChanged:
    "fix the upcaster; or, if stored events are to be upcast differently from now on, remove the file, record it again and "
    + "rebuild the projections",
  VersionLost:
    "restore its Schema and upcaster (Event.upcasters, Event.legacy), or retire the type (Event.retired); or, if the version "
    + "was never deployed, remove the file",
  InvalidFile: "restore the file from the repository, or remove it"
}

/**
 * The golden files and the code differ.
 *
 * @since 0.1.0
 * @category errors
 */
export class GoldenEventsFailed extends Schema.TaggedError<GoldenEventsFailed>("evsrc/GoldenEventsFailed")(
  "GoldenEventsFailed",
  { directory: Schema.String, problems: Schema.Array(Problem) }
) {
  override get message(): string {
    const lines = this.problems.map(({ detail, file, problem }) =>
      `- ${file}: ${problem}: ${detail}\n  → ${fixes[problem]}`
    )
    return `The events differ from the golden files in ${this.directory}:\n${lines.join("\n")}`
  }
}

/**
 * Which files are checked, and whether missing ones are written.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E extends Event.Any> {
  /** The directory of the golden files of this event set. It contains no other files. */
  readonly directory: string
  /** Writes what is missing; true by default if the environment has `UPDATE_GOLDEN=1`. It never changes recorded examples. */
  readonly update?: boolean | undefined
  /**
   * Example payloads of current versions. By default three are generated from the Schema, equal in every run. Examples given later are added to
   * the file.
   */
  readonly examples?: { readonly [K in Event.Tag<E>]?: ReadonlyArray<Omit<Event.Case<E, K>, "_tag">> } | undefined
  /**
   * Example payloads of past versions and former types, by type and version, decoded. Give real payloads for an upcaster that parses texts:
   * generated texts test little of it. Examples given later are added to the file.
   */
  readonly past?:
    | { readonly [type: string]: { readonly [schemaVersion: number]: ReadonlyArray<object> } }
    | undefined
}

/**
 * The result of a check without problems.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** The number of golden files. */
  readonly files: number
  /** The files that this check wrote. */
  readonly written: ReadonlyArray<string>
}

/**
 * Compares an event set with its golden files, and writes what is missing if `update` is set. Fails with all problems and their fixes.
 *
 * **Details**
 *
 * A file has the events that its examples were upcast to, in the versions that were current then. Both the payload and these events are upcast to
 * the current versions before they are compared. So a newer version needs no change of older files.
 *
 * **Gotchas**
 *
 * The fingerprint of a Schema covers neither the bodies of functions nor checks on an event as a whole. A version without a file is not checked:
 * add its file in the release that adds the version.
 *
 * @since 0.1.0
 * @category combinators
 */
export const check = Effect.fn("GoldenEvents.check")(function*<E extends Event.Any>(
  events: E,
  options: Options<E>
): Effect.fn.Return<
  Report,
  GoldenEventsFailed | PlatformError.PlatformError | Config.ConfigError,
  FileSystem.FileSystem | Path.Path
> {
  const { directory } = options
  const update = options.update ?? (yield* Config.Boolean("UPDATE_GOLDEN").pipe(Config.withDefault(false)))
  const versions = storedVersions.all(events)
  validatePast(options, versions)
  const { goldens, invalid, names } = yield* readFiles(directory)
  const upcast = makeUpcast(events)
  const problems = [...invalid, ...lostVersions(events, versions, goldens)]
  const written: Array<string> = []

  for (const version of versions) {
    const file = fileOf(version)
    const golden = goldens.get(file)
    // An invalid file is a problem already, and is not overwritten.
    if (golden === undefined && names.includes(file)) continue
    const examples = examplesOf(options, version)
    const checked = golden === undefined
      ? yield* checkMissing(file, version, upcast, examples)
      : yield* checkRecorded(file, golden, version, upcast, examples)
    problems.push(...checked.problems)
    if (!update) problems.push(...checked.missing)
    else if (checked.completed !== undefined) {
      yield* write(directory, file, checked.completed, golden === undefined)
      written.push(file)
    }
  }
  if (problems.length > 0) {
    const sorted = problems.toSorted((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0))
    return yield* new GoldenEventsFailed({ directory, problems: sorted })
  }
  return { files: new Set([...names, ...written]).size, written }
})

/**
 * Writes what is missing, as `check` with `update` does.
 *
 * @since 0.1.0
 * @category combinators
 */
export const record = <E extends Event.Any>(events: E, options: Omit<Options<E>, "update">) =>
  check<E>(events, { ...options, update: true })

/** The result of the check of one version. */
interface Checked {
  /** Problems that an update cannot fix. */
  readonly problems: ReadonlyArray<Problem>
  /** Problems that an update fixes by writing `completed`. */
  readonly missing: ReadonlyArray<Problem>
  readonly completed: Golden | undefined
}

const undecodable = (file: string, detail: string): Checked => ({
  problems: [{ problem: "Undecodable", file, detail }],
  missing: [],
  completed: undefined
})

const checkMissing = Effect.fnUntraced(function*(
  file: string,
  version: storedVersions.EventVersion,
  upcast: Upcast,
  examples: ReadonlyArray<unknown>
): Effect.fn.Return<Checked> {
  const made = yield* make(version, upcast, examples)
  if (Result.isFailure(made)) return undecodable(file, made.failure)
  const detail = `no file for ${describe(version)}`
  return { problems: [], missing: [{ problem: "NotRecorded", file, detail }], completed: made.success }
})

const checkRecorded = Effect.fnUntraced(function*(
  file: string,
  golden: Golden,
  version: storedVersions.EventVersion,
  upcast: Upcast,
  examples: ReadonlyArray<unknown>
): Effect.fn.Return<Checked> {
  const problems: Array<Problem> = []
  if (golden.fingerprint !== version.fingerprint) {
    problems.push({ problem: "SchemaChanged", file, detail: `the Schema of ${describe(version)} has changed` })
  }
  const { completed, faults } = checkExamples(golden, version, upcast)
  problems.push(...summarise(file, golden, faults))
  const added = yield* missingExamples(golden, version, upcast, examples)
  if (Result.isFailure(added)) {
    return {
      ...undecodable(file, added.failure),
      problems: [...problems, ...undecodable(file, added.failure).problems]
    }
  }
  const lacksUpcast = !version.isCurrent && golden.examples.some(({ upcastTo }) => upcastTo === undefined)
  const missing = [
    ...lacksUpcast
      ? [{
        problem: "UpcastNotRecorded" as const,
        file,
        detail: `the upcast events of ${describe(version)} are missing`
      }]
      : [],
    ...added.success.map(({ data }): Problem => ({
      problem: "ExampleNotRecorded",
      file,
      detail: `the example ${JSON.stringify(data)} of ${describe(version)} is missing`
    }))
  ]
  const [first, ...others] = [...completed, ...added.success]
  // A file with an undecodable example is not written again without it.
  const canComplete = missing.length > 0 && first !== undefined && completed.length === golden.examples.length
  return { problems, missing, completed: canComplete ? { ...golden, examples: [first, ...others] } : undefined }
})

/** Returns a problem for each file whose version the event set lacks, unless its type is retired. */
const lostVersions = (
  events: Event.Any,
  versions: ReadonlyArray<storedVersions.EventVersion>,
  goldens: ReadonlyMap<string, Golden>
): ReadonlyArray<Problem> => {
  const legacy = legacyOf(events)
  const files = new Set(versions.map(fileOf))
  return Array.from(goldens).filter(([file, { type }]) => !files.has(file) && legacy[type]?.end !== "retired").map(
    ([file, golden]): Problem => ({
      problem: "VersionLost",
      file,
      detail: `the event set does not contain ${describe(golden)}`
    })
  )
}

const examplesOf = <E extends Event.Any>(
  { examples, past }: Options<E>,
  { isCurrent, schemaVersion, type }: storedVersions.EventVersion
): ReadonlyArray<unknown> => {
  const given: Readonly<Record<string, ReadonlyArray<object> | undefined>> = examples ?? {}
  return isCurrent
    ? (given[type] ?? []).map((payload) => ({ ...payload, _tag: type }))
    : past?.[type]?.[schemaVersion] ?? []
}

const validatePast = <E extends Event.Any>(
  { past = {} }: Options<E>,
  versions: ReadonlyArray<storedVersions.EventVersion>
): void => {
  for (const [type, given] of Object.entries(past)) {
    for (const schemaVersion of Object.keys(given).map(Number)) {
      const version = versions.find((one) => one.type === type && one.schemaVersion === schemaVersion)
      if (version?.isCurrent === true) {
        throw new Error(
          `GoldenEvents: \`past\` has payloads of ${describe(version)}, which is current; give them in \`examples\``
        )
      }
      if (version === undefined) {
        throw new Error(
          `GoldenEvents: \`past\` has payloads of ${
            describe({ type, schemaVersion })
          }, which the event set does not contain; remove them or add the version`
        )
      }
    }
  }
}
