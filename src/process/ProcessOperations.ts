/**
 * What operators do with process managers: list and inspect instances, retry or abandon a parked one, check the health.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as AggregateLoader from "../aggregate/AggregateLoader.ts"
import type * as Command from "../command/Command.ts"
import {
  type EventStoreError,
  invalidRequest,
  type ProjectionBehind,
  storeError,
  StoreUnavailable
} from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import type { Position } from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as Health from "../operations/Health.ts"
import { parkedUnder } from "../operations/ParkedKeys.ts"
import * as Parking from "../operations/Parking.ts"
import type { NotParked, StillParked } from "../operations/ParkingError.ts"
import type { ListOptions, Page } from "../projection/ProjectionReader.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"
import type { AppendError } from "./InstanceAppends.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessInstances from "./ProcessInstances.ts"
import { ProcessManagers } from "./ProcessLayer.ts"
import type { ProcessState } from "./ProcessState.ts"

/**
 * Returns the consumers of a process manager, for `Health.of`, `Parking`, `DeliveryAudit` and `Checkpoints`: the subscription of its inputs, the one that
 * dispatches its commands, and the read model of its instances.
 *
 * @since 0.1.0
 * @category accessors
 */
export const consumers = (
  process: ProcessContract.Any
): ProcessConsumers.ProcessConsumers & { readonly instances: ProcessInstances.Instances } => ({
  ...ProcessConsumers.of(process),
  instances: ProcessInstances.of(process)
})

/**
 * Returns a page of instances, filtered and ordered by `status`, `startedAt`, `updatedAt` and `nextDueAt`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  process: ProcessContract.Any,
  options?: ListOptions<ProcessInstances.Instances>
): Effect.Effect<
  Page<ProcessInstances.Instance>,
  ProjectionBehind | EventStoreError,
  ProjectionStore.ProjectionStore
> => ProjectionStore.list(ProcessInstances.of(process), options)

/**
 * An instance as an operator sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Inspection<out State> {
  readonly instance: ProcessInstances.Instance
  /** Its state, and its pending deadlines with their payloads. */
  readonly state: ProcessState<State>
  /** All its events, in order: inputs, own events, commands and deadlines. */
  readonly history: ReadonlyArray<RecordedEvent<Event.Tagged>>
  /** The command, the reaction to a deadline, or else the input, at which it is parked; none if it is not. */
  readonly parked: Option.Option<Parking.Parked>
}

/** The consumer of the inputs, if a worker runs it and its keys are the instances. */
const keyedInputs = (process: ProcessContract.Any): ProcessConsumers.ProcessConsumers["inputs"] | undefined =>
  process.partitionBy === "instance" && process.handles.length > 0 ? ProcessConsumers.of(process).inputs : undefined

/**
 * Returns an instance with its state, its history and what it is parked at; none if there is no such instance.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inspect = Effect.fnUntraced(function*<State>(
  process: ProcessContract.ProcessDefinition<State, Event.Any, unknown, Command.Any>,
  id: string
): Effect.fn.Return<
  Option.Option<Inspection<State>>,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const { decider } = process
  const found = yield* ProjectionStore.get(ProcessInstances.of(process), id)
  if (Option.isNone(found)) return Option.none()
  const stream = decider.aggregate.streamOf(id)
  const { state } = yield* AggregateLoader.loadReadOnly(decider, id, {})
  const history = yield* Stream.runCollect(EventStore.readStream(decider.aggregate.events, stream))
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const parkedOf = ({ id: consumer }: ProcessConsumers.ProcessConsumers["outputs"], key: string) =>
    Effect.flatMap(driver.activeGeneration(consumer), (generation) => parkedUnder(driver, generation, key))
  const inputs = keyedInputs(process)
  const [parked] = [
    ...yield* parkedOf(ProcessConsumers.of(process).outputs, stream),
    ...inputs === undefined ? [] : yield* parkedOf(inputs, id)
  ]
  return Option.some({ instance: found.value, state, history, parked: Option.fromUndefinedOr(parked) })
})

/**
 * Returns the name of an event of a history: its type, with the name of its command or deadline, such as `fulfilment.send.ShipOrder`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventName = (process: ProcessContract.Any, event: Event.Tagged): string => {
  const one = process.processEvents.fromEvent(event)
  return one !== undefined && "name" in one ? `${event._tag}.${one.name}` : event._tag
}

const retryOutput = (process: ProcessContract.Any, id: string, options?: Parking.RetryOptions) =>
  Parking.retry(ProcessConsumers.of(process).outputs, process.decider.aggregate.streamOf(id), options)

/**
 * Retries the command, or the reaction to a deadline, at which an instance is parked; without one, the input at which it is. A command keeps its id, so it
 * takes effect once. Fails with `NotParked` if the instance is not parked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retry = (
  process: ProcessContract.Any,
  id: string,
  options?: Parking.RetryOptions
): Effect.Effect<Parking.Outcome, NotParked | StillParked | EventStoreError, ProjectionStore.ProjectionStore> => {
  const inputs = keyedInputs(process)
  const output = retryOutput(process, id, options)
  return inputs === undefined ? output : Effect.catchTag(output, "NotParked", () => Parking.retry(inputs, id, options))
}

/**
 * Ends an instance for a reason, which its stream and the read model keep. Commands that it has not dispatched yet are not dispatched any more, its deadlines
 * are dropped, and later inputs are ignored and counted. Returns false if no instance of this id is running. It waits for a command of the instance that is
 * being dispatched, so none takes effect after it has returned. If that takes longer than 10 seconds, it fails with `StoreUnavailable`, and the instance has
 * ended all the same. Fails with `InvalidRequest` if this program does not run the process manager.
 *
 * @since 0.1.0
 * @category combinators
 */
