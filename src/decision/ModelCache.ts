/**
 * What the decisions on one store in this process know of its log: the matches of their models' queries, cached with the position that they reach,
 * and the appends of decisions that were sent and have not ended.
 *
 * **Details**
 *
 * Cached are events, not states: `evolve` and `initial` may close over the payload of a command, so that two models with the same query have
 * different states. Each decision folds the cached events by its own models. A state is used again only for a model of the very same functions.
 *
 * Cached matches may be old, and are never wrong: the condition of the append names what they rest on. The exception is a log that was set back by a
 * restore or a failover: an append or a read that finds an event of their basis missing drops all of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { deepFreeze } from "../core/deepFreeze.ts"
import type { UndecodableEvent } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { QueryItem } from "../event/EventQuery.ts"
import { type EncodedEvent, type NewEvent, toEncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { Model } from "./DecisionDefinition.ts"
import { afterWritten, type KnownMatches, type Match, type MatchList, nothing } from "./KnownMatches.ts"
import * as ModelParts from "./ModelParts.ts"

/**
 * The limits of the cache of matches that a process has for each store.
 *
 * @since 0.1.0
 * @category models
 */
export interface ModelCacheLimits {
  /** For how many queries of models the matches are cached at most, 1,000 by default; the least recently used are dropped first. 0 turns the cache off. */
  readonly capacity: number
  /** How many events are cached at most, 100,000 by default. */
  readonly events: number
  /** The maximum number of events of one query, 10,000 by default. A model with more is read for every decision. */
  readonly modelEvents: number
}

/**
 * The limits that apply when the first layer of a decision on a store is built. Provide another value to change them.
 *
 * @since 0.1.0
 * @category references
 */
export const ModelCacheLimits = Context.Reference<ModelCacheLimits>("evsrc/decision/ModelCacheLimits", {
  defaultValue: () => ({ capacity: 1_000, events: 100_000, modelEvents: 10_000 })
})

/**
 * An append of a decision that was sent and has not ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sent {
  readonly events: ReadonlyArray<NewEvent>
  /** Whether it was written. */
  readonly outcome: Deferred.Deferred<boolean>
}

/** A state that was folded from a list of matches by a model. */
interface Folded {
  readonly parts: ModelParts.ModelParts
  readonly matches: MatchList
  readonly state: unknown
}

interface Cached {
  readonly item: QueryItem
  readonly events: Event.Any
  known: KnownMatches
  /** When the known matches were all that the log had, by `ModelCache.now`. */
  verifiedAt: number
  folded: Folded | undefined
}

/**
 * Makes the key of a model: models with the same key have the same matches.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keyOf = ({ events, query }: Model<unknown>): string => {
  let number = numbers.get(events)
  if (number === undefined) numbers.set(events, number = ++lastNumber)
  return JSON.stringify([number, query.types, query.tags])
}

const numbers = new WeakMap<Event.Any, number>()
let lastNumber = 0

/**
 * The matches that are cached for one store, and the appends in flight.
 *
 * @since 0.1.0
 * @category models
 */
