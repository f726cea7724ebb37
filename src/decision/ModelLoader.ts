/**
 * Loads the models that a command is decided on: from what this process knows of their matches, or from the log.
 *
 * **Details**
 *
 * Models are folded from the matches in the log and from those in appends of this process that are in flight. The condition of an append names all of
 * them, in their order: if one of those appends is not written, neither is this one.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type * as Position from "../core/Position.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { AppendCondition } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendError } from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { Models } from "./DecisionDefinition.ts"
import * as DecisionModels from "./DecisionModels.ts"
import * as KnownMatches from "./KnownMatches.ts"
import * as ModelCache from "./ModelCache.ts"

/**
 * What to load.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reload {
  /** Matches that were not verified since are too old. */
  readonly since: number
  /** How often the command was decided before. */
  readonly decisions: number
}

/**
 * The states of models, and what an append that rests on them needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadedModels extends CommandLoop.Base {
  /** A failure is what a function of a model has thrown. */
  readonly states: Result.Result<DecisionModels.AnyStates, unknown>
  /** The condition that the log has no other matches; undefined if there are no models. */
  readonly condition: () => AppendCondition | undefined
  /** Up to this position all matches are in the states; undefined if there are no models. */
  readonly after: Position.Position | undefined
  /** The last event in the states that the log has. */
  readonly last: LogPosition.LogPosition
  /** Waits for the appends in flight on which the states rest. */
  readonly settled: Effect.Effect<void>
  /** Whether the command keeps its turn until its append has ended. */
  readonly isAlone: boolean
  readonly reload: Reload
  /** When an append that rests on the states was sent, by the cache. */
  readonly sentAt: () => number | undefined
  /** Makes the tracker of an append that rests on the states. */
  readonly track: () => CommandLoop.Tracker
}

/**
 * Loads models.
 *
 * @since 0.1.0
 * @category models
 */
export interface ModelLoader {
  /** What to load first. */
  readonly first: Reload
  /** Loads the states that this process knows, or those of the log. */
  readonly load: (reload: Reload) => Effect.Effect<LoadedModels, EventStoreError>
  /** Loads the states that the log has now. */
  readonly current: (base: LoadedModels) => Effect.Effect<LoadedModels, EventStoreError>
  /** Returns loaded models as they are to be used now: read again, if a subject of their personal data was erased since. */
  readonly upToDate: (base: LoadedModels) => Effect.Effect<LoadedModels, EventStoreError>
  /** Returns what to load after an append has failed. */
  readonly afterError: (base: LoadedModels, error: AppendError) => Reload
}

/** A model, and what is known of its matches. */
interface Item {
  readonly name: string
  readonly key: string
  readonly model: Models[string]
  readonly known: KnownMatches.KnownMatches
  /** Whether the matches were all that the log had at the moment of a read. */
  readonly isOfRead: boolean
}

type Wanted = Pick<Item, "name" | "key" | "model">

/** A model, and the matches on which it is decided: the known ones, and those on their way. */
interface BaseItem extends Item {
  readonly matches: KnownMatches.MatchList
  readonly sent: ReadonlyArray<string>
}

/** How often a command is decided on matches that may be old, before it is decided alone on those of the log. */
const maxOptimistic = 2

/**
 * Returns whether a command is decided alone on the matches of the log: after all appends in flight have ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const isAlone = ({ decisions }: Reload): boolean => decisions >= maxOptimistic

/**
 * Makes a loader that uses cached matches and appends in flight.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cached = (
  store: EventStore.EventStore["Service"],
  cache: ModelCache.ModelCache,
  models: Models,
  policy: "verified" | "assumeNew" | "fresh"
): ModelLoader => {
  const wanted = Object.entries(models).map(([name, model]): Wanted => ({ name, key: ModelCache.keyOf(model), model }))
  const read = readerOf(store, cache)

  const loadSince = (reload: Reload, isAlone: boolean) =>
    Effect.suspend(() => {
      const begins = cache.tick()
      const items = wanted.map((item) => ({ ...item, known: cache.get(item.key, reload.since) }))
      const isNew = policy === "assumeNew" && reload.since === 0
      const missing = isNew ? [] : items.filter(({ known }) => known === undefined)
      const loaded = (read: ReadonlyArray<Item>) => {
        const all = items.map(({ known, ...item }): Item =>
          read.find(({ name }) => name === item.name)
            ?? { ...item, known: known ?? KnownMatches.nothing, isOfRead: false }
        )
        return loadedOf(cache, all, { isAlone, reload }, begins)
      }
      return missing.length === 0 ? Effect.sync(() => loaded([])) : Effect.map(read(missing), loaded)
    })

  const untagged = DecisionModels.rejectUntagged(store[internals].driver, models)
  return {
    first: { since: policy === "fresh" ? cache.tick() : 0, decisions: 0 },
    load: (reload) =>
      Effect.andThen(
        untagged,
        Effect.suspend(() => {
          if (!isAlone(reload)) return loadSince(reload, false)
          const alone = { ...reload, since: cache.tick() }
          return Effect.andThen(awaitInFlight(cache, models), loadSince(alone, true))
        })
      ),
    current: (base) =>
      Effect.flatMap(base.settled, () => {
        const reload = { since: cache.tick(), decisions: base.reload.decisions + 1 }
        return Effect.map(read(wanted, false), (items) => {
          const inLog = items.map((item): BaseItem => ({ ...item, matches: item.known.matches, sent: [] }))
          return loadedFrom(cache, inLog, new Set(), { isAlone: false, reload }, reload.since)
        })
      }),
    upToDate: Effect.succeed,
    afterError: ({ isAlone, reload, sentAt }, error) => {
      // The log was set back, so that an event of the matches is missing.
      if (isDiverged(error)) cache.clear()
      // A conflict on a stream leaves the models as they are.
      if (error._tag === "ConcurrencyConflict") return reload
      // Those that were decided beside this one fail beside it. The first of them reads what the others need.
      return { since: sentAt() ?? cache.tick(), decisions: isAlone ? 0 : reload.decisions + 1 }
    }
  }
}

/**
 * Makes a loader that reads the log: in a transaction of the caller, and for personal data, which is not cached because its subject may be erased at any
 * time.
 *
 * @since 0.1.0
 * @category constructors
 */
