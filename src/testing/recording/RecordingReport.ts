/**
 * What is different when a recording is replayed, and how to say it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Change } from "../../core/JsonDiff.ts"
import { Position } from "../../core/Position.ts"
import { StreamId } from "../../core/StreamId.ts"
import { Version } from "../../core/Version.ts"
import { Subject } from "./RecordingFile.ts"

/**
 * An event of the recording.
 *
 * - `line`: where it stands in the file, from 1
 *
 * @since 0.1.0
 * @category schemas
 */
export const Place = Schema.Struct({
  line: Schema.Int,
  position: Position,
  stream: StreamId,
  version: Version,
  type: Schema.String
})
export type Place = typeof Place.Type

/**
 * An instance of an aggregate, or a document of a projection, that is not what it was. A state that was declared to be another is compared as
 * such; none, or no document, counts as `null`.
 *
 * - `id`: the stream, or the key of the document
 * - `from`: the first event after which it differs
 * - `there`: what makes the recorded state after that event into the one of today
 * - `events`: after how many of its events it differs; `of`: how many there are
 * - `recorded`, `today`: in the end, and `changes` between them; none where it differs only on the way
 *
 * @since 0.1.0
 * @category schemas
 */
export const Difference = Schema.Struct({
  ...Subject.fields,
  id: Schema.String,
  from: Place,
  there: Schema.Array(Change),
  events: Schema.Int,
  of: Schema.Int,
  recorded: Schema.Json,
  today: Schema.Json,
  changes: Schema.Array(Change)
})
export type Difference = typeof Difference.Type

/**
 * An event that only one side could process: it does not decode, `evolve` or `key` throws, or what they make breaks its Schema. Behind it the stream is
 * passed over on that side.
 *
 * - `when`: on which side it failed
 *
 * @since 0.1.0
 * @category schemas
 */
export const Failure = Schema.Struct({
  ...Subject.fields,
  when: Schema.Literals(["recorded", "today"]),
  event: Place,
  detail: Schema.String
})
export type Failure = typeof Failure.Type

/**
 * What came of replaying a recording.
 *
 * - `events`: how many were replayed
 * - `compared`: of each aggregate and projection that both sides have, how many instances or documents, and how many of them differ
 * - `differences`: in the order of the events that they begin with
 * - `missing`: recorded, and not given to be compared
 * - `unrecorded`: given, and not in the recording
 *
 * @since 0.1.0
 * @category schemas
 */
export const Report = Schema.Struct({
  recordedAt: Schema.DateTimeUtc,
  events: Schema.Int,
  compared: Schema.Array(Schema.Struct({ ...Subject.fields, items: Schema.Int, different: Schema.Int })),
  differences: Schema.Array(Difference),
  failures: Schema.Array(Failure),
  missing: Schema.Array(Subject),
  unrecorded: Schema.Array(Subject)
})
export type Report = typeof Report.Type

/**
 * Whether something was compared, and all of it is as it was recorded.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSame = ({ compared, differences, failures, missing }: Report): boolean =>
  differences.length === 0 && failures.length === 0 && missing.length === 0 && compared.some(({ items }) => items > 0)

/**
 * How much of a report is printed.
 *
 * - `differences`: of each aggregate and projection; 5 by default
 * - `changes`: of each state; 5 by default
 * - `width`: of a value, in characters; 80 by default
 *
 * @since 0.1.0
 * @category options
 */
export interface PrintOptions {
  readonly differences?: number | undefined
  readonly changes?: number | undefined
  readonly width?: number | undefined
}

/**
 * A report as text. It is short, however much is different: the first of everything, and how many there are.
 *
 * @since 0.1.0
 * @category formatting
 */
export const print = (report: Report, options: PrintOptions = {}): string => {
  const { changes = 5, differences = 5, width = 80 } = options
  const { compared, events, failures, missing, recordedAt, unrecorded } = report

  const value = (json: Schema.Json): string => {
    const text = JSON.stringify(json)
    return text.length <= width ? text : `${text.slice(0, width)}…`
  }
  const change = (one: Change): string => {
    const path = one.path === "" ? "all of it" : one.path
    switch (one.op) {
      case "add":
        return `${path}: nothing → ${value(one.value)}`
      case "remove":
        return `${path}: ${value(one.old)} → nothing`
      case "replace":
        return `${path}: ${value(one.old)} → ${value(one.value)}`
    }
  }
  const first = <A>(all: ReadonlyArray<A>, most: number, linesOf: (one: A) => ReadonlyArray<string>) => [
    ...all.slice(0, most).flatMap(linesOf),
    ...all.length > most ? [`… and ${all.length - most} more`] : []
  ]
  const indented = (lines: ReadonlyArray<string>) => lines.map((line) => `  ${line}`)
  const changesOf = (all: ReadonlyArray<Change>) => indented(first(all, changes, (one) => [change(one)]))

  const difference = ({ changes, events, from, id, kind, of, there }: Difference): ReadonlyArray<string> => {
    const end = JSON.stringify(changes) === JSON.stringify(there)
      ? ["the same in the end"]
      : changes.length === 0
      ? [`no more in the end: it differs after ${events} of ${of} events`]
      : ["in the end:", ...changesOf(changes)]
    const isLast = events === 1 && changes.length > 0
    return [
      `${id}, from ${place(from, kind === "projection")} on:`,
      ...changesOf(there),
      ...indented(isLast ? [] : end)
    ]
  }
  const counts = (items: number, what: string) => `${items} ${what}${items === 1 ? "" : "s"}`
  const group = ({ different, items, kind, name }: Report["compared"][number]): ReadonlyArray<string> => {
    const head = `${kind} ${name}: ${different} of ${
      counts(items, kind === "aggregate" ? "stream" : "document")
    } differ`
    if (different === 0) return [head]
    const ours = report.differences.filter((one) => one.kind === kind && one.name === name)
    const begins = Array.from(Map.groupBy(ours, ({ from }) => from.type), ([type, all]) => `${type} (${all.length})`)
    return [
      `${head}, beginning with ${first(begins, changes, (one) => [one]).join(", ")}`,
      ...indented(first(ours, differences, difference))
    ]
  }
  const failing = (when: Failure["when"], title: string): ReadonlyArray<string> => {
    const all = failures.filter((one) => one.when === when)
    return all.length === 0 ? [] : [
      `${title}: ${counts(all.length, "time")}`,
      ...indented(first(all, differences, ({ detail, event, kind, name }) => [
        `${kind} ${name}, ${place(event, true)}:`,
        `  ${detail.length <= 3 * width ? detail : `${detail.slice(0, 3 * width)}…`}`
      ]))
    ]
  }
  const named = (subjects: ReadonlyArray<Subject>) => subjects.map(({ kind, name }) => `${kind} ${name}`).join(", ")
  const nothing = compared.every(({ items }) => items === 0)
  return [
    `${counts(events, "event")}, recorded at ${DateTime.formatIso(recordedAt)}, replayed`,
    ...compared.flatMap(group),
    ...failing("today", "cannot be processed any more"),
    ...failing("recorded", "could not be processed when it was recorded"),
    ...missing.length === 0 ? [] : [`in the recording, and not given to be replayed: ${named(missing)}`],
    ...unrecorded.length === 0 ? [] : [`not in the recording: ${named(unrecorded)}`],
    ...nothing ? ["nothing was compared"] : []
  ].join("\n")
}

const place = ({ line, position, stream, type, version }: Place, withStream: boolean): string =>
  `${type} (${withStream ? `${stream}, ` : ""}version ${version}, position ${position}, line ${line})`
