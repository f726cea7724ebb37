/**
 * The loop of every command: load, decide, sync; after a conflict load what has changed and decide again.
 *
 * **Details**
 *
 * It knows neither streams nor queries. Around it are modules of their own: the turns of commands (`InstanceQueue`, `DecisionTurns`), the caches of what
 * was loaded (`CachedStates`, `ModelCache`), snapshots (`AggregateSnapshotter`), and metadata, command ids and delays between retries
 * (`CommandExecution`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Receipt } from "../core/Receipt.ts"
import type { AppendRequest, StreamLock } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendError, AppendObserver, AppendOutcome } from "../eventStore/EventAppender.ts"

/**
 * The turn of a command among those that it would conflict with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn {
  /** Lets the next command be decided. */
  readonly pass: () => void
  readonly hasPassed: () => boolean
}

/**
 * What a command is decided on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Base {
  /** Whether it was what the log has at some moment since the command arrived. Only on such a base a command may end without events. */
  readonly isCurrent: boolean
}

/**
 * What a command was decided to do: append events, or end without any.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decided<E, Failure> {
  readonly events: ReadonlyArray<E>
  /** How the command ends if there are no events; undefined if there are some. */
  readonly end: Effect.Effect<Receipt, Failure> | undefined
}

/**
 * The answer of `sync`: the events are written, or the store refuses them, or the base was not what the log has. Refused events are no error before the
 * command was decided on what the log has. `reload` says what to load then, or is undefined if it is the same
 * again. With an error, the policy of retries decides whether there is another attempt.
 *
 * @since 0.1.0
 * @category models
 */
export type Synced<Reload, Failure> =
  | { readonly _tag: "Written"; readonly receipt: Receipt }
  | { readonly _tag: "Refused"; readonly error: Failure }
  | { readonly _tag: "Conflict"; readonly reload: Reload | undefined; readonly error?: Failure | undefined }

/**
 * The parts of the loop.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts<T extends Turn, B extends Base, E, Failure, Reload> {
  /** Runs an effect in its turn. The turn ends with the effect, or before by `pass`. */
  readonly inTurn: (
    effect: (turn: T) => Effect.Effect<Synced<Reload, Failure>, Failure>
  ) => Effect.Effect<Synced<Reload, Failure>, Failure>
  /** Loads what the command is decided on: what this process knows, or what the log has. */
  readonly load: (turn: T, reload: Reload) => Effect.Effect<B, Failure>
  readonly decide: (base: B) => Decided<E, Failure>
  /** Appends the events, provided that the base is what the log has. */
  readonly sync: (turn: T, base: B, events: ReadonlyArray<E>) => Effect.Effect<Synced<Reload, Failure>, Failure>
  /** Loads what the log has, for a command that ends without events, so that no append verifies its base. Undefined if it has to be loaded again. */
  readonly verify: (turn: T, base: B) => Effect.Effect<B | undefined, Failure>
  /** Returns what to load after a base that may be old. */
  readonly reload: (base: B) => Reload
  /** Returns the error of a command that has had no events on a base that may be old, and some on the current one, again and again. */
  readonly alternates: (before: B, current: B) => Failure
}

/** How often a command may have no events on a base that may be old, and some on the current one, before the policy of retries decides. */
const maxAlternations = 16

/**
 * Makes the execution of a command. It can run several times: it goes on with what to load after the last conflict.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <T extends Turn, B extends Base, E, Failure, Reload>(
  parts: Parts<T, B, E, Failure, Reload>,
  first: Reload
): Effect.Effect<Receipt, Failure> => {
  let reload = first
  let alternations = 0

  const decideOn = (turn: T, base: B, before?: B): Effect.Effect<Synced<Reload, Failure>, Failure> => {
    const { end, events } = parts.decide(base)
    if (end === undefined) {
      if (turn.hasPassed()) {
        const isLast = before !== undefined && ++alternations % maxAlternations === 0
        return Effect.succeed(conflict(parts.reload(base), isLast ? parts.alternates(before, base) : undefined))
      }
      return Effect.flatMap(
        parts.sync(turn, base, events),
        (synced) => synced._tag === "Refused" && !base.isCurrent ? decideOnCurrent(turn, base) : Effect.succeed(synced)
      )
    }
    if (!base.isCurrent) return decideOnCurrent(turn, base)
    turn.pass()
    return Effect.map(end, written)
  }

  const decideOnCurrent = (turn: T, base: B): Effect.Effect<Synced<Reload, Failure>, Failure> =>
    Effect.flatMap(
      parts.verify(turn, base),
      (current) => current === undefined ? Effect.succeed(conflict(parts.reload(base))) : decideOn(turn, current, base)
    )

  const inTurn = (turn: T) => Effect.flatMap(parts.load(turn, reload), (base) => decideOn(turn, base))

  const loop: Effect.Effect<Receipt, Failure> = Effect.flatMap(Effect.suspend(() => parts.inTurn(inTurn)), (synced) => {
    if (synced._tag === "Written") return Effect.succeed(synced.receipt)
    if (synced._tag === "Refused") return Effect.fail(synced.error)
    reload = synced.reload ?? reload
    return synced.error === undefined ? loop : Effect.fail(synced.error)
  })
  return loop
}

/**
 * Returns the answer that the events are written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const written = (receipt: Receipt): Synced<never, never> => ({ _tag: "Written", receipt })

/**
 * Returns the answer that the store refuses the events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const refused = <Failure>(error: Failure): Synced<never, Failure> => ({ _tag: "Refused", error })

/**
 * Returns the answer that the base was not what the log has.
 *
 * @since 0.1.0
 * @category constructors
 */
export const conflict = <Reload, Failure = never>(reload: Reload, error?: Failure): Synced<Reload, Failure> => ({
  _tag: "Conflict",
  reload,
  error
})

/**
 * The answer that the command has to be decided again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const again: Synced<never, never> = { _tag: "Conflict", reload: undefined }

/**
 * Follows an append for the commands that are decided on its events before they are written.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tracker {
  /** Receives the events just before the append is sent. */
  readonly sent: (request: Pick<AppendRequest, "events" | "stream">) => void
  /** The command id was appended before, so nothing is written. `ended` follows. */
  readonly repeated: () => void
  /** Receives the outcome, or the error. Without either, the append was interrupted or has died. */
  readonly ended: (outcome: AppendOutcome | undefined, error: AppendError | undefined) => void
}

/**
 * Appends, followed by trackers.
 *
 * @since 0.1.0
 * @category combinators
 */
export const tracked = (
  append: (observer: AppendObserver) => Effect.Effect<AppendOutcome, AppendError>,
  trackers: ReadonlyArray<Tracker>,
  onQueued: () => void,
  lock?: StreamLock
): Effect.Effect<AppendOutcome, AppendError> =>
  Effect.onExit(
    append({
      onSend: (request) => {
        for (const tracker of trackers) tracker.sent(request)
      },
      onQueued,
      onRepeated: () => {
        for (const tracker of trackers) tracker.repeated()
      },
      lock
    }),
    (exit) => {
      const outcome = Exit.isSuccess(exit) ? exit.value : undefined
      const error = Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Exit.findErrorOption(exit))
      for (const tracker of trackers) tracker.ended(outcome, error)
      return Effect.void
    }
  )

/**
 * Returns a turn that a function ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const turnOf = (pass: () => void): Turn => {
  let hasPassed = false
  return {
    hasPassed: () => hasPassed,
    pass: () => {
      hasPassed = true
      pass()
    }
  }
}