export const abandon = Effect.fnUntraced(function*(
  process: ProcessContract.Any,
  id: string,
  reason: string
): Effect.fn.Return<boolean, AppendError | StillParked, ProcessManagers | ProjectionStore.ProjectionStore> {
  const { appends } = (yield* ProcessManagers)[internals]
  const instances = appends.get(process.name)
  if (instances === undefined) {
    return yield* invalidRequest(
      `the process manager "${process.name}" does not run in this program; give it to ProcessManager.layer`
    )
  }
  const abandoned = { kind: "abandoned", reason } as const
  const commandId = (yield* IdGenerator)()
  const { ignored, undeclared, ...appended } = yield* instances.append(
    id,
    commandId,
    ({ status }) =>
      status === "running" ? { events: [process.processEvents.toEvent(abandoned)] } : {
        ignored: status
      }
  )
  let { position } = appended
  // An operator may end an instance that this release cannot load: the read model has its status.
  if (undeclared !== undefined) {
    const found = yield* Effect.catchTag(
      ProjectionStore.get(ProcessInstances.of(process), id),
      "ProjectionBehind",
      (cause) =>
        storeError(
          new StoreUnavailable({
            message:
              `The instances of the process manager "${process.name}" cannot be read yet; try again: ${cause.message}`,
            cause
          })
        )
    )
    if (!Option.exists(found, ({ status }) => status === "running")) return false
    position = yield* instances.write(id, commandId, abandoned)
  }
  if (ignored === "unstarted") return false
  // What it is parked at passes now without an effect.
  yield* Effect.catchTag(retryOutput(process, id), "NotParked", () => Effect.void)
  const inputs = keyedInputs(process)
  if (inputs !== undefined) yield* Effect.catchTag(Parking.retry(inputs, id), "NotParked", () => Effect.void)
  if (position !== undefined) yield* awaitDispatched(process, id, position)
  return ignored === undefined
})

/** How long `abandon` waits for a command that is being dispatched. */
const maxDispatch = Duration.seconds(10)

/** Waits until no command is being dispatched that an instance has sent before a position. */
const awaitDispatched = (process: ProcessContract.Any, id: string, position: Position) =>
  Effect.catchTag(
    ProjectionStore.awaitPosition(
      { id: ProcessConsumers.of(process).outputs.id, lifecycle: "async" },
      position,
      maxDispatch
    ),
    "ProjectionBehind",
    () =>
      storeError(
        new StoreUnavailable({
          message:
            `${
              process.isPersonal ? "The instance" : `The instance "${id}"`
            } of the process manager "${process.name}" is abandoned, but a command that it had `
            + `sent may still be dispatched: its commands were not taken within ${
              Duration.format(maxDispatch)
            }. See ProcessManager.health`,
          cause: undefined
        })
      )
  )

/**
 * Options of the health check of a process manager.
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthOptions extends Health.HealthOptions {
  /** Health is red when a deadline has been overdue, or an instance has been parked or deferred, for longer; 30 seconds by default. */
  readonly overdueTimeout?: Duration.Input | undefined
}

