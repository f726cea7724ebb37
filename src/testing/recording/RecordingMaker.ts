/**
 * Makes recordings: of a log, or of another recording.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as JsonPatch from "effect/JsonPatch"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../core/errors.ts"
import type { Metadata } from "../../core/Metadata.ts"
import * as StreamId from "../../core/StreamId.ts"
import * as EventPersonalData from "../../event/EventPersonalData.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import * as RecordingFile from "./RecordingFile.ts"
import * as RecordingFold from "./RecordingFold.ts"
import * as RecordingPersonalData from "./RecordingPersonalData.ts"
import * as RecordingSample from "./RecordingSample.ts"

/**
 * A log cannot be recorded as it was asked for.
 *
 * @since 0.1.0
 * @category errors
 */
export class RecordingFailed extends Schema.TaggedError<RecordingFailed>("evsrc/RecordingFailed")("RecordingFailed", {
  detail: Schema.String
}) {
  override get message(): string {
    return `This log cannot be recorded: ${this.detail}`
  }
}

/**
 * What of an event may be replaced before it is recorded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Replaceable {
  readonly stream: string
  readonly data: Schema.Json
  readonly tags: ReadonlyArray<string>
  readonly metadata: Metadata
}

/**
 * - `aggregates`, `projections`: whose states to record, and so which events
 * - `sample`: only some streams; all by default
 * - `personal`: what becomes of fields that are marked by `PersonalData.field`. `"replace"`, the default, writes other values, which their Schemas
 *   generate; `"keep"` writes them in plaintext
 * - `metadata`: whether to record the metadata of events, which may name people; `"leave"` by default, and then projections are given none, when
 *   it is replayed too
 * - `replace`: changes an event before it is recorded, after its marked fields were replaced: for what is personal and not marked, in payloads or
 *   the names of streams. It has to answer the same for the same, as ids that it changes still have to go together
 *
 * @since 0.1.0
 * @category options
 */
export interface RecordOptions extends RecordingFold.Models {
  readonly sample?: RecordingSample.Sample | undefined
  readonly personal?: "replace" | "keep" | undefined
  readonly metadata?: "leave" | "keep" | undefined
  readonly replace?:
    | ((event: Replaceable & Pick<EncodedEvent, "type" | "schemaVersion">) => Replaceable)
    | undefined
}

/**
 * The lines of a recording of the log, up to its high-water mark.
 *
 * **Details**
 *
 * All events of the streams of these aggregates are recorded, and those that these projections follow. Nothing is written to the store; the states
 * are folded here, from the events as they are recorded: from replaced values, where they were replaced.
 *
 * **Gotchas**
 *
 * The states of all streams and documents that are recorded are in memory, and so are the personal values that were replaced. Take a sample of
 * a log that is large. The documents of a projection over a sample are those that the events of the sample lead to.
 *
 * @since 0.1.0
 * @category recording
 */
