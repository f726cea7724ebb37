/**
 * The execution of a decision on what this process knows: take the cached matches, or read what is missing; fold, decide, send. After a conflict
 * read what is missing and decide again.
 *
 * **Details**
 *
 * A decision is decided in its turn, on the matches in the log and on those in appends of other decisions that are in flight. Its append names all of
 * them, in their order: if one of those appends is not written, neither is this one, and it is decided again. The turn ends when the append has its
 * place in the queue of the store. So decisions on one tag that arrive together are sent together.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { type ConcurrencyConflict, type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { AppendCondition } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendError, AppendObserver, AppendOutcome } from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { Models } from "./DecisionDefinition.ts"
import type { AnyStates } from "./DecisionModels.ts"
import * as KnownMatches from "./KnownMatches.ts"
import * as ModelCache from "./ModelCache.ts"

/**
 * What was decided on states: to append events, or to end without any.
 *
 * @since 0.1.0
 * @category models
 */
export type Decided<A, E, Failure> =
  | { readonly _tag: "Append"; readonly events: ReadonlyArray<E> }
  | { readonly _tag: "End"; readonly end: (last: LogPosition.LogPosition) => Effect.Effect<A, Failure> }

/**
 * The parts of a decision.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts<A, E, Failure> {
  readonly store: EventStore.EventStore["Service"]
  readonly cache: ModelCache.ModelCache
  readonly models: Models
  readonly load: "verified" | "assumeNew" | "fresh"
  readonly decide: (states: AnyStates) => Decided<A, E, Failure>
  readonly append: (
    condition: AppendCondition,
    events: ReadonlyArray<E>,
    observer: AppendObserver
  ) => Effect.Effect<AppendOutcome, AppendError>
  readonly receiptOf: (outcome: AppendOutcome) => A
  /** Fails with a conflict on the version of the stream, which is not retried. */
  readonly conflict: (error: ConcurrencyConflict) => Effect.Effect<never, ConcurrencyConflict>
  /** Runs an effect in its turn, which `pass` ends. */
  readonly inTurn: (
    effect: (pass: () => void) => Effect.Effect<A, Failure | SendError | Outdated>
  ) => Effect.Effect<A, Failure | SendError | Outdated>
}

type SendError = ConcurrencyConflict | EventStoreError

/** A model, and what is known of its matches. */
interface Item {
  readonly name: string
  readonly key: string
  readonly model: Models[string]
  readonly known: KnownMatches.KnownMatches
}

/** A model, and the matches on which it is decided: the known ones, and those on their way. */
interface BaseItem extends Item {
  readonly matches: KnownMatches.MatchList
  readonly sent: ReadonlyArray<string>
}

interface Base {
  readonly items: ReadonlyArray<BaseItem>
  /** The appends in flight that have matches. */
  readonly behind: ReadonlySet<ModelCache.Sent>
  /** Whether all matches were read at one moment since the command arrived. */
  readonly isFresh: boolean
  /** When the matches were taken, by the cache. */
  readonly since: number
}

/** The matches on which a decision was made were not all that the log has. */
class Outdated extends Data.TaggedError("Outdated") {}

/** How often a decision is made on matches that may be old, before it is made alone on those of the log. */
const maxOptimistic = 2

