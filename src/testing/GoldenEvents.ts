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
import * as Arbitrary from "effect/Arbitrary"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Event from "../event/Event.ts"
import { legacyOf } from "../event/EventAnnotations.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as storedVersions from "./storedVersions.ts"

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

const Stored = Schema.Struct({ type: Schema.String, schemaVersion: Schema.Int, data: Schema.Json })
type Stored = typeof Stored.Type

const Example = Schema.Struct({
  data: Schema.Json,
  /** The events that the payload was upcast to when this was recorded, as then stored. Missing while the version is current. */
  upcastTo: Schema.optionalKey(Schema.Array(Stored))
})
type Example = typeof Example.Type

const Golden = Schema.Struct({
  type: Schema.String,
  schemaVersion: Schema.Int,
  fingerprint: Schema.String,
  examples: Schema.NonEmptyArray(Example)
})
type Golden = typeof Golden.Type
const decodeGolden = Schema.decodeUnknownResult(Schema.fromJsonString(Golden))

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

/** A fault of one example. */
interface Fault extends Pick<Problem, "problem" | "detail"> {
  readonly example: Example
}

/** Returns the faults of the examples, and the decodable examples with their upcast events. */
const checkExamples = (golden: Golden, version: storedVersions.EventVersion, upcast: Upcast) => {
  const completed: Array<Example> = []
  const faults: Array<Fault> = []
  for (const example of golden.examples) {
    const current = upcast([{ ...golden, data: example.data }])
    if (Result.isFailure(current)) {
      faults.push({ problem: "Undecodable", example, detail: current.failure })
      continue
    }
    if (example.upcastTo === undefined) {
      completed.push(version.isCurrent ? example : { ...example, upcastTo: current.success })
      continue
    }
    completed.push(example)
    const recorded = Result.getOrElse(upcast(example.upcastTo), (detail) => detail)
    const [before, after] = [storedVersions.stable(recorded), storedVersions.stable(current.success)]
    if (before !== after) {
      faults.push({ problem: "UpcastChanged", example, detail: `recorded as ${before}, now upcast to ${after}` })
    }
  }
  return { completed, faults }
}

/** Returns one problem for all examples with an equal fault. */
const summarise = (file: string, { examples }: Golden, faults: ReadonlyArray<Fault>): ReadonlyArray<Problem> =>
  Array.from(
    Map.groupBy(faults, ({ detail, problem }) => `${problem} ${detail}`).values(),
    (equal): Problem => {
      // No group is empty.
      const { detail, example, problem } = equal[0]!
      const numbers = equal.map((one) => examples.indexOf(one.example) + 1)
      const which = numbers.length === 1
        ? `example ${numbers[0]} of ${examples.length}`
        : `examples ${numbers.join(", ")} of ${examples.length}, first`
      return { problem, file, detail: `${which} ${JSON.stringify(example.data)}: ${detail}` }
    }
  )

/** Returns the golden files of a directory by name, and a problem for each invalid file. */
const readFiles = Effect.fnUntraced(function*(directory: string) {
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

const write = Effect.fnUntraced(function*(directory: string, file: string, golden: Golden, isNew: boolean) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (isNew) yield* fs.makeDirectory(directory, { recursive: true })
  const text = `${storedVersions.stable(golden, 2)}\n`
  yield* fs.writeFileString(path.join(directory, file), text, { flag: isNew ? "wx" : "w" })
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

type Version = Pick<Golden, "type" | "schemaVersion">

/** Encodes the characters of a type that a file name cannot have. */
const fileOf = ({ schemaVersion, type }: Version): string =>
  `${encodeURIComponent(type).replaceAll("*", "%2A")}.v${schemaVersion}.json`

const describe = ({ schemaVersion, type }: Version): string => `schema version ${schemaVersion} of "${type}"`

/** Returns stored events in their current versions, as they would be stored now, or the reason why one does not decode. */
type Upcast = (stored: ReadonlyArray<Stored>) => Result.Result<ReadonlyArray<Stored>, string>

const makeUpcast = (events: Event.Any): Upcast => {
  const codec = EventCodec.make(events)
  const current = Event.versions(events) as Readonly<Record<string, number | "retired">>
  const one = (stored: Stored): Result.Result<ReadonlyArray<Stored>, string> => {
    const decoded = Result.mapError(codec.decodeData(stored), ({ detail, problem }) => `${problem}: ${detail}`)
    return Result.flatMap(
      decoded,
      (all) =>
        Result.all(all.map((event) =>
          Result.map(codec.encode(event), ({ data, type }) => ({
            type,
            schemaVersion: Number(current[type]),
            data: JSON.parse(JSON.stringify(data)) as Schema.Json
          }))
        ))
    )
  }
  return (stored) => Result.map(Result.all(stored.map(one)), (all) => all.flat())
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

const generatedCount = 3

/** Returns the golden file of a version, with the given examples or with generated ones. Equal Schemas generate equal examples. */
const make = Effect.fnUntraced(function*(
  version: storedVersions.EventVersion,
  upcast: Upcast,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<Golden, string>> {
  const { fingerprint, isCurrent, schemaVersion, type } = version
  const values = given.length > 0 ? Result.succeed(given) : yield* Effect.result(Arbitrary.sampleEffect(
    Arbitrary.schema(version.schema),
    { count: generatedCount, seed: `${type}.v${schemaVersion}`, size: 8 }
  ))
  if (Result.isFailure(values)) {
    return Result.fail("its Schema cannot generate values; give payloads in `examples` or `past`")
  }
  const examples = Result.all(values.success.map((value) =>
    Result.flatMap(version.encode(value), (data) =>
      Result.map(
        Result.mapError(upcast([{ type, schemaVersion, data }]), (detail) => `${detail}; of ${JSON.stringify(data)}`),
        (upcastTo) => (isCurrent ? { data } : { data, upcastTo })
      ))
  ))
  return Result.map(examples, ([first, ...others]) => ({
    type,
    schemaVersion,
    fingerprint,
    // There is at least one value.
    examples: [first!, ...others]
  }))
})

/** Returns the given examples that the file lacks. */
const missingExamples = Effect.fnUntraced(function*(
  golden: Golden,
  version: storedVersions.EventVersion,
  upcast: Upcast,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<ReadonlyArray<Example>, string>> {
  if (given.length === 0) return Result.succeed([])
  const recorded = new Set(golden.examples.map(({ data }) => storedVersions.stable(data)))
  return Result.map(
    yield* make(version, upcast, given),
    ({ examples }) => examples.filter(({ data }) => !recorded.has(storedVersions.stable(data)))
  )
})