export const record = (
  options: RecordOptions
): Stream.Stream<string, RecordingFailed | EventStoreError, EventStore> =>
  Stream.unwrap(Effect.gen(function*() {
    const { metadata = "leave", personal = "replace", replace, sample = {} } = options
    const wrong = RecordingSample.problem(sample)
    if (wrong !== undefined) return yield* new RecordingFailed({ detail: wrong })
    const store = yield* EventStore
    const fold = RecordingFold.make(options)
    const header = RecordingFile.header(yield* DateTime.now, {
      personal: personal === "replace" ? "replaced" : "kept",
      sample: RecordingSample.describe(sample),
      of: fold.of
    })
    const aggregates = new Set((options.aggregates ?? []).map(({ aggregate: { name } }) => name))
    const sets = [
      ...(options.aggregates ?? []).map(({ aggregate: { events } }) => events),
      ...(options.projections ?? []).map(({ events }) => events)
    ]
    const dataOf: RecordingPersonalData.Replace = personal === "replace"
      ? RecordingPersonalData.make(sets)
      : (recorded) => Effect.fromResult(EventPersonalData.dataOf(recorded))
    const all = Stream.filter(
      store.readAllEncoded({ where: { streamPrefix: sample.prefix } }),
      (event) => fold.isWanted(event)
    )
    const isSelected = yield* RecordingSample.select(sample, aggregates, all)
    const isWhole = wholeStreams(aggregates)

    const prepare = Effect.fnUntraced(function*(recorded: EncodedEvent) {
      const reject = (detail: string) =>
        new RecordingFailed({
          detail: `${detail} (event "${recorded.type}" at position ${recorded.position}, stream "${recorded.stream}")`
        })
      const hole = isWhole(recorded)
      if (hole !== undefined) return yield* reject(hole)
      const data = yield* Effect.mapError(dataOf(recorded), reject)
      // Whose encrypted data an event has says nothing of what is in a file.
      const { subjects, ...kept } = recorded.metadata
      const event = { ...RecordingFile.eventOf(recorded, metadata === "keep" ? kept : undefined), data }
      if (replace === undefined) return event
      const other = replace({ ...event, metadata: event.metadata ?? {} })
      return {
        ...event,
        // It is checked where it is written.
        stream: other.stream as EncodedEvent["stream"],
        data: other.data,
        tags: other.tags,
        ...metadata === "keep" ? { metadata: other.metadata } : {}
      }
    })
    const events = all.pipe(Stream.filter(({ stream }) => isSelected(stream)), Stream.mapEffect(prepare))
    return written(fold, Stream.concat(Stream.succeed(header), events))
  }))

/** Tells of the events of aggregates when one is missing before them: no state can be made without it. */
const wholeStreams = (aggregates: ReadonlySet<string>) => {
  const versions = new Map<string, number>()
  return ({ stream, version }: EncodedEvent): string | undefined => {
    if (!aggregates.has(StreamId.category(stream))) return undefined
    const before = versions.get(stream) ?? 0
    versions.set(stream, version)
    return version === before + 1 ? undefined : `the events of its stream before version ${version} are not in the log`
  }
}

const written = <E, R>(
  { fold }: RecordingFold.Fold,
  entries: Stream.Stream<RecordingFile.Header | RecordingFile.Step["event"], E, R>
): Stream.Stream<string, E | RecordingFailed, R> =>
  Stream.suspend(() => {
    const known = new Map<string, Schema.Json>()
    /** What has changed since this was asked before. */
    const changed = (kind: RecordingFile.Subject["kind"], name: string, id: string, now: Schema.Json) => {
      const of = JSON.stringify([kind, name, id])
      const patch = JsonPatch.get(known.get(of) ?? null, now)
      known.set(of, now)
      return patch
    }
    const stepOf = (event: RecordingFile.Step["event"]): RecordingFile.Step => {
      const folded = fold(RecordingFile.recordedOf(event))
      const state = folded.state === undefined ? [] : changed("aggregate", "", event.stream, folded.state)
      const documents = folded.documents.flatMap(({ document, key, projection }) => {
        const changes = changed("projection", projection, key, document)
        return changes.length === 0 ? [] : [{ projection, key, changes }]
      })
      return {
        event,
        ...state.length === 0 ? {} : { state },
        ...documents.length === 0 ? {} : { documents },
        ...folded.failed.length === 0 ? {} : { failed: folded.failed }
      }
    }
    const steps = Stream.map(entries, (entry) => "format" in entry ? entry : stepOf(entry))
    return Stream.mapError(
      RecordingFile.write(steps),
      (error) => typeof error === "string" ? new RecordingFailed({ detail: error }) : error
    )
  })

/**
 * The lines of a recording of the same events, with the states of today: what is different is accepted.
 *
 * **Gotchas**
 *
 * It has the events that were recorded, and no others: a projection that was added is recorded over these.
 *
 * @since 0.1.0
 * @category recording
 */
export const renew = <E, R>(
  models: RecordingFold.Models,
  lines: Stream.Stream<string, E, R>
): Stream.Stream<string, E | RecordingFile.InvalidRecording | RecordingFailed, R> =>
  Stream.suspend(() => {
    const fold = RecordingFold.make(models)
    return written(
      fold,
      Stream.map(
        RecordingFile.read(lines),
        ({ entry }) => RecordingFile.isHeader(entry) ? { ...entry, of: fold.of } : entry.event
      )
    )
  })
