/**
 * Specifications of deciders in the form given events, when a command, then events. They work with any test runner.
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
import * as Result from "effect/Result"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as Event from "../event/Event.ts"
import { roundTrip } from "./eventRoundTrip.ts"
import { encodeAll, type EncodedModelEvent, statesOf } from "./modelStates.ts"
import { expectEqual, SpecFailed } from "./SpecFailed.ts"

/**
 * The outcome of a command. The expectations throw `SpecFailed`. Use `result` for other assertions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome<State, E, Error> {
  /** Expects exactly these events in this order, and returns the state after them. */
  readonly thenEvents: (events: ReadonlyArray<E>) => State
  /** Expects that the command decides no events. */
  readonly thenNothing: () => void
  /** Expects that the command fails with this error. */
  readonly thenFails: (error: Error) => void
  readonly result: Result.Result<ReadonlyArray<E>, Error>
}

/**
 * An aggregate with given events. `when` decides a command on its state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<State, E, C extends Command.Any> {
  /** Adds events of other streams, which the decision models of a command select by their types and tags. */
  readonly and: <Others extends Event.Any>(events: Others, batch: ReadonlyArray<Event.Of<Others>>) => Given<State, E, C>
  readonly when: <R extends C>(
    command: R,
    payload: Command.PayloadInput<R>
  ) => Outcome<State, E, Command.DeclaredError<R>>
  readonly thenState: (state: State) => void
  readonly state: State
}

/**
 * Returns an aggregate with these events, oldest first.
 *
 * Each event, given or decided, is encoded and decoded as in a store. An event that does not satisfy its Schema fails the test.
 *
 * @since 0.1.0
 * @category constructors
 */
export const given = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  events: ReadonlyArray<Event.Of<Events>> = []
): Given<State, Event.Of<Events>, C> => {
  const own = encodeAll(decider.aggregate.events, events)
  const state = Decider.fold(decider, events.map((event) => roundTrip(decider.aggregate.events, event)))
  return inLog(decider, state, own)
}

const inLog = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  state: State,
  stored: ReadonlyArray<EncodedModelEvent>
): Given<State, Event.Of<Events>, C> => ({
  state,
  and: (events, batch) => inLog(decider, state, [...stored, ...encodeAll(events, batch)]),
  thenState: (expected) => expectEqual("the state differs from the expected one", expected, state),
  when: (command, payload) => {
    const valid = InProcessRpc.payloadSchema(command).make(payload)
    const models = decider.modelsOf(command._tag, valid)
    const states = models === undefined ? undefined : statesOf(models, stored)
    const decided = Decider.decide(decider, state, command._tag, valid as Command.Payload<typeof command>, states)
    const result = Result.map(decided, (events) => events.map((event) => roundTrip(decider.aggregate.events, event)))
    return outcome(decider, state, result)
  }
})

const outcome = <State, E extends Event.Tagged, Error>(
  decider: Pick<Decider.Decider<State, E, Command.Any>, "initial" | "evolve">,
  state: State,
  result: Result.Result<ReadonlyArray<E>, Error>
): Outcome<State, E, Error> => {
  const expectEvents = (expected: ReadonlyArray<E>) => {
    if (Result.isFailure(result)) {
      throw new SpecFailed("the command failed, but events were expected", expected, result.failure)
    }
    expectEqual("the events differ from the expected ones", expected, result.success)
  }
  return {
    result,
    thenEvents: (expected) => {
      expectEvents(expected)
      return Decider.fold(decider, expected, state)
    },
    thenNothing: () => expectEvents([]),
    thenFails: (expected) => {
      if (Result.isSuccess(result)) {
        throw new SpecFailed("the command did not fail, but an error was expected", expected, result.success)
      }
      expectEqual("the error differs from the expected one", expected, result.failure)
    }
  }
}