/**
 * Makes the execution of a decision. It can run several times.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, Failure>(
  parts: Parts<A, E, Failure>
): Effect.Effect<A, Failure | SendError> => {
  const { cache, decide, inTurn, models } = parts
  const reading = readerOf(parts.store, cache)
  /** Matches that were not verified since are too old. */
  let since = parts.load === "fresh" ? cache.tick() : 0
  let decisions = 0
  type Attempt = Effect.Effect<A, Failure | SendError | Outdated>

  const itemsOf = (since: number): ReadonlyArray<Omit<Item, "known"> & { readonly known: Item["known"] | undefined }> =>
    Object.entries(models).map(([name, model]) => {
      const key = ModelCache.keyOf(model)
      return { name, key, model, known: cache.get(key, since) }
    })

  const load: Effect.Effect<Base | undefined, EventStoreError> = Effect.suspend(() => {
    const items = itemsOf(since)
    const missing = parts.load === "assumeNew" && since === 0 ? [] : items.filter(({ known }) => known === undefined)
    const cached = items.flatMap((item) =>
      missing.includes(item) ? [] : [{ ...item, known: item.known ?? KnownMatches.nothing }]
    )
    const begins = cache.tick()
    return missing.length === 0
      ? Effect.sync(() => baseOf(cache, cached, false, begins))
      : Effect.map(
        reading(missing),
        (read) => baseOf(cache, inOrder(models, [...cached, ...read]), cached.length === 0, begins)
      )
  })

  /** Waits for appends in flight, and decides on what the log has then, without a turn. */
  const verify = (base: Base | undefined): Attempt =>
    Effect.gen(function*() {
      for (const { outcome } of base?.behind ?? []) yield* Deferred.await(outcome)
      since = cache.tick()
      const items = yield* reading(itemsOf(Infinity))
      const decided = decide(foldAll(cache, items.map((item) => ({ ...item, matches: item.known.matches }))))
      return yield* decided._tag === "Append" ? new Outdated() : decided.end(lastOf(items))
    })

  const decideInTurn = (pass: () => void): Attempt => {
    const isAlone = decisions++ >= maxOptimistic
    const ready = Effect.suspend(() => {
      if (!isAlone) return Effect.void
      since = cache.tick()
      return awaitInFlight(cache, models)
    })
    return Effect.flatMap(Effect.andThen(ready, load), (base): Attempt => {
      const decided = base && Result.try(() => decide(foldAll(cache, base.items)))
      const isCurrent = base?.isFresh === true && base.behind.size === 0
      if (base !== undefined && decided !== undefined && Result.isSuccess(decided)) {
        if (decided.success._tag === "Append") {
          return send(parts, base, decided.success.events, isAlone ? () => {} : pass, isCurrent, () => {
            since = cache.tick()
          })
        }
        if (isCurrent) return decided.success.end(lastOf(base.items))
      }
      pass()
      return verify(base)
    })
  }

  const untilCurrent: Effect.Effect<A, Failure | SendError> = Effect.suspend(() =>
    Effect.catchIf(inTurn(decideInTurn), (error) => error instanceof Outdated, () => untilCurrent)
  )
  return Effect.suspend(() => {
    decisions = 0
    return untilCurrent
  })
}

const inOrder = (models: Models, items: ReadonlyArray<Item>): ReadonlyArray<Item> =>
  Object.keys(models).map((name) => items.find((item) => item.name === name)!)

/** Returns what is decided on; `undefined` if an event on its way cannot be decoded. */
const baseOf = (
  cache: ModelCache.ModelCache,
  items: ReadonlyArray<Item>,
  isFresh: boolean,
  since: number
): Base | undefined => {
  const behind = new Set<ModelCache.Sent>()
  const withSent: Array<BaseItem> = []
  for (const item of items) {
    const { known, model } = item
    const matches: Array<KnownMatches.Match> = []
    for (const sent of cache.inFlight(model, known.matches)) {
      behind.add(sent)
      for (const event of sent.events) {
        if (!ModelCache.isMatch(model.query, event)) continue
        const match = ModelCache.sentMatchOf(model.events, model.query, event)
        if (Result.isFailure(match)) return undefined
        matches.push(match.success)
      }
    }
    withSent.push({ ...item, matches: known.matches.with(matches), sent: matches.map(({ id }) => id) })
  }
  return { items: withSent, behind, isFresh, since }
}

const foldAll = (
  cache: ModelCache.ModelCache,
  items: ReadonlyArray<Pick<BaseItem, "name" | "key" | "model" | "matches">>
): AnyStates =>
  Object.fromEntries(items.map(({ key, matches, model, name }) => [name, cache.fold(key, model, matches)]))

const lastOf = (items: ReadonlyArray<Item>): LogPosition.LogPosition =>
  items.reduce<LogPosition.LogPosition>(
    (last, { known }) => known.last.position > last.position ? known.last : last,
    LogPosition.start
  )

const awaitInFlight = (cache: ModelCache.ModelCache, models: Models): Effect.Effect<void> =>
  Effect.suspend(() =>
    Effect.forEach(
      Object.values(models).flatMap((model) => cache.inFlight(model, KnownMatches.emptyList)),
      ({ outcome }) => Deferred.await(outcome),
      { discard: true }
    )
  )

