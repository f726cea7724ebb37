/**
 * What an instance of a process manager does with an input or an output: it reacts, dispatches, or defers it to a newer release.
 *
 * **Details**
 *
 * While a release is deployed, or after a rollback, programs of two releases run the same process manager. A release does not understand an instance that has a
 * command, a deadline or an own event which it does not declare. It appends a `deferred` event for each step to the stream of the instance, and goes on with the
 * other instances. A program that understands the instance carries out the deferred steps: its timer looks for them, and so does the next input or output.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as CommandBus from "../command/CommandBus.ts"
import * as CommandContext from "../command/CommandContext.ts"
import * as TraceContext from "../command/TraceContext.ts"
import { tagOf } from "../consumer/EventHandlers.ts"
import { type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as Background from "../core/telemetry/background.ts"
import * as safeSpan from "../core/telemetry/safeSpan.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import * as DeferredWork from "./DeferredWork.ts"
import { actorOf, type AppendError, type InstanceAppends, type Outcome } from "./InstanceAppends.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { declaredErrorSchema, type Deferred, type ProcessEvent, typeOf } from "./ProcessEvents.ts"
import { streamPrefix } from "./ProcessInstances.ts"
import * as ProcessState from "./ProcessState.ts"
import * as Starts from "./Starts.ts"
import * as StoredContent from "./StoredContent.ts"

/** The attribute of the metadata that counts how many reactions of process managers led to an event. */
const depthAttribute = "evsrc.processDepth"

/** How many reactions with commands may lead to one another, without a deadline in between. */
const maxDepth = 100

/**
 * What the instances work with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runtime {
  readonly instances: InstanceAppends
  readonly store: EventStore["Service"]
  /** The handlers of the commands. */
  readonly handlers: Context.Context<Command.HandlerOf<Command.Any>>
  /** For each instance with a command that was dispatched before those sent earlier, its index. */
  readonly latest: Map<string, number>
}

type Recorded = RecordedEvent<Event.Tagged>

/** Returns how many reactions led to an event. */
const depthOf = ({ metadata }: Recorded): number => {
  const found = metadata.attributes?.[depthAttribute]
  return typeof found === "number" ? found : 0
}

/** Runs an append or a dispatch of a process manager, to whose events so many reactions led. */
const by =
  (definition: ProcessContract.Any, depth: number) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.updateService(self, CommandContext.CommandContext, (context) => ({
      ...context,
      actor: actorOf(definition),
      attributes: { ...context.attributes, [depthAttribute]: depth }
    }))

/**
 * Takes an input. Returns false if this release does not understand the instance, and has deferred the input to a newer one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const take = (
  definition: ProcessContract.Any,
  runtime: Runtime,
  recorded: Recorded,
  isResuming = false
): Effect.Effect<boolean, AppendError> =>
  Effect.suspend(() => {
    const found = definition.correlate(recorded)
    if (found === undefined) return Effect.succeed(true)
    const input: ProcessState.Input = { _tag: "Event", recorded, starts: Starts.isStart(definition, found, recorded) }
    const part = recorded.part === 0 ? "" : `:${recorded.part}`
    const commandId = `${definition.name}:${recorded.id}${part}`
    const depth = depthOf(recorded) + 1
    const { id } = found
    return inTurn(
      definition,
      runtime,
      { id, what: "input", event: recorded, isResuming },
      (isResuming) => reactTo(definition, runtime.instances, { id, commandId, input, depth, isResuming })
    )
  })

/**
 * Dispatches a command, or reacts again to a deadline whose reaction threw. Returns false if this release does not understand the instance, and has
 * deferred it to a newer one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const follow = (
  definition: ProcessContract.Any,
  runtime: Runtime,
  recorded: Recorded,
  isResuming = false
): Effect.Effect<boolean, AppendError> =>
  Effect.suspend(() => {
    const one = definition.processEvents.fromEvent(recorded.event)
    if (one?.kind !== "send" && (one?.kind !== "fired" || one.isHandled)) return Effect.succeed(true)
    const id = idOf(definition, recorded)
    const run = Effect.fnUntraced(function*(isResuming: boolean): Effect.fn.Return<Taken, AppendError> {
      const found = yield* runtime.instances.load(id)
      if (!isResuming && "state" in found && found.state.deferred > 0) return { isBehind: true, undeclared: undefined }
      if ("undeclared" in found) {
        const isOver = yield* hasTakenEffect(definition, runtime, recorded)
        return { isBehind: false, undeclared: isOver ? undefined : found.undeclared }
      }
      yield* one.kind === "send"
        ? Effect.provideContext(dispatch(definition, runtime, recorded, one, found.state), runtime.handlers)
        : reactAgain(definition, runtime.instances, recorded, one)
      return { isBehind: false, undeclared: undefined }
    })
    return inTurn(definition, runtime, { id, what: "output", event: recorded, isResuming }, run)
  })

/** Returns whether an output that comes again, as after a reset, has written something. A release may have removed its command since. */
const hasTakenEffect = ({ name }: ProcessContract.Any, { instances }: Runtime, { id }: Recorded) =>
  Effect.map(
    Effect.findFirst(
      [id, ...["rejected", "skipped", "fired"].map((kind) => `${name}:${kind}:${id}`)],
      (commandId) => instances.hasReceipt(commandId)
    ),
    Option.isSome
  )

