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
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type * as ProcessContract from "../process/ProcessContract.ts"
import type { ProcessEvent } from "../process/ProcessEvents.ts"
import * as ProcessState from "../process/ProcessState.ts"
import type * as Reaction from "../process/Reaction.ts"
import { encode, roundTrip } from "./eventRoundTrip.ts"
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
  /** Lets time pass. The deadlines that are due meanwhile fire in order; the last step is then all of them. */
  readonly after: (time: Duration.Input) => Spec<State, Inputs, E, C>
  /** Expects exactly these own events. */
  readonly thenEvents: (events: ReadonlyArray<E>) => Spec<State, Inputs, E, C>
  /** Expects exactly these commands. */
  readonly thenSends: (commands: ReadonlyArray<Reaction.Send<C["_tag"]>>) => Spec<State, Inputs, E, C>
  /** Expects exactly these pending deadlines, each with the time until it is due. */
  readonly thenDeadlines: (deadlines: Readonly<Record<string, Duration.Input>>) => Spec<State, Inputs, E, C>
  /** Expects that the last step was ignored, for this reason. */
  readonly thenIgnored: (reason: ProcessState.Ignored) => Spec<State, Inputs, E, C>
  readonly thenState: (state: State) => Spec<State, Inputs, E, C>
  readonly thenStatus: (status: ProcessState.Status) => Spec<State, Inputs, E, C>
  readonly state: State
  readonly status: ProcessState.Status
}

type AnyDefinition<State, Inputs extends Event.Any, E, C extends Command.Any> = ProcessContract.ProcessDefinition<
  State,
  Inputs,
  E,
  C
>

/** Where an instance stands. */
interface Instance {
  readonly after: ProcessState.ProcessState<unknown>
  readonly now: DateTime.Utc
  /** How many events the log has. */
  readonly log: number
  /** All commands that were sent, with the ids of the events that sent them. */
  readonly sent: ReadonlyArray<{ readonly id: string; readonly name: string; readonly payload: unknown }>
  /** What the last step did. */
  readonly step: { readonly events: ReadonlyArray<Event.Tagged>; readonly ignored: ProcessState.Ignored | undefined }
}

const begin = DateTime.makeUnsafe("2000-01-01T00:00:00Z")

/**
 * Returns an instance that has taken inputs, the oldest first. All inputs of a specification belong to one instance, whatever id `correlate` returns.
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
  { now = begin }: { readonly now?: DateTime.Utc | undefined } = {}
): Spec<State, Inputs, E, C> =>
  inputs.reduce<Spec<State, Inputs, E, C>>(
    (spec, input) => spec.when(input),
    specOf(process, {
      after: process.decider.initial,
      now,
      log: 0,
      sent: [],
      step: { events: [], ignored: undefined }
    })
  )

const specOf = <State, Inputs extends Event.Any, E, C extends Command.Any>(
  process: AnyDefinition<State, Inputs, E, C>,
  instance: Instance
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
    when: (input) => specOf(process, take(process, instance, input)),
    whenRejected: (command, error) => {
      const last = sent.findLast(({ name }) => name === command._tag)
      if (last === undefined) throw new SpecFailed("the instance has not sent the command", command._tag, sent)
      return specOf(
        process,
        react(process, instance, {
          _tag: "Rejection",
          command: command._tag,
          sent: last.id,
          payload: last.payload,
          error,
          at: now
        })
      )
    },
    after: (time) =>
      specOf(process, passTime(process, instance, DateTime.addDuration(now, Duration.fromInputUnsafe(time)))),
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

const take = (process: ProcessContract.Any, instance: Instance, input: Event.Tagged): Instance => {
  const recorded = record(process.inputs, instance, input)
  const correlation = process.correlate(recorded)
  const next = { ...instance, log: instance.log + 1 }
  if (correlation === undefined) return { ...next, step: { events: [], ignored: undefined } }
  return react(process, next, { _tag: "Event", recorded, starts: correlation.starts })
}

/** Fires the deadlines that are due by then, each at its own time, also those that the reactions set. */
const passTime = (
  process: ProcessContract.Any,
  instance: Instance,
  until: DateTime.Utc
): Instance => {
  let current: Instance = { ...instance, step: { events: [], ignored: undefined } }
  while (true) {
    const [next] = Object.entries(current.after.deadlines)
      .filter(([, { dueAt }]) => DateTime.isLessThanOrEqualTo(dueAt, until))
      .toSorted(([, a], [, b]) => DateTime.toEpochMillis(a.dueAt) - DateTime.toEpochMillis(b.dueAt))
    if (next === undefined) return { ...current, now: until }
    const [name, { dueAt, id }] = next
    const firedAt = DateTime.max(dueAt, current.now)
    const after = react(process, { ...current, now: firedAt }, { _tag: "Deadline", name, id, firedAt })
    current = { ...after, step: { ...after.step, events: [...current.step.events, ...after.step.events] } }
  }
}

const react = (
  process: ProcessContract.Any,
  instance: Instance,
  input: ProcessState.Input
): Instance => {
  const { decider, processEvents } = process
  const ignored = ProcessState.ignores(instance.after, input)
  if (ignored !== undefined) return { ...instance, step: { events: [], ignored } }
  const events = ProcessState.react(process, processEvents, instance.after, input)
    .map((event) => roundTrip(processEvents.all, event))
  const sent = events.flatMap((event, index) => {
    const one = processEvents.fromEvent(event)
    return one?.kind === "send" ? [{ id: `${instance.log + index}`, name: one.name, payload: one.payload }] : []
  })
  return {
    ...instance,
    after: events.reduce((state, event) => decider.evolve(state, event), instance.after),
    log: instance.log + events.length,
    sent: [...instance.sent, ...sent],
    step: { events, ignored: undefined }
  }
}

/** Returns an input as the log would have it. */
const record = (
  inputs: Event.Any,
  { log, now }: Instance,
  input: Event.Tagged
): RecordedEvent<Event.Tagged> => {
  return {
    ...encode(inputs, input),
    event: roundTrip(inputs, input),
    part: 0,
    id: `input-${log + 1}`,
    position: Position.make(BigInt(log + 1)),
    stream: "input" as StreamId,
    version: Version.make(log + 1),
    metadata: {},
    recordedAt: now
  }
}
