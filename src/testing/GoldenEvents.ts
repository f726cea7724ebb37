/**
 * The versions of events as files in the repository: an example of each payload, what it means, and the fingerprint of its Schema. A test
 * that checks them fails when what is in a log could no longer be read, or would be read as something else.
 *
 * **Example** (a test)
 *
 * ```ts
 * it.effect("what was ever written can be read", () =>
 *   GoldenEvents.check(UserEvent, { directory: "test/golden/users" }).pipe(Effect.provide(NodeServices.layer)))
 * ```
 *
 * The technique is that of golden files; that a change shows as a difference in review, of approval tests.
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
 * - `NotRecorded`: a version has no file yet
 * - `MeaningNotRecorded`: it has one, of when it was current; what it is upcast to is not in it
 * - `ExampleNotRecorded`: it has one, without an example that is given
 * - `SchemaChanged`: its Schema is not the one that was recorded
 * - `Undecodable`: what was recorded, or is to be, does not decode to valid current events
 * - `MeaningChanged`: it decodes to something else than what was recorded
 * - `VersionLost`: it was recorded and the code does not know it
 * - `InvalidFile`: a file is none of these
 *
 * @since 0.1.0
 * @category models
 */
export const Problem = Schema.Struct({
  problem: Schema.Literals([
    "NotRecorded",
    "MeaningNotRecorded",
    "ExampleNotRecorded",
    "SchemaChanged",
    "Undecodable",
    "MeaningChanged",
    "VersionLost",
    "InvalidFile"
  ]),
  file: Schema.String,
  detail: Schema.String
})
export type Problem = typeof Problem.Type

const mends: { readonly [P in Problem["problem"]]: string } = {
  NotRecorded: "record it with UPDATE_GOLDEN=1, look at the new file, and commit it",
  MeaningNotRecorded: "record it with UPDATE_GOLDEN=1, look at what it means now, and commit it",
  ExampleNotRecorded: "record it with UPDATE_GOLDEN=1, look at what it means, and commit it",
  SchemaChanged:
    "put the recorded Schema into Event.upcasters as a past version, with an upcaster to the new one; or, if it was never "
    + "deployed, remove the file and record it again",
  Undecodable: "mend the Schema or the upcaster: what is in the log must stay readable",
  MeaningChanged:
    "mend the upcaster; or, if the events in the log are to mean something else from now on, remove the file, record it "
    + "again, and rebuild the projections",
  VersionLost:
    "bring its Schema and upcaster back (Event.upcasters, Event.legacy), or retire the type (Event.retired); or, if it was "
    + "never deployed, remove the file",
  InvalidFile: "restore it from the repository, or remove it"
}

/**
 * What is recorded is not what the code does.
 *
 * @since 0.1.0
 * @category errors
 */
export class GoldenEventsFailed extends Schema.TaggedError<GoldenEventsFailed>("evsrc/GoldenEventsFailed")(
  "GoldenEventsFailed",
  { directory: Schema.String, problems: Schema.Array(Problem) }
) {
  override get message(): string {
    return `The events are not what is recorded in ${this.directory}:\n${
      this.problems.map(({ detail, file, problem }) => `- ${file}: ${problem}: ${detail}\n  → ${mends[problem]}`).join(
        "\n"
      )
    }`
  }
}

const Stored = Schema.Struct({ type: Schema.String, schemaVersion: Schema.Int, data: Schema.Json })

const Golden = Schema.Struct({
  type: Schema.String,
  schemaVersion: Schema.Int,
  fingerprint: Schema.String,
  examples: Schema.NonEmptyArray(Schema.Struct({
    data: Schema.Json,
    /** What it meant when that was recorded, as it would be stored then; missing while its own version is current. */
    means: Schema.optionalKey(Schema.Array(Stored))
  }))
})
type Golden = typeof Golden.Type
const decodeGolden = Schema.decodeUnknownResult(Schema.fromJsonString(Golden))