/** Whether a step was taken. */
type Taken = Pick<Outcome, "isBehind" | "undeclared">

/** A step of an instance. */
interface Step extends Pick<Deferred, "what"> {
  readonly id: string
  /** The event that leads to it; of a deadline, the one that set it. */
  readonly event: Pick<Recorded, "id" | "part" | "position">
  /** Whether the deferred steps were carried out before, or are now. */
  readonly isResuming: boolean
}

/**
 * Takes a step of an instance after the steps that were deferred. Returns false if this release does not understand the instance, and has deferred the step to
 * a newer one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const inTurn = Effect.fnUntraced(function*(
  definition: ProcessContract.Any,
  runtime: Runtime,
  { event, id, isResuming, what }: Step,
  take: (isResuming: boolean) => Effect.Effect<Taken, AppendError>
): Effect.fn.Return<boolean, AppendError> {
  let taken = yield* take(isResuming)
  if (taken.isBehind) {
    yield* resume(definition, runtime, id)
    taken = yield* take(true)
  }
  if (taken.undeclared === undefined) return true
  yield* defer(definition, runtime, id, what, event, taken.undeclared)
  return false
})

/** Records in the stream of an instance that an event is deferred to a newer release. A program that understands the instance finds it there. */
const defer = (
  definition: ProcessContract.Any,
  { instances }: Runtime,
  id: string,
  what: Deferred["what"],
  { id: eventId, part, position }: Pick<Recorded, "id" | "part" | "position">,
  reason: string
): Effect.Effect<void, AppendError> =>
  by(definition, 0)(
    Effect.asVoid(instances.write(id, `${definition.name}:deferred:${eventId}:${part}`, {
      kind: "deferred",
      what,
      eventId,
      position,
      part,
      reason
    }))
  )

