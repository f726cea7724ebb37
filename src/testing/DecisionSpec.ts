/**
 * Specifications of decisions in the form given events, when a command, then events. They work with any test runner.
 *
 * **Example** (a decision's test)
 *
 * ```ts
 * DecisionSpec.given(reserveSeat, [planned])
 *   .when({ show: "hamlet", guest: "ann" })
 *   .thenEvents([reserved])
 * ```
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import { encodeAll, type EncodedModelEvent, statesOf } from "./modelStates.ts"
import { expectEqual, SpecFailed } from "./SpecFailed.ts"

/**
 * The outcome of a command. The expectations throw `SpecFailed`. Use `result` for other assertions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome<M extends DecisionDefinition.Models, E, Error> {
  /** Expects exactly these events in this order, and returns the states of the models after them. */
  readonly thenEvents: (events: ReadonlyArray<E>) => DecisionDefinition.States<M>
  /** Expects that the command decides no events. */
  readonly thenNothing: () => void
  /** Expects that the command fails with this error. */
  readonly thenFails: (error: Error) => void
  /** Expects that the models of the command have these states. */
  readonly thenStates: (states: DecisionDefinition.States<M>) => void
  /** Expects that the events go to this stream. */
  readonly thenStream: (stream: string) => void
  /** The states of the models that the command was decided on. */
  readonly states: DecisionDefinition.States<M>
  readonly result: Result.Result<ReadonlyArray<E>, Error>
}

/**
 * A log with given events. `when` decides a command on the models that it chooses.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<C extends Command.Any, Events extends Event.Any, M extends DecisionDefinition.Models> {
  /** Adds events of another set, such as one that only a model reads. */
  readonly and: <Others extends Event.Any>(
    events: Others,
    batch: ReadonlyArray<Event.Of<Others>>
  ) => Given<C, Events, M>
  readonly when: (
    payload: Command.PayloadInput<C>
  ) => Outcome<M, Event.Of<Events>, Command.DeclaredError<C>>
}

/**
 * Returns a log with these events of the decision, oldest first.
 *
 * Each event, given or decided, is encoded, selected by the models' types and tags, and decoded as in a store. An event that does not satisfy its
 * Schema fails the test.
 *
 * @since 0.1.0
 * @category constructors
 */
export const given = <C extends Command.Any, Events extends Event.Any, M extends DecisionDefinition.Models>(
  decision: DecisionDefinition.Decision<C, Events, M>,
  events: ReadonlyArray<Event.Of<Events>> = []
): Given<C, Events, M> => log(decision, encodeAll(decision.events, events))

const log = <C extends Command.Any, Events extends Event.Any, M extends DecisionDefinition.Models>(
  decision: DecisionDefinition.Decision<C, Events, M>,
  stored: ReadonlyArray<EncodedModelEvent>
): Given<C, Events, M> => ({
  and: (events, batch) => log(decision, [...stored, ...encodeAll(events, batch)]),
  when: (payload) => {
    // `make` of the command's own payload Schema makes its payload; the erased Schema says unknown.
    const valid = InProcessRpc.payloadSchema(decision.command).make(payload) as Command.Payload<C>
    const models = decision.models(valid)
    const states = statesOf(models, stored)
    const decided = decision.decide(states, valid)
    return outcome(
      decision,
      valid,
      models,
      stored,
      states,
      Result.isResult(decided) ? decided : Result.succeed(decided)
    )
  }
})

const outcome = <C extends Command.Any, Events extends Event.Any, M extends DecisionDefinition.Models>(
  decision: DecisionDefinition.Decision<C, Events, M>,
  payload: Command.Payload<C>,
  models: M,
  stored: ReadonlyArray<EncodedModelEvent>,
  states: DecisionDefinition.States<M>,
  result: Result.Result<ReadonlyArray<Event.Of<Events>>, Command.DeclaredError<C>>
): Outcome<M, Event.Of<Events>, Command.DeclaredError<C>> => {
  const written = Result.isSuccess(result) ? encodeAll(decision.events, result.success) : []
  const expectEvents = (expected: ReadonlyArray<Event.Of<Events>>) => {
    if (Result.isFailure(result)) {
      throw new SpecFailed("the command failed, but events were expected", expected, result.failure)
    }
    expectEqual("the events differ from the expected ones", expected, result.success)
  }
  return {
    result,
    states,
    thenEvents: (expected) => {
      expectEvents(expected)
      return statesOf(models, [...stored, ...written])
    },
    thenNothing: () => expectEvents([]),
    thenFails: (expected) => {
      if (Result.isSuccess(result)) {
        throw new SpecFailed("the command did not fail, but an error was expected", expected, result.success)
      }
      expectEqual("the error differs from the expected one", expected, result.failure)
    },
    thenStates: (expected) => expectEqual("the states of the models differ from the expected ones", expected, states),
    thenStream: (expected) =>
      expectEqual(
        "the stream differs from the expected one",
        expected,
        decision.stream?.(payload) ?? "a stream of its own"
      )
  }
}
