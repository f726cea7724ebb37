/**
 * Read models: documents under keys, folded from the log by pure functions.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import { deepFreeze, freezeOutsideProduction } from "../core/deepFreeze.ts"
import { requireExactly } from "../core/definitionRules.ts"
import * as nameRules from "../core/nameRules.ts"
import * as userCode from "../core/userCode.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { QueryItems, QueryOf } from "../event/EventQuery.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as IndexDefinition from "./list/IndexDefinition.ts"

export { ignore }

/**
 * The maximum length of a document's key, in UTF-16 code units.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxKeyLength = 512

/**
 * Returns why a document key is invalid, or `undefined` for a valid one.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateKey = (key: string): string | undefined =>
  nameRules.validateName("the key of a document", key, maxKeyLength)

/**
 * The type of `Projection.remove`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Remove {
  readonly "~evsrc/projection/Projection/remove": true
}

/**
 * What an evolver of a projection returns to remove the document.
 *
 * @since 0.1.0
 * @category constants
 */
export const remove: Remove = Object.freeze({ "~evsrc/projection/Projection/remove": true })

/**
 * Returns a document after an event, or `Projection.remove`. `undefined` leaves a document that does not exist as it is; for one that exists it is an
 * error, because it is most likely a forgotten `return`. `key` is the key of the document, for an event that touches several.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolver<Document, E extends Event.Tagged> = (
  document: Document | undefined,
  event: E,
  record: RecordedEvent<E>,
  key: string
) => Document | Remove | undefined

/**
 * The evolvers of a projection: each event of the set is handled or explicitly ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolve<Document, E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: Evolver<Document, Extract<E, { readonly _tag: K }>> | typeof ignore
}

/** Rejects evolvers that return nothing, and names the mistake in the compiler's message. */
type Returning<V, Types> = {
  readonly [K in keyof V]: K extends Types ? ReturningOne<V[K]> : never
}

type ReturningOne<One> = One extends (...args: never) => infer Returned ? [Returned] extends [never] ? unknown
  : [Returned] extends [undefined | void] ? ReturnsNothing
  : unknown
  : unknown

type ReturnsNothing =
  "this function never returns a document: return the document, or Projection.remove to remove it, or name Projection.ignore"

/**
 * When the documents of a projection are updated.
 *
 * - `async`: a projector updates them in batches, together with its checkpoint
 * - `inline`: the append updates them in its transaction
 * - `live`: nothing is stored; every read folds the events
 *
 * @since 0.1.0
 * @category models
 */
export type Lifecycle = "async" | "inline" | "live"

/**
 * A projection that keeps documents.
 *
 * @since 0.1.0
 * @category models
 */
export interface Projection<
  out Name extends string,
  out Events extends Event.Any,
  out Document extends Schema.Top,
  out Index extends string,
  out L extends Lifecycle
> extends Consumer.Consumer<Name, Events> {
  readonly _tag: "DocumentProjection"
  readonly lifecycle: L
  readonly document: Document
  /** The fields by which `list` can filter and order. */
  readonly index: ReadonlyArray<Index>
  /** Returns the keys of the documents that an event touches. */
  readonly keysOf: (record: RecordedEvent<Event.Tagged>) => ReadonlyArray<string>
  /** Returns one of these documents after the event. */
  readonly evolve: (document: unknown, record: RecordedEvent<Event.Tagged>, key: string) => unknown
  /** Returns the query for the events of one document; of live projections only. */
  readonly find: ((key: string) => QueryItems) | undefined
}

/**
 * Any projection that keeps documents.
 *
 * @since 0.1.0
 * @category models
 */
export type Any<L extends Lifecycle = Lifecycle> = Projection<string, Event.Any, Document, string, L>

/**
 * The Schema of a document. It encodes and decodes without services.
 *
 * @since 0.1.0
 * @category models
 */