/**
 * - `directory`: where the files of this set of events are, and no others
 * - `update`: records what is missing; by default when the environment has `UPDATE_GOLDEN=1`. What is recorded is never changed
 * - `examples`: payloads to record of current versions; by default three are generated from the Schema, the same in every run
 * - `past`: payloads to record of past versions and of types that are no longer in the set, by type and version, as their Schemas have them. What is
 *   generated says little of an upcaster that parses texts: give it some that were really written
 *
 * Examples that are given later are added to a file.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E extends Event.Any> {
  readonly directory: string
  readonly update?: boolean | undefined
  readonly examples?: { readonly [K in Event.Tag<E>]?: ReadonlyArray<Omit<Event.Case<E, K>, "_tag">> } | undefined
  readonly past?:
    | { readonly [type: string]: { readonly [schemaVersion: number]: ReadonlyArray<object> } }
    | undefined
}

/**
 * - `files`: how many versions are recorded
 * - `written`: the files that were written just now
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly files: number
  readonly written: ReadonlyArray<string>
}

/**
 * Compares the events of a set with what is recorded of them, and records what is missing if it is to. Fails with all that is wrong, and how to
 * mend it.
 *
 * **Details**
 *
 * A meaning is recorded as events of the versions that were current then. It is compared after both, the old payload and these events, were
 * brought up to date: so a newer version needs no new files for the older ones.
 *
 * **Gotchas**
 *
 * A Schema's fingerprint does not cover the bodies of functions, nor checks on an event as a whole. Of a version that was never recorded
 * nothing is known: add the files with the release that brings the version.
 *
 * @since 0.1.0
 * @category checking
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
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const update = options.update ?? (yield* Config.Boolean("UPDATE_GOLDEN").pipe(Config.withDefault(false)))
  const problems: Array<Problem> = []
  const written: Array<string> = []
  const read = reader(events)
  const versions = storedVersions.all(events)
  checkPast(options, versions)

  const write = Effect.fnUntraced(function*(file: string, golden: Golden, isNew: boolean) {
    if (isNew) yield* fs.makeDirectory(directory, { recursive: true })
    const text = `${storedVersions.stable(golden, 2)}\n`
    yield* fs.writeFileString(path.join(directory, file), text, { flag: isNew ? "wx" : "w" })
    written.push(file)
  })

  const names = (yield* fs.exists(directory)) ? (yield* fs.readDirectory(directory)).toSorted() : []
  const recorded = new Map<string, Golden>()
  for (const file of names) {
    const golden = decodeGolden(yield* fs.readFileString(path.join(directory, file)))
    const detail = Result.isFailure(golden)
      ? golden.failure.message
      : fileOf(golden.success) === file
      ? undefined
      : `it would have to be named ${fileOf(golden.success)}`
    if (detail !== undefined) problems.push({ problem: "InvalidFile", file, detail })
    else if (Result.isSuccess(golden)) recorded.set(file, golden.success)
  }

  for (const version of versions) {
    const file = fileOf(version)
    const golden = recorded.get(file)
    recorded.delete(file)
    if (golden === undefined) {
      // What is there and is no record is told of already, and not overwritten.
      if (names.includes(file)) continue
      const made = yield* make(version, read, examplesOf(options, version))
      if (Result.isFailure(made)) problems.push({ problem: "Undecodable", file, detail: made.failure })
      else if (update) yield* write(file, made.success, true)
      else problems.push({ problem: "NotRecorded", file, detail: `there is no record of ${named(version)}` })
      continue
    }
    if (golden.fingerprint !== version.fingerprint) {
      const detail = `the Schema of ${named(version)} has changed`
      problems.push({ problem: "SchemaChanged", file, detail })
    }
    const completed: Array<Golden["examples"][number]> = []
    const wrong: Array<Wrong> = []
    for (const example of golden.examples) {
      const now = read.meaning([{ ...golden, data: example.data }])
      if (Result.isFailure(now)) {
        wrong.push({ problem: "Undecodable", example, detail: now.failure })
        continue
      }
      completed.push(example.means === undefined && !version.isCurrent ? { ...example, means: now.success } : example)
      if (example.means === undefined) continue
      const then = read.meaning(example.means)
      const [before, after] = [Result.getOrElse(then, (problem) => problem), now.success].map((it) =>
        storedVersions.stable(it)
      )
      if (before !== after) {
        wrong.push({ problem: "MeaningChanged", example, detail: `it was ${before}, and is ${after}` })
      }
    }
    problems.push(...inWords(file, golden, wrong))
    const added = yield* missing(golden, version, read, examplesOf(options, version))
    if (Result.isFailure(added)) {
      problems.push({ problem: "Undecodable", file, detail: added.failure })
      continue
    }
    const isIncomplete = !version.isCurrent && golden.examples.some(({ means }) => means === undefined)
    if (!isIncomplete && added.success.length === 0) continue
    const [first, ...others] = [...completed, ...added.success]
    if (!update) {
      if (isIncomplete) {
        const detail = `what ${named(version)} is upcast to is not recorded`
        problems.push({ problem: "MeaningNotRecorded", file, detail })
      }
      problems.push(...added.success.map(({ data }): Problem => ({
        problem: "ExampleNotRecorded",
        file,
        detail: `there is no example ${JSON.stringify(data)} of ${named(version)}`
      })))
    } else if (first !== undefined && completed.length === golden.examples.length) {
      yield* write(file, { ...golden, examples: [first, ...others] }, false)
    }
  }

  const legacy = legacyOf(events)
  for (const [file, golden] of recorded) {
    if (legacy[golden.type]?.end === "retired") continue
    problems.push({ problem: "VersionLost", file, detail: `the code does not know ${named(golden)}` })
  }
  if (problems.length > 0) {
    const inOrder = problems.toSorted((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0))
    return yield* new GoldenEventsFailed({ directory, problems: inOrder })
  }
  return { files: new Set([...names, ...written]).size, written }
})

/**
 * Records what is missing: `check` with `update`.
 *
 * @since 0.1.0
 * @category recording
 */
