/**
 * Commands that are dispatched later: at an instant, after a time, or again and again. A schedule is an instance of a process manager, so it is in the log,
 * fires once, and is parked, inspected and audited like every other.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import * as CommandContext from "../command/CommandContext.ts"
import * as CommandScheduler from "../command/CommandScheduler.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import * as RpcPayload from "../command/RpcPayload.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import { type EventStoreError, type InvalidCommand, invalidRequest, type ProjectionBehind } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import type { ListOptions, Page } from "../projection/ProjectionReader.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import * as DueTime from "./DueTime.ts"
import type { InstanceAppends } from "./InstanceAppends.ts"
import * as ProcessBehaviour from "./ProcessBehaviour.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessDefinition from "./ProcessDefinition.ts"
import { declaredErrorSchema } from "./ProcessEvents.ts"
import * as ProcessInstances from "./ProcessInstances.ts"
import * as ProcessLayer from "./ProcessLayer.ts"
import * as Reaction from "./Reaction.ts"

/**
 * The commands that a program can schedule.
 *
 * @since 0.1.0
 * @category models
 */
export interface Schedules<out C extends Command.Any> {
  readonly name: string
  readonly commands: ReadonlyArray<C>
  /** The process manager whose instances are the schedules, for `ProcessManager.list`, `inspect`, `retry` and `health`. */
  readonly process: ProcessContract.Any
}

type CheckedCommand = Command.Any & Command.WithBusErrors

/** A deadline of a schedule. */
interface Occurrence {
  readonly payload: unknown
  readonly cron: typeof Repetition.Type | null
}

const Repetition = Schema.Struct({
  expression: Schema.String,
  timeZone: Schema.String,
  missed: Schema.Literals(["latest", "all"])
})

/** The stream of a repeated command has no end. Its state is small, so a load reads a snapshot and a few events. */
const snapshots = SnapshotPolicy.every(100)

/**
 * Defines which commands can be scheduled. The streams of the schedules begin with the name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Commands extends ReadonlyArray<CheckedCommand>>(
  name: string,
  commands: Commands
): Schedules<Commands[number]> => {
  const none = Schema.TaggedUnion({})
  const all: ReadonlyArray<CheckedCommand> = commands
  const { behaviour: _, ...contract } = ProcessDefinition.make(name, {
    inputs: none,
    correlate: {},
    state: Schema.Null,
    events: none,
    commands: all,
    deadlines: Object.fromEntries(
      commands.map((command) => [
        command._tag,
        { payload: InProcessRpc.payloadSchema(command), cron: Schema.NullOr(Repetition) }
      ])
    )
  })
  const reactOf = (command: Command.Any) => (_: unknown, occurrence: Occurrence, fired: ProcessContract.Fired) =>
    occur(command, occurrence, fired)
  // Not by `behaviour`: the reactions of other process managers cannot skip.
  const functions = ProcessBehaviour.make(contract, {
    initial: null,
    correlate: {},
    evolve: {},
    snapshots,
    react: Object.fromEntries(commands.map((command) => [command._tag, reactOf(command)])),
    refused: Object.fromEntries(
      commands.filter((command) => declaredErrorSchema(command) !== undefined).map(({ _tag }) => [_tag, ignore])
    )
  })
  return { name, commands, process: { ...contract, ...functions } }
}

type Occurring = Reaction.Send<string> | Reaction.Skip | Reaction.SetDeadline<string, Occurrence> | Reaction.Complete

/** Returns what a schedule does when its command is due. */
const occur = (
  command: Command.Any,
  { cron, payload }: Occurrence,
  { dueAt, firedAt }: ProcessContract.Fired
): ReadonlyArray<Occurring> => {
  if (cron === null) return [Reaction.send(command, payload), Reaction.complete]
  const next = (after: DateTime.Utc) =>
    Reaction.deadline(command._tag, { payload, cron }, { at: Cron.next(parsed(cron), after) })
  if (cron.missed === "all") return [Reaction.send(command, payload), next(dueAt)]
  const missed = missedBetween(parsed(cron), dueAt, firedAt)
  return [
    ...missed === 0
      ? []
      : [Reaction.skip(command._tag, Math.min(missed, maxCounted), missed > maxCounted)],
    Reaction.sendLatest(command, payload),
    next(DateTime.max(dueAt, firedAt))
  ]
}

