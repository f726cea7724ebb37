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
import type * as Scope from "effect/Scope"
import { CommandContext } from "../command/CommandContext.ts"
import * as TraceContext from "../command/TraceContext.ts"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import type { TimerDriver } from "../consumer/TimerDriver.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as safeSpan from "../core/telemetry/safeSpan.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as DueInputs from "./DueInputs.ts"
import { actorOf, type AppendError } from "./InstanceAppends.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessInstances from "./ProcessInstances.ts"
import type { Instance, Instances } from "./ProcessInstances.ts"
import * as ProcessReactions from "./ProcessReactions.ts"
import * as ProcessState from "./ProcessState.ts"
import * as TimerWork from "./TimerWork.ts"

/**
 * What a timer works with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timer {
  readonly definition: ProcessContract.Any
  readonly projection: Instances
  readonly runtime: ProcessReactions.Runtime
  readonly store: ProjectionStore.ProjectionStore["Service"]
  readonly driver: TimerDriver & Pick<ConsumerDriver, "activeGeneration" | "inProcess" | "parked" | "parkedCounts">
  readonly log: Pick<EventStoreDriver, "changed" | "head" | "highWaterMarkOf" | "last">
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

/** The longest pause after a pass that has failed. */
const maxPause = Duration.seconds(10)

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
    // A log of its own: however many instances fail, the line that the store does not respond is written.
    const ofInstances = OutageLog.make(`each instance of the process manager "${definition.name}"`)
    const running = yield* TimerWork.makeRunning
    const firing = TimerWork.attemptsOf(
      "fire",
      (key) => `The deadlines of the instance "${key}" cannot be fired`,
      running,
      ofInstances
    )
    const resuming = TimerWork.attemptsOf(
      "resume",
      (key) => `The deferred steps of the instance "${key}" cannot be carried out`,
      running,
      ofInstances
    )
    const look: Look = { at: undefined }
    let pause = TimerWork.minPause
    yield* listen(timer)
    while (true) {
      yield* alarm.latch.close
      // What is set meanwhile shortens the wait, and does not begin another look at once.
      alarm.wakesAt = -Infinity
      alarm.earliest = Infinity
      const exit = yield* Effect.exit(pass(timer, look, firing, resuming))
      if (Exit.isSuccess(exit)) {
        pause = TimerWork.minPause
        yield* outages.succeeded("pass")
        yield* waitAfter(timer, exit.value)
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
  }).pipe(Effect.scoped, Background.withoutSpans)

/** The last look at the clock and the log whose inputs are not all taken yet. What was due by then fires when they are. */
interface Look {
  at: { readonly now: DateTime.Utc; last: Option.Option<Position.Position> | undefined } | undefined
}

/** When a timer looks again. */
interface Next {
  readonly after: Duration.Duration
  /** The high-water mark before the look, if nothing can become due earlier until the log grows. */
  readonly idleAt: Position.Position | undefined
}

/** Wakes the timer, in a store that only this process can change, when an input is not parked any more. */
const listen = ({ alarm, definition, driver: { inProcess }, owner }: Timer): Effect.Effect<void, never, Scope.Scope> =>
  inProcess === undefined ? Effect.void : Effect.asVoid(Effect.acquireRelease(
    inProcess.listen(ProcessConsumers.of(definition).inputs.id, owner, () => alarm.latch.openUnsafe()),
    (stop) => stop
  ))

/** Waits until the timer looks again. In a store that only this process can change, every deadline is set by an event in the log. */
const waitAfter = ({ alarm, log, settings }: Timer, { after, idleAt }: Next): Effect.Effect<void> => {
  const woken = idleAt === undefined ? alarm.latch.await : Effect.raceFirst(
    alarm.latch.await,
    // This program may not have set the deadline itself.
    Effect.andThen(Effect.ignore(log.changed(idleAt)), Effect.sleep(settings.pollInterval))
  )
  return Duration.isFinite(after) ? Effect.asVoid(Effect.timeoutOption(woken, after)) : woken
}

