/**
 * The states of an aggregate's instances: folded from their streams, and kept in this process under a bound of number and time.
 *
 * A kept state is never wrong, only old: it is the fold of a beginning of a stream, and what a stream begins with never changes. So
 * nothing has to be told to a cache, and what is missing in it is read from the stream.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { countStateRead } from "../core/metricUpdates.ts"
import type * as Position from "../core/Position.ts"
import type * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import * as AggregateSnapshotter from "./AggregateSnapshotter.ts"
import { type CachedState, empty, type Loaded } from "./AggregateState.ts"
import { catchUp, continueFrom, foldEncoded } from "./StateFold.ts"

/**
 * How many states of each aggregate a process keeps, and for how long after it last read or wrote the stream.
 *
 * - `capacity`: 1,000 by default; the one that was not used for longest goes first. 0 keeps none
 * - `timeToLive`: 5 minutes by default
 *
 * @since 0.1.0
 * @category models
 */
export interface StateCache {
  readonly capacity: number
  readonly timeToLive: Duration.Input
}

/**
 * The bounds in force when an aggregate is first used; provide another value to change them.
 *
 * @since 0.1.0
 * @category references
 */
export const StateCache = Context.Reference<StateCache>("evsrc/aggregate/StateCache", {
  defaultValue: () => ({ capacity: 1_000, timeToLive: "5 minutes" })
})

/**
 * - `atVersion`: only events up to this version
 * - `atPosition`: only events up to this position of the log
 * - `atTime`: only events recorded up to this instant, none from the first later one on
 * - `policy`: `"fresh"`, the default, holds every event that was committed before it was asked for. `"stale"` answers what this process
 *   knows, without asking the database, and may lack what others have written since; of an instance that it does not know it is fresh.
 *   It is for reading only, and the past is always fresh
 *
 * @since 0.1.0
 * @category options
 */
export interface LoadOptions {
  readonly atVersion?: Version.Version | undefined
  readonly atPosition?: Position.Position | undefined
  readonly atTime?: DateTime.DateTime | undefined
  readonly policy?: "fresh" | "stale" | undefined
}

export type { Loaded }

/**
 * The state of one instance of an aggregate, now or as it was.
 *
 * @since 0.1.0
 * @category loading
 */
export const load = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  { atPosition, atTime, atVersion, policy = "fresh" }: LoadOptions = {}
): Effect.Effect<Loaded<State>, EventStoreError, EventStore.EventStore> =>
  atPosition === undefined && atTime === undefined && atVersion === undefined
    ? Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const stream = decider.aggregate.streamOf(id)
      const states = yield* of(store, decider)
      const known = Option.getOrUndefined(yield* states.known(stream))
      return toLoaded(known !== undefined && policy === "stale" ? known : yield* states.current(stream, known))
    })
    : look(decider, id, { atPosition, atTime, atVersion })

/**
 * The same for whoever only looks: it leaves nothing behind, neither a snapshot nor a state that is kept.
 *
 * - `snapshots`: whether to start from one; true by default. Whoever folds as nobody else does must not believe what the others have kept
 *
 * @since 0.1.0
 * @category loading
 */
export const look = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  id: string,
  { atPosition, atTime, atVersion }: Omit<LoadOptions, "policy">,
  { snapshots = true }: { readonly snapshots?: boolean | undefined } = {}
): Effect.Effect<Loaded<State>, EventStoreError, EventStore.EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stream = decider.aggregate.streamOf(id)
    const states = yield* of(store, decider)
    const known = atTime === undefined ? Option.getOrUndefined(yield* states.known(stream)) : undefined
    const within = ({ position, version }: Pick<EncodedEvent, "position" | "version">) =>
      (atVersion === undefined || version <= atVersion) && (atPosition === undefined || position <= atPosition)
    const past = yield* states.past(stream, known, {
      // The times of a stream's events need not grow, so a state of a version says nothing of one of a time; of a position only the known one.
      max: atTime !== undefined
        ? 0
        : atPosition === undefined
        ? atVersion ?? Infinity
        : known !== undefined && within(known)
        ? known.version
        : 0,
      snapshots,
      wanted: (recorded) =>
        within(recorded) && (atTime === undefined || DateTime.isLessThanOrEqualTo(recorded.recordedAt, atTime))
    })
    return toLoaded(past)
  })