/**
 * The health of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHealth extends Health.Health {
  /** The instance whose deadline has been overdue longest, if for longer than `overdueTimeout`. */
  readonly overdue: ProcessInstances.Instance | undefined
  /** Instances that a program has deferred to a newer release, the longest waiting first, 100 at most. */
  readonly deferred: ReadonlyArray<ProcessInstances.Instance>
}

/** The instance that is parked for longest at a command or the reaction to a deadline, and the one that is at an input. */
const stuckIn = Effect.fnUntraced(function*(process: ProcessContract.Any, parkedBefore: DateTime.Utc) {
  const first = { parkedBefore, limit: 1 }
  const outputs = yield* Parking.list(ProcessConsumers.of(process).outputs, first)
  const inputs = keyedInputs(process)
  return [
    ...outputs.items.map(({ parkedAt, stream }) => ({
      at: parkedAt,
      id: stream.slice(ProcessInstances.streamPrefix(process.name).length),
      input: undefined
    })),
    // Health.of says where a consumer waits because the key is unknown.
    ...inputs === undefined ?
      [] :
      (yield* Parking.list(inputs, first)).items.flatMap((input) =>
        input.key === "" ? [] : [{ at: input.parkedAt, id: input.key, input }]
      )
  ]
})

/** The maximum number of instances that a check counts. */
const maxDeferred = 100

/**
 * Returns the health of a process manager: that of its consumers, and whether deadlines are overdue, or instances parked or deferred. It is red while a
 * deadline is overdue, or a command, the reaction to a deadline or an input is parked, for longer than `overdueTimeout`. It is yellow while instances wait for
 * a newer release, and red when one has waited for longer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const health = Effect.fnUntraced(function*(
  process: ProcessContract.Any,
  options: HealthOptions = {}
): Effect.fn.Return<
  ProcessHealth,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const { inputs, outputs } = ProcessConsumers.of(process)
  const instances = ProcessInstances.of(process)
  // Without inputs, as for schedules, no worker runs their consumer.
  const found = yield* Health.of([...process.handles.length === 0 ? [] : [inputs], outputs, instances], options)
  const timeout = Duration.fromInputUnsafe(options.overdueTimeout ?? "30 seconds")
  const { items: [overdue] } = yield* ProjectionStore.list(instances, {
    where: { nextDueAt: { lt: DateTime.subtractDuration(found.at, timeout) } },
    orderBy: { field: "nextDueAt" },
    limit: 1
  })
  const parkedBefore = DateTime.subtractDuration(found.at, timeout)
  const stuck = yield* stuckIn(process, parkedBefore)
  const { items: deferred } = yield* ProjectionStore.list(instances, {
    where: { deferredSince: { lte: found.at } },
    orderBy: { field: "deferredSince" },
    limit: maxDeferred
  })
  const reasons = [...found.reasons]
  const since = (at: DateTime.Utc) => Duration.format(DateTime.distance(at, found.at))
  if (overdue !== undefined && overdue.nextDueAt !== null) {
    reasons.push(
      `a deadline of the instance "${overdue.id}" of the process manager "${process.name}" has been overdue for ${
        since(overdue.nextDueAt)
      }; run a program with ProcessManager.layer, or see in its log why it cannot take the inputs or fire the deadline`
    )
  }
  for (const { at, id, input } of stuck) {
    reasons.push(
      `the instance "${id}" of the process manager "${process.name}" has been parked for ${since(at)}` +
        (input === undefined
          ? "; see ProcessManager.inspect, then use ProcessManager.retry or ProcessManager.abandon"
          : ` at the input "${input.type}" at position ${input.position}; correct what failed, then use ProcessManager.retry, or Parking.skip of the inputs`)
    )
  }
  const [first] = deferred
  const waitingSince = first?.deferredSince ?? undefined
  if (first !== undefined && waitingSince !== undefined) {
    const count = deferred.length === 1
      ? "1 instance was"
      : `${deferred.length}${deferred.length === maxDeferred ? " or more" : ""} instances were`
    reasons.push(
      `${count} changed by a newer release of the process manager "${process.name}": a program does not declare ${first.deferredReason} of "${first.id}", `
        + `which has waited for ${
          since(waitingSince)
        }; run a release that declares it with the Schema by which it was stored`
    )
  }
  const isLate = waitingSince !== undefined
    && DateTime.isLessThan(waitingSince, DateTime.subtractDuration(found.at, timeout))
  const isRed = overdue !== undefined || stuck.length > 0 || isLate
  return {
    ...found,
    status: isRed ? "red" : deferred.length > 0 && found.status === "green" ? "yellow" : found.status,
    reasons,
    overdue,
    deferred
  }
})