/** Fires all that is due, does what other releases have left, and returns when the timer looks again. */
const pass = Effect.fnUntraced(function*(
  timer: Timer,
  look: Look,
  firing: TimerWork.Attempts,
  resuming: TimerWork.Attempts
): Effect.fn.Return<Next, TimerWork.TimerError> {
  const { alarm, definition, driver, log, projection, runtime, settings, store } = timer
  const begun = yield* monotonicMillis
  const head = driver.inProcess === undefined ? undefined : yield* log.head
  let found = 0
  const at = look.at ??= { now: yield* driver.now, last: undefined }
  const { now } = at
  const left = { where: { deferredSince: { lte: now } }, orderBy: { field: "deferredSince" } } as const
  yield* TimerWork.workOn(
    timer,
    left,
    resuming,
    (page) => {
      found += page.length
      return Effect.succeed(page)
    },
    ({ id }) => ProcessReactions.resume(definition, runtime, id)
  )
  const due = { where: { nextDueAt: { lte: now } }, orderBy: { field: "nextDueAt" } } as const
  const ready: TimerWork.Ready = Effect.fnUntraced(function*(page) {
    if (page.length === 0) return page
    at.last ??= yield* DueInputs.lastOf(timer)
    if (!(yield* DueInputs.areTaken(timer, at.last))) {
      if (yield* DueInputs.areLost(timer, at.last)) look.at = undefined
      return undefined
    }
    const free = yield* DueInputs.withoutParked(timer, page)
    found += free.length
    return free
  })
  if (!(yield* TimerWork.workOn(timer, due, firing, ready, (one) => fireAll(timer, one, now)))) {
    return { after: Duration.zero, idleAt: undefined }
  }
  look.at = undefined
  const { items: [next] } = yield* store.list(projection, {
    where: { nextDueAt: { gt: now } },
    orderBy: { field: "nextDueAt" },
    limit: 1
  })
  const dueAt = next?.nextDueAt
  const passed = (yield* monotonicMillis) - begun
  const millis = DateTime.toEpochMillis(now) + passed
  const idleAt = found === 0 ? head : undefined
  alarm.wakesAt = Math.min(
    dueAt === undefined || dueAt === null ? Infinity : DateTime.toEpochMillis(dueAt),
    alarm.earliest,
    idleAt === undefined ? millis + Duration.toMillis(settings.pollInterval) : Infinity
  )
  return { after: Duration.millis(Math.max(0, alarm.wakesAt - millis)), idleAt }
})

/** Fires the deadlines of an instance that are due, the earliest first. */
const fireAll = Effect.fnUntraced(function*(
  timer: Timer,
  { deadlines, id: key }: Instance,
  now: DateTime.Utc
): Effect.fn.Return<boolean, TimerWork.TimerError> {
  const due = Object.entries(deadlines)
    .filter(([, { dueAt }]) => DateTime.isLessThanOrEqualTo(dueAt, now))
    .toSorted(([, a], [, b]) => DateTime.toEpochMillis(a.dueAt) - DateTime.toEpochMillis(b.dueAt))
  for (const [name, one] of due) {
    if (!(yield* fire(timer, key, name, one, now))) return false
  }
  return true
})

/**
 * Fires one deadline. If the reaction throws, the deadline has fired all the same, and the subscription of the outputs tries the reaction again. Returns false
 * if this release does not understand the instance, and has left the deadline to a newer one.
 */
const fire = (
  { definition, runtime }: Timer,
  key: string,
  name: string,
  { correlationId, id, setBy, traceparent }: Instance["deadlines"][string],
  firedAt: DateTime.Utc
): Effect.Effect<boolean, AppendError> => {
  const { processEvents } = definition
  const { instances } = runtime
  const input = { _tag: "Deadline", name, id, firedAt } as const
  const append = (reacts: boolean, isResuming: boolean) =>
    instances.append(key, `${definition.name}:deadline:${setBy}`, (state) => {
      if (!isResuming && state.deferred > 0) return { isBehind: true }
      const ignored = ProcessState.ignores(state, input)
      if (ignored !== undefined) return { ignored }
      return {
        events: reacts
          ? ProcessState.react(definition, processEvents, state, input)
          : [ProcessState.unhandled(processEvents, state, input)]
      }
    })
  const fireOnce = (isResuming: boolean) =>
    Effect.catchCause(append(true, isResuming), (cause) => {
      const error = Cause.findErrorOption(cause)
      // The reaction threw, or its events do not satisfy their Schemas.
      const isOfReaction = Cause.hasDies(cause) ||
        Option.exists(error, (error) => error._tag === "EventStoreError" && error.reason._tag === "InvalidRequest")
      return isOfReaction && !Cause.hasInterrupts(cause) ? append(false, isResuming) : Effect.failCause(cause)
    })
  const event = { id: setBy, part: 0, position: Position.start }
  const fired = Effect.provideService(
    ProcessReactions.inTurn(definition, runtime, { id: key, what: "deadline", event, isResuming: false }, fireOnce),
    CommandContext,
    { correlationId, causationId: setBy, actor: actorOf(definition) }
  )
  const span = traceparent === undefined ? undefined : TraceContext.spanOf(traceparent)
  return Background.withSpans(safeSpan.withSpan(
    fired,
    "ProcessManager.deadline",
    {
      "evsrc.process": definition.name,
      "evsrc.stream": ProcessInstances.streamPrefix(definition.name) + key,
      "evsrc.correlation_id": correlationId
    },
    definition.isPersonal,
    // It may be due weeks after the trace that has set it.
    { root: true, links: span === undefined ? [] : [{ span, attributes: {} }] }
  ))
}
