/**
 * Appends what an instance of a process manager does in answer to an input: load, react, append; after a conflict load what is missing and react again.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as AggregateLoader from "../aggregate/AggregateLoader.ts"
import type { CachedState } from "../aggregate/AggregateState.ts"
import * as InstanceCommand from "../aggregate/InstanceCommand.ts"
import * as InstanceQueue from "../aggregate/InstanceQueue.ts"
import { CommandContext } from "../command/CommandContext.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import type * as CommandLoop from "../command/CommandLoop.ts"
import { type ConcurrencyConflict, type EventStoreError, type InvalidCommand, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as StreamId from "../core/StreamId.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import type * as Event from "../event/Event.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import { commandOf } from "./ProcessBehaviour.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import type * as ProcessState from "./ProcessState.ts"

/**
 * The errors of an append to an instance.
 *
 * @since 0.1.0
 * @category errors
 */
export type AppendError = ConcurrencyConflict | EventStoreError | InvalidCommand

/**
 * What an instance appends: the events, or the reason why it ignores the input, or the error with which it rejects it.
 *
 * @since 0.1.0
 * @category models
 */
export type Decided =
  | { readonly events: ReadonlyArray<Event.Tagged> }
  | { readonly ignored: ProcessState.Ignored }
  | { readonly rejected: EventStoreError }

/**
 * The outcome of an input.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** Why the instance has ignored the input; `undefined` if it has taken it, now or before. */
  readonly ignored: ProcessState.Ignored | undefined
}

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
  readonly load: (id: string) => Effect.Effect<ProcessState.ProcessState<unknown>, EventStoreError>
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

/**
 * Makes the appends of a process manager on a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  store: EventStore.EventStore["Service"],
  { decider, isPersonal, name, processEvents }: ProcessContract.Any,
  /** Takes when a deadline is due that was set. */
  onDeadline: (dueAt: DateTime.Utc) => void
): Effect.fn.Return<InstanceAppends> {
  const run = yield* CommandExecution.make(store[internals], {})
  const loader = yield* AggregateLoader.loaderOf(store, decider)
  AggregateLoader.setHandling(decider)
  const queue = InstanceQueue.make<ProcessState.ProcessState<unknown>>(maxWaiting)
  const instances = { store, decider, loader, queue, load: "verified" } as const
  const rpc = commandOf(name)
  const { events } = decider.aggregate

  const append: InstanceAppends["append"] = (id, commandId, decide) =>
    Effect.suspend(() => {
      const stream = decider.aggregate.streamOf(id)
      const wrong = id.length === 0 ? "it is empty" : StreamId.validate(stream)
      if (wrong !== undefined) {
        const shown = isPersonal ? "an id" : `the id "${id}"`
        return invalidRequest(`${shown} of an instance of the process manager "${name}" is invalid: ${wrong}`)
      }
      let ignored: ProcessState.Ignored | undefined
      let sent: ReadonlyArray<Event.Tagged> = []
      const decideOn = (
        from: CachedState<ProcessState.ProcessState<unknown>>,
        { firstReceiptOr }: CommandExecution.Attempt
      ): CommandLoop.Decided<Event.Tagged, EventStoreError> => {
        ignored = undefined
        sent = []
        const decided = Result.try(() => decide(from.state))
        if (Result.isFailure(decided)) return { events: [], end: Effect.die(decided.failure) }
        const empty = CommandExecution.emptyReceipt(rpc._tag, stream, from.version, from.position, from.eventId)
        if ("events" in decided.success) {
          sent = decided.success.events
          return { events: sent, end: sent.length > 0 ? undefined : empty }
        }
        if ("rejected" in decided.success) return { events: [], end: Effect.fail(decided.success.rejected) }
        ignored = decided.success.ignored
        // An input that comes again was taken before, whatever the instance has done since.
        return { events: [], end: firstReceiptOr(empty) }
      }
      return run(
        { rpc, payload: { id, cause: commandId }, events, streamOf: () => stream },
        (attempt) => InstanceCommand.make(instances, attempt, undefined, (from) => decideOn(from, attempt))
      ).pipe(
        Effect.updateService(CommandContext, (context) => ({ ...context, commandId })),
        Effect.flatMap((receipt) => {
          for (const event of sent) {
            const process = processEvents.fromEvent(event)
            if (process?.kind === "deadline") onDeadline(process.dueAt)
          }
          // An earlier receipt under the command id says that the input was taken then.
          const reason = receipt.events.length > 0 ? undefined : ignored
          return Effect.as(reason === undefined ? Effect.void : count(name, reason), { ignored: reason })
        })
      )
    })

  return {
    append,
    load: (id) =>
      Effect.suspend(() => {
        const stream = decider.aggregate.streamOf(id)
        return Effect.map(
          Effect.flatMap(loader.cached(stream), (cached) => loader.current(stream, cached)),
          ({ state }) => state
        )
      })
  }
})