export interface Document extends Schema.Top {
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * Returns a projection that keeps documents.
 *
 * **Example** (users by id)
 *
 * ```ts
 * export const Users = Projection.make("users", {
 *   events: UserEvent,
 *   document: UserView,
 *   index: ["status"],
 *   key: (event) => event.userId,
 *   evolve: {
 *     UserRegistered: (_, e) => ({ ...e, status: "active" }),
 *     UserRenamed: (user, e) => user && { ...user, name: e.name },
 *     UserErased: () => Projection.remove,
 *     UserDeactivated: Projection.ignore
 *   }
 * })
 * ```
 *
 * **Gotchas**
 *
 * Raise `version` when `key`, `evolve`, `where` or the document changes, or when an event is ignored that was handled, or the reverse: the
 * projection then starts with the first event, beside the old documents. A read of a `live` projection folds all events of its types, unless `find`
 * selects those of one document.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Events extends Event.Any,
  const Doc extends Document,
  const Index extends keyof Doc["Encoded"] & keyof Doc["Type"] & string = never,
  const L extends Lifecycle = "async",
  const V extends Evolve<Doc["Type"], Event.Of<Events>> = Evolve<Doc["Type"], Event.Of<Events>>
>(
  name: Name,
  options: Omit<Consumer.Options<Events>, "earlierEvents"> & {
    readonly events: Events
    /**
     * The key within which order holds, which divides the partitions, and which is parked when an event fails. `"document"`, the default, is the
     * key of the document: every document is folded in the order of the log. Each partition then reads and decodes all events of the projection,
     * and waits at an event that cannot be decoded, because any document may be its own.
     *
     * - `"stream"` suits documents that the events of one stream touch: an event that cannot be decoded parks its stream only. With several
     *   partitions an event fails if it touches a document that another stream feeds.
     * - `{ tag }` suits documents whose keys are the values of a tag. The database finds the events of a partition. An event fails if it touches
     *   another document.
     */
    readonly partitionBy?: "document" | Consumer.PartitionBy<NoInfer<Event.DeclaredTag<Events>>>
    /** The Schema of a document. */
    readonly document: Doc
    /** Returns the key or keys of the documents that an event touches; no key to skip the event. */
    readonly key: (
      event: Event.Of<Events>,
      record: RecordedEvent<Event.Of<Events>>
    ) => string | ReadonlyArray<string>
    /** For each event, how it changes a document, or `Projection.ignore`. */
    readonly evolve: V & NoInfer<Returning<V, Event.Tag<Events>>>
    /**
     * The fields by which `list` can filter and order; none by default. Each costs a row in an index per document. A field with personal data
     * cannot be indexed.
     */
    readonly index?: ReadonlyArray<Index>
    /** When the documents are updated; `"async"` by default. Raise `version` when it changes between `"async"` and `"inline"`. */
    readonly lifecycle?: L
    /**
     * Returns a query for the events of one document, best by tags; for live projections only. It must select every event that touches the
     * document. By default a read folds all events of the projection, as `list` always does.
     */
    readonly find?: L extends "live" ? (key: string) => NoInfer<QueryOf<Events>> : never
  }
): Projection<Name, Events, Doc, Index, L> => {
  // The fold decodes events and documents with the Schemas of this projection before it calls these functions.
  const evolve = options.evolve as Record<string, Evolver<unknown, never> | typeof ignore>
  const key = options.key as (event: never, record: never) => string | ReadonlyArray<string>
  requireExactly(`evolve of projection "${name}"`, "event", evolve, Object.keys(options.events.cases))
  const handles = Object.keys(evolve).filter((type) => evolve[type] !== ignore)
  const { events, partitionBy = "document" } = options
  const kind = "projection" as const
  const definition = { kind, name, events, handles, from: "start", partitionBy } as const
  const consumer = ConsumerDefinition.make("Projection.make", definition, options)
  const keysOf = keysWith(key)
  if (options.find !== undefined && options.lifecycle !== "live") {
    throw new Error(`Projection.make: "${name}" has \`find\` but is not live; only live projections use \`find\``)
  }
  validateTag(consumer)
  validateIndex(name, options.document, options.index)
  const find: ((key: string) => QueryItems) | undefined = options.find
  const isPersonal = EventPersonalData.hasPersonalData(options.events) || PersonalFields.isPersonal(options.document)
  return {
    ...consumer,
    _tag: "DocumentProjection",
    lifecycle: options.lifecycle ?? ("async" as L),
    find: find && ((key) => userCode.run(`\`find\` of projection "${name}"`, isPersonal, () => find(key))),
    document: options.document,
    index: options.index ?? [],
    keysOf,
    documentKeysOf: (event) => documentKeysOf(consumer, keysOf, event),
    evolve: evolveWith(name, evolve)
  }
}

/** Freezes the event: the documents have the same one. */
const keysWith = (key: (event: never, record: never) => string | ReadonlyArray<string>): Any["keysOf"] => (record) => {
  deepFreeze(record.event)
  const keys = key(record.event as never, record as never)
  return typeof keys === "string" ? [keys] : keys
}

/**
 * Freezes documents and events, in production too: the next event of a batch has the same document if this one fails, and several documents
 * have the same event. Both were just decoded, which takes longer.
 */
const evolveWith = (
  name: string,
  evolve: Record<string, Evolver<unknown, never> | typeof ignore>
): Any["evolve"] =>
(document, record, key) => {
  const evolver = evolve[record.event._tag]
  if (evolver === undefined || evolver === ignore) return document
  const before = deepFreeze(document)
  deepFreeze(record.event)
  const what = `evolve of projection "${name}" on "${record.event._tag}"`
  // The fold removes personal data from what it throws.
  const after = userCode.run(what, false, () => evolver(before, record.event as never, record as never, key))
  if (after === undefined && before !== undefined) {
    throw new Error(
      `${what} returned undefined for a document that exists; return the document, or Projection.remove to remove it`
    )
  }
  return after === remove ? undefined : freezeOutsideProduction(after)
}

const documentKeysOf = (
  consumer: Consumer.Consumer,
  keysOf: (record: RecordedEvent<Event.Tagged>) => ReadonlyArray<string>,
  event: EncodedEvent
): ReadonlyArray<string> | undefined => {
  const records = Result.getOrUndefined(ConsumerDefinition.decode(consumer, event))
  const found = records && Result.getOrUndefined(Result.try(() => Array.from(new Set(records.flatMap(keysOf)))))
  return found?.every((key) => validateKey(key) === undefined) === true ? found : undefined
}

const validateTag = ({ events, handles, name, partitionBy }: Consumer.Consumer): void => {
  if (typeof partitionBy === "string") return
  const without = handles.find((type) => !EventTags.namesOf(events, type).includes(partitionBy.tag))
  if (without !== undefined) {
    throw new Error(
      `Projection.make: \`partitionBy\` of "${name}" is invalid: events "${without}" cannot have the tag "${partitionBy.tag}", which the documents are `
        + `to be keyed by; declare it by Event.tags, ignore these events, or leave out \`partitionBy\``
    )
  }
}

const validateIndex = (name: string, document: Document, index: ReadonlyArray<string> = []): void => {
  PersonalFields.locateFields(`projection "${name}"`, document)
  const wrong = IndexDefinition.validate(document, index)
  if (wrong !== undefined) throw new Error(`Projection.make: "${name}" ${wrong}`)
}
