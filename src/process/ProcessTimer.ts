/**
 * Fires the deadlines of a process manager that are due by the clock of the store. Every process has a timer: a claim keeps two from working on one
 * instance, and the command id of a firing from writing it twice.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import { CommandContext } from "../command/CommandContext.ts"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import type { TimerDriver } from "../consumer/TimerDriver.ts"
import type { ProjectionBehind } from "../core/errors.ts"
import * as LockWait from "../core/lockWait.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import type { Position } from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as DueInputs from "./DueInputs.ts"
import { actorOf, type AppendError, type InstanceAppends } from "./InstanceAppends.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type { Instance, Instances } from "./ProcessInstances.ts"
import * as ProcessState from "./ProcessState.ts"

/**
 * What a timer works with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timer {
  readonly definition: ProcessContract.Any
  readonly projection: Instances
  readonly instances: InstanceAppends
  readonly store: ProjectionStore.ProjectionStore["Service"]
  readonly driver: TimerDriver & Pick<ConsumerDriver, "activeGeneration" | "parked" | "parkedCounts">
  readonly log: Pick<EventStoreDriver, "last">
  readonly owner: string
  readonly alarm: Alarm
  readonly settings: Settings
}

/**
 * The settings of a timer.
 *
 * @since 0.1.0
 * @category options
 */
export interface Settings {
  /** How often it looks for deadlines that other processes have set. */
  readonly pollInterval: Duration.Duration
  /** How long a claim lasts. */
  readonly claim: Duration.Duration
  /** How many instances it works on at a time. */
  readonly concurrency: number
}

/**
 * Wakes a timer when a deadline is set that is due before it would look again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Alarm {
  readonly latch: Latch.Latch
  /** When the timer looks again, by the clock of the store, in milliseconds; `-Infinity` while it looks. */
  wakesAt: number
  /** When the earliest deadline is due that was set since the timer began to look. */
  earliest: number
  readonly set: (dueAt: DateTime.Utc) => void
}

/**
 * Returns an alarm.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeAlarm = (): Alarm => {
  const latch = Latch.makeUnsafe(false)
  const alarm: Alarm = {
    latch,
    wakesAt: -Infinity,
    earliest: Infinity,
    set: (dueAt) => {
      const millis = DateTime.toEpochMillis(dueAt)
      alarm.earliest = Math.min(alarm.earliest, millis)
      if (millis < alarm.wakesAt) latch.openUnsafe()
    }
  }
  return alarm
}

type TimerError = AppendError | ProjectionBehind

/** The pauses after a failure. */
const minPause = Duration.millis(200)
const maxPause = Duration.seconds(10)
const maxFailurePause = Duration.seconds(60)

/** The number of instances that are read, and claimed, at a time. */
const pageSize = 200

/**
 * Fires deadlines until it is interrupted.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = (timer: Timer): Effect.Effect<never> =>
  Effect.gen(function*() {
    const { alarm, definition } = timer
    const outages = OutageLog.make(`the timer of the process manager "${definition.name}"`)
    const failures: Failures = new Map()
    const look: Look = { at: undefined }
    let pause = minPause
    while (true) {
      yield* alarm.latch.close
      // What is set meanwhile shortens the wait, and does not begin another look at once.
      alarm.wakesAt = -Infinity
      alarm.earliest = Infinity
      const exit = yield* Effect.exit(pass(timer, look, failures, outages))
      if (Exit.isSuccess(exit)) {
        pause = minPause
        yield* outages.succeeded("pass")
        yield* Effect.timeoutOption(alarm.latch.await, exit.value)
        continue
      }
      const { cause } = exit
      yield* outages.failed({
        source: "pass",
        kind: "pass",
        message: OutageLog.withReason("Deadlines cannot be read or fired", cause),
        cause
      })
      yield* Effect.sleep(pause)
      pause = Duration.min(Duration.times(pause, 2), maxPause)
    }
  }).pipe(Background.withoutSpans)

/** The instances whose deadlines could not be fired, each with the time of the next attempt by the monotonic clock, in milliseconds. */
type Failures = Map<string, { readonly pause: Duration.Duration; readonly retryAt: number }>

/** The last look at the clock and the log whose inputs are not all taken yet. What was due by then fires when they are. */
interface Look {
  at: { readonly now: DateTime.Utc; readonly last: Position | undefined } | undefined
}

