/**
 * Replays a recording with the current code and compares the states after every event.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { parseJson } from "../../core/json/parseJson.ts"
import * as StreamId from "../../core/StreamId.ts"
import * as RecordingComparison from "./RecordingComparison.ts"
import * as RecordingFile from "./RecordingFile.ts"
import * as RecordingFold from "./RecordingFold.ts"
import type * as RecordingReport from "./RecordingReport.ts"

/**
 * Maps an encoded state to the value that is compared. It is applied to both sides; a change that it hides is not reported. Its author states
 * the type of the encoded state. Its result is compared as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export type Normalise = (encoded: never, side: "recorded" | "today") => unknown

/**
 * What is replayed, and how it is compared.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReplayOptions extends RecordingFold.Models {
  /** Maps states before they are compared, by the name of the aggregate or projection. */
  readonly normalise?: {
    readonly aggregates?: { readonly [name: string]: Normalise } | undefined
    readonly projections?: { readonly [name: string]: Normalise } | undefined
  } | undefined
  /** The names of recorded aggregates and projections that no longer exist or are not compared. */
  readonly removed?: ReadonlyArray<string> | undefined
}

/**
 * Replays a recording with the current code and reports every state that differs.
 *
 * **Gotchas**
 *
 * The states of all streams and documents are in memory, those of both sides where they differ.
 *
 * @since 0.1.0
 * @category combinators
 */
export const replay = <E, R>(
  options: ReplayOptions,
  lines: Stream.Stream<string, E, R>
): Effect.Effect<RecordingReport.Report, E | RecordingFile.InvalidRecording, R> => replayed(options, lines, "compared")

/**
 * Replays a recording as `replay` does. Its failures include those of models that are not in the recording.
 *
 * @since 0.1.0
 * @category combinators
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
    const comparison = makeComparison(options, failuresOf)
    return Effect.flatMap(
      Stream.runForEach(RecordingFile.read(lines), ({ entry, line }) =>
        RecordingFile.isHeader(entry)
          ? Effect.sync(() => comparison.start(entry))
          : Effect.fromResult(comparison.step(line, entry))),
      () => Effect.sync(comparison.report)
    )
  })

const makeComparison = (options: ReplayOptions, failuresOf: "compared" | "all") => {
  const fold = RecordingFold.make(options)
  const items = RecordingComparison.makeItems(makeNormaliser(options, fold.models))
  const failures: Array<RecordingReport.Failure> = []
  const given = new Set(fold.models.map(nameOf))
  let header: RecordingFile.Header | undefined
  let common = new Set<string>()
  let events = 0

  const step = (line: number, step: RecordingFile.Step): Result.Result<void, RecordingFile.InvalidRecording> => {
    const { position, stream, type, version } = step.event
    const event: RecordingReport.Place = { line, position, stream, version, type }
    const folded = fold.fold(RecordingFile.recordedOf(step.event))
    const touched = new Set<RecordingComparison.Item>()
    const touch: Touch = (model, id) => {
      if (!common.has(nameOf(model))) return undefined
      const item = items.find(model, id)
      touched.add(item)
      return item
    }
    events++
    const applied = applyRecorded(line, step, touch)
    if (Result.isFailure(applied)) return applied
    applyFolded(stream, folded, touch)
    for (const item of touched) items.compare(item, event)
    const recorded = (step.failed ?? []).filter((one) => common.has(nameOf(one)))
    failures.push(
      ...RecordingComparison.failuresOnOneSide(recorded, folded.failed, event)
        .filter((failure) => failuresOf === "all" || common.has(nameOf(failure)))
    )
    return Result.void
  }

  return {
    start: (read: RecordingFile.Header) => {
      header = read
      common = new Set(read.models.map(nameOf).filter((name) => given.has(name)))
    },
    step,
    report: (): RecordingReport.Report => {
      // The reader fails when a recording has no header.
      const { models, recordedAt } = header!
      return {
        recordedAt,
        events,
        ...RecordingComparison.reportOf(fold.models.filter((model) => common.has(nameOf(model))), items.all()),
        failures,
        missing: without(models, fold.models).filter(({ name }) => options.removed?.includes(name) !== true),
        unrecorded: without(fold.models, models)
      }
    }
  }
}

/** Returns the item of a model that both sides have. */
type Touch = (model: RecordingFile.Model, id: string) => RecordingComparison.Item | undefined

const aggregateOf = (stream: StreamId.StreamId): RecordingFile.Model => ({
  kind: "aggregate",
  name: StreamId.category(stream)
})

/** Applies the recorded changes of a step to the recorded states. */
const applyRecorded = (
  line: number,
  { documents = [], event: { stream }, state = [] }: RecordingFile.Step,
  touch: Touch
): Result.Result<void, RecordingFile.InvalidRecording> => {
  const changes = [
    { item: touch(aggregateOf(stream), stream), patch: state },
    ...documents.map(({ changes, key, projection }) => ({
      item: touch({ kind: "projection", name: projection }, key),
      patch: changes
    }))
  ]
  for (const { item, patch } of changes) {
    if (item === undefined) continue
    const changed = RecordingFile.changed(line, item.recorded, patch)
    if (Result.isFailure(changed)) return Result.fail(changed.failure)
    item.recorded = changed.success
  }
  return Result.void
}

/** Stores what the current code makes of an event. */
const applyFolded = (
  stream: StreamId.StreamId,
  { documents, state }: RecordingFold.Folded,
  touch: Touch
): void => {
  const instance = touch(aggregateOf(stream), stream)
  if (instance !== undefined && state !== undefined) instance.today = state
  for (const { document, key, projection } of documents) {
    const item = touch({ kind: "projection", name: projection }, key)
    if (item !== undefined) item.today = document
  }
}

const { nameOf } = RecordingComparison

const without = (some: ReadonlyArray<RecordingFile.Model>, others: ReadonlyArray<RecordingFile.Model>) =>
  some.filter((one) => !others.some((other) => nameOf(other) === nameOf(one)))

const makeNormaliser = (
  { normalise = {} }: ReplayOptions,
  models: ReadonlyArray<RecordingFile.Model>
): RecordingComparison.Normaliser => {
  const functions = new Map<string, Normalise>([
    ...Object.entries(normalise.aggregates ?? {}).map(([name, one]) => [`aggregate ${name}`, one] as const),
    ...Object.entries(normalise.projections ?? {}).map(([name, one]) => [`projection ${name}`, one] as const)
  ])
  const unknown = Array.from(functions.keys()).find((name) => !models.some((model) => nameOf(model) === name))
  if (unknown !== undefined) {
    throw new Error(
      `Recording: \`normalise\` names ${unknown}, which is not in \`aggregates\` or \`projections\`; add it there or remove the function`
    )
  }
  return (model, encoded, side) => {
    const normalise = functions.get(nameOf(model))
    // A missing document is `null` in every version of its Schema.
    if (normalise === undefined || encoded === null) return encoded
    // The author of the function states the type of its parameter.
    return parseJson(JSON.stringify(normalise(encoded as never, side)) ?? "null")
  }
}
