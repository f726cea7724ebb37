/**
 * Makes recordings from a log or from another recording.
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
 * The log cannot be recorded with these options.
 *
 * @since 0.1.0
 * @category errors
 */
export class RecordingFailed extends Schema.TaggedError<RecordingFailed>("evsrc/RecordingFailed")("RecordingFailed", {
  detail: Schema.String
}) {
  override get message(): string {
    return `The log cannot be recorded: ${this.detail}`
  }
}

/**
 * The parts of an event that `replace` can change before it is recorded.
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
 * What a recording contains. `aggregates` and `projections` select the events and the recorded states.
 *
 * @since 0.1.0
 * @category options
 */
export interface RecordOptions extends RecordingFold.Models {
  /** Selects streams; all streams by default. */
  readonly sample?: RecordingSample.Sample | undefined
  /** Replaces fields annotated with `PersonalData.field` by generated values (default), or writes them in plaintext. */
  readonly personal?: "replace" | "keep" | undefined
  /**
   * Omits the metadata of events, which may name people (default), or keeps it. Without metadata, projections receive empty metadata, also in a
   * replay.
   */
  readonly metadata?: "omit" | "keep" | undefined
  /**
   * Changes an event before it is recorded, after annotated fields were replaced. Use it for personal data that is not annotated, in payloads or
   * stream names. Return equal values for equal inputs, so that changed ids still match.
   */
  readonly replace?:
    | ((event: Replaceable & Pick<EncodedEvent, "type" | "schemaVersion">) => Replaceable)
    | undefined
}

/**
 * Returns the lines of a recording of the log, up to its high-water mark.
 *
 * **Details**
 *
 * A recording contains all events of the streams of these aggregates, and the events that these projections process. The states are folded from
 * the recorded events, so from replaced values where values were replaced. The store is only read.
 *
 * **Gotchas**
 *
 * The states of all recorded streams and documents are in memory, and so are the replaced personal values. Take a sample of a large log. A
 * projection is folded over the events of the sample only.
 *
 * @since 0.1.0
 * @category constructors
 */
export const record = (
  options: RecordOptions
): Stream.Stream<string, RecordingFailed | EventStoreError, EventStore> =>
  Stream.unwrap(Effect.gen(function*() {
    const { metadata = "omit", personal = "replace", replace, sample = {} } = options
    const invalid = RecordingSample.validate(sample)
    if (invalid !== undefined) return yield* new RecordingFailed({ detail: invalid })
    const store = yield* EventStore
    const fold = RecordingFold.make(options)
    const header = RecordingFile.header(yield* DateTime.now, {
      personal: personal === "replace" ? "replaced" : "plaintext",
      sample: RecordingSample.describe(sample),
      models: fold.models
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
    const gapBefore = makeGapDetector(aggregates)

    const prepare = Effect.fnUntraced(function*(recorded: EncodedEvent) {
      const reject = (detail: string) =>
        new RecordingFailed({
          detail: `${detail} (event "${recorded.type}" at position ${recorded.position}, stream "${recorded.stream}")`
        })
      const gap = gapBefore(recorded)
      if (gap !== undefined) return yield* reject(gap)
      const data = yield* Effect.mapError(dataOf(recorded), reject)
      // `subjects` names the owners of encrypted values, and a recording has no encrypted values.
      const { payloadHash: _hash, personalPayloadHash: _personalHash, subjects, ...rest } = recorded.metadata
      const event = { ...RecordingFile.eventOf(recorded, metadata === "keep" ? rest : undefined), data }
      if (replace === undefined) return event
      const other = replace({ ...event, metadata: event.metadata ?? {} })
      return {
        ...event,
        // The encoder of the file validates the name.
        stream: other.stream as EncodedEvent["stream"],
        data: other.data,
        tags: other.tags,
        ...metadata === "keep" ? { metadata: other.metadata } : {}
      }
    })
    const events = all.pipe(Stream.filter(({ stream }) => isSelected(stream)), Stream.mapEffect(prepare))
    return written(fold, Stream.concat(Stream.succeed(header), events))
  }))

/** Returns a function that detects a missing earlier event of an aggregate's stream: without it the state is unknown. */
const makeGapDetector = (aggregates: ReadonlySet<string>) => {
  const versions = new Map<string, number>()
  return ({ stream, version }: EncodedEvent): string | undefined => {
    if (!aggregates.has(StreamId.category(stream))) return undefined
    const before = versions.get(stream) ?? 0
    versions.set(stream, version)
    return version === before + 1 ? undefined : `the log lacks the events of the stream before version ${version}`
  }
}

const written = <E, R>(
  { fold }: RecordingFold.Fold,
  entries: Stream.Stream<RecordingFile.Header | RecordingFile.Step["event"], E, R>
): Stream.Stream<string, E | RecordingFailed, R> =>
  Stream.suspend(() => {
    const previous = new Map<string, Schema.Json>()
    /** Returns the changes since the previous value. */
    const changed = (kind: RecordingFile.Model["kind"], name: string, id: string, now: Schema.Json) => {
      const key = JSON.stringify([kind, name, id])
      const patch = JsonPatch.get(previous.get(key) ?? null, now)
      previous.set(key, now)
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
 * Returns the lines of a recording of the same events with the current states. This accepts every difference.
 *
 * **Gotchas**
 *
 * The events stay the recorded ones: an added projection is folded over these only.
 *
 * @since 0.1.0
 * @category combinators
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
        ({ entry }) => RecordingFile.isHeader(entry) ? { ...entry, models: fold.models } : entry.event
      )
    )
  })