export const reading = (store: EventStore.EventStore["Service"], models: Models): ModelLoader => {
  const reader = DecisionModels.reader(store, models)
  const first: Reload = { since: 0, decisions: 0 }
  let last: LoadedModels | undefined
  const read = Effect.map(
    reader.read,
    ({ condition, last: lastMatch, states }) =>
      last = {
        states: Result.succeed(states),
        condition: () => condition,
        after: condition?.after,
        last: lastMatch,
        settled: Effect.void,
        isCurrent: true,
        isAlone: true,
        reload: first,
        sentAt: () => undefined,
        track: () => untracked
      }
  )
  const upToDate = (loaded: LoadedModels) =>
    Effect.flatMap(reader.isUpToDate, (isUpToDate) => isUpToDate ? Effect.succeed(loaded) : read)
  return {
    first,
    load: () => Effect.suspend(() => last === undefined ? read : upToDate(last)),
    current: () => read,
    upToDate,
    afterError: (_, error) => {
      reader.appendFailed(error)
      // A conflict on a stream leaves the models as they were read.
      if (error._tag !== "ConcurrencyConflict") last = undefined
      return first
    }
  }
}

const untracked: CommandLoop.Tracker = { sent: () => {}, repeated: () => {}, ended: () => {} }

const isDiverged = (error: AppendError): boolean =>
  error._tag === "EventStoreError" && error.reason._tag === "LogDiverged"

/** Adds the matches in appends in flight. */
const loadedOf = (
  cache: ModelCache.ModelCache,
  items: ReadonlyArray<Item>,
  options: Pick<LoadedModels, "isAlone" | "reload">,
  begins: number
): LoadedModels => {
  const behind = new Set<ModelCache.Sent>()
  let undecodable: unknown
  const withSent = items.map((item): BaseItem => {
    const { known, model } = item
    const matches: Array<KnownMatches.Match> = []
    for (const sent of cache.inFlight(model, known.matches)) {
      behind.add(sent)
      for (const event of sent.events) {
        if (!ModelCache.isMatch(model.query, event)) continue
        const match = ModelCache.sentMatchOf(model.events, model.query, event)
        if (Result.isFailure(match)) undecodable = match.failure
        else matches.push(match.success)
      }
    }
    return { ...item, matches: known.matches.with(matches), sent: matches.map(({ id }) => id) }
  })
  const loaded = loadedFrom(cache, withSent, behind, options, begins)
  return undecodable === undefined ? loaded : { ...loaded, states: Result.fail(undecodable) }
}

const loadedFrom = (
  cache: ModelCache.ModelCache,
  items: ReadonlyArray<BaseItem>,
  behind: ReadonlySet<ModelCache.Sent>,
  options: Pick<LoadedModels, "isAlone" | "reload">,
  /** When the matches were taken, by the cache. */
  begins: number
): LoadedModels => {
  let sentAt: number | undefined
  return {
    ...options,
    states: Result.try(() =>
      Object.fromEntries(items.map(({ key, matches, model, name }) => [name, cache.fold(key, model, matches)]))
    ),
    condition: () => conditionOf(items),
    after: afterOf(items),
    last: items.reduce<LogPosition.LogPosition>(
      (last, { known }) => known.last.position > last.position ? known.last : last,
      LogPosition.start
    ),
    settled: behind.size === 0
      ? Effect.void
      : Effect.forEach(behind, ({ outcome }) => Deferred.await(outcome), { discard: true }),
    isCurrent: behind.size === 0 && items.every(({ isOfRead }) => isOfRead),
    sentAt: () => sentAt,
    track: () => {
      const { sent, ...rest } = ModelCache.tracker(cache, (written) => advance(cache, items, sentAt ?? begins, written))
      return {
        ...rest,
        sent: (request) => {
          sentAt = cache.tick()
          sent(request)
        }
      }
    }
  }
}