const toLoaded = <State>({ position, state, version }: CachedState<State>): Loaded<State> => ({
  state,
  version,
  position
})

/**
 * The states of one aggregate on one store, as far as this process knows them. Within a transaction of the caller none is known and none is
 * kept, since what is read there may be rolled back.
 *
 * - `known`: the state as this process last saw it
 * - `current`: the state with every event up to now: from one that is known, from a snapshot, or from the first event on
 * - `past`: the state with the events up to the first that is not wanted, where all up to the version `most` are; without `snapshots` from
 *   none of these
 * - `advance`: takes note of what was just appended after a state
 * - `forget`: the stream is not what it was
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateStates<State> {
  readonly known: (stream: string) => Effect.Effect<Option.Option<CachedState<State>>>
  readonly current: (
    stream: string,
    known: CachedState<State> | undefined
  ) => Effect.Effect<CachedState<State>, EventStoreError>
  readonly past: (
    stream: string,
    known: CachedState<State> | undefined,
    bounds: Bounds
  ) => Effect.Effect<CachedState<State>, EventStoreError>
  readonly advance: (
    stream: string,
    from: CachedState<State>,
    written: ReadonlyArray<EncodedEvent>
  ) => Effect.Effect<void>
  readonly forget: (stream: string) => Effect.Effect<void>
}

interface Bounds {
  readonly max: number
  readonly snapshots?: boolean
  readonly wanted?: (recorded: EncodedEvent) => boolean
}

const all: Bounds = { max: Infinity }

const caches = new WeakMap<EventStore.EventStore["Service"], WeakMap<object, unknown>>()

/**
 * The same store and decider always answer the same states.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = <State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>
): Effect.Effect<AggregateStates<State>> =>
  Effect.suspend(() => {
    let ofStore = caches.get(store)
    if (ofStore === undefined) caches.set(store, ofStore = new WeakMap())
    const found = ofStore.get(decider)
    // The states are kept under the very decider that made them; a WeakMap cannot say so in its type.
    if (found !== undefined) return Effect.succeed(found as AggregateStates<State>)
    return Effect.tap(make(store, decider), (made) => Effect.sync(() => ofStore.set(decider, made)))
  })

const make = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>
): Effect.fn.Return<AggregateStates<State>> {
  const snapshots = decider.stateSnapshots && AggregateSnapshotter.make(store, decider.stateSnapshots)
  const inTransaction = store[internals].driver.inTransaction
  const isPersonal = EventPersonalData.fieldLocators(decider.aggregate.events).size > 0
  let ofErasures: bigint | undefined

  /** Lets go of all states when a subject was erased since, whose personal data may be in them. Answers as of how many erasures they are. */
  const upToDate: Effect.Effect<bigint | undefined, EventStoreError> = isPersonal
    ? Effect.flatMap(store[internals].keys.erasures, (erasures) => {
      if (erasures === ofErasures) return Effect.succeed(erasures)
      ofErasures = erasures
      return Effect.as(Cache.invalidateAll(cache), erasures)
    })
    : Effect.undefined

  /** The state without one that is known, which version was there to start from, and a snapshot that was of no use. */
  const unknown = Effect.fnUntraced(function*(stream: string, bounds: Bounds) {
    const { max, wanted } = bounds
    const found = snapshots === undefined || bounds.snapshots === false || max === 0
      ? none
      : yield* snapshots.find(stream, max)
    if (found._tag === "Usable") {
      const loaded = yield* catchUp(store, decider, stream, found.known, wanted)
      yield* snapshots!.verified(found.snapshot, loaded !== undefined)
      if (loaded !== undefined) return { loaded, from: found.known.version, wrong: undefined }
    }
    const loaded = yield* continueFrom(store, decider, stream, empty(decider), wanted)
    return { loaded, from: 0, wrong: found._tag === "None" ? undefined : found.snapshot }
  })

  const read = Effect.fnUntraced(function*(stream: string, known: CachedState<State> | undefined, bounds: Bounds) {
    const loaded = known && (yield* catchUp(store, decider, stream, known, bounds.wanted))
    return loaded === undefined ? yield* unknown(stream, bounds) : { loaded, from: known!.version, wrong: undefined }
  })

  const readNow = (stream: string, known?: CachedState<State>) =>
    Effect.suspend(() => {
      const erasures = ofErasures
      return Effect.flatMap(Effect.timed(read(stream, known, all)), ([cost, { from, loaded, wrong }]) =>
        snapshots === undefined
          ? Effect.succeed(loaded)
          : Effect.as(snapshots.afterRead(stream, from, loaded, erasures, cost, wrong), loaded))
    })

  const cache = yield* Cache.make({
    ...yield* StateCache,
    lookup: (stream: string) => readNow(stream)
  })

  /** Keeps a state unless a later one is known, for a slow reader may come after a quick one. */
  const keep = (stream: string, loaded: CachedState<State>) =>
    Effect.flatMap(
      Cache.getSuccess(cache, stream),
      (kept) =>
        Option.isSome(kept) && kept.value.version > loaded.version ? Effect.void : Cache.set(cache, stream, loaded)
    )

  /** Whether a state is up to date: one with personal data may have been let go of, because of an erasure that it knows nothing of. */
  const isKept = (stream: string, known: CachedState<State>) =>
    isPersonal
      ? Effect.map(Cache.getSuccess(cache, stream), (kept) => Option.isSome(kept) && kept.value === known)
      : Effect.succeed(true)

  return {
    known: (stream) =>
      Effect.flatMap(inTransaction, (bypass) =>
        bypass
          ? Effect.succeedNone
          : Effect.tap(
            // Without the key store nothing is known; whoever reads the stream is told why.
            Effect.catch(Effect.andThen(upToDate, Cache.getSuccess(cache, stream)), () => Effect.succeedNone),
            (found) => countStateRead(Option.isSome(found))
          )),
    current: (stream, given) =>
      Effect.flatMap(inTransaction, (bypass) => {
        if (bypass) return Effect.map(read(stream, given, all), ({ loaded }) => loaded)
        return Effect.gen(function*() {
          const erasures = yield* upToDate
          const known = given !== undefined && (yield* isKept(stream, given)) ? given : undefined
          const loaded = yield* readNow(stream, known)
          if (erasures !== ofErasures) return loaded
          // It has become less only where the log was set back.
          if (given !== undefined && loaded.version < given.version) yield* Cache.invalidate(cache, stream)
          yield* keep(stream, loaded)
          return loaded
        })
      }),
    // A state of the past is not kept: it would push out one of the present.
    past: (stream, known, bounds) =>
      Effect.map(
        read(stream, known !== undefined && known.version <= bounds.max ? known : undefined, bounds),
        ({ loaded }) => loaded
      ),
    advance: (stream, from, written) =>
      Effect.flatMap(inTransaction, (bypass) => {
        if (bypass) return Effect.void
        return Effect.gen(function*() {
          const advanced = Result.getOrUndefined(Result.try(() => foldEncoded(decider, from, written)))
          // What was appended stays appended: whoever loads the stream next is told what is wrong with it.
          if (advanced === undefined) return yield* Cache.invalidate(cache, stream)
          if (!(yield* isKept(stream, from))) return
          yield* keep(stream, advanced)
          if (snapshots !== undefined) yield* snapshots.afterAppend(stream, from.version, advanced, ofErasures)
        })
      }),
    forget: (stream) => Cache.invalidate(cache, stream)
  }
})

const none: AggregateSnapshotter.Found<never> = { _tag: "None" }
