/**
 * The turns of decisions in this process. Decisions whose queries share a tag or a type take turns, in the order of their arrival; all others run at
 * once.
 *
 * **Details**
 *
 * A decision stands in one line for each of its keys from the moment when it arrives, so all lines have the same order, and no two decisions wait for
 * each other. The keys are those that an append locks in the database: see `condition_keys` in `migrations/0001_event_store.sql`.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as LockWait from "../core/lockWait.ts"
import type { QueryItem } from "../event/EventQuery.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"

/**
 * The turns of the decisions on one store.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecisionTurns {
  /**
   * Runs an effect in its turn among the decisions that share a key with these query items. The turn ends with the effect, or before by `pass`. At
   * most `maxWaiting` decisions with a key in common wait or run.
   */
  readonly inTurn: <A, E, R>(
    items: ReadonlyArray<QueryItem>,
    options: TurnOptions,
    effect: (pass: () => void) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | EventStoreError, R>
  /** Returns the number of keys that a decision holds or waits for. */
  readonly size: () => number
}

/**
 * The limit of a turn, and the name of its command for errors.
 *
 * @since 0.1.0
 * @category options
 */
export interface TurnOptions {
  readonly command: string
  readonly maxWaiting: number
  /** The layer that has the option `maxWaiting`. */
  readonly layer: string
  /** Called before the decision waits for its turn. */
  readonly onWait?: (() => void) | undefined
}

/** The decisions with one key. */
interface Line {
  readonly name: string
  /** Their turns in the order of their arrival, and whether each needs the key alone. */
  readonly turns: Map<Turn, boolean>
  /** How many of the turns need the key alone. */
  exclusives: number
  /** How many decisions that need the key alone wait, are decided, or wait for their append. */
  decisions: number
}

/** The place of a decision in its lines. */
interface Turn {
  readonly places: ReadonlyArray<Place>
  readonly given: Deferred.Deferred<void>
  isGiven: boolean
}

interface Place {
  readonly line: Line
  readonly isExclusive: boolean
}

/** How long a decision waits for its turn. */
const turnTimeout = "10 seconds"

/**
 * Makes the turns of a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): DecisionTurns => {
  const lines = new Map<string, Line>()

  const enter = (keys: ReadonlyMap<string, boolean>, maxWaiting: number): Turn | Line => {
    const places: Array<Place> = []
    for (const [name, isExclusive] of keys) {
      const line = lines.get(name) ?? { name, turns: new Map(), exclusives: 0, decisions: 0 }
      if (isExclusive && line.decisions >= maxWaiting) return line
      places.push({ line, isExclusive })
    }
    const turn: Turn = { places, given: Deferred.makeUnsafe(), isGiven: false }
    for (const { isExclusive, line } of places) {
      lines.set(line.name, line)
      line.turns.set(turn, isExclusive)
      if (!isExclusive) continue
      line.exclusives++
      line.decisions++
    }
    return turn
  }

  /** Takes a turn out of its lines, and gives those behind it theirs. */
  const pass = (turn: Turn): void => {
    for (const { isExclusive, line } of turn.places) {
      line.turns.delete(turn)
      if (isExclusive) line.exclusives--
      removeIfEmpty(lines, line)
    }
    for (const { isExclusive, line } of turn.places) {
      if (isExclusive || line.exclusives > 0) giveNext(line)
    }
  }

  const leave = ({ places }: Turn): void => {
    for (const { isExclusive, line } of places) {
      if (!isExclusive) continue
      line.decisions--
      removeIfEmpty(lines, line)
    }
  }

  return {
    size: () => lines.size,
    inTurn: (items, options, effect) =>
      Effect.uninterruptibleMask((restore) => {
        const turn = enter(keysOf(items), options.maxWaiting)
        if ("turns" in turn) return Effect.fail(tooMany(options, turn.name))
        let hasPassed = false
        const passOnce = () => {
          if (hasPassed) return
          hasPassed = true
          pass(turn)
        }
        const left = Effect.sync(() => {
          passOnce()
          leave(turn)
        })
        const run = Effect.suspend(() => effect(passOnce))
        if (isFirst(turn)) {
          turn.isGiven = true
          return Effect.ensuring(restore(run), left)
        }
        options.onWait?.()
        return Effect.ensuring(restore(Effect.andThen(awaitTurn(options.command, turn), run)), left)
      })
  }
}

