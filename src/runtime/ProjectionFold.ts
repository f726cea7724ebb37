/**
 * Applies events to a projection's documents in memory; what has changed is then written at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as DocumentCodec from "../domain/DocumentCodec.ts"
import { type EventStoreError, ProjectionFailed, storeError, UndecodableDocument } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import * as EventCodec from "../domain/EventCodec.ts"
import type { EventRecord, RecordedEvent } from "../domain/EventRecord.ts"
import type { Position } from "../domain/Position.ts"
import type * as Projection from "../domain/Projection.ts"
import { Limits } from "../store/Limits.ts"
import type { StoredDocument } from "../store/ProjectionStoreDriver.ts"

/**
 * What events do to a projection.
 *
 * - `changes`: the documents after the events that could be applied
 * - `applied`: how many those were
 * - `failure`: why the next one could not be, and its position
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded {
  readonly changes: ReadonlyArray<DocumentCodec.EncodedDocument>
  readonly applied: number
  readonly failure: { readonly error: EventStoreError; readonly position: Position } | undefined
}

interface Touch {
  readonly record: EventRecord<Event.Tagged>
  readonly keys: ReadonlyArray<string>
}

/**
 * Folds events, in order, into the documents they touch. The first event that cannot be decoded, or on which the projection's
 * own code fails, ends the fold; the events before it count.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = Effect.fnUntraced(function*(
  projection: Projection.Any,
  events: ReadonlyArray<RecordedEvent>,
  load: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>
): Effect.fn.Return<Folded, EventStoreError> {
  const codec = DocumentCodec.of(projection)
  const { documentBytes } = yield* Limits
  const { failure: early, touches } = touchesOf(projection, events)
  const keys = Array.from(new Set(touches.flatMap((touch) => touch.keys)))
  const documents = new Map<string, unknown>()
  for (const { document, key } of keys.length === 0 ? [] : yield* load(keys)) {
    const decoded = codec.decode(document)
    if (Result.isFailure(decoded)) {
      return yield* storeError(
        new UndecodableDocument({ projection: projection.id, key, detail: decoded.failure })
      )
    }
    documents.set(key, decoded.success)
  }

  const encoded = new Map<string, DocumentCodec.EncodedDocument>()
  let applied = 0
  for (const { keys, record } of touches) {
    const changed = attempt(
      projection,
      record,
      () =>
        keys.map((key): readonly [unknown, DocumentCodec.EncodedDocument] => {
          const document = projection.evolve(documents.get(key), record)
          // Encoded at once, so that a document that breaks its Schema is blamed on the event that made it.
          const change = Result.getOrThrowWith(codec.encode(key, document), (detail) => new Error(detail))
          const size = change.document?.length ?? 0
          if (size > documentBytes) {
            throw new Error(`the document "${key}" has ${size} characters, more than ${documentBytes}`)
          }
          return [document, change]
        })
    )
    if (Result.isFailure(changed)) {
      return {
        changes: Array.from(encoded.values()),
        applied,
        failure: { error: changed.failure, position: record.position }
      }
    }
    for (const [document, change] of changed.success) {
      documents.set(change.key, document)
      encoded.set(change.key, change)
    }
    applied++
  }
  return { changes: Array.from(encoded.values()), applied, failure: early }
})

/** The events decoded, with the keys they touch, up to the first that fails. */
const touchesOf = (
  projection: Projection.Any,
  events: ReadonlyArray<RecordedEvent>
): { readonly touches: ReadonlyArray<Touch>; readonly failure: Folded["failure"] } => {
  const codec = EventCodec.of(projection.events)
  const touches: Array<Touch> = []
  for (const event of events) {
    const touch = Result.flatMap(
      Result.mapError(codec.decode(event), storeError),
      (record) =>
        attempt(projection, record, (): Touch => {
          const keys = Array.from(new Set(projection.keysOf(record)))
          const problem = keys.map(DocumentCodec.keyProblem).find((problem) => problem !== undefined)
          if (problem !== undefined) throw new Error(problem)
          return { record, keys }
        })
    )
    if (Result.isFailure(touch)) return { touches, failure: { error: touch.failure, position: event.position } }
    touches.push(touch.success)
  }
  return { touches, failure: undefined }
}

/** Runs a projection's own code, which may throw. */
const attempt = <A>(
  projection: Projection.Any,
  { position, type }: RecordedEvent,
  run: () => A
): Result.Result<A, EventStoreError> => {
  try {
    return Result.succeed(run())
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    return Result.fail(storeError(new ProjectionFailed({ projection: projection.id, position, type, detail })))
  }
}