const parsed = ({ expression, timeZone }: typeof Repetition.Type): Cron.Cron =>
  Result.getOrThrow(parse(expression, timeZone))

/** Where a local time comes twice, because clocks go back, a schedule of every hour has no pause, and any other one occurs once. */
const parse = (expression: string, timeZone: string): ReturnType<typeof Cron.parse> =>
  Result.flatMap(Cron.parse(expression, timeZone), (cron) =>
    cron.hours.size === 0 || cron.hours.size === 24
      ? Cron.parse(expression, timeZone, { onDstOverlap: "both" })
      : Result.succeed(cron))

/** The maximum number of missed occurrences that are counted. */
const maxCounted = 1_000

/** Returns the number of occurrences after one that was due and up to when it fired; one more than the maximum if there are more. */
const missedBetween = (cron: Cron.Cron, dueAt: DateTime.Utc, firedAt: DateTime.Utc): number => {
  const end = DateTime.toEpochMillis(firedAt)
  let missed = 0
  for (const at of Cron.sequence(cron, dueAt)) {
    if (at.getTime() > end || missed > maxCounted) break
    missed++
  }
  return missed
}

/**
 * Provides `CommandBus.schedule` for the commands, and dispatches them when they are due. Programs with this layer share the work, and each occurrence
 * takes effect once. The layer requires the handlers of the commands.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <C extends Command.Any>(
  schedules: Schedules<C>,
  options: ProcessLayer.ProcessOptions = {}
): Layer.Layer<
  CommandScheduler.ScheduledOf<C> | ProcessLayer.ProcessManagers,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Command.HandlerOf<C>
> => {
  const { commands, name, process } = schedules
  const schedulers = Layer.effectContext(Effect.gen(function*() {
    const newId = yield* IdGenerator
    const appends = yield* appendsOf(schedules)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    return commands.reduce<Context.Context<CommandScheduler.ScheduledOf<C>>>(
      (context, command) =>
        Context.add(context, CommandScheduler.keyOf(command), {
          schedule: Effect.fnUntraced(function*(payload, { id = newId(), ...when }) {
            const valid = yield* RpcPayload.commandPayload(command, payload)
            const now = yield* driver.now
            const due = yield* Effect.fromResult(dueOf(when, now))
            const deadline = {
              kind: "deadline",
              name: command._tag,
              id: "0",
              payload: { payload: valid, cron: due.cron }
            } as const
            const received = {
              kind: "received",
              input: "schedule",
              eventId: id,
              position: Position.start,
              recordedAt: now,
              starts: true
            } as const
            const { toEvent } = process.processEvents
            const appended = appends.append(
              id,
              `${name}:scheduled:${id}`,
              ({ status }) =>
                status === "unstarted"
                  ? { events: [toEvent(received), toEvent({ ...deadline, dueAt: due.at })] }
                  // A second call with the same id changes nothing.
                  : { ignored: "unstarted" }
            )
            const { actor, attributes, causationId, correlationId } = when
            const context = CommandContext.provide({ actor, attributes, causationId, correlationId })
            yield* Effect.catchTag(context(appended), "ConcurrencyConflict", Effect.die)
            return id
          })
        }),
      Context.empty() as Context.Context<CommandScheduler.ScheduledOf<C>>
    )
  }))
  // The process manager sends these commands and no others.
  const running = ProcessLayer.layer([process], options) as Layer.Layer<
    ProcessLayer.ProcessManagers,
    EventStoreError,
    EventStore.EventStore | ProjectionStore.ProjectionStore | Command.HandlerOf<C>
  >
  return Layer.provideMerge(schedulers, running)
}

const appendsOf = (
  { name }: Schedules<Command.Any>
): Effect.Effect<InstanceAppends, never, ProcessLayer.ProcessManagers> =>
  Effect.flatMap(ProcessLayer.ProcessManagers, ({ [internals]: { appends } }) => {
    const found = appends.get(name)
    return found === undefined
      ? Effect.die(new Error(`evsrc: the schedules "${name}" do not run in this program; provide Schedules.layer`))
      : Effect.succeed(found)
  })

/** Returns when a command is due first. */
const dueOf = (
  when: CommandScheduler.When,
  now: DateTime.Utc
): Result.Result<{ readonly at: DateTime.Utc; readonly cron: Occurrence["cron"] }, EventStoreError> => {
  if ("cron" in when) {
    const { cron: expression, missed = "latest", timeZone = "UTC" } = when
    const next = Result.flatMap(parse(expression, timeZone), (cron) => Result.try(() => Cron.next(cron, now)))
    return Result.isFailure(next)
      ? Result.fail(
        invalidRequest(
          `the cron expression "${expression}" in the time zone "${timeZone}" is invalid, or has no occurrence: ${
            next.failure instanceof Error ? next.failure.message : String(next.failure)
          }; use five or six fields as in "0 8 * * MON-FRI", and a name such as "Europe/Berlin"`
        )
      )
      : Result.succeed({ at: DateTime.makeUnsafe(next.success), cron: { expression, timeZone, missed } })
  }
  const at = "after" in when
    ? Duration.fromInput(when.after).pipe((after) =>
      after._tag === "Some" ? DateTime.make(DateTime.addDuration(now, after.value)) : after
    )
    : DateTime.make(when.at)
  if (at._tag === "None") {
    return Result.fail(
      invalidRequest("the time of a scheduled command is invalid; give `at` as a date, or `after` as a duration")
    )
  }
  const dueAt = DueTime.valid(DateTime.toEpochMillis(at.value))
  return dueAt === undefined
    ? Result.fail(
      invalidRequest(
        `the time of a scheduled command is ${DateTime.formatIso(at.value)}; it must be in the years 1 to 9999`
      )
    )
    : Result.succeed({ at: dueAt, cron: null })
}