/**
 * Carries out the deferred steps of an instance, in their order. Returns false if this release does not understand the instance.
 *
 * **Details**
 *
 * Each step has the command id that it would have had in its time. So it takes effect once, also when another program does the same meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const resume = (
  definition: ProcessContract.Any,
  runtime: Runtime,
  id: string
): Effect.Effect<boolean, AppendError> =>
  Effect.gen(function*() {
    const found = yield* runtime.instances.load(id)
    if ("undeclared" in found) return false
    if (found.state.deferred === 0) return true
    for (const one of yield* DeferredWork.outstanding(runtime.store, definition, id)) {
      if (!(yield* resumeOne(definition, runtime, one))) return false
      const { eventId, part } = one
      yield* by(definition, 0)(
        runtime.instances.write(id, `${definition.name}:resumed:${eventId}:${part}`, { kind: "resumed", eventId, part })
      )
    }
    return true
  })

const resumeOne = Effect.fnUntraced(function*(
  definition: ProcessContract.Any,
  runtime: Runtime,
  deferred: Deferred
): Effect.fn.Return<boolean, AppendError> {
  // The timer fires the deadline: it is pending.
  if (deferred.what === "deadline") return true
  const encoded = yield* DeferredWork.eventOf(runtime.store, deferred)
  const isInput = deferred.what === "input"
  const { decode } = EventCodec.make(isInput ? definition.inputs : definition.processEvents.all)
  const decoded = yield* Effect.mapError(
    Effect.fromResult(decode(encoded, isInput ? definition.where.tags : [])),
    storeError
  )
  const recorded = decoded.find(({ part }) => part === deferred.part)
  if (recorded === undefined || (isInput && !definition.handles.includes(recorded.event._tag))) return true
  const handled = isInput
    ? take(definition, runtime, recorded, true)
    : follow(definition, runtime, recorded, true)
  return yield* Background.withSpans(safeSpan.withSpan(
    CommandContext.provide(CommandContext.causedBy(encoded))(handled),
    "ProcessManager.resume",
    { "evsrc.process": definition.name, "evsrc.event.type": encoded.type, "evsrc.event.position": encoded.position },
    definition.isPersonal,
    TraceContext.ofEvent(encoded, undefined)
  ))
})

type Sending = Extract<ProcessEvent, { readonly kind: "send" }>

/**
 * Dispatches the last command of an instance at once, for those before it that are skipped. In its turn it might be skipped itself: while commands are
 * dispatched later than the next one is sent, none would ever be.
 */
const dispatchLatest = Effect.fnUntraced(function*(
  definition: ProcessContract.Any,
  runtime: Runtime,
  id: string,
  state: ProcessState.ProcessState<unknown>
): Effect.fn.Return<void, AppendError, Command.HandlerOf<Command.Any>> {
  const { decider, name, processEvents } = definition
  const events = runtime.store.readStreamEncoded(decider.aggregate.streamOf(id), { direction: "backward" })
  const found = yield* Stream.runHead(Stream.filter(events, ({ type }) => type === typeOf(name, "send")))
  if (Option.isNone(found)) return
  const decoded = yield* Effect.mapError(
    Effect.fromResult(EventCodec.make(processEvents.all).decode(found.value)),
    storeError
  )
  const [recorded] = decoded
  if (recorded === undefined) return
  const sending = processEvents.fromEvent(recorded.event)
  // One that this release does not declare is left to a newer one in its turn.
  if (sending?.kind !== "send" || StoredContent.isUndeclared(sending.payload)) return
  yield* CommandContext.provide(CommandContext.causedBy(found.value))(
    dispatch(definition, runtime, recorded, sending, state)
  )
  // Entries of partitions that another program owns by now would stay.
  const [oldest] = runtime.latest.size < maxLatest ? [] : runtime.latest.keys()
  if (oldest !== undefined) runtime.latest.delete(oldest)
  runtime.latest.set(id, sending.index)
})

/** The maximum number of entries of `latest`. Without its entry a command is dispatched a second time, under its id. */
const maxLatest = 10_000

