/**
 * What operators do with process managers: list and inspect instances, retry or abandon a parked one, check the health.
 *
 * @since 0.1.0
 */
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

const parkedOf = Effect.fnUntraced(function*({ id }: ProcessConsumers.ProcessConsumers["outputs"], key: string) {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  return yield* parkedUnder(driver, yield* driver.activeGeneration(id), key)
})

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
  const inputs = ProcessConsumers.keyedInputs(process)
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
  const inputs = ProcessConsumers.keyedInputs(process)
  const output = retryOutput(process, id, options)
  return inputs === undefined ? output : Effect.catchTag(output, "NotParked", () => Parking.retry(inputs, id, options))
}

/**
 * Ends an instance for a reason, which its stream and the read model keep. Commands that it has not dispatched yet are not dispatched any more, its deadlines
 * are dropped, and later inputs are ignored and counted. An instance that has completed can be abandoned while a command of it is parked or deferred. Returns
 * false if there is neither a running instance of this id nor such a command. It waits for a command of the instance that is
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
  const isParked =
    (yield* parkedOf(ProcessConsumers.of(process).outputs, process.decider.aggregate.streamOf(id))).length > 0
  const isUnfinished = ({ deferred, status }: Pick<ProcessState<unknown>, "deferred" | "status">) =>
    status === "running" || (status === "completed" && (isParked || deferred > 0))
  const { ignored, undeclared, ...appended } = yield* instances.append(
    id,
    commandId,
    (state) =>
      state.status === "running" || isUnfinished(state)
        ? { events: [process.processEvents.toEvent(abandoned)] }
        : { ignored: state.status }
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
    if (!Option.exists(found, isUnfinished)) return false
    position = yield* instances.write(id, commandId, abandoned)
  }
  if (ignored === "unstarted") return false
  // What it is parked at passes now without an effect.
  yield* Effect.catchTag(retryOutput(process, id), "NotParked", () => Effect.void)
  const inputs = ProcessConsumers.keyedInputs(process)
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
