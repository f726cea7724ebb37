/**
 * The boundary of a command with decision models: the state of its instance, and the states of the models.
 *
 * **Details**
 *
 * An append verifies both, whenever they were loaded. A command that ends without events needs a state and models of one moment. So the models are loaded
 * before the state: if the state then has no event above the position up to which all matches are known, it was the same when the models were read.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Command from "../command/Command.ts"
import type * as CommandExecution from "../command/CommandExecution.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { ConcurrencyConflict, type EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { Models } from "../decision/DecisionDefinition.ts"
import * as DecisionTurns from "../decision/DecisionTurns.ts"
import * as ModelCache from "../decision/ModelCache.ts"
import * as ModelLoader from "../decision/ModelLoader.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { CachedState } from "./AggregateState.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import type * as InstanceQueue from "./InstanceQueue.ts"

/**
 * The models of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Boundary {
  readonly models: ModelLoader.ModelLoader
  /** Runs an effect in its turn among the decisions and commands that share a tag with the models, which `pass` ends. */
  readonly inTurn: <A, E>(
    effect: (pass: () => void) => Effect.Effect<A, E>,
    onWait: () => void
  ) => Effect.Effect<A, E | EventStoreError>
}

/**
 * What the boundaries of an aggregate share.
 *
 * @since 0.1.0
 * @category options
 */
export interface BoundaryOptions {
  readonly store: EventStore.EventStore["Service"]
  readonly load: "verified" | "assumeNew" | "fresh"
  readonly maxWaiting: number
  readonly limits: ModelCache.ModelCacheLimits
}

/**
 * What a command of an instance is decided on. `models` is undefined for a command without any.
 *
 * @since 0.1.0
 * @category models
 */
export interface Base<State> extends CommandLoop.Base {
  readonly state: InstanceLoader.LoadedState<State>
  readonly models: ModelLoader.LoadedModels | undefined
  readonly reload: InstanceLoader.Reload
}

/**
 * Makes the boundary of a command. Models of personal data are not cached, because a subject may be erased at any time; neither are those that are read in
 * a transaction of the caller.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { limits, load, maxWaiting, store }: BoundaryOptions,
  command: string,
  { caller }: CommandExecution.Attempt,
  models: Models
): Boundary => {
  const { driver } = store[internals]
  const items = Object.values(models).map(({ query }) => query)
  const takesTurn = items.length > 0 && !driver.inTransaction(caller)
  return {
    models: takesTurn && !EventPersonalData.modelsHavePersonalData(models)
      ? ModelLoader.cached(store, ModelCache.ofStore(driver, limits), models, load)
      : ModelLoader.reading(store, models),
    inTurn: (effect, onWait) =>
      takesTurn
        ? DecisionTurns.ofStore(driver).inTurn(items, { command, maxWaiting, layer: "Aggregate.layer", onWait }, effect)
        : effect(() => {})
  }
}

const isOfOneMoment = <State>(
  { from }: InstanceLoader.LoadedState<State>,
  { after }: ModelLoader.LoadedModels
): boolean => after === undefined || from.position <= after

/**
 * Loads models, and then the state. The state may wait for a lock: if a subject is erased meanwhile, personal models are read again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = <State>(
  { models }: Pick<Boundary, "models">,
  reloadModels: ModelLoader.Reload,
  loadState: Effect.Effect<InstanceLoader.LoadedState<State>, EventStoreError>,
  reload: InstanceLoader.Reload
): Effect.Effect<Base<State>, EventStoreError> =>
  Effect.flatMap(
    models.load(reloadModels),
    (loaded) =>
      Effect.flatMap(loadState, (state) =>
        Effect.map(models.upToDate(loaded), (now) => ({
          state,
          models: now,
          isCurrent: now === loaded && loaded.isCurrent && state.wasRead && isOfOneMoment(state, loaded),
          reload
        })))
  )

/** How often state and models are read in search of a moment at which both were the current ones. */
const maxReads = 3

/**
 * Reads state and models as of one moment. The command keeps its turn, so only other processes, and appends without a turn, can come between.
 *
 * @since 0.1.0
 * @category combinators
 */
export const verify = <State, Events extends Event.Any, C extends Command.Any>(
  instances: InstanceLoader.Instances<State, Events, C>,
  stream: string,
  turn: InstanceQueue.Turn<State>,
  base: Base<State>,
  readModels: Effect.Effect<ModelLoader.LoadedModels, EventStoreError>
): Effect.Effect<Base<State>, ConcurrencyConflict | EventStoreError> =>
  Effect.gen(function*() {
    const { behind, from, isCurrent, lock } = base.state
    // The appends under the lock are sent when it is released.
    if (behind !== undefined || base.models?.isCurrent === false) turn.unlock()
    let known: CachedState<State> | undefined = behind === undefined
      ? from
      : (yield* InstanceLoader.settle(instances, stream, turn, behind))?.from
    /** The version of a state that was the current one before the models are read. */
    let before = behind === undefined && !isCurrent ? undefined : known?.version
    for (let reads = 1;; reads++) {
      const models = yield* readModels
      const loaded = yield* InstanceLoader.loadCurrent(
        instances,
        stream,
        turn,
        known === undefined || known.version === 0 ? undefined : known
      )
      const { version } = loaded.from
      if (version === before || isOfOneMoment(loaded, models)) {
        return { ...base, state: { ...loaded, lock }, models, isCurrent: true }
      }
      if (reads >= maxReads) {
        return yield* new ConcurrencyConflict({ stream, expected: before ?? "any", actual: version })
      }
      known = loaded.from
      before = version
    }
  })

/**
 * Returns the end of a command whose receipt covers the last event of the models: a query with `after` then includes that event.
 *
 * @since 0.1.0
 * @category combinators
 */
export const resting = <E>(end: Effect.Effect<Receipt, E>, last: LogPosition.LogPosition): Effect.Effect<Receipt, E> =>
  Effect.map(end, (receipt) =>
    last.position <= receipt.position || last.eventId === undefined
      ? receipt
      : { ...receipt, position: last.position, eventId: last.eventId })
