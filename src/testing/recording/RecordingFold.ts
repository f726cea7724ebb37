/**
 * Folds the events of a recording, both when it is made and when it is replayed: the same code leads to the same states.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ConsumerDefinition from "../../consumer/ConsumerDefinition.ts"
import * as StreamId from "../../core/StreamId.ts"
import type { StateSchema } from "../../decision/DecisionDefinition.ts"
import type * as Event from "../../event/Event.ts"
import * as EventCodec from "../../event/EventCodec.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as DocumentCodec from "../../projection/DocumentCodec.ts"
import type * as Projection from "../../projection/ProjectionDefinition.ts"
import type { Subject } from "./RecordingFile.ts"

/**
 * The decider of any aggregate.
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
 * Whose states are recorded and compared.
 *
 * @since 0.1.0
 * @category options
 */
export interface Models {
  readonly aggregates?: ReadonlyArray<AnyDecider> | undefined
  readonly projections?: ReadonlyArray<Projection.Any> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Failed extends Subject {
  readonly detail: string
}

/**
 * What an event leads to.
 *
 * - `state`: of its aggregate, encoded; undefined where it is of none, or cannot be processed
 * - `documents`: those that it touches, encoded; `null` where there is none any more
 * - `failed`: who cannot process it. Its stream is parked for them, with the state that it had
 *
 * @since 0.1.0
 * @category models
 */
export interface Folded {
  readonly state: Schema.Json | undefined
  readonly documents: ReadonlyArray<{
    readonly projection: string
    readonly key: string
    readonly document: Schema.Json | null
  }>
  readonly failed: ReadonlyArray<Failed>
}

/**
 * - `of`: whose states it folds
 * - `isWanted`: whether anything is made of an event
 * - `fold`: takes the next event; remembers the state of every stream and document
 *
 * @since 0.1.0
 * @category models
 */
export interface Fold {
  readonly of: ReadonlyArray<Subject>
  readonly isWanted: (event: EncodedEvent) => boolean
  readonly fold: (event: EncodedEvent) => Folded
}

/**
 * Nothing folded yet. Throws when two aggregates or two projections have one name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ aggregates = [], projections = [] }: Models): Fold => {
  const of = subjectsOf({ aggregates, projections })
  const instances = new Map(aggregates.map((decider) => [decider.aggregate.name, foldInstances(decider)]))
  const readers = projections.map(foldDocuments)
  return {
    of,
    isWanted: (event) =>
      instances.has(StreamId.category(event.stream)) || readers.some(({ isFollowed }) => isFollowed(event)),
    fold: (event) => {
      const failed: Array<Failed> = []
      const told = <A>(subject: Subject, result: Result.Result<A, string> | undefined): A | undefined => {
        if (result === undefined) return undefined
        if (Result.isSuccess(result)) return result.success
        failed.push({ ...subject, detail: result.failure })
        return undefined
      }
      const name = StreamId.category(event.stream)
      const state = told({ kind: "aggregate", name }, instances.get(name)?.(event))
      const documents = readers.flatMap(({ fold, projection }) =>
        told({ kind: "projection", name: projection }, fold(event)) ?? []
      )
      return { state, documents, failed }
    }
  }
}

const subjectsOf = ({ aggregates, projections }: Required<Models>): ReadonlyArray<Subject> => {
  const of: ReadonlyArray<Subject> = [
    ...(aggregates ?? []).map(({ aggregate: { name } }) => ({ kind: "aggregate" as const, name })),
    ...(projections ?? []).map(({ name }) => ({ kind: "projection" as const, name }))
  ]
  const twice = of.find((one, index) =>
    of.findIndex(({ kind, name }) => kind === one.kind && name === one.name) < index
  )
  if (twice !== undefined) throw new Error(`Recording: there are two ${twice.kind}s "${twice.name}"`)
  return of
}

/** Without what JSON text cannot hold. */
const throughText = (json: unknown): Schema.Json => JSON.parse(JSON.stringify(json) ?? "null") as Schema.Json

/** `undefined` for the events of a stream behind one that failed. */
type FoldOne<A> = (event: EncodedEvent) => Result.Result<A, string> | undefined

/** From the first event on that fails, all others of its stream are passed over. */
const settingAside = <A>(fold: (event: EncodedEvent) => Result.Result<A, string>): FoldOne<A> => {
  const aside = new Set<string>()
  return (event) => {
    if (aside.has(event.stream)) return undefined
    const folded = attempt(() => fold(event))
    if (Result.isFailure(folded)) aside.add(event.stream)
    return folded
  }
}

/** Runs the user's own code, which may throw. */
const attempt = <A>(run: () => Result.Result<A, string>): Result.Result<A, string> => {
  try {
    return run()
  } catch (cause) {
    return Result.fail(cause instanceof Error && cause.message !== "" ? cause.message : String(cause))
  }
}

const foldInstances = ({ aggregate, evolve, initial }: AnyDecider): FoldOne<Schema.Json> => {
  const codec = EventCodec.make(aggregate.events)
  // One that needs services, which such a Schema may, fails.
  const encode = Schema.encodeUnknownResult(Schema.toCodecJson(aggregate.state as StateSchema))
  const states = new Map<string, unknown>()
  return settingAside((recorded) =>
    Result.flatMap(Result.mapError(codec.decode(recorded), ({ message }) => message), (records) => {
      let state = states.has(recorded.stream) ? states.get(recorded.stream) : initial
      // The codec and the state are the decider's own; its type was erased.
      for (const { event } of records) state = evolve(state as never, event as never)
      return Result.mapBoth(encode(state), {
        onFailure: ({ message }) => `the state after it does not satisfy its Schema: ${message}`,
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
  const documents = new Map<string, unknown>()
  const fold = settingAside((recorded): Result.Result<Folded["documents"], string> => {
    if (!isFollowed(recorded)) return Result.succeed([])
    return Result.flatMap(
      Result.mapError(ConsumerDefinition.decode(projection, recorded), ({ message }) => message),
      (records) => {
        const after = new Map<string, unknown>()
        for (const record of records) {
          for (const key of new Set(projection.keysOf(record))) {
            const before = after.has(key) ? after.get(key) : documents.get(key)
            after.set(key, projection.evolve(before, record, key))
          }
        }
        const encoded = Result.all(
          Array.from(after, ([key, document]) =>
            Result.map(codec.encode(key, document), ({ document }) => ({
              projection: name,
              key,
              // The text was made by JSON.stringify.
              document: document === undefined ? null : JSON.parse(document) as Schema.Json
            })))
        )
        if (Result.isFailure(encoded)) return encoded
        for (const [key, document] of after) {
          if (document === undefined) documents.delete(key)
          else documents.set(key, document)
        }
        return encoded
      }
    )
  })
  return { projection: name, isFollowed, fold }
}
