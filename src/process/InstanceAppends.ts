/**
 * Appends the reaction of an instance of a process manager to an input: loads, reacts, appends. After a conflict it loads what is missing and reacts again.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as AggregateLoader from "../aggregate/AggregateLoader.ts"
import type { CachedState } from "../aggregate/AggregateState.ts"
import * as InstanceCommand from "../aggregate/InstanceCommand.ts"
import type * as InstanceLoader from "../aggregate/InstanceLoader.ts"
import * as InstanceQueue from "../aggregate/InstanceQueue.ts"
import { CommandContext } from "../command/CommandContext.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { type ConcurrencyConflict, type EventStoreError, type InvalidCommand, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Position } from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import type * as Event from "../event/Event.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import { commandOf } from "./ProcessBehaviour.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type { ProcessEvent } from "./ProcessEvents.ts"
import * as ProcessState from "./ProcessState.ts"

/**
 * The errors of an append to an instance.
 *
 * @since 0.1.0
 * @category errors
 */
export type AppendError = ConcurrencyConflict | EventStoreError | InvalidCommand

/**
 * What an instance appends: the events, or the reason why it ignores the input, or the error with which it rejects it. Or nothing yet, because it is behind:
 * the deferred steps come first.
 *
 * @since 0.1.0
 * @category models
 */
export type Decided =
  | { readonly events: ReadonlyArray<Event.Tagged> }
  | { readonly ignored: ProcessState.Ignored }
  | { readonly rejected: EventStoreError }
  | { readonly isBehind: true }

/**
 * The outcome of an input.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** Where the events are that were appended now or before; `undefined` if there are none. */
  readonly position: Position | undefined
  /** Why the instance has ignored the input; `undefined` if it has taken it, now or before. */
  readonly ignored: ProcessState.Ignored | undefined
  /** What of the instance this release does not understand, so that nothing was appended; `undefined` if it understands all. */
  readonly undeclared: string | undefined
  /** Whether nothing was appended because the deferred steps come first. */
  readonly isBehind: boolean
}

/**
 * The state of an instance, or what of it this release does not understand.
 *
 * @since 0.1.0
 * @category models
 */
export type Loaded = { readonly state: ProcessState.ProcessState<unknown> } | { readonly undeclared: string }

/**
 * The instances of a process manager in this process.
 *
 * @since 0.1.0
 * @category models
 */
export interface InstanceAppends {
  /**
   * Appends what `decide` returns on the state of an instance, once under a command id. It runs with the `CommandContext` of the caller, which says what
   * caused it.
   */
  readonly append: (
    id: string,
    commandId: string,
    decide: (state: ProcessState.ProcessState<unknown>) => Decided
  ) => Effect.Effect<Outcome, AppendError>
  /** Returns the current state of an instance. */
  readonly load: (id: string) => Effect.Effect<Loaded, EventStoreError>
  /** Appends an event of the runtime under a command id, whatever state the instance has. Returns its position. */
  readonly write: (id: string, commandId: string, event: ProcessEvent) => Effect.Effect<Position, AppendError>
  /** Returns whether something was appended under a command id. */
  readonly hasReceipt: (commandId: string) => Effect.Effect<boolean, EventStoreError>
}

/**
 * Returns the actor of what a process manager appends and dispatches.
 *
 * @since 0.1.0
 * @category accessors
 */
export const actorOf = ({ name, version }: Pick<ProcessContract.Contract, "name" | "version">): string =>
  `process:${name}@${version}`

const count = (process: string, reason: ProcessState.Ignored): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(Metrics.processIgnored, { process, reason }), 1)

/** The maximum number of appends of one instance that wait or are in flight. The consumers and the timer send one each. */
const maxWaiting = 1_000

/** What the appends of a process manager work with. */
interface Appender {
  readonly store: EventStore.EventStore["Service"]
  readonly definition: ProcessContract.Any
  readonly rpc: ProcessContract.ReactCommand
  readonly run: Effect.Success<ReturnType<typeof CommandExecution.make>>
  readonly instances: InstanceLoader.Instances<
    ProcessState.ProcessState<unknown>,
    Event.Any,
    ProcessContract.ReactCommand
  >
  /** Takes when a deadline is due that was set. */
  readonly onDeadline: (dueAt: DateTime.Utc) => void
}

/**
 * Makes the appends of a process manager on a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  store: EventStore.EventStore["Service"],
  definition: ProcessContract.Any,
  /** Takes when a deadline is due that was set. */
  onDeadline: (dueAt: DateTime.Utc) => void
): Effect.fn.Return<InstanceAppends> {
  const { decider, name } = definition
  const run = yield* CommandExecution.make(store[internals], {})
  const loader = yield* AggregateLoader.loaderOf(store, decider)
  AggregateLoader.setHandling(decider)
  const queue = InstanceQueue.make<ProcessState.ProcessState<unknown>>(maxWaiting)
  const instances = { store, decider, loader, queue, load: "verified" } as const
  const appender: Appender = { store, definition, rpc: commandOf(name), run, instances, onDeadline }
  return {
    append: (id, commandId, decide) => append(appender, id, commandId, decide),
    load: (id) => load(appender, id),
    write: (id, commandId, event) => write(appender, id, commandId, event),
    hasReceipt: (commandId) => Effect.map(store[internals].driver.receipt(commandId), Option.isSome)
  }
})

