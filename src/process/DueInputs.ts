/**
 * Lets a deadline fire only after the inputs that were in the log when the timer found it to be due. After an outage, or while a program is behind, these may not
 * be taken yet.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import * as Event from "../event/Event.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"

/** What it needs. */
interface Sources {
  readonly definition: ProcessContract.Any
  readonly log: Pick<EventStoreDriver, "highWaterMarkOf" | "last">
  readonly store: ProjectionStore.ProjectionStore["Service"]
  readonly driver: Pick<ConsumerDriver, "activeGeneration" | "parked" | "parkedCounts">
}

/** How long the timer waits for the inputs before it looks at the deadlines again. */
const maxWait = Duration.seconds(1)

/**
 * Returns a position up to which the log has all inputs that were recorded before. It waits for appends of inputs that are in flight.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lastOf = ({ definition, log }: Sources): Effect.Effect<Option.Option<Position>, EventStoreError> =>
  definition.handles.length === 0 ? Effect.succeedNone : Effect.andThen(
    log.highWaterMarkOf({
      types: Event.storedTypes(definition.inputs, definition.handles),
      waiter: `The timer of the process manager "${definition.name}"`
    }),
    Effect.asSome(log.last)
  )

/**
 * Waits until the inputs up to a position are taken, ignored or parked. Returns false if they are not after a second.
 *
 * @since 0.1.0
 * @category combinators
 */
export const areTaken = (
  { definition, store }: Sources,
  upTo: Option.Option<Position>
): Effect.Effect<boolean, EventStoreError> =>
  Option.isNone(upTo) ? Effect.succeed(true) : Effect.matchEffect(
    store.awaitPosition({ id: ProcessConsumers.of(definition).inputs.id, lifecycle: "async" }, upTo.value, maxWait),
    {
      onSuccess: () => Effect.succeed(true),
      onFailure: (error) => error instanceof EventStoreError ? Effect.fail(error) : Effect.succeed(false)
    }
  )

/**
 * Returns whether the log ends before a position up to which it has had events. Then it was set back, and may never reach the position again.
 *
 * @since 0.1.0
 * @category accessors
 */
export const areLost = ({ log }: Sources, upTo: Option.Option<Position>): Effect.Effect<boolean, EventStoreError> =>
  Option.isNone(upTo) ? Effect.succeed(false) : Effect.map(log.last, (last) => last < upTo.value)

/**
 * Returns those of the instances that have no parked input. Deadlines of the others wait, as their later inputs do.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutParked = Effect.fnUntraced(function*<A extends { readonly id: string }>(
  { definition, driver }: Sources,
  instances: ReadonlyArray<A>
): Effect.fn.Return<ReadonlyArray<A>, EventStoreError> {
  if (definition.partitionBy !== "instance" || definition.handles.length === 0 || instances.length === 0) {
    return instances
  }
  const generation = yield* driver.activeGeneration(ProcessConsumers.of(definition).inputs.id)
  if ((yield* driver.parkedCounts(generation)).length === 0) return instances
  return yield* Effect.filter(
    instances,
    ({ id }) => Effect.map(driver.parked(generation, { key: id, limit: 1 }), (found) => found.length === 0),
    { concurrency: 4 }
  )
})
