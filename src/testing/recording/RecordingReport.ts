/**
 * The differences that a replay finds, as data and as text.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Change } from "../../core/json/JsonDiff.ts"
import { Position } from "../../core/Position.ts"
import { StreamId } from "../../core/StreamId.ts"
import { Version } from "../../core/Version.ts"
import { Model } from "./RecordingFile.ts"

/**
 * The place of an event in a recording.
 *
 * @since 0.1.0
 * @category models
 */
export const Place = Schema.Struct({
  /** The line in the file, from 1. */
  line: Schema.Int,
  position: Position,
  stream: StreamId,
  version: Version,
  type: Schema.String
})
export type Place = typeof Place.Type

/**
 * A stream or a document whose state differs from the recorded one. States are compared after `normalise`. A missing document is `null`.
 *
 * @since 0.1.0
 * @category models
 */
export const Difference = Schema.Struct({
  ...Model.fields,
  /** The stream, or the key of the document. */
  id: Schema.String,
  /** The first event after which the states differ. */
  from: Place,
  /** The changes from the recorded to the current state after that event. */
  firstChanges: Schema.Array(Change),
  /** The number of events after which the states differ. */
  differentEvents: Schema.Int,
  /** The number of all events of the stream or document. */
  events: Schema.Int,
  /** The recorded state after the last event. */
  recorded: Schema.Json,
  /** The current state after the last event. */
  today: Schema.Json,
  /** The changes between both states after the last event. Empty if the states differ only earlier. */
  changes: Schema.Array(Change)
})
export type Difference = typeof Difference.Type

/**
 * An event that fails on one side only: it does not decode, `evolve` or `key` throws, or their result breaks its Schema. That side skips the later
 * events of the stream.
 *
 * @since 0.1.0
 * @category models
 */
export const Failure = Schema.Struct({
  ...Model.fields,
  /** The side on which the event fails. */
  when: Schema.Literals(["recorded", "today"]),
  event: Place,
  detail: Schema.String
})
export type Failure = typeof Failure.Type

/**
 * The result of a replay.
 *
 * @since 0.1.0
 * @category models
 */
export const Report = Schema.Struct({
  recordedAt: Schema.DateTimeUtc,
  /** The number of replayed events. */
  events: Schema.Int,
  /** Each aggregate and projection of both sides, with the number of its streams or documents, and how many of them differ. */
  compared: Schema.Array(Schema.Struct({ ...Model.fields, items: Schema.Int, different: Schema.Int })),
  /** The differences, in the order of their first events. */
  differences: Schema.Array(Difference),
  failures: Schema.Array(Failure),
  /** The recorded aggregates and projections that were not given. */
  missing: Schema.Array(Model),
  /** The given aggregates and projections that are not in the recording. */
  unrecorded: Schema.Array(Model)
})
export type Report = typeof Report.Type

/**
 * Returns whether at least one state was compared and all states are equal.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSame = ({ compared, differences, failures, missing }: Report): boolean =>
  differences.length === 0 && failures.length === 0 && missing.length === 0 && compared.some(({ items }) => items > 0)

/**
 * The limits on a printed report.
 *
 * @since 0.1.0
 * @category options
 */
export interface PrintOptions {
  /** The highest number of differences for each aggregate and projection; 5 by default. */
  readonly differences?: number | undefined
  /** The highest number of changes for each state; 5 by default. */
  readonly changes?: number | undefined
  /** The highest number of characters of a value; 80 by default. */
  readonly width?: number | undefined
}

/**
 * Returns the report as text. It prints the first items of each list and counts the others.
 *
 * @since 0.1.0
 * @category accessors
 */
export const print = (report: Report, options: PrintOptions = {}): string => {
  const { changes = 5, differences = 5, width = 80 } = options
  const { compared, events, failures, missing, recordedAt, unrecorded } = report

  const value = (json: Schema.Json): string => {
    const text = JSON.stringify(json)
    return text.length <= width ? text : `${text.slice(0, width)}…`
  }
  const change = (one: Change): string => {
    const path = one.path === "" ? "the whole value" : one.path
    switch (one.op) {
      case "add":
        return `${path}: nothing → ${value(one.value)}`
      case "remove":
        return `${path}: ${value(one.old)} → nothing`
      case "replace":
        return `${path}: ${value(one.old)} → ${value(one.value)}`
    }
  }
  const first = <A>(all: ReadonlyArray<A>, max: number, linesOf: (one: A) => ReadonlyArray<string>) => [
    ...all.slice(0, max).flatMap(linesOf),
    ...all.length > max ? [`… and ${all.length - max} more`] : []
  ]
  const indented = (lines: ReadonlyArray<string>) => lines.map((line) => `  ${line}`)
  const changesOf = (all: ReadonlyArray<Change>) => indented(first(all, changes, (one) => [change(one)]))

  const difference = (
    { changes, differentEvents, events, firstChanges, from, id, kind }: Difference
  ): ReadonlyArray<string> => {
    const end = JSON.stringify(changes) === JSON.stringify(firstChanges)
      ? ["the same difference at the end"]
      : changes.length === 0
      ? [`equal at the end: differs after ${differentEvents} of ${events} events`]
      : ["at the end:", ...changesOf(changes)]
    const isLast = differentEvents === 1 && changes.length > 0
    return [
      `${id} differs from ${place(from, kind === "projection")}:`,
      ...changesOf(firstChanges),
      ...indented(isLast ? [] : end)
    ]
  }
  const counts = (items: number, noun: string) => `${items} ${noun}${items === 1 ? "" : "s"}`
  const group = ({ different, items, kind, name }: Report["compared"][number]): ReadonlyArray<string> => {
    const head = `${kind} ${name}: ${different} of ${
      counts(items, kind === "aggregate" ? "stream" : "document")
    } differ`
    if (different === 0) return [head]
    const own = report.differences.filter((one) => one.kind === kind && one.name === name)
    const firstTypes = Array.from(Map.groupBy(own, ({ from }) => from.type), ([type, all]) => `${type} (${all.length})`)
    return [
      `${head}, first after ${first(firstTypes, changes, (one) => [one]).join(", ")}`,
      ...indented(first(own, differences, difference))
    ]
  }
  const failing = (when: Failure["when"], title: string): ReadonlyArray<string> => {
    const all = failures.filter((one) => one.when === when)
    return all.length === 0 ? [] : [
      `${title}: ${counts(all.length, "event")}`,
      ...indented(first(all, differences, ({ detail, event, kind, name }) => [
        `${kind} ${name}, ${place(event, true)}:`,
        `  ${detail.length <= 3 * width ? detail : `${detail.slice(0, 3 * width)}…`}`
      ]))
    ]
  }
  const named = (models: ReadonlyArray<Model>) => models.map(({ kind, name }) => `${kind} ${name}`).join(", ")
  const nothing = compared.every(({ items }) => items === 0)
  return [
    `replayed ${counts(events, "event")}, recorded at ${DateTime.formatIso(recordedAt)}`,
    ...compared.flatMap(group),
    ...failing("today", "fails now, did not fail in the recording"),
    ...failing("recorded", "failed in the recording, does not fail now"),
    ...missing.length === 0 ? [] : [`in the recording, but not given: ${named(missing)}`],
    ...unrecorded.length === 0 ? [] : [`given, but not in the recording: ${named(unrecorded)}`],
    ...nothing ? ["nothing was compared"] : []
  ].join("\n")
}

const place = ({ line, position, stream, type, version }: Place, withStream: boolean): string =>
  `${type} (${withStream ? `${stream}, ` : ""}version ${version}, position ${position}, line ${line})`