/** Fires all that is due, and returns the time until the timer looks again. */
const pass = Effect.fnUntraced(function*(
  timer: Timer,
  look: Look,
  failures: Failures,
  outages: OutageLog.OutageLog
): Effect.fn.Return<Duration.Duration, TimerError> {
  const { alarm, driver, projection, settings, store } = timer
  const begun = yield* monotonicMillis
  const { last, now } = look.at ??= { now: yield* driver.now, last: yield* DueInputs.lastOf(timer) }
  const gone = new Set(failures.keys())
  let cursor: string | undefined
  do {
    const page = yield* store.list(projection, {
      where: { nextDueAt: { lte: now } },
      orderBy: { field: "nextDueAt" },
      limit: pageSize,
      ...(cursor === undefined ? {} : { after: cursor })
    })
    for (const { id } of page.items) gone.delete(id)
    if (page.items.length > 0 && !(yield* DueInputs.areTaken(timer, last))) return Duration.zero
    yield* firePage(timer, yield* DueInputs.withoutParked(timer, page.items), now, failures, outages)
    cursor = Option.getOrUndefined(page.next)
  } while (cursor !== undefined)
  look.at = undefined
  // Another process has fired them, or an operator has abandoned them.
  for (const key of gone) if (failures.delete(key)) yield* outages.succeeded(key)
  const { items: [next] } = yield* store.list(projection, {
    where: { nextDueAt: { gt: now } },
    orderBy: { field: "nextDueAt" },
    limit: 1
  })
  const dueAt = next?.nextDueAt
  const passed = (yield* monotonicMillis) - begun
  const millis = DateTime.toEpochMillis(now) + passed
  alarm.wakesAt = Math.min(
    dueAt === undefined || dueAt === null ? Infinity : DateTime.toEpochMillis(dueAt),
    alarm.earliest,
    millis + Duration.toMillis(settings.pollInterval)
  )
  return Duration.millis(Math.max(0, alarm.wakesAt - millis))
})

/** Fires the deadlines of a page of instances: those that no other process works on, and that have not just failed. */
const firePage = Effect.fnUntraced(function*(
  timer: Timer,
  page: ReadonlyArray<Instance>,
  now: DateTime.Utc,
  failures: Failures,
  outages: OutageLog.OutageLog
): Effect.fn.Return<void, TimerError> {
  const { definition: { name: group }, driver, owner, settings: { claim, concurrency } } = timer
  const millis = yield* monotonicMillis
  const keys = page.map(({ id }) => id).filter((key) => (failures.get(key)?.retryAt ?? -Infinity) <= millis)
  if (keys.length === 0) return
  const claimed = new Set(yield* driver.claimTimers({ group, keys, owner, duration: claim }))
  const found = page.filter(({ id }) => claimed.has(id))
  yield* Effect.forEach(found, (one) => fireAll(timer, one, now, failures, outages), { concurrency, discard: true })
    .pipe(
      Effect.ensuring(Effect.ignore(driver.releaseTimers({ group, keys: Array.from(claimed), owner })))
    )
})

/** Fires the deadlines of an instance that are due, the earliest first. A failure of the instance does not stop the others. */
const fireAll = (
  timer: Timer,
  { deadlines, id: key }: Instance,
  now: DateTime.Utc,
  failures: Failures,
  outages: OutageLog.OutageLog
): Effect.Effect<void, TimerError> => {
  const due = Object.entries(deadlines)
    .filter(([, { dueAt }]) => DateTime.isLessThanOrEqualTo(dueAt, now))
    .toSorted(([, a], [, b]) => DateTime.toEpochMillis(a.dueAt) - DateTime.toEpochMillis(b.dueAt))
  return Effect.forEach(due, ([name, one]) => fire(timer, key, name, one, now), { discard: true }).pipe(
    Effect.matchCauseEffect({
      onSuccess: () => failures.delete(key) ? outages.succeeded(key) : Effect.void,
      onFailure: (cause) => {
        const error = Cause.findErrorOption(cause)
        if (Cause.hasInterrupts(cause) || Option.exists(error, isOfStore)) return Effect.failCause(cause)
        return Effect.flatMap(monotonicMillis, (millis) => {
          const last = failures.get(key)?.pause
          const pause = last === undefined ? minPause : Duration.min(Duration.times(last, 2), maxFailurePause)
          failures.set(key, { pause, retryAt: millis + Duration.toMillis(pause) })
          return outages.failed({
            source: key,
            kind: "instance",
            message: OutageLog.withReason(`The deadlines of the instance "${key}" cannot be fired`, cause),
            cause,
            isStuck: true
          })
        })
      }
    })
  )
}

/** Fires one deadline. If the reaction throws, the deadline has fired all the same, and the subscription of the outputs tries the reaction again. */
const fire = (
  { definition, instances }: Timer,
  key: string,
  name: string,
  { correlationId, id, setBy }: Instance["deadlines"][string],
  firedAt: DateTime.Utc
): Effect.Effect<unknown, AppendError> => {
  const { processEvents } = definition
  const input = { _tag: "Deadline", name, id, firedAt } as const
  const append = (reacts: boolean) =>
    instances.append(key, `${definition.name}:deadline:${setBy}`, (state) => {
      const ignored = ProcessState.ignores(state, input)
      if (ignored !== undefined) return { ignored }
      return {
        events: reacts
          ? ProcessState.react(definition, processEvents, state, input)
          : [ProcessState.unhandled(processEvents, state, input)]
      }
    })
  return Effect.catchCause(append(true), (cause) => {
    const error = Cause.findErrorOption(cause)
    // The reaction threw, or its events do not satisfy their Schemas.
    const isOfReaction = Cause.hasDies(cause) ||
      Option.exists(error, (error) => error._tag === "EventStoreError" && error.reason._tag === "InvalidRequest")
    return isOfReaction && !Cause.hasInterrupts(cause) ? append(false) : Effect.failCause(cause)
  }).pipe(Effect.provideService(CommandContext, { correlationId, causationId: setBy, actor: actorOf(definition) }))
}

/** Returns whether an error concerns all instances. One whose stream another session has locked does not stop the others. */
const isOfStore = (error: TimerError): boolean =>
  "isRetryable" in error && error.isRetryable && !LockWait.isOfKey(error)