const afterOf = (items: ReadonlyArray<Item>): Position.Position | undefined =>
  items.reduce<Position.Position | undefined>(
    (first, { known }) => first === undefined || known.after < first ? known.after : first,
    undefined
  )

const conditionOf = (items: ReadonlyArray<BaseItem>): AppendCondition | undefined =>
  items.length === 0 ? undefined : {
    query: EventQuery.ofStoredTypes(items.map(({ model }) => model.query)),
    after: afterOf(items)!,
    seen: [],
    known: items.map(({ known: { after, seen }, sent }) => ({ after, seen, sent })),
    basis: KnownMatches.distinctBasis(items.flatMap(({ known }) => known.basis))
  }

const awaitInFlight = (cache: ModelCache.ModelCache, models: Models): Effect.Effect<void> =>
  Effect.suspend(() =>
    Effect.forEach(
      Object.values(models).flatMap((model) => cache.inFlight(model, KnownMatches.emptyList)),
      ({ outcome }) => Deferred.await(outcome),
      { discard: true }
    )
  )

/**
 * Makes the function that reads models as of one moment, each after what is cached of it, and caches the result. Unless the states of that moment are
 * needed, it adds what this process has written meanwhile.
 */
const readerOf = (store: EventStore.EventStore["Service"], cache: ModelCache.ModelCache) => {
  const read = Effect.fnUntraced(
    function*(
      wanted: ReadonlyArray<Wanted>,
      addsWritten: boolean
    ): Effect.fn.Return<ReadonlyArray<Item>, EventStoreError> {
      const begins = cache.tick()
      const earlier = wanted.map(({ key }) => cache.earlier(key))
      const after = earlier.reduce((first, known) => known.after < first ? known.after : first, earlier[0]!.after)
      const recorded = cache.record()
      const { condition, events } = yield* store[internals].readByQueryAfter(
        EventQuery.ofStoredTypes(wanted.map(({ model }) => model.query)),
        after,
        KnownMatches.distinctBasis(earlier.flatMap(({ basis }) => basis))
      ).pipe(Effect.ensuring(Effect.sync(recorded)))
      const written = recorded()
      const items: Array<Item> = []
      for (const [index, { key, model, name }] of wanted.entries()) {
        const matches: Array<KnownMatches.PlacedMatch> = []
        for (const event of events) {
          if (event.position <= earlier[index]!.after || !ModelCache.isMatch(model.query, event)) continue
          const match = ModelCache.matchOf(model.events, model.query, event)
          if (Result.isFailure(match)) return yield* Effect.fail(storeError(match.failure))
          matches.push({ ...match.success, position: event.position })
        }
        const known = KnownMatches.afterRead(earlier[index]!, {
          matches,
          after: condition.after,
          basis: condition.basis ?? []
        })
        const latest = addsWritten ? withWritten(known, model, written) : known
        cache.put(key, model, latest, begins)
        items.push({ name, key, model, known: latest, isOfRead: latest === known })
      }
      return items
    }
  )
  return (wanted: ReadonlyArray<Wanted>, addsWritten = true) =>
    // The log was set back, so that it does not have what is cached.
    Effect.catchReason(read(wanted, addsWritten), "EventStoreError", "LogDiverged", () => {
      cache.clear()
      return read(wanted, addsWritten)
    })
}

const withWritten = (
  known: KnownMatches.KnownMatches,
  model: Models[string],
  written: ReadonlyArray<EncodedEvent>
): KnownMatches.KnownMatches => {
  let latest = known
  for (const event of written) {
    if (!ModelCache.isMatch(model.query, event) || latest.matches.has(event.id)) continue
    const match = ModelCache.matchOf(model.events, model.query, event)
    if (Result.isFailure(match)) return latest
    latest = KnownMatches.afterWritten(latest, { ...match.success, position: event.position }) ?? latest
  }
  return latest
}

/** Caches what an append has verified and written. It has locked the models' tags, so no other match can appear below its own events. */
const advance = (
  cache: ModelCache.ModelCache,
  items: ReadonlyArray<BaseItem>,
  begins: number,
  written: ReadonlyArray<EncodedEvent>
): void => {
  const last = LogPosition.ofEvent(written.at(-1)!)
  for (const { key, known, matches, model, sent } of items) {
    const own: Array<KnownMatches.Match> = []
    // The positions of the matches on their way were not known.
    let ofLast = sent.length === 0 ? known.last : last
    for (const event of written) {
      if (!ModelCache.isMatch(model.query, event)) continue
      const match = ModelCache.matchOf(model.events, model.query, event)
      if (Result.isFailure(match)) return
      own.push(match.success)
      ofLast = LogPosition.ofEvent(event)
    }
    cache.put(
      key,
      model,
      { matches: matches.with(own), after: last.position, seen: [], basis: [last], last: ofLast },
      begins
    )
  }
  cache.written(written, new Set(items.map(({ key }) => key)))
}
