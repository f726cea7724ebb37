/**
 * The deadline of a health check. After it, the check fails with what could not be read, and names the session that may be the cause.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import type { EventStoreDriver, LockHolder } from "../eventStore/driver/EventStoreDriver.ts"
import * as LockHolders from "../eventStore/driver/LockHolders.ts"

/**
 * What a check reads at the moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reading {
  what: string
}

/**
 * The deadline of a check.
 *
 * @since 0.1.0
 * @category options
 */
export interface Deadline {
  /** The time for the whole check. */
  readonly timeout: Duration.Duration
  /** How much of it has passed already; none by default. */
  readonly passed?: Duration.Duration | undefined
}

/**
 * Returns the time for the whole check.
 *
 * @since 0.1.0
 * @category accessors
 */
export const timeoutOf = (
  { timeout = "15 seconds" }: { readonly timeout?: Duration.Input | undefined }
): Duration.Duration => Duration.fromInputUnsafe(timeout)

/** A check that takes longer than this looks for the session for which it waits. */
const lookDelay = Duration.seconds(1)

/** How long a check that has failed looks for the session for which it may have waited. */
const namingTimeout = Duration.seconds(2)

/**
 * Runs what a check reads, within its deadline. If it fails with `StoreUnavailable`, or not in time, the error names the transaction that holds a lock of the
 * store.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within = Effect.fnUntraced(function*<A, E, R>(
  log: EventStoreDriver,
  { passed = Duration.zero, timeout }: Deadline,
  read: (reading: Reading) => Effect.Effect<A, E | EventStoreError, R>
): Effect.fn.Return<A, E | EventStoreError, R> {
  const reading: Reading = { what: "the end of the log" }
  // Without `pg_read_all_stats` the catalogs show which session it is only while this one waits.
  let seen: string | undefined
  const look = Effect.sleep(lookDelay).pipe(
    Effect.andThen(holderOf(log, ({ waiting }) => waiting > 0)),
    Effect.map((holder) => {
      seen = holder
    })
  )
  const looking = yield* Effect.forkDetach(look)
  return yield* inTime(read(reading), Duration.subtract(timeout, passed)).pipe(
    Effect.ensuring(Effect.sync(() => looking.interruptUnsafe())),
    Effect.flatMap(Option.match({
      onNone: () => Effect.fail(storeError(notRead(reading, timeout))),
      onSome: Effect.succeed
    })),
    Effect.catch((error) =>
      !isUnavailable(error) ?
        Effect.fail(error) :
        inTime(holderOf(log, mayBeCause), namingTimeout).pipe(
          Effect.orElseSucceed(Option.none),
          Effect.flatMap((found) => {
            const holder = Option.getOrUndefined(found) ?? seen
            return Effect.fail(holder === undefined ? error : storeError(naming(error.reason, holder)))
          })
        )
    )
  )
})

const isUnavailable = (error: unknown): error is EventStoreError & { readonly reason: StoreUnavailable } =>
  error instanceof EventStoreError && error.reason._tag === "StoreUnavailable"

const notRead = ({ what }: Reading, timeout: Duration.Duration): StoreUnavailable =>
  new StoreUnavailable({
    message: `The health check has not ended within ${Duration.format(timeout)} (timeout): it could not read ${what}`,
    cause: undefined
  })

/** Returns what an effect returns within a time. It does not wait for the end of the effect after that: its statement may not be answered. */
const inTime = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  timeout: Duration.Duration
): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.flatMap(
    Effect.forkDetach(effect, { startImmediately: true }),
    (fiber) =>
      Effect.interruptible(Effect.timeoutOption(Fiber.join(fiber), timeout)).pipe(
        Effect.ensuring(Effect.sync(() => fiber.interruptUnsafe()))
      )
  )

/** Returns a sentence about the first transaction of some that hold a lock of the store, if the catalogs show one. */
const holderOf = (
  log: EventStoreDriver,
  isWanted: (holder: LockHolder) => boolean
): Effect.Effect<string | undefined, EventStoreError> =>
  Effect.map(LockHolders.observe(log), (observed) => {
    const holder = observed.lockHolders.find(isWanted)
    return holder && LockHolders.describe(observed, holder)
  })

/** The statement that waited may have ended by now. */
const mayBeCause = ({ pid, state, waiting }: LockHolder): boolean =>
  waiting > 0 || pid === undefined || state?.startsWith("idle in transaction") === true

const naming = ({ cause, message }: StoreUnavailable, holder: string): StoreUnavailable =>
  new StoreUnavailable({ message: `${message}; ${holder}`, cause })
