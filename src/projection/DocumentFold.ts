/**
 * Applies events to a projection's documents in memory; what has changed is then written at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Failure, Outcome } from "../consumer/BatchProcessor.ts"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as Consumer from "../consumer/Consumer.ts"
import * as HandlerError from "../consumer/HandlerError.ts"
import { type EventStoreError, isOfNewerCode, storeError, UndecodableDocument } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * - `changes`: the documents after the events that could be applied
 * - `reads`: what they were made of
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded extends Outcome {
  readonly changes: ReadonlyArray<EncodedDocument>
  readonly reads: ReadonlyArray<{ readonly key: string; readonly revision: bigint }>
}

interface Touch {
  readonly recorded: EncodedEvent
  readonly decoded: Result.Result<
    ReadonlyArray<{ readonly record: RecordedEvent<Event.Tagged>; readonly keys: ReadonlyArray<string> }>,
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
  events: ReadonlyArray<EncodedEvent>,
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

  const encode = (key: string, document: unknown): EncodedDocument => {
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
    const applied: Array<EncodedEvent> = []
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

const touchOf = (projection: Projection.Any, recorded: EncodedEvent): Touch => ({
  recorded,
  decoded: Result.flatMap(
    Result.mapError(Consumer.decode(projection, recorded), storeError),
    (records) =>
      attempt(projection, recorded, () =>
        records.map((record) => {
          const keys = Array.from(new Set(projection.keysOf(record)))
          const problem = keys.map(DocumentCodec.validateKey).find((problem) => problem !== undefined)
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
  event: EncodedEvent,
  run: (secrets: Secrets) => A
): Result.Result<A, EventStoreError> => {
  const secrets: Secrets = []
  try {
    return Result.succeed(run(secrets))
  } catch (cause) {
    return Result.fail(HandlerError.failed(projection.id, event, cause, secrets.flatMap((secret) => secret())))
  }
}