/** Makes the function that reads models as of one moment, each after what is cached of it, and caches the result. */
const readerOf = (store: EventStore.EventStore["Service"], cache: ModelCache.ModelCache) => {
  const read = Effect.fnUntraced(
    function*(wanted: ReadonlyArray<Omit<Item, "known">>): Effect.fn.Return<ReadonlyArray<Item>, EventStoreError> {
      const begins = cache.tick()
      const earlier = wanted.map(({ key }) => cache.earlier(key))
      const after = earlier.reduce((first, known) => known.after < first ? known.after : first, earlier[0]!.after)
      const { condition, events } = yield* store[internals].readByQueryAfter(
        EventQuery.ofStoredTypes(wanted.map(({ model }) => model.query)),
        after,
        KnownMatches.distinctBasis(earlier.flatMap(({ basis }) => basis))
      )
      const items: Array<Item> = []
      for (const [index, item] of wanted.entries()) {
        const matches: Array<KnownMatches.PlacedMatch> = []
        for (const event of events) {
          if (event.position <= earlier[index]!.after || !ModelCache.isMatch(item.model.query, event)) continue
          const match = ModelCache.matchOf(item.model.events, item.model.query, event)
          if (Result.isFailure(match)) return yield* Effect.fail(storeError(match.failure))
          matches.push({ ...match.success, position: event.position })
        }
        const known = KnownMatches.afterRead(earlier[index]!, {
          matches,
          after: condition.after,
          basis: condition.basis ?? []
        })
        cache.put(item.key, item.model, known, begins)
        items.push({ ...item, known })
      }
      return items
    }
  )
  return (wanted: ReadonlyArray<Omit<Item, "known">>) =>
    // The log was set back, so that it does not have what is cached.
    Effect.catchReason(read(wanted), "EventStoreError", "LogDiverged", () => {
      cache.clear()
      return read(wanted)
    })
}

const conditionOf = ({ items }: Base): AppendCondition => ({
  query: EventQuery.ofStoredTypes(items.map(({ model }) => model.query)),
  after: items.reduce((first, { known }) => known.after < first ? known.after : first, items[0]!.known.after),
  seen: [],
  known: items.map(({ known: { after, seen }, sent }) => ({ after, seen, sent })),
  basis: KnownMatches.distinctBasis(items.flatMap(({ known }) => known.basis))
})

/** Appends the events. The next decision is made when the append has its place in the queue. */
const send = <A, E, Failure>(
  { append, cache, conflict, receiptOf }: Parts<A, E, Failure>,
  base: Base,
  events: ReadonlyArray<E>,
  pass: () => void,
  isCurrent: boolean,
  outdated: () => void
): Effect.Effect<A, SendError | Outdated> => {
  let sent: ModelCache.Sent | undefined
  const observer: AppendObserver = {
    onSend: ({ events }) => {
      sent = { events, outcome: Deferred.makeUnsafe() }
      cache.sent(sent)
    },
    onQueued: pass
  }
  const observed = Effect.onExit(append(conditionOf(base), events, observer), (exit) => {
    // Without events the command id was appended before.
    const written = Exit.isSuccess(exit) ? exit.value.written?.() : undefined
    if (written !== undefined) advance(cache, base, written)
    if (sent !== undefined) {
      cache.ended(sent)
      Deferred.doneUnsafe(sent.outcome, Effect.succeed(written !== undefined))
    }
    return Effect.void
  })
  return Effect.matchEffect(observed, {
    onSuccess: (outcome) => Effect.succeed(receiptOf(outcome)),
    onFailure: (error): Effect.Effect<never, SendError | Outdated> => {
      if (error._tag === "ConcurrencyConflict") return conflict(error)
      if (error._tag === "EventStoreError" && error.reason._tag !== "LogDiverged") return Effect.fail(error)
      outdated()
      // The log was set back, so that an event of the matches is missing.
      if (error._tag === "EventStoreError") cache.clear()
      if (!isCurrent) return Effect.fail(new Outdated())
      return Effect.fail(error._tag === "EventStoreError" ? error : storeError(error))
    }
  })
}

/** Caches what an append has verified and written. It has locked the models' tags, so no other match can appear below its own events. */
const advance = (cache: ModelCache.ModelCache, { items, since }: Base, written: ReadonlyArray<EncodedEvent>): void => {
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
      since
    )
  }
  cache.written(written, new Set(items.map(({ key }) => key)))
}
