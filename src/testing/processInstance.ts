/**
 * An instance of a process manager in a test, without a store. Each event is encoded and decoded as in a store.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type * as ProcessContract from "../process/ProcessContract.ts"
import * as ProcessState from "../process/ProcessState.ts"
import { encode, roundTrip } from "./eventRoundTrip.ts"

/**
 * Where an instance stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface Instance {
  readonly after: ProcessState.ProcessState<unknown>
  readonly now: DateTime.Utc
  /** How many events the log has. */
  readonly log: number
  /** All commands that were sent, with the ids of the events that sent them. */
  readonly sent: ReadonlyArray<{ readonly id: string; readonly name: string; readonly payload: unknown }>
  /** What the last step did. */
  readonly step: { readonly events: ReadonlyArray<Event.Tagged>; readonly ignored: ProcessState.Ignored | undefined }
}

/**
 * The time at the beginning.
 *
 * @since 0.1.0
 * @category constants
 */
export const begin = DateTime.makeUnsafe("2000-01-01T00:00:00Z")

/**
 * Returns an instance that does not exist yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ decider }: ProcessContract.Any, now: DateTime.Utc = begin): Instance => ({
  after: decider.initial,
  now,
  log: 0,
  sent: [],
  step: { events: [], ignored: undefined }
})

/**
 * Takes an input, as the log would have it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const take = (process: ProcessContract.Any, instance: Instance, input: Event.Tagged): Instance => {
  const recorded = record(process.inputs, instance, input)
  const correlation = process.correlate(recorded)
  const next = { ...instance, log: instance.log + 1 }
  if (correlation === undefined) return { ...next, step: { events: [], ignored: undefined } }
  return react(process, next, { _tag: "Event", recorded, starts: correlation.starts })
}

/**
 * Fires the deadlines that are due by then, each at its own time, also those that the reactions set.
 *
 * @since 0.1.0
 * @category combinators
 */
export const passTime = (
  process: ProcessContract.Any,
  instance: Instance,
  until: DateTime.Utc
): Instance => {
  let current: Instance = { ...instance, step: { events: [], ignored: undefined } }
  while (true) {
    const next = nextOf(current)
    if (next === undefined || DateTime.isGreaterThan(next.dueAt, until)) return { ...current, now: until }
    const after = fireOne(process, current, next)
    current = { ...after, step: { ...after.step, events: [...current.step.events, ...after.step.events] } }
  }
}

/**
 * Lets time pass until the next deadline fires; `undefined` without one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const fireNext = (process: ProcessContract.Any, instance: Instance): Instance | undefined => {
  const next = nextOf(instance)
  return next && fireOne(process, instance, next)
}

interface Next extends ProcessState.Pending {
  readonly name: string
}

/** Returns the pending deadline that is due first. */
const nextOf = ({ after }: Instance): Next | undefined =>
  Object.entries(after.deadlines)
    .map(([name, pending]) => ({ name, ...pending }))
    .toSorted((a, b) => DateTime.toEpochMillis(a.dueAt) - DateTime.toEpochMillis(b.dueAt))[0]

const fireOne = (process: ProcessContract.Any, instance: Instance, { dueAt, id, name }: Next): Instance => {
  const firedAt = DateTime.max(dueAt, instance.now)
  return react(process, { ...instance, now: firedAt }, { _tag: "Deadline", name, id, firedAt })
}

/**
 * Rejects the last command of a name that the instance has sent; `undefined` if it has sent none.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reject = (
  process: ProcessContract.Any,
  instance: Instance,
  command: string,
  error: unknown
): Instance | undefined => {
  const last = instance.sent.findLast(({ name }) => name === command)
  const { id: sent = "", payload } = last ?? {}
  return last && react(process, instance, { _tag: "Rejection", command, sent, payload, error, at: instance.now })
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
