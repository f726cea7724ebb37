/**
 * The contract of a back end for timers: what is due is decided by one clock, and each timer is worked on by one process at a time.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"

/**
 * A claim of timers that are due.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimerClaim {
  /** What the timers belong to, such as the name of a process manager. */
  readonly group: string
  readonly keys: ReadonlyArray<string>
  readonly owner: string
  /** For how long no other owner can claim them. */
  readonly duration: Duration.Duration
}

/**
 * Timers.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimerDriver {
  /** Returns the time by the clock of the store, which may differ from this process's clock. */
  readonly now: Effect.Effect<DateTime.Utc, EventStoreError>

  /** Claims those of the timers that no other owner has claimed, and returns their keys. */
  readonly claimTimers: (claim: TimerClaim) => Effect.Effect<ReadonlyArray<string>, EventStoreError>

  /** Gives up claims of an owner. */
  readonly releaseTimers: (
    claim: Pick<TimerClaim, "group" | "keys" | "owner">
  ) => Effect.Effect<void, EventStoreError>
}