const append = (
  { definition: { decider, isPersonal, name, processEvents }, instances, onDeadline, rpc, run }: Appender,
  id: string,
  commandId: string,
  decide: (state: ProcessState.ProcessState<unknown>) => Decided
): Effect.Effect<Outcome, AppendError> =>
  Effect.suspend(() => {
    const stream = decider.aggregate.streamOf(id)
    // A field that `correlate` reads may be missing, or erased.
    const wrong = typeof id !== "string"
      ? "it is not a string"
      : id.length === 0
      ? "it is empty"
      : StreamId.validate(stream)
    if (wrong !== undefined) {
      const shown = isPersonal ? "an id" : `the id "${id}"`
      return invalidRequest(`${shown} of an instance of the process manager "${name}" is invalid: ${wrong}`)
    }
    let outcome: Outcome = taken
    let sent: ReadonlyArray<Event.Tagged> = []
    const decideOn = (
      from: CachedState<ProcessState.ProcessState<unknown>>,
      { firstReceiptOr }: CommandExecution.Attempt
    ): CommandLoop.Decided<Event.Tagged, EventStoreError> => {
      outcome = taken
      sent = []
      const empty = CommandExecution.emptyReceipt(rpc._tag, stream, from.version, from.position, from.eventId)
      // An input that comes again was taken before, whatever the instance has done since.
      const nothing = (because: Partial<Outcome>) => {
        outcome = { ...taken, ...because }
        return { events: [], end: firstReceiptOr(empty) }
      }
      // One that has ended ignores the input, whatever it has.
      if (from.state.undeclared !== null && !ProcessState.hasEnded(from.state)) {
        return nothing({ undeclared: from.state.undeclared })
      }
      const decided = Result.try(() => decide(from.state))
      if (Result.isFailure(decided)) return { events: [], end: Effect.die(decided.failure) }
      if ("rejected" in decided.success) return { events: [], end: Effect.fail(decided.success.rejected) }
      if (!("events" in decided.success)) return nothing(decided.success)
      sent = decided.success.events
      return { events: sent, end: sent.length > 0 ? undefined : empty }
    }
    return run(
      { rpc, payload: { id, cause: commandId }, events: decider.aggregate.events, streamOf: () => stream },
      (attempt) => InstanceCommand.make(instances, attempt, undefined, (from) => decideOn(from, attempt))
    ).pipe(
      Effect.updateService(CommandContext, (context) => ({ ...context, commandId })),
      Effect.flatMap((receipt) => {
        for (const event of sent) {
          const process = processEvents.fromEvent(event)
          if (process?.kind === "deadline") onDeadline(process.dueAt)
        }
        // An earlier receipt under the command id says that the input was taken then.
        if (receipt.events.length > 0) return Effect.succeed({ ...taken, position: receipt.position })
        return Effect.as(outcome.ignored === undefined ? Effect.void : count(name, outcome.ignored), outcome)
      }),
      Effect.catchTag("EventStoreError", (error) => {
        const undeclared = undeclaredIn(stream, error)
        return undeclared === undefined ? Effect.fail(error) : Effect.succeed({ ...taken, undeclared })
      })
    )
  })

const load = (
  { definition: { decider }, instances: { loader } }: Appender,
  id: string
): Effect.Effect<Loaded, EventStoreError> =>
  Effect.suspend(() => {
    const stream = decider.aggregate.streamOf(id)
    return Effect.flatMap(loader.cached(stream), (cached) => loader.current(stream, cached)).pipe(
      Effect.map(({ state }): Loaded => state.undeclared === null ? { state } : { undeclared: state.undeclared }),
      Effect.catch((error) => {
        const undeclared = undeclaredIn(stream, error)
        return undeclared === undefined ? Effect.fail(error) : Effect.succeed({ undeclared })
      })
    )
  })

const write = (
  { definition: { decider, processEvents }, rpc, run, store }: Appender,
  id: string,
  commandId: string,
  event: ProcessEvent
): Effect.Effect<Position, AppendError> => {
  const { events, streamOf } = decider.aggregate
  const stream = streamOf(id)
  const written = run(
    { rpc, payload: { id, cause: commandId }, events, streamOf: () => stream },
    ({ content, metadata }) =>
      Effect.flatMap(
        Effect.fromResult(content()),
        (content) => store.append(events, stream, [processEvents.toEvent(event)], { metadata, content })
      )
  )
  return written.pipe(
    Effect.updateService(CommandContext, (context) => ({ ...context, commandId })),
    Effect.map(({ position }) => position)
  )
}

const taken: Outcome = { position: undefined, ignored: undefined, undeclared: undefined, isBehind: false }

/** Returns the own event of the stream that only newer code has, if an error names one. */
const undeclaredIn = (stream: string, { reason }: EventStoreError): string | undefined =>
  reason._tag === "UndecodableEvent" && reason.stream === stream
    && (reason.problem === "UnknownType" || reason.problem === "NewerVersion")
    ? `the event "${reason.type}"${
      reason.problem === "NewerVersion" ? ` of schema version ${reason.schemaVersion}` : ""
    }`
    : undefined
