/**
 * Applies events to a projection's documents in memory; what has changed is then written at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as DocumentCodec from "../domain/DocumentCodec.ts"
import { EventStoreError, isOfNewerCode, ProjectionFailed, storeError, UndecodableDocument } from "../domain/errors.ts"
import type * as Event from "../domain/Event.ts"
import type { EventRecord, RecordedEvent } from "../domain/EventRecord.ts"
import * as Follower from "../domain/Follower.ts"
import * as PersonalEvents from "../domain/PersonalEvents.ts"
import type * as Projection from "../domain/Projection.ts"
import * as SealedData from "../domain/SealedData.ts"
import { Limits } from "../store/Limits.ts"
import type { StoredDocument } from "../store/ProjectionStoreDriver.ts"

/**
 * What became of events, in order.
 *
 * - `applied`: those that were
 * - `failures`: those that could not be, and why; the events of the same streams after them were not tried
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly applied: ReadonlyArray<RecordedEvent>
  readonly failures: ReadonlyArray<Failure>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly event: RecordedEvent
  readonly error: EventStoreError
}

/**
 * - `changes`: the documents after the events that could be applied
 * - `reads`: what they were made of
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded extends Outcome {
  readonly changes: ReadonlyArray<DocumentCodec.EncodedDocument>
  readonly reads: ReadonlyArray<{ readonly key: string; readonly revision: bigint }>
}

interface Touch {
  readonly recorded: RecordedEvent
  readonly decoded: Result.Result<
    ReadonlyArray<{ readonly record: EventRecord<Event.Tagged>; readonly keys: ReadonlyArray<string> }>,
    EventStoreError
  >
}

type Documents = Map<string, Result.Result<unknown, EventStoreError>>

/**
 * Folds events, in order, into the documents they touch. An event that cannot be decoded, or on which the projection's own code fails,
 * changes nothing. With the policy `"park"` it and the events after it in its stream are left out, with `"stop"` all after it; so too where
 * newer code has written it.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = Effect.fnUntraced(function*(
  projection: Projection.Any,
  events: ReadonlyArray<RecordedEvent>,
  load: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>,
  onFailure: "park" | "stop"
): Effect.fn.Return<Folded, EventStoreError> {
  const codec = DocumentCodec.of(projection)
  const { documentBytes } = yield* Limits
  const touches = events.map((recorded) => touchOf(projection, recorded))
  const keys = new Set<string>()
  for (const { decoded } of touches) {
    for (const part of Result.getOrElse(decoded, () => [])) for (const key of part.keys) keys.add(key)
  }
  const documents: Documents = new Map()
  const revisions = new Map<string, bigint>()
  for (const { document, key, revision, unreadable } of keys.size === 0 ? [] : yield* load(Array.from(keys))) {
    revisions.set(key, revision)
    documents.set(
      key,
      Result.mapError(
        unreadable === undefined ? codec.decode(document) : Result.fail(unreadable),
        (detail) => storeError(new UndecodableDocument({ projection: projection.id, key, detail }))
      )
    )
  }
  const reads = Array.from(keys, (key) => ({ key, revision: revisions.get(key) ?? 0n }))

  const encode = (key: string, document: unknown): DocumentCodec.EncodedDocument => {
    const change = Result.getOrThrowWith(codec.encode(key, document), (detail) => new Error(detail))
    const size = change.document?.length ?? 0
    if (size > documentBytes) {
      throw new Error(`the document "${key}" has ${size} characters, more than ${documentBytes}`)
    }
    return change
  }

  /** `eager`: encodes a document after every event, so that one that breaks its Schema is blamed on the event that made it. */
  const run = (eager: boolean): Folded | undefined => {
    const current: Documents = new Map(documents)
    const touched = new Set<string>()
    const applied: Array<RecordedEvent> = []
    const failures: Array<Failure> = []
    const parked = new Set<string>()
    for (const { decoded, recorded } of touches) {
      if (parked.has(recorded.stream)) continue
      const changed = Result.flatMap(
        decoded,
        (parts) =>
          attempt(projection, recorded, (secrets) => {
            const after = new Map<string, unknown>()
            for (const { keys, record } of parts) {
              for (const key of keys) {
                const before = current.get(key)
                if (before !== undefined && Result.isFailure(before)) throw before.failure
                secrets.push(() => codec.secretsOf(before?.success))
                const document = projection.evolve(after.has(key) ? after.get(key) : before?.success, record, key)
                if (eager) encode(key, document)
                after.set(key, document)
              }
            }
            return after
          })
      )
      if (Result.isFailure(changed)) {
        failures.push({ event: recorded, error: changed.failure })
        if (onFailure === "stop" || isOfNewerCode(changed.failure)) break
        parked.add(recorded.stream)
        continue
      }
      for (const [key, document] of changed.success) {
        current.set(key, Result.succeed(document))
        touched.add(key)
      }
      applied.push(recorded)
    }
    try {
      const changes = Array.from(touched, (key) => encode(key, Result.getOrThrow(current.get(key)!)))
      return { changes, applied, failures, reads }
    } catch (cause) {
      if (eager) throw cause
      return undefined
    }
  }
  return run(false) ?? run(true)!
})

const touchOf = (projection: Projection.Any, recorded: RecordedEvent): Touch => ({
  recorded,
  decoded: Result.flatMap(
    Result.mapError(Follower.decode(projection, recorded), storeError),
    (records) =>
      attempt(projection, recorded, () =>
        records.map((record) => {
          const keys = Array.from(new Set(projection.keysOf(record)))
          const problem = keys.map(DocumentCodec.keyProblem).find((problem) => problem !== undefined)
          if (problem !== undefined) throw new Error(problem)
          return { record, keys }
        }))
  )
})

/** Personal data that is none of the event's, for when it is needed. */
type Secrets = Array<() => ReadonlyArray<unknown>>

/** Runs a projection's own code, which may throw. */
const attempt = <A>(
  projection: Projection.Any,
  event: RecordedEvent,
  run: (secrets: Secrets) => A
): Result.Result<A, EventStoreError> => {
  const secrets: Secrets = []
  try {
    return Result.succeed(run(secrets))
  } catch (cause) {
    return Result.fail(failed(projection.id, event, cause, secrets.flatMap((secret) => secret())))
  }
}

/**
 * That a follower's own code failed on an event. The event's personal data is left out of the words that tell why, and the `secrets` are, too.
 *
 * @since 0.1.0
 * @category errors
 */
export const failed = (
  projection: string,
  event: RecordedEvent,
  cause: unknown,
  secrets: ReadonlyArray<unknown> = []
): EventStoreError => {
  if (cause instanceof EventStoreError) return cause
  const { position, type } = event
  const detail = SealedData.scrub(describe(cause), [...PersonalEvents.secretsOf(event), ...secrets])
  return storeError(new ProjectionFailed({ projection, position, type, detail }))
}

/** What was thrown, in words; an error may have none but its name and its fields. */
const describe = (cause: unknown): string => {
  if (cause instanceof Error && cause.message !== "") return cause.message
  if (!Predicate.isObject(cause)) return String(cause)
  const name = Predicate.hasProperty(cause, "_tag") ? String(cause._tag) : cause instanceof Error ? cause.name : ""
  return `${name} ${Inspectable.toStringUnknown(cause, 0)}`.trim()
}