/** Dispatches a command under the id of the event that sends it. An error that the command declares is an input of the instance. */
const dispatch = (
  definition: ProcessContract.Any,
  runtime: Runtime,
  recorded: Recorded,
  { index, isLatestOnly, name, payload }: Sending,
  state: ProcessState.ProcessState<unknown>
): Effect.Effect<unknown, AppendError, Command.HandlerOf<Command.Any>> =>
  Effect.gen(function*() {
    const { instances } = runtime
    const { rejections, sends, status } = state
    const id = idOf(definition, recorded)
    const rejectedAs = `${definition.name}:rejected:${recorded.id}`
    if ((runtime.latest.get(id) === index && runtime.latest.delete(id)) || status === "abandoned") return
    // A rejected command leaves nothing in the log, so it would be decided again when the event is handled again.
    if (rejections > 0 && (yield* instances.hasReceipt(rejectedAs))) return
    const depth = depthOf(recorded)
    if (isLatestOnly && index + 1 < sends) {
      if (yield* instances.hasReceipt(recorded.id)) return
      const skipped = { kind: "skipped", name, count: 1, isMore: false, sent: recorded.id } as const
      yield* by(definition, depth)(instances.write(id, `${definition.name}:skipped:${recorded.id}`, skipped))
      if (index > (runtime.latest.get(id) ?? -1)) yield* dispatchLatest(definition, runtime, id, state)
      return
    }
    const command = definition.commands.find(({ _tag }) => _tag === name)!
    const handled = CommandBus.dispatch(command, payload, { commandId: recorded.id }).pipe(by(definition, depth))
    yield* Effect.catch(handled, (error: unknown): Effect.Effect<unknown, AppendError> => {
      if (isInfrastructure(error) || declaredErrorSchema(command) === undefined) {
        return Effect.fail(error as AppendError)
      }
      const input: ProcessState.Input = {
        _tag: "Rejection",
        command: name,
        sent: recorded.id,
        payload,
        error,
        at: recorded.recordedAt
      }
      return reactTo(definition, instances, { id, commandId: rejectedAs, input, depth: depth + 1, isResuming: true })
    })
  })

const isInfrastructure = (error: unknown): error is AppendError => {
  const tag = tagOf(error)
  return tag === "EventStoreError" || tag === "ConcurrencyConflict" || tag === "InvalidCommand"
}

/** Reacts to a deadline whose reaction threw when it fired. */
const reactAgain = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  recorded: Recorded,
  { dueAt, firedAt, id, name, payload }: Extract<ProcessEvent, { readonly kind: "fired" }>
): Effect.Effect<unknown, AppendError> =>
  reactTo(definition, instances, {
    id: idOf(definition, recorded),
    commandId: `${definition.name}:fired:${recorded.id}`,
    input: { _tag: "Deadline", name, id, firedAt, fired: { id, dueAt, payload } },
    depth: 0,
    isResuming: true
  })

/** An input of an instance. */
interface Reacting {
  readonly id: string
  readonly commandId: string
  readonly input: ProcessState.Input
  /** How many reactions led to it, with this one. */
  readonly depth: number
  /** Whether the deferred steps were carried out before, or are now. */
  readonly isResuming: boolean
}

/** Appends the reaction of an instance to an input, once under the command id. */
const reactTo = (
  definition: ProcessContract.Any,
  instances: InstanceAppends,
  { commandId, depth, id, input, isResuming }: Reacting
): Effect.Effect<Outcome, AppendError> =>
  instances.append(id, commandId, (state) => {
    if (!isResuming && state.deferred > 0) return { isBehind: true }
    const ignored = ProcessState.ignores(state, input)
    if (ignored === "completed" && input._tag === "Rejection") {
      // Without a reaction; the event says that the command is not to be dispatched again.
      return { events: [ProcessState.taken(definition.processEvents, state, input)] }
    }
    if (ignored !== undefined) return { ignored }
    const events = ProcessState.react(definition, definition.processEvents, state, input)
    // A reaction without a command ends the loop.
    return depth > maxDepth && events.some((event) => definition.processEvents.fromEvent(event)?.kind === "send")
      ? { rejected: loop(definition) }
      : { events }
  }).pipe(by(definition, depth))

const loop = ({ name }: ProcessContract.Any): EventStoreError =>
  invalidRequest(
    `the process manager "${name}" and others react to one another: ${maxDepth} reactions led to this event, without a deadline in between; end the loop in a `
      + `reaction, then retry the event by Parking, or skip it`
  )

const idOf = ({ name }: ProcessContract.Any, { stream }: Recorded): string => stream.slice(streamPrefix(name).length)