export class ModelCache {
  readonly #limits: ModelCacheLimits
  /** The least recently used first. */
  readonly #cached = new Map<string, Cached>()
  readonly #byTag = new Map<string, Set<string>>()
  readonly #sent = new Set<Sent>()
  /** The appends in flight by the tags of their events, in the order in which they were sent. */
  readonly #sentByTag = new Map<string, Set<Sent>>()
  readonly #recordings = new Set<Array<EncodedEvent>>()
  #events = 0
  #now = 0
  constructor(limits: ModelCacheLimits) {
    this.#limits = limits
  }
  /** Returns a later moment than all before. */
  tick(): number {
    return ++this.#now
  }
  /** Returns the matches of a model that were all at a moment since `since`. */
  get(key: string, since: number): KnownMatches | undefined {
    const cached = this.#cached.get(key)
    if (cached === undefined || cached.verifiedAt < since) return undefined
    this.#cached.delete(key)
    this.#cached.set(key, cached)
    return cached.known
  }
  /** Returns the matches of a model with which a read may begin. */
  earlier(key: string): KnownMatches {
    return this.#cached.get(key)?.known ?? nothing
  }
  /** Caches the matches of a model, unless later ones are cached: a slow reader may come after a fast one. */
  put(key: string, { events, query }: Model<unknown>, known: KnownMatches, verifiedAt: number): void {
    const before = this.#cached.get(key)
    if (before !== undefined && before.known.after > known.after) return
    this.#remove(key)
    if (known.matches.length > this.#limits.modelEvents || this.#limits.capacity <= 0) return
    this.#cached.set(key, {
      item: query,
      events,
      known,
      verifiedAt: Math.max(verifiedAt, before?.verifiedAt ?? 0),
      folded: before?.folded
    })
    this.#events += known.matches.length
    const tag = query.tags?.[0]
    if (tag !== undefined) {
      const keys = this.#byTag.get(tag)
      if (keys === undefined) this.#byTag.set(tag, new Set([key]))
      else keys.add(key)
    }
    for (const oldest of this.#cached.keys()) {
      if (this.#cached.size <= this.#limits.capacity && this.#events <= this.#limits.events) return
      this.#remove(oldest)
    }
  }
  clear(): void {
    this.#cached.clear()
    this.#byTag.clear()
    this.#events = 0
  }
  size(): { readonly queries: number; readonly events: number; readonly sent: number; readonly tags: number } {
    return {
      queries: this.#cached.size,
      events: this.#events,
      sent: this.#sent.size,
      tags: this.#byTag.size + this.#sentByTag.size
    }
  }
  #remove(key: string): void {
    const cached = this.#cached.get(key)
    if (cached === undefined) return
    this.#cached.delete(key)
    this.#events -= cached.known.matches.length
    const tag = cached.item.tags?.[0]
    if (tag === undefined) return
    const keys = this.#byTag.get(tag)
    keys?.delete(key)
    if (keys?.size === 0) this.#byTag.delete(tag)
  }

  sent(sent: Sent): void {
    this.#sent.add(sent)
    for (const { tags = [] } of sent.events) {
      for (const tag of tags) {
        const ofTag = this.#sentByTag.get(tag)
        if (ofTag === undefined) this.#sentByTag.set(tag, new Set([sent]))
        else ofTag.add(sent)
      }
    }
  }
  ended(sent: Sent): void {
    this.#sent.delete(sent)
    for (const { tags = [] } of sent.events) {
      for (const tag of tags) {
        const ofTag = this.#sentByTag.get(tag)
        ofTag?.delete(sent)
        if (ofTag?.size === 0) this.#sentByTag.delete(tag)
      }
    }
  }
  /** Returns the appends in flight with a match of a model that is not among those given, in the order in which they were sent. */
  inFlight({ query }: Model<unknown>, matches: MatchList): ReadonlyArray<Sent> {
    const found: Array<Sent> = []
    const tag = query.tags?.[0]
    for (const sent of tag === undefined ? this.#sent : this.#sentByTag.get(tag) ?? noneSent) {
      if (sent.events.some((event) => isMatch(query, event) && !matches.has(event.id))) found.push(sent)
    }
    return found
  }
  /** Records the events that this process writes, for a read that may not see them. Returns them, in their order, when it has ended. */
  record(): () => ReadonlyArray<EncodedEvent> {
    const recording: Array<EncodedEvent> = []
    this.#recordings.add(recording)
    return () => {
      this.#recordings.delete(recording)
      return recording.toSorted((a, b) => a.position < b.position ? -1 : 1)
    }
  }
  /** Adds the events of an append that was written to the matches of models other than those with these keys. */
  written(events: ReadonlyArray<EncodedEvent>, except: ReadonlySet<string>): void {
    for (const recording of this.#recordings) recording.push(...events)
    for (const event of events) {
      for (const key of new Set(event.tags.flatMap((tag) => Array.from(this.#byTag.get(tag) ?? [])))) {
        if (except.has(key)) continue
        const cached = this.#cached.get(key)!
        if (isMatch(cached.item, event)) this.#add(key, cached, event)
      }
    }
  }
  #add(key: string, cached: Cached, event: EncodedEvent): void {
    const { known } = cached
    if (known.matches.has(event.id)) return
    const match = matchOf(cached.events, cached.item, event)
    const next = Result.isFailure(match) || known.seen.length >= maxSeen
      ? undefined
      : afterWritten(known, { ...match.success, position: event.position })
    if (next === undefined) return this.#remove(key)
    this.#events++
    cached.known = next
  }

  /** Returns the state of a model after matches. */
  fold(key: string, model: Model<unknown>, matches: MatchList): unknown {
    const parts = ModelParts.get(model)
    const cached = this.#cached.get(key)
    const folded = cached?.folded
    const continues = folded !== undefined && parts !== undefined && matches.startsWith(folded.matches)
      && ModelParts.areSame(folded.parts, parts)
    let state = continues ? folded.state : model.initial
    matches.forEach(continues ? folded.matches.length : 0, (event) => {
      state = model.evolve(state, event)
    })
    // Later decisions share it, in production too.
    if (cached !== undefined && parts !== undefined) cached.folded = { parts, matches, state: deepFreeze(state) }
    return state
  }
}

const noneSent: ReadonlySet<Sent> = new Set()

/** How many matches above the position up to which all are known are cached at most. */
const maxSeen = 64

/**
 * Returns whether an event matches an item.
 *
 * @since 0.1.0
 * @category guards
 */
export const isMatch = (item: QueryItem, { tags = [], type }: Pick<NewEvent, "type" | "tags">): boolean =>
  EventFilter.matchesItem(item, { tags, type })

/**
 * Decodes a match.
 *
 * @since 0.1.0
 * @category constructors
 */
export const matchOf = (
  events: Event.Any,
  item: QueryItem,
  encoded: EncodedEvent
): Result.Result<Match, UndecodableEvent> =>
  Result.map(EventCodec.make(events).decode(encoded, item.tags), (recorded) => ({
    id: encoded.id,
    events: recorded.map(({ event }) => deepFreeze(event))
  }))

/** The decoded events of an append, by the set that decodes them: all parts of an event that is split. */
const decodedSent = new WeakMap<NewEvent, WeakMap<Event.Any, Result.Result<Match, UndecodableEvent>>>()

/**
 * Decodes a match on its way to the log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sentMatchOf = (
  events: Event.Any,
  item: QueryItem,
  event: NewEvent
): Result.Result<Match, UndecodableEvent> => {
  let bySet = decodedSent.get(event)
  if (bySet === undefined) decodedSent.set(event, bySet = new WeakMap())
  let whole = bySet.get(events)
  if (whole === undefined) bySet.set(events, whole = matchOf(events, untagged, sentEvent(event)))
  // The tags of the model select among the parts, so each model has a match of its own.
  const isSplit = Result.isSuccess(whole) && whole.success.events.length > 1
  return isSplit ? matchOf(events, item, sentEvent(event)) : whole
}

const untagged: QueryItem = {}

const sentEvent = (event: NewEvent): EncodedEvent =>
  toEncodedEvent(event, { position: Position.start, stream: unknownStream, version: Version.zero, recordedAt: epoch })

const unknownStream = StreamId.StreamId.make("unknown")
const epoch = DateTime.makeUnsafe(0)

/**
 * Makes the tracker of an append: models that are loaded meanwhile contain its events. `onWritten` receives them once they are written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tracker = (
  cache: ModelCache,
  onWritten: (events: ReadonlyArray<EncodedEvent>) => void
): CommandLoop.Tracker => {
  let sent: Sent | undefined
  const end = (isWritten: boolean) => {
    if (sent === undefined) return
    cache.ended(sent)
    Deferred.doneUnsafe(sent.outcome, Effect.succeed(isWritten))
    sent = undefined
  }
  return {
    sent: ({ events }) => {
      sent = { events, outcome: Deferred.makeUnsafe() }
      cache.sent(sent)
    },
    repeated: () => end(false),
    ended: (outcome) => {
      // A repeated command id has written nothing.
      const written = outcome?.written
      if (written !== undefined) onWritten(written())
      end(written !== undefined)
    }
  }
}

/**
 * Makes the tracker of an append that rests on no models. It follows events with tags only: a model without a tag is rare, and the condition of the
 * append that rests on it finds the events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const trackerOfTagged = (cache: ModelCache): CommandLoop.Tracker => {
  const { ended, repeated, sent } = tracker(cache, (events) => cache.written(events, new Set()))
  let isTagged = false
  return {
    sent: (request) => {
      isTagged = request.events.some(({ tags = [] }) => tags.length > 0)
      if (isTagged) sent(request)
    },
    repeated,
    ended: (outcome, error) => {
      if (isTagged) ended(outcome, error)
    }
  }
}

const caches = new WeakMap<EventStoreDriver, ModelCache>()

/**
 * Returns the cache of a store, if a layer has made one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const existing = (driver: EventStoreDriver): ModelCache | undefined => caches.get(driver)

/**
 * Returns the cache of a store, which all its decisions share.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofStore = (driver: EventStoreDriver, limits: ModelCacheLimits): ModelCache => {
  let cache = caches.get(driver)
  if (cache === undefined) caches.set(driver, cache = new ModelCache(limits))
  return cache
}