const removeIfEmpty = (lines: Map<string, Line>, line: Line): void => {
  if (line.turns.size === 0 && line.decisions === 0 && lines.get(line.name) === line) lines.delete(line.name)
}

/** Gives every turn at the front of a line that is at the front of all its other lines too. */
const giveNext = (line: Line): void => {
  let isBehindShared = false
  for (const [turn, isExclusive] of line.turns) {
    if (isExclusive && isBehindShared) return
    if (!turn.isGiven && isFirst(turn)) {
      turn.isGiven = true
      Deferred.doneUnsafe(turn.given, Effect.void)
    }
    if (isExclusive) return
    isBehindShared = true
  }
}

/** Returns whether no turn before this one keeps it from one of its keys. */
const isFirst = (turn: Turn): boolean =>
  turn.places.every(({ isExclusive, line }) => {
    if (!isExclusive && line.exclusives === 0) return true
    for (const [other, otherIsExclusive] of line.turns) {
      if (other === turn) return true
      if (isExclusive || otherIsExclusive) return false
    }
    return true
  })

/** Returns the keys of query items, and whether a decision needs each of them alone: the first tag of an item, or else each of its types. */
const keysOf = (items: ReadonlyArray<QueryItem>): ReadonlyMap<string, boolean> => {
  const keys = new Map<string, boolean>()
  const share = (name: string) => {
    if (!keys.has(name)) keys.set(name, false)
  }
  for (const { tags: [first, ...others] = [], types = [] } of items) {
    if (first !== undefined) keys.set(`tag "${first}"`, true)
    for (const tag of others) share(`tag "${tag}"`)
    for (const type of types) {
      if (first === undefined) keys.set(`event type "${type}"`, true)
      else share(`event type "${type}"`)
    }
  }
  return keys
}

const awaitTurn = (command: string, turn: Turn): Effect.Effect<void, EventStoreError> =>
  // The decision that passes the turn on resumes this fiber within its own call, so the stack would grow with each decision that waits.
  Effect.timeoutOrElse(Effect.andThen(Deferred.await(turn.given), Effect.yieldNow), {
    duration: turnTimeout,
    orElse: () => Effect.fail(waitedTooLong(command, turn))
  })

const turnsOfStores = new WeakMap<EventStoreDriver, DecisionTurns>()

/**
 * Returns the turns of a store, which all its decisions share.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofStore = (driver: EventStoreDriver): DecisionTurns => {
  let turns = turnsOfStores.get(driver)
  if (turns === undefined) turnsOfStores.set(driver, turns = make())
  return turns
}

const tooMany = ({ command, layer, maxWaiting }: TurnOptions, key: string): EventStoreError =>
  LockWait.ofKey(storeError(
    new StoreUnavailable({
      message:
        `${maxWaiting} decisions on ${key} wait or are in flight in this process, which is the maximum (maxWaiting); "${command}" was not `
        + `decided. Send it again later, or raise maxWaiting of ${layer}`,
      cause: undefined
    })
  ))

const waitedTooLong = (command: string, { places }: Turn): EventStoreError => {
  const longest = places.reduce(
    (longest, { line }) => line.decisions > longest.decisions ? line : longest,
    places[0]!.line
  )
  return LockWait.ofKey(storeError(
    new StoreUnavailable({
      message: `"${command}" waited ${turnTimeout} for its turn on ${longest.name} behind ${
        Math.max(longest.decisions - 1, 0)
      } other decisions in this process; it was not decided. Send it again later`,
      cause: undefined
    })
  ))
}