/**
 * Cancels a schedule. Returns false if no schedule of this id is pending: it was dispatched or cancelled, or never existed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const cancel = Effect.fnUntraced(function*(
  schedules: Schedules<Command.Any>,
  id: string
): Effect.fn.Return<boolean, EventStoreError | InvalidCommand, ProcessLayer.ProcessManagers> {
  const { toEvent } = schedules.process.processEvents
  const commandId = (yield* IdGenerator)()
  const appends = yield* appendsOf(schedules)
  const cancelled = appends.append(id, commandId, ({ deadlines, status }) =>
    status === "running"
      ? {
        events: [
          ...Object.entries(deadlines).map(([name, { id }]) => toEvent({ kind: "cancelled", name, id })),
          toEvent({ kind: "completed", isCancelled: true })
        ]
      }
      : { ignored: status })
  const { ignored, undeclared } = yield* Effect.catchTag(cancelled, "ConcurrencyConflict", Effect.die)
  if (undeclared !== undefined) {
    return yield* invalidRequest(
      `the schedule "${id}" has ${undeclared}, which this release does not declare; cancel it in a program of the newer release`
    )
  }
  return ignored === undefined
})

/**
 * A command that is scheduled, or was.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScheduledCommand {
  readonly id: string
  /** `cancelled` by `cancel`, `abandoned` by `ProcessManager.abandon`; otherwise `completed` once its last command is sent. */
  readonly status: ProcessInstances.Instance["status"] | "cancelled"
  /** The name of the command; `undefined` once nothing is pending. */
  readonly command: string | undefined
  readonly dueAt: DateTime.Utc | undefined
  /** How many occurrences were skipped because they were missed. */
  readonly skipped: number
}

/**
 * Returns a page of schedules; by default those that are pending, in the order in which they are due. A filter by the status `completed` selects the
 * cancelled ones too.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  { process }: Schedules<Command.Any>,
  options: ListOptions<ProcessInstances.Instances> = { where: { status: "running" }, orderBy: { field: "nextDueAt" } }
): Effect.Effect<Page<ScheduledCommand>, ProjectionBehind | EventStoreError, ProjectionStore.ProjectionStore> =>
  Effect.map(ProjectionStore.list(ProcessInstances.of(process), options), ({ items, next }) => ({
    next,
    items: items.map(({ deadlines, id, isCancelled, nextDueAt, skipped, status }) => ({
      id,
      status: isCancelled ? "cancelled" : status,
      command: Object.keys(deadlines)[0],
      dueAt: nextDueAt ?? undefined,
      skipped
    }))
  }))
