/**
 * Read models: documents under keys, folded from the log by pure functions.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import type * as Event from "../event/Event.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"

export { ignore }

/**
 * How an event changes a document: the document after it, or `undefined` for none (which removes it). `key` tells which, where an event
 * touches several.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolver<Document, E extends Event.Tagged> = (
  document: Document | undefined,
  event: E,
  record: RecordedEvent<E>,
  key: string
) => Document | undefined

/**
 * Every event of the set, handled or explicitly ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolve<Document, E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: Evolver<Document, Extract<E, { readonly _tag: K }>> | typeof ignore
}

/**
 * When a projection is brought up to date.
 *
 * - `async`: by a projector, in batches, with its checkpoint
 * - `inline`: in the transaction of the append
 * - `live`: when it is read. Nothing is stored; a read folds the events again
 *
 * @since 0.1.0
 * @category models
 */
export type Lifecycle = "async" | "inline" | "live"

/**
 * - `keysOf`: the documents an event touches
 * - `evolve`: how a handled event changes one of them
 * - `index`: the fields of the encoded document that `list` can filter by
 * - `find`: by which query the events of one document are found; live projections only
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
  readonly index: ReadonlyArray<Index>
  readonly keysOf: (record: RecordedEvent<Event.Tagged>) => ReadonlyArray<string>
  readonly evolve: (document: unknown, record: RecordedEvent<Event.Tagged>, key: string) => unknown
  readonly find: ((key: string) => EventQuery) | undefined
}

/**
 * Any projection.
 *
 * @since 0.1.0
 * @category models
 */
export type Any<L extends Lifecycle = Lifecycle> = Projection<string, Event.Any, Document, string, L>

/**
 * The Schema of a document; like an event it decodes without services.
 *
 * @since 0.1.0
 * @category models
 */
export interface Document extends Schema.Top {
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * Defines a projection.
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
 *     UserDeactivated: Projection.ignore
 *   }
 * })
 * ```
 *
 * **Gotchas**
 *
 * Raise `version` when `evolve` or the document changes: the projection then starts again from the first event, beside the
 * old documents. An `inline` projection sees the events appended since it was deployed, not earlier ones. A `live` one reads all events of
 * its types whenever it is asked, unless `find` says which are the document's; `find` must select every event whose keys include that one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Events extends Event.Any,
  const Doc extends Document,
  const Index extends keyof Doc["Encoded"] & string = never,
  const L extends Lifecycle = "async"
>(
  name: Name,
  options: Consumer.Options & {
    readonly events: Events
    readonly document: Doc
    /** The key or keys of the documents an event touches; none when the event is to be passed over. */
    readonly key: (
      event: Event.Of<Events>,
      record: RecordedEvent<Event.Of<Events>>
    ) => string | ReadonlyArray<string>
    readonly evolve: NoInfer<Evolve<Doc["Type"], Event.Of<Events>>>
    readonly index?: ReadonlyArray<Index>
    readonly lifecycle?: L
    /** Live projections only: a query for all events that touch the document of this key, best by tags. `list` reads without it. */
    readonly find?: L extends "live" ? (key: string) => EventQuery : never
  }
): Projection<Name, Events, Doc, Index, L> => {
  // A projector hands these functions only records that it decoded with this projection's own events, and documents that
  // it decoded with its own document Schema; an erased projection (`Any`) can be run only because of that.
  const evolve = options.evolve as Record<string, Evolver<unknown, never> | typeof ignore>
  const key = options.key as (event: never, record: never) => string | ReadonlyArray<string>
  const handles = Object.keys(evolve).filter((type) => evolve[type] !== ignore)
  const consumer = ConsumerDefinition.make(
    "Projection.make",
    { kind: "projection", name, events: options.events, handles, from: "start" },
    options
  )
  if (options.find !== undefined && options.lifecycle !== "live") {
    throw new Error(`Projection.make: "${name}" is not live, so nothing is read by \`find\``)
  }
  PersonalFields.locateFields(`projection "${name}"`, options.document)
  const personal = PersonalFields.fieldsOf(options.document)
  const indexed = (options.index ?? []).find((field: string) => personal.includes(field))
  if (indexed !== undefined) {
    throw new Error(`Projection.make: "${name}" cannot index "${indexed}", which is personal data and kept encrypted`)
  }
  return {
    ...consumer,
    _tag: "DocumentProjection",
    lifecycle: options.lifecycle ?? ("async" as L),
    find: options.find,
    document: options.document,
    index: options.index ?? [],
    keysOf: (record) => {
      const keys = key(record.event as never, record as never)
      return typeof keys === "string" ? [keys] : keys
    },
    evolve: (document, record, key) => {
      const evolver = evolve[record.event._tag]
      return evolver === undefined || evolver === ignore
        ? document
        : evolver(document, record.event as never, record as never, key)
    }
  }
}
