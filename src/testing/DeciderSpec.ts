/**
 * Given events, when a command, then events: tests of a decider as sentences, for any test runner. The form is that of Greg Young's
 * and of Axon's test fixtures.
 *
 * **Example** (a decider's test)
 *
 * ```ts
 * DeciderSpec.given(UserDecider, [registered])
 *   .when(RenameUser, { userId, name: "Ann" })
 *   .thenEvents([renamed])
 * ```
 *
 * @since 0.1.0
 */
import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * What came of the command. The expectations throw `SpecFailed`; `result` is for expectations of one's own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome<State, E, Error> {
  /** Exactly these events, in this order. Answers the state after them, for further expectations. */
  readonly thenEvents: (events: ReadonlyArray<E>) => State
  /** The command decided that nothing happens. */
  readonly thenNothing: () => void
  /** The command was refused with this error. */
  readonly thenFails: (error: Error) => void
  readonly result: Result.Result<ReadonlyArray<E>, Error>
}

/**
 * The past is set; `when` a command comes, or look at the state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<State, E, C extends Command.Any> {
  readonly when: <R extends C>(
    command: R,
    payload: Command.PayloadInput<R>
  ) => Outcome<State, E, Command.DeclaredError<R>>
  readonly thenState: (state: State) => void
  readonly state: State
}

/**
 * Sets the past of an aggregate: the events that have happened, oldest first.
 *
 * Each event, given or decided, is encoded and decoded on its way, as it would be in a store: one that does not satisfy its own Schema
 * fails the test.
 *
 * @since 0.1.0
 * @category specifications
 */
export const given = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  events: ReadonlyArray<Event.Of<Events>> = []
): Given<State, Event.Of<Events>, C> => {
  const state = Decider.fold(decider, events.map((event) => roundTrip(decider.aggregate.events, event)))
  return {
    state,
    thenState: (expected) => expectEqual("another state was expected", expected, state),
    when: (command, payload) => {
      const valid = InProcessRpc.payloadSchema(command).make(payload)
      const decided = Decider.decide(decider, state, command._tag, valid as Command.Payload<typeof command>)
      const result = Result.map(decided, (events) => events.map((event) => roundTrip(decider.aggregate.events, event)))
      return outcome(decider, state, result)
    }
  }
}

const outcome = <State, E extends Event.Tagged, Error>(
  decider: Pick<Decider.Decider<State, E, Command.Any>, "initial" | "evolve">,
  state: State,
  result: Result.Result<ReadonlyArray<E>, Error>
): Outcome<State, E, Error> => {
  const expectEvents = (expected: ReadonlyArray<E>) => {
    if (Result.isFailure(result)) throw new SpecFailed("the command was refused", expected, result.failure)
    expectEqual("other events were expected", expected, result.success)
  }
  return {
    result,
    thenEvents: (expected) => {
      expectEvents(expected)
      return Decider.fold(decider, expected, state)
    },
    thenNothing: () => expectEvents([]),
    thenFails: (expected) => {
      if (Result.isSuccess(result)) throw new SpecFailed("the command was not refused", expected, result.success)
      expectEqual("another error was expected", expected, result.failure)
    }
  }
}

const roundTrip = <Events extends Event.Any>(events: Events, event: Event.Of<Events>): Event.Of<Events> => {
  const codec = EventCodec.make(events)
  const encoded = codec.encode(event)
  if (Result.isFailure(encoded)) throw new SpecFailed(encoded.failure, "an event that satisfies its Schema", event)
  const decoded = codec.decodeData(encoded.success)
  if (Result.isFailure(decoded)) {
    throw new SpecFailed(decoded.failure.detail, "an event that decodes again", encoded.success)
  }
  // An event of today is one event.
  return decoded.success[0]!
}

const expectEqual = (message: string, expected: unknown, actual: unknown): void => {
  if (!Equal.equals(expected, actual)) throw new SpecFailed(message, expected, actual)
}
