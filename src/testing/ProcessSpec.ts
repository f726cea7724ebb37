/**
 * Specifications of process managers in the form given inputs, when an input or a deadline, then commands. They need no store, and time passes when the test
 * says so. They work with any test runner.
 *
 * **Example** (an order that is not paid)
 *
 * ```ts
 * ProcessSpec.given(Fulfilment, [placed])
 *   .thenDeadlines({ PaymentDue: "15 minutes" })
 *   .after("15 minutes")
 *   .thenSends([ProcessManager.send(CancelOrder, { orderId })])
 *   .thenStatus("completed")
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as Event from "../event/Event.ts"
import type * as ProcessContract from "../process/ProcessContract.ts"
import type { ProcessEvent } from "../process/ProcessEvents.ts"
import type * as ProcessState from "../process/ProcessState.ts"
import type * as Reaction from "../process/Reaction.ts"
import * as ProcessInstance from "./processInstance.ts"
import { expectEqual, SpecFailed } from "./SpecFailed.ts"

/**
 * An instance of a process manager, and what it did in answer to the last step. The expectations throw `SpecFailed`, and return the specification.
 *
 * @since 0.1.0
 * @category models
 */
export interface Spec<State, Inputs extends Event.Any, E, C extends Command.Any> {
  /** Takes an input. */
  readonly when: (input: Event.Of<Inputs>) => Spec<State, Inputs, E, C>
  /** Rejects the last command of this name that the instance has sent. */
  readonly whenRejected: <R extends C>(command: R, error: Command.DeclaredError<R>) => Spec<State, Inputs, E, C>
  /** Lets time pass, zero or more. The deadlines that are due by then fire in order; the last step is then all of them. */
  readonly after: (time: Duration.Input) => Spec<State, Inputs, E, C>
  /** Expects exactly these own events. */
  readonly thenEvents: (events: ReadonlyArray<E>) => Spec<State, Inputs, E, C>
  /** Expects exactly these commands. */
  readonly thenSends: (commands: ReadonlyArray<Reaction.Send<C["_tag"]>>) => Spec<State, Inputs, E, C>
  /** Expects exactly these pending deadlines, each with the time until it is due. */
  readonly thenDeadlines: (deadlines: Readonly<Record<string, Duration.Input>>) => Spec<State, Inputs, E, C>
  /** Expects that the last step was ignored, for this reason. */
  readonly thenIgnored: (reason: ProcessState.Ignored) => Spec<State, Inputs, E, C>
  /** Expects this state, which is folded from the own events. */
  readonly thenState: (state: State) => Spec<State, Inputs, E, C>
  /** Expects that the instance has not started, runs, or has ended. */
  readonly thenStatus: (status: ProcessState.Status) => Spec<State, Inputs, E, C>
  /** The state after the last step. */
  readonly state: State
  /** The status after the last step. */
  readonly status: ProcessState.Status
}

type AnyDefinition<State, Inputs extends Event.Any, E, C extends Command.Any> = ProcessContract.ProcessDefinition<
  State,
  Inputs,
  E,
  C
>

/**
 * Returns a specification of an instance that has taken these inputs, the oldest first. All inputs of a specification belong to one instance, whatever id
 * `correlate` returns.
 *
 * Each event is encoded and decoded as in a store. An event, a command or a deadline that does not satisfy its Schema fails the test, and so does a reaction
 * that throws.
 *
 * @since 0.1.0
 * @category constructors
 */
export const given = <State, Inputs extends Event.Any, E, C extends Command.Any>(
  process: AnyDefinition<State, Inputs, E, C>,
  inputs: ReadonlyArray<Event.Of<Inputs>> = [],
  /** The time at the beginning; 2000-01-01T00:00:00Z by default. */
  { now = ProcessInstance.begin }: { readonly now?: DateTime.Utc | undefined } = {}
): Spec<State, Inputs, E, C> =>
  inputs.reduce<Spec<State, Inputs, E, C>>(
    (spec, input) => spec.when(input),
    specOf(process, ProcessInstance.make(process, now))
  )

const specOf = <State, Inputs extends Event.Any, E, C extends Command.Any>(
  process: AnyDefinition<State, Inputs, E, C>,
  instance: ProcessInstance.Instance
): Spec<State, Inputs, E, C> => {
  const { after, now, sent, step } = instance
  const expecting = (expect: () => void) => {
    expect()
    return spec
  }
  const isOf = <K extends ProcessEvent["kind"]>(kind: K) =>
    step.events.flatMap((event) => {
      const one = process.processEvents.fromEvent(event)
      return one?.kind === kind ? [one as Extract<ProcessEvent, { readonly kind: K }>] : []
    })
  const spec: Spec<State, Inputs, E, C> = {
    // The state that the process manager's own `evolve` has made.
    state: after.state as State,
    status: after.status,
    when: (input) => specOf(process, ProcessInstance.take(process, instance, input)),
    whenRejected: (command, error) => {
      const next = ProcessInstance.reject(process, instance, command._tag, error)
      if (next === undefined) throw new SpecFailed("the instance has not sent the command", command._tag, sent)
      return specOf(process, next)
    },
    after: (time) =>
      specOf(process, ProcessInstance.passTime(process, instance, DateTime.addDuration(now, passing(time)))),
    thenEvents: (expected) =>
      expecting(() => {
        const own = step.events.filter((event) => process.processEvents.fromEvent(event) === undefined)
        expectEqual("the own events differ from the expected ones", expected, own)
      }),
    thenSends: (expected) =>
      expecting(() => {
        const actual = isOf("send").map(({ name, payload }) => ({ name, payload }))
        expectEqual(
          "the commands differ from the expected ones",
          expected.map(({ command, name, payload }) => ({
            name,
            payload: InProcessRpc.payloadSchema(command).make(payload)
          })),
          actual
        )
      }),
    thenDeadlines: (expected) =>
      expecting(() => {
        const millis = (due: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(due))
        expectEqual(
          "the pending deadlines differ from the expected ones, in milliseconds until each is due",
          Object.fromEntries(Object.entries(expected).map(([name, due]) => [name, millis(due)])),
          Object.fromEntries(
            Object.entries(after.deadlines).map(([name, { dueAt }]) => [
              name,
              Duration.toMillis(DateTime.distance(now, dueAt))
            ])
          )
        )
      }),
    thenIgnored: (expected) =>
      expecting(() => expectEqual("the last step was not ignored for the expected reason", expected, step.ignored)),
    thenState: (expected) =>
      expecting(() => expectEqual("the state differs from the expected one", expected, after.state)),
    thenStatus: (expected) =>
      expecting(() => expectEqual("the status differs from the expected one", expected, after.status))
  }
  return spec
}

const passing = (time: Duration.Input): Duration.Duration => {
  const passes = Duration.fromInputUnsafe(time)
  if (Duration.isNegative(passes)) {
    throw new Error(
      `ProcessSpec: \`after\` lets time pass, so it cannot go back by ${
        Duration.format(Duration.abs(passes))
      }; give a duration of zero or more, or \`now\` of \`given\` for an earlier beginning`
    )
  }
  return passes
}
