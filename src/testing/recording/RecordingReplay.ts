/**
 * Replays a recording through today's code, and compares the states after every event.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as JsonDiff from "../../core/JsonDiff.ts"
import * as StreamId from "../../core/StreamId.ts"
import * as RecordingFile from "./RecordingFile.ts"
import * as RecordingFold from "./RecordingFold.ts"
import type * as RecordingReport from "./RecordingReport.ts"

/**
 * Makes states comparable that are meant to be different: of both sides, what is to be the same. Of which type an encoded state is, is for who
 * writes this to know; what it answers is compared as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export type Normalise = (encoded: never, side: "recorded" | "today") => unknown

/**
 * - `normalise`: by the names of aggregates and projections
 * - `removed`: the names of those that were recorded and are gone, or are not to be compared
 *
 * @since 0.1.0
 * @category options
 */
export interface ReplayOptions extends RecordingFold.Models {
  readonly normalise?: {
    readonly aggregates?: { readonly [name: string]: Normalise } | undefined
    readonly projections?: { readonly [name: string]: Normalise } | undefined
  } | undefined
  readonly removed?: ReadonlyArray<string> | undefined
}

/** One stream or document, on both sides. */
interface Compared extends RecordingFile.Subject {
  readonly id: string
  recorded: Schema.Json
  today: Schema.Json
  events: number
  different: number
  changes: ReadonlyArray<JsonDiff.Change>
  first: { readonly from: RecordingReport.Place; readonly there: ReadonlyArray<JsonDiff.Change> } | undefined
}

/**
 * What today's code makes of a recording.
 *
 * **Gotchas**
 *
 * The states of all streams and documents are in memory, those of both sides where they differ.
 *
 * @since 0.1.0
 * @category replaying
 */
export const replay = <E, R>(
  options: ReplayOptions,
  lines: Stream.Stream<string, E, R>
): Effect.Effect<RecordingReport.Report, E | RecordingFile.InvalidRecording, R> => replayed(options, lines, "compared")

/**
 * As `replay`, and its failures are also those of models that are not in the recording: what recording them would make of it.
 *
 * @since 0.1.0
 * @category replaying
 */
export const rehearse = <E, R>(
  options: ReplayOptions,
  lines: Stream.Stream<string, E, R>
): Effect.Effect<RecordingReport.Report, E | RecordingFile.InvalidRecording, R> => replayed(options, lines, "all")

const replayed = <E, R>(
  options: ReplayOptions,
  lines: Stream.Stream<string, E, R>,
  failuresOf: "compared" | "all"
): Effect.Effect<RecordingReport.Report, E | RecordingFile.InvalidRecording, R> =>
  Effect.suspend(() => {
    const comparing = makeComparing(options, failuresOf)
    return Effect.flatMap(
      Stream.runForEach(RecordingFile.read(lines), ({ entry, line }) =>
        RecordingFile.isHeader(entry)
          ? Effect.sync(() => comparing.begin(entry))
          : Effect.fromResult(comparing.step(line, entry))),
      () => Effect.sync(comparing.report)
    )
  })

