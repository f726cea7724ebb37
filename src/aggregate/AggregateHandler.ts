/**
 * Runs aggregates: load, fold, decide, append; on a conflict load what is missing and decide again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as CommandExecution from "../command/CommandExecution.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { ConcurrencyConflict } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AggregateDecider } from "./AggregateDefinition.ts"
import type { CachedState } from "./AggregateState.ts"
import * as AggregateState from "./AggregateStateCache.ts"
import * as Decider from "./Decider.ts"

/**
 * - `load`: what a command is decided on. `"verified"`, the default: the state that this process knows, which the append's own condition
 *   verifies, so that a command on a busy instance is one round trip; before it refuses a command or finds that nothing happens, it reads
 *   what is new. `"fresh"`: the stream is read before every decision
 *
 * @since 0.1.0
 * @category options
 */
export interface AggregateOptions extends CommandExecution.RunOptions {
  readonly load?: "verified" | "fresh" | undefined
}

/**
 * The handlers of an aggregate's commands, over an event store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: AggregateOptions = {}
): Layer.Layer<Command.HandlerOf<C>, never, EventStore.EventStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const context = yield* Effect.context<never>()
    const execute = yield* executor(store, decider, options)
    const commands = Array.from(decider.aggregate.group.requests.values())
    return InProcessRpc.handlers<C, never>(
      commands.map((command) => [command, (payload: Command.Payload<C>) => execute(command._tag, payload)] as const),
      context
    )
  }))

interface Decided<E, Error> {
  readonly events: ReadonlyArray<E>
  readonly answer: Effect.Effect<Receipt, Error | ConcurrencyConflict>
}

const executor = Effect.fnUntraced(function*<State, Events extends Event.Any, C extends Command.Any>(
  store: EventStore.EventStore["Service"],
  decider: AggregateDecider<State, Events, C>,
  options: AggregateOptions
) {
  type Loaded = CachedState<State>
  const run = yield* CommandExecution.make(store, options)
  const states = yield* AggregateState.of(store, decider)
  const { aggregate } = decider
  const trusting = options.load !== "fresh"

  return (command: C["_tag"], payload: Command.Payload<C>) => {
    // `HasId` of Aggregate.make has seen to it that every command carries the id, as a string.
    const stream = aggregate.streamOf(Reflect.get(payload as object, aggregate.id) as string)
    return run(command, () => stream, ({ expected, metadata, reject, unlessDone }) => {
      /** The events to append, or the answer when there are none. */
      const decide = ({ position, state, version }: Loaded): Decided<Event.Of<Events>, Command.DeclaredError<C>> => {
        if (expected !== undefined && !Version.meets(version, expected)) {
          const conflict = new ConcurrencyConflict({ stream, expected, actual: version })
          return { events: [], answer: Effect.suspend(() => reject(conflict)) }
        }
        const decision = Decider.decide(decider, state, command, payload)
        if (Result.isFailure(decision)) return { events: [], answer: Effect.fail(decision.failure) }
        return { events: decision.success, answer: CommandExecution.nothingHappens(command, stream, version, position) }
      }
      let known: Loaded | undefined
      const append = Effect.fnUntraced(
        function*(loaded: Loaded, events: ReadonlyArray<Event.Of<Events>>) {
          const { receipt, events: written } = yield* store.appendReturningEvents(aggregate.events, stream, events, {
            expected: loaded.version,
            metadata
          })
          if (written !== undefined) yield* states.advance(stream, loaded, written)
          return receipt
        },
        Effect.tapErrorTag("ConcurrencyConflict", ({ actual }) => {
          if (known === undefined || actual >= known.version) return Effect.void
          // The log was set back, by a backup that was restored.
          known = undefined
          return states.forget(stream)
        })
      )

      return Effect.gen(function*() {
        if (known === undefined) {
          known = Option.getOrUndefined(yield* states.known(stream))
          const { events } = trusting && known !== undefined ? decide(known) : { events: [] }
          if (known !== undefined && events.length > 0) {
            // A conflict says no more than that the state was old: that is no contention, to be waited out. So it is where the stream was closed
            // meanwhile: the command is decided on its last event.
            const receipt = yield* Effect.asSome(append(known, events)).pipe(
              Effect.catchTag("ConcurrencyConflict", () => Effect.succeedNone),
              Effect.catchReason("EventStoreError", "StreamClosed", () => Effect.succeedNone)
            )
            if (Option.isSome(receipt)) return receipt.value
          }
        }
        const current = known = yield* states.current(stream, known)
        const { answer, events } = decide(current)
        return yield* events.length > 0 ? append(current, events) : unlessDone(answer)
      })
    })
  }
})