export const record = <E extends Event.Any>(events: E, options: Omit<Options<E>, "update">) =>
  check<E>(events, { ...options, update: true })

/** What is wrong with an example. */
interface Wrong extends Pick<Problem, "problem" | "detail"> {
  readonly example: Golden["examples"][number]
}

/** What is wrong with several examples in the same words is told once, of all of them. */
const inWords = (file: string, { examples }: Golden, wrong: ReadonlyArray<Wrong>): ReadonlyArray<Problem> =>
  Array.from(
    Map.groupBy(wrong, ({ detail, problem }) => `${problem} ${detail}`).values(),
    (same): Problem => {
      // No group is empty.
      const { detail, example, problem } = same[0]!
      const numbers = same.map((one) => examples.indexOf(one.example) + 1)
      const which = numbers.length === 1
        ? `example ${numbers[0]} of ${examples.length}`
        : `examples ${numbers.join(", ")} of ${examples.length}, the first of them`
      return { problem, file, detail: `${which} ${JSON.stringify(example.data)}: ${detail}` }
    }
  )

type Version = Pick<Golden, "type" | "schemaVersion">

/** A type may have any characters; the name of a file may not. */
const fileOf = ({ schemaVersion, type }: Version): string =>
  `${encodeURIComponent(type).replaceAll("*", "%2A")}.v${schemaVersion}.json`

const named = ({ schemaVersion, type }: Version): string => `schema version ${schemaVersion} of "${type}"`

interface Reader {
  /** What stored events mean today, as they would be stored today; or why they cannot be read. */
  readonly meaning: (
    stored: ReadonlyArray<typeof Stored.Type>
  ) => Result.Result<ReadonlyArray<typeof Stored.Type>, string>
}

const reader = (events: Event.Any): Reader => {
  const codec = EventCodec.make(events)
  const current = Event.versions(events) as Readonly<Record<string, number | "retired">>
  const one = (stored: typeof Stored.Type): Result.Result<ReadonlyArray<typeof Stored.Type>, string> => {
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
  return { meaning: (stored) => Result.map(Result.all(stored.map(one)), (all) => all.flat()) }
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

const checkPast = <E extends Event.Any>(
  { past = {} }: Options<E>,
  versions: ReadonlyArray<storedVersions.EventVersion>
): void => {
  for (const [type, given] of Object.entries(past)) {
    for (const schemaVersion of Object.keys(given).map(Number)) {
      const version = versions.find((one) => one.type === type && one.schemaVersion === schemaVersion)
      if (version?.isCurrent === true) {
        throw new Error(`GoldenEvents: ${named(version)} is the current one: give its payloads in \`examples\``)
      }
      if (version === undefined) {
        throw new Error(`GoldenEvents: \`past\` has payloads of ${named({ type, schemaVersion })}, and there is none`)
      }
    }
  }
}

const generated = 3

/** The record of a version: of the examples given, or of generated ones, which are the same whenever the Schema is. */
const make = Effect.fnUntraced(function*(
  version: storedVersions.EventVersion,
  read: Reader,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<Golden, string>> {
  const { fingerprint, isCurrent, schemaVersion, type } = version
  const values = given.length > 0 ? Result.succeed(given) : yield* Effect.result(Arbitrary.sampleEffect(
    Arbitrary.schema(version.schema),
    { count: generated, seed: `${type}.v${schemaVersion}`, size: 8 }
  ))
  if (Result.isFailure(values)) return Result.fail("nothing can be generated from its Schema: give `examples`")
  const examples = Result.all(values.success.map((value) =>
    Result.flatMap(version.encode(value), (data) =>
      Result.map(
        Result.mapError(read.meaning([{ type, schemaVersion, data }]), (detail) =>
          `${detail}; of ${JSON.stringify(data)}`),
        (means) => (isCurrent ? { data } : { data, means })
      ))
  ))
  return Result.map(examples, ([first, ...others]) => ({
    type,
    schemaVersion,
    fingerprint,
    // There is one at least.
    examples: [first!, ...others]
  }))
})

/** Of the examples given those that a record does not have. */
const missing = Effect.fnUntraced(function*(
  golden: Golden,
  version: storedVersions.EventVersion,
  read: Reader,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<ReadonlyArray<Golden["examples"][number]>, string>> {
  if (given.length === 0) return Result.succeed([])
  const known = new Set(golden.examples.map(({ data }) => storedVersions.stable(data)))
  return Result.map(
    yield* make(version, read, given),
    ({ examples }) => examples.filter(({ data }) => !known.has(storedVersions.stable(data)))
  )
})