const makeComparing = (options: ReplayOptions, failuresOf: "compared" | "all") => {
  const today = RecordingFold.make(options)
  const normalise = normaliser(options, today.of)
  const compared = new Map<string, Compared>()
  const failures: Array<RecordingReport.Failure> = []
  let recordedAt: DateTime.Utc | undefined
  let of: ReadonlyArray<RecordingFile.Subject> = []
  let common = new Set<string>()
  let events = 0

  const find = (subject: RecordingFile.Subject, id: string): Compared => {
    const name = JSON.stringify([subject.kind, subject.name, id])
    let found = compared.get(name)
    if (found === undefined) {
      found = { ...subject, id, recorded: null, today: null, events: 0, different: 0, changes: [], first: undefined }
      compared.set(name, found)
    }
    return found
  }

  const compare = (one: Compared, from: RecordingReport.Place): void => {
    one.events++
    const [before, after] = [normalise(one, one.recorded, "recorded"), normalise(one, one.today, "today")]
    one.changes = JsonDiff.between(before, after)
    // One value for both; where it was normalised, they are two.
    if (one.changes.length === 0 && before === one.recorded && after === one.today) one.today = one.recorded
    if (one.changes.length === 0) return
    one.different++
    one.first ??= { from, there: one.changes }
  }

  const compareFailures = (step: RecordingFile.Step, now: RecordingFold.Folded, event: RecordingReport.Place) => {
    const then = (step.failed ?? []).filter((one) => common.has(nameOf(one)))
    const only = (
      some: ReadonlyArray<RecordingFold.Failed>,
      others: ReadonlyArray<RecordingFold.Failed>,
      when: RecordingReport.Failure["when"]
    ) => {
      for (const { detail, kind, name } of some) {
        const isBoth = others.some((other) => other.kind === kind && other.name === name)
        const isTold = failuresOf === "all" || common.has(nameOf({ kind, name }))
        if (!isBoth && isTold) failures.push({ kind, name, when, event, detail })
      }
    }
    only(now.failed, then, "today")
    only(then, now.failed, "recorded")
  }

  const step = (line: number, step: RecordingFile.Step): Result.Result<void, RecordingFile.InvalidRecording> => {
    const { position, stream, type, version } = step.event
    const from: RecordingReport.Place = { line, position, stream, version, type }
    const now = today.fold(RecordingFile.recordedOf(step.event))
    const touched = new Set<Compared>()
    const touch = (subject: RecordingFile.Subject, id: string): Compared | undefined => {
      if (!common.has(nameOf(subject))) return undefined
      const one = find(subject, id)
      touched.add(one)
      return one
    }
    events++
    const instance = touch({ kind: "aggregate", name: StreamId.category(stream) }, stream)
    const changes = [
      { one: instance, changes: step.state ?? [] },
      ...(step.documents ?? []).map(({ changes, key, projection }) => ({
        one: touch({ kind: "projection", name: projection }, key),
        changes
      }))
    ]
    for (const { changes: patch, one } of changes) {
      if (one === undefined) continue
      const changed = RecordingFile.changed(line, one.recorded, patch)
      if (Result.isFailure(changed)) return Result.fail(changed.failure)
      one.recorded = changed.success
    }
    if (instance !== undefined && now.state !== undefined) instance.today = now.state
    for (const { document, key, projection } of now.documents) {
      const one = touch({ kind: "projection", name: projection }, key)
      if (one !== undefined) one.today = document
    }
    for (const one of touched) compare(one, from)
    compareFailures(step, now, from)
    return Result.void
  }

  const report = (): RecordingReport.Report => {
    const all = Array.from(compared.values())
    const without = (some: ReadonlyArray<RecordingFile.Subject>, others: ReadonlyArray<RecordingFile.Subject>) =>
      some.filter((one) => !others.some((other) => nameOf(other) === nameOf(one)))
    return {
      // Without a header there is no report.
      recordedAt: recordedAt!,
      events,
      compared: today.of.filter((one) => common.has(nameOf(one))).map((subject) => {
        const ours = all.filter((one) => nameOf(one) === nameOf(subject))
        return { ...subject, items: ours.length, different: ours.filter(({ first }) => first !== undefined).length }
      }),
      differences: all.flatMap(({ changes, different, events, first, id, kind, name, recorded, today }) =>
        first === undefined
          ? []
          : [{ kind, name, id, ...first, events: different, of: events, recorded, today, changes }]
      ).toSorted((a, b) => Number(a.from.position - b.from.position)),
      failures,
      missing: without(of, today.of).filter(({ name }) => options.removed?.includes(name) !== true),
      unrecorded: without(today.of, of)
    }
  }

  return {
    begin: (header: RecordingFile.Header) => {
      recordedAt = header.recordedAt
      of = header.of
      const ours = new Set(today.of.map(nameOf))
      common = new Set(of.map(nameOf).filter((name) => ours.has(name)))
    },
    step,
    report
  }
}

const nameOf = ({ kind, name }: RecordingFile.Subject): string => `${kind} ${name}`

const normaliser = ({ normalise = {} }: ReplayOptions, of: ReadonlyArray<RecordingFile.Subject>) => {
  const all = new Map<string, Normalise>([
    ...Object.entries(normalise.aggregates ?? {}).map(([name, one]) => [`aggregate ${name}`, one] as const),
    ...Object.entries(normalise.projections ?? {}).map(([name, one]) => [`projection ${name}`, one] as const)
  ])
  const unknown = Array.from(all.keys()).find((name) => !of.some((one) => nameOf(one) === name))
  if (unknown !== undefined) throw new Error(`Recording: there is no ${unknown} to normalise`)
  return (one: RecordingFile.Subject, encoded: Schema.Json, side: "recorded" | "today"): Schema.Json => {
    const normalise = all.get(nameOf(one))
    // No document is none after any change of its Schema.
    if (normalise === undefined || encoded === null) return encoded
    // Its parameter is of the type that its author gave it.
    return JSON.parse(JSON.stringify(normalise(encoded as never, side)) ?? "null") as Schema.Json
  }
}
