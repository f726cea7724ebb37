/**
 * Folds the events of a recording. Recording and replay share this module, so equal code gives equal states.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ConsumerDefinition from "../../consumer/ConsumerDefinition.ts"
import { parseJson } from "../../core/json/parseJson.ts"
import * as StreamId from "../../core/StreamId.ts"
import type { StateSchema } from "../../decision/DecisionDefinition.ts"
import type * as Event from "../../event/Event.ts"
import * as EventCodec from "../../event/EventCodec.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as DocumentCodec from "../../projection/DocumentCodec.ts"
import type * as Projection from "../../projection/ProjectionDefinition.ts"
import type { Model } from "./RecordingFile.ts"

/**
 * The parts of an aggregate's decider that a recording uses.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyDecider {
  readonly initial: unknown
  readonly evolve: (state: never, event: never) => unknown
  readonly aggregate: { readonly name: string; readonly state: Schema.Top; readonly events: Event.Any }
}

/**
 * The aggregates and projections whose states are recorded and compared.
 *
 * @since 0.1.0
 * @category options
 */
export interface Models {
  readonly aggregates?: ReadonlyArray<AnyDecider> | undefined
  readonly projections?: ReadonlyArray<Projection.Any> | undefined
}

/**
 * A model that could not process an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failed extends Model {
  readonly detail: string
}

/**
 * The states after an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded {
  /** The encoded state of the aggregate. Undefined if no aggregate is given for the event, or if it failed. */
  readonly state: Schema.Json | undefined
  /** The encoded documents that the event touches; `null` for a deleted one. */
  readonly documents: ReadonlyArray<{
    readonly projection: string
    readonly key: string
    readonly document: Schema.Json | null
  }>
  /** The models that cannot process the event. They skip the later events of its stream. */
  readonly failed: ReadonlyArray<Failed>
}

/**
 * A fold over the events of a log. It holds the state of every stream and document.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fold {
  readonly models: ReadonlyArray<Model>
  /** Returns whether a model processes the event. */
  readonly isWanted: (event: EncodedEvent) => boolean
  /** Processes the next event. */
  readonly fold: (event: EncodedEvent) => Folded
}

/**
 * Returns a fold before the first event. Throws if two aggregates or two projections have the same name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ aggregates = [], projections = [] }: Models): Fold => {
  const models = modelsOf({ aggregates, projections })
  const instances = new Map(aggregates.map((decider) => [decider.aggregate.name, foldInstances(decider)]))
  const readers = projections.map(foldDocuments)
  return {
    models,
    isWanted: (event) =>
      instances.has(StreamId.category(event.stream)) || readers.some(({ isFollowed }) => isFollowed(event)),
    fold: (event) => {
      const failed: Array<Failed> = []
      const valueOf = <A>(model: Model, result: Result.Result<A, string> | undefined): A | undefined => {
        if (result === undefined) return undefined
        if (Result.isSuccess(result)) return result.success
        failed.push({ ...model, detail: result.failure })
        return undefined
      }
      const name = StreamId.category(event.stream)
      const state = valueOf({ kind: "aggregate", name }, instances.get(name)?.(event))
      const documents = readers.flatMap(({ fold, projection }) =>
        valueOf({ kind: "projection", name: projection }, fold(event)) ?? []
      )
      return { state, documents, failed }
    }
  }
}

const modelsOf = ({ aggregates, projections }: Required<Models>): ReadonlyArray<Model> => {
  const models: ReadonlyArray<Model> = [
    ...(aggregates ?? []).map(({ aggregate: { name } }) => ({ kind: "aggregate" as const, name })),
    ...(projections ?? []).map(({ name }) => ({ kind: "projection" as const, name }))
  ]
  const twice = models.find((one, index) =>
    models.findIndex(({ kind, name }) => kind === one.kind && name === one.name) < index
  )
  if (twice !== undefined) {
    throw new Error(`Recording: two ${twice.kind}s have the name "${twice.name}"; give each name once`)
  }
  return models
}

/** Drops the values that JSON text cannot hold. */
const throughText = (json: unknown): Schema.Json => parseJson(JSON.stringify(json) ?? "null")

/** Returns `undefined` for an event whose stream has already failed. */
type FoldOne<A> = (event: EncodedEvent) => Result.Result<A, string> | undefined

/** Skips the later events of a stream after one that failed, as parking does. */
const skippingFailedStreams = <A>(fold: (event: EncodedEvent) => Result.Result<A, string>): FoldOne<A> => {
  const failedStreams = new Set<string>()
  return (event) => {
    if (failedStreams.has(event.stream)) return undefined
    const folded = attempt(() => fold(event))
    if (Result.isFailure(folded)) failedStreams.add(event.stream)
    return folded
  }
}

/** Runs user code, which may throw. */
const attempt = <A>(run: () => Result.Result<A, string>): Result.Result<A, string> => {
  try {
    return run()
  } catch (cause) {
    return Result.fail(cause instanceof Error && cause.message !== "" ? cause.message : String(cause))
  }
}

const foldInstances = ({ aggregate, evolve, initial }: AnyDecider): FoldOne<Schema.Json> => {
  const codec = EventCodec.make(aggregate.events)
  // The type allows a Schema that needs services; encoding with one fails.
  const encode = Schema.encodeUnknownResult(Schema.toCodecJson(aggregate.state as StateSchema))
  const states = new Map<string, unknown>()
  return skippingFailedStreams((recorded) =>
    Result.flatMap(Result.mapError(codec.decode(recorded), ({ message }) => message), (records) => {
      let state = states.has(recorded.stream) ? states.get(recorded.stream) : initial
      // Codec and state belong to the same decider; `AnyDecider` erases their types.
      for (const { event } of records) state = evolve(state as never, event as never)
      return Result.mapBoth(encode(state), {
        onFailure: ({ message }) => `the state after the event does not satisfy its Schema: ${message}`,
        onSuccess: (json) => {
          states.set(recorded.stream, state)
          return throughText(json)
        }
      })
    })
  )
}

const foldDocuments = (projection: Projection.Any) => {
  const { name, reads, where } = projection
  const isFollowed = EventFilter.matcher({ types: reads, ...where })
  const codec = DocumentCodec.of(projection)
  const documents = new Map<string, Schema.Json>()
  const documentOf = (key: string): unknown => {
    const json = documents.get(key)
    return json === undefined ? undefined : Result.getOrThrowWith(codec.decode(json), (message) => new Error(message))
  }
  const fold = skippingFailedStreams((recorded): Result.Result<Folded["documents"], string> => {
    if (!isFollowed(recorded)) return Result.succeed([])
    return Result.flatMap(
      Result.mapError(ConsumerDefinition.decode(projection, recorded), ({ message }) => message),
      (records) => {
        const after = new Map<string, unknown>()
        for (const record of records) {
          for (const key of new Set(projection.keysOf(record))) {
            const before = after.has(key) ? after.get(key) : documentOf(key)
            after.set(key, projection.evolve(before, record, key))
          }
        }
        const encoded = Result.all(
          Array.from(after, ([key, document]) =>
            Result.map(codec.encode(key, document), ({ document }) => ({
              projection: name,
              key,
              // `JSON.stringify` made the text.
              document: document === undefined ? null : parseJson(document)
            })))
        )
        if (Result.isFailure(encoded)) return encoded
        for (const { document, key } of encoded.success) {
          if (after.get(key) === undefined) documents.delete(key)
          else documents.set(key, document)
        }
        return encoded
      }
    )
  })
  return { projection: name, isFollowed, fold }
}
